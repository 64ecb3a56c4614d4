/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One live migration. The call blocks for as long as it takes, so it has a thread of its own and both hosts' lanes stay
 * free; it is managed by this client: should the client die, libvirt on the source gives it up and the guest stays.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "driver.h"

/* What the thread needs; its own references. */
struct mover {
    struct spr_libvirt *v;
    struct lv_move *m;
    virDomainPtr dom;
    virConnectPtr to;
    unsigned long long bandwidth_mib, downtime_ms;
    bool unsafe;
};

static void unref(struct lv_move *m) {
    if (m && atomic_fetch_sub(&m->refs, 1) == 1) {
        lv_free(m->vm);
        lv_free(m);
    }
}

void lv_moves_free(struct spr_libvirt *v) {
    while (v->moves) {
        struct lv_move *next = v->moves->next;
        unref(v->moves);
        v->moves = next;
    }
}

/* ---- the thread ---- */

static virDomainPtr migrate(const struct mover *w, unsigned int flags) {
    virTypedParameterPtr p = NULL;
    int n = 0, room = 0;
    if (w->bandwidth_mib && virTypedParamsAddULLong(&p, &n, &room, VIR_MIGRATE_PARAM_BANDWIDTH, w->bandwidth_mib) < 0)
        return NULL;
    virDomainPtr there = virDomainMigrate3(w->dom, w->to, p, (unsigned int)n, flags);
    virTypedParamsFree(p, n);
    return there;
}

/* libvirt's words name no host: "Cannot recv data" may be either of the two. */
static void why_not(const struct mover *w, char text[LV_TEXT]) {
    char said[LV_TEXT - 40]; /* room for what is put before it */
    snprintf(said, sizeof said, "%s", virGetLastErrorMessage());
    bool lost = virConnectIsAlive(w->to) != 1;
    snprintf(text, LV_TEXT, "%s%s%s%s", lost ? "the connection to " : "", lost ? w->v->hosts[w->m->to].id : "",
             lost ? " was lost: " : "", said);
}

static void *mover_main(void *arg) {
    struct mover *w = arg;
    struct spr_libvirt *v = w->v;
    unsigned int flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE |
                         VIR_MIGRATE_AUTO_CONVERGE | (w->unsafe ? VIR_MIGRATE_UNSAFE : 0);
    virDomainPtr there = migrate(w, flags);
    int code = there ? VIR_ERR_OK : virGetLastErrorCode();
    if (code == VIR_ERR_ARGUMENT_UNSUPPORTED || code == VIR_ERR_OPERATION_UNSUPPORTED) /* an older QEMU */
        there = migrate(w, flags & ~(unsigned int)VIR_MIGRATE_AUTO_CONVERGE);
    char text[LV_TEXT] = "";
    code = there ? SPR_OK : lv_code_of_last_error();
    if (!there)
        why_not(w, text);
    else
        virDomainFree(there);
    virDomainFree(w->dom);
    virConnectClose(w->to);
    pthread_mutex_lock(&v->lock);
    w->m->took_s = (double)(lv_clock_ns() - w->m->began_ns) * 1e-9;
    w->m->code = code;
    memcpy(w->m->text, text, sizeof text);
    w->m->over = true;
    v->threads--;
    pthread_cond_broadcast(&v->ended);
    pthread_mutex_unlock(&v->lock);
    unref(w->m);
    lv_free(w);
    lv_unref(v);
    return NULL;
}

static void forget_older(struct spr_libvirt *v, const char *vm) {
    for (struct lv_move **link = &v->moves; *link; link = &(*link)->next)
        if (!strcmp((*link)->vm, vm)) {
            struct lv_move *old = *link;
            *link = old->next;
            unref(old);
            return;
        }
}

static struct lv_move *move_new(struct lv_act *a) {
    struct lv_move *m = lv_alloc(sizeof *m);
    if (!m)
        return NULL;
    atomic_init(&m->refs, 3); /* the list's, the thread's, the job's */
    m->shard = a->shard;
    m->from = a->primary.host;
    m->to = a->target;
    m->began_ns = lv_clock_ns();
    m->vm = lv_strdup(a->vm);
    if (!m->vm) {
        lv_free(m);
        return NULL;
    }
    return m;
}

static struct mover *mover_new(struct lv_act *a, struct lv_move *m) {
    struct mover *w = lv_alloc(sizeof *w);
    if (!w)
        return NULL;
    w->v = a->d->v;
    w->m = m;
    w->dom = a->moving, w->to = a->there;
    w->bandwidth_mib = (unsigned long long)fmin(ceil(a->d->o.migrate_bytes_s / 0x1p20), 1e9);
    w->downtime_ms = (unsigned long long)fmax(1, round(a->d->o.downtime_s * 1e3));
    w->unsafe = lv_disks_are_shared(a->d->o.shared, a->primary.live);
    return w;
}

int lv_move_begin(struct lv_act *a) {
    struct spr_libvirt *v = a->d->v;
    struct lv_move *m = move_new(a);
    struct mover *w = m ? mover_new(a, m) : NULL;
    int rc = w ? SPR_OK : SPR_E_NOMEM;
    if (rc == SPR_OK) {
        virDomainMigrateSetMaxDowntime(w->dom, w->downtime_ms, 0); /* said again while it goes on */
        virDomainRef(w->dom);
        virConnectRef(w->to);
        lv_ref(v);
        pthread_mutex_lock(&v->lock);
        v->threads++;
        rc = lv_thread_start(mover_main, w);
        if (rc == SPR_OK) {
            forget_older(v, m->vm);
            m->next = v->moves;
            v->moves = m;
            a->move = m;
        } else {
            v->threads--;
        }
        pthread_mutex_unlock(&v->lock);
        if (rc < 0) {
            virDomainFree(w->dom);
            virConnectClose(w->to);
            lv_unref(v);
        }
    }
    if (rc < 0) {
        lv_free(w);
        if (m)
            lv_free(m->vm);
        lv_free(m);
        lv_job_fail(&a->job, rc, "no thread can be made for a migration");
    }
    return rc;
}

/* ---- what is known of it ---- */

struct lv_move *lv_move_of(struct spr_libvirt *v, uint64_t shard) {
    struct lv_move *found = NULL;
    pthread_mutex_lock(&v->lock);
    for (struct lv_move *m = v->moves; m && !found; m = m->next)
        if (m->shard == shard && !m->ended)
            found = m;
    if (found)
        atomic_fetch_add(&found->refs, 1);
    pthread_mutex_unlock(&v->lock);
    return found;
}

bool lv_move_runs(struct spr_libvirt *v, uint64_t shard) {
    struct lv_move *m = lv_move_of(v, shard);
    unref(m);
    return m != NULL;
}

bool lv_move_is(struct spr_libvirt *v, struct lv_move *m, bool ended) {
    pthread_mutex_lock(&v->lock);
    bool is = ended ? m->ended : m->over;
    pthread_mutex_unlock(&v->lock);
    return is;
}

void lv_move_end(struct spr_libvirt *v, struct lv_move *m, int code, const char *text) {
    pthread_mutex_lock(&v->lock);
    m->ended = true;
    m->code = code;
    if (text != m->text)
        snprintf(m->text, sizeof m->text, "%s", code < 0 ? text : "");
    pthread_mutex_unlock(&v->lock);
}

static double number(virTypedParameterPtr p, int n, const char *name) {
    unsigned long long value = 0;
    return virTypedParamsGetULLong(p, n, name, &value) == 1 ? (double)value : 0;
}

static void read_stats(struct lv_act *a, virDomainPtr dom, bool completed) {
    virTypedParameterPtr p = NULL;
    int type = 0, n = 0;
    if (virDomainGetJobStats(dom, &type, &p, &n, completed ? VIR_DOMAIN_JOB_STATS_COMPLETED : 0) < 0)
        return;
    struct lv_move *m = a->move;
    double total = number(p, n, VIR_DOMAIN_JOB_MEMORY_TOTAL), downtime = number(p, n, VIR_DOMAIN_JOB_DOWNTIME);
    pthread_mutex_lock(&a->d->v->lock);
    if (total > 0) {
        m->total = total;
        m->left = number(p, n, VIR_DOMAIN_JOB_MEMORY_REMAINING);
    }
    if (downtime > 0) {
        m->downtime_s = downtime * 1e-3;
        m->measured = completed;
    }
    pthread_mutex_unlock(&a->d->v->lock);
    virTypedParamsFree(p, n);
}

void lv_move_look(struct lv_act *a) {
    if (a->tries++ == 0) /* before it had begun QEMU may have taken no notice */
        virDomainMigrateSetMaxDowntime(a->moving, (unsigned long long)fmax(1, round(a->d->o.downtime_s * 1e3)), 0);
    read_stats(a, a->moving, false);
}

void lv_move_measure(struct lv_act *a, virDomainPtr dom) { read_stats(a, dom, true); }

void lv_move_leave(struct lv_act *a) {
    struct lv_move *m = a->move;
    if (m && a->moving && !lv_move_is(a->d->v, m, true)) { /* the hosts were closed before it was known to be over */
        bool over = lv_move_is(a->d->v, m, false);
        if (!over)
            virDomainAbortJob(a->moving);
        lv_move_end(a->d->v, m, over && m->code == SPR_OK ? SPR_OK : SPR_E_CANCELLED,
                    "the hosts were closed before it was known what became of it");
    }
    if (a->moving)
        virDomainFree(a->moving);
    if (a->there)
        virConnectClose(a->there);
    unref(m);
    a->moving = NULL;
    a->there = NULL;
    a->move = NULL;
}

int spr_libvirt_migration(const spr_libvirt *given, const char *vm, struct spr_libvirt_migration *out) {
    spr_libvirt *v = (spr_libvirt *)(uintptr_t)given; /* the lock is not part of what it says */
    if (!v || !vm || !out || out->size < sizeof *out)
        return SPR_E_ARG;
    pthread_mutex_lock(&v->lock);
    const struct lv_move *m = v->moves;
    while (m && strcmp(m->vm, vm))
        m = m->next;
    if (m) {
        out->shard = m->shard;
        out->from = v->hosts[m->from].id;
        out->to = v->hosts[m->to].id;
        out->running = !m->ended;
        out->code = m->ended ? m->code : SPR_OK;
        out->bytes_all = m->total;
        out->bytes_left = m->ended && m->code == SPR_OK ? 0 : m->left;
        out->share = m->ended && m->code == SPR_OK ? 1 : m->total > 0 ? 1 - m->left / m->total : 0;
        out->took_s = m->over ? m->took_s : (double)(lv_clock_ns() - m->began_ns) * 1e-9;
        out->downtime_s = m->downtime_s;
        out->measured = m->measured;
        snprintf(out->text, sizeof out->text, "%s", m->text);
    }
    pthread_mutex_unlock(&v->lock);
    return m ? SPR_OK : SPR_E_NOT_FOUND;
}
