/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * OBSERVE: every host is asked at once, on its look lane; a host that does not answer in time is not waited for. What
 * carries our metadata is a shard, whatever its name; what has a name of ours and no metadata is foreign, and only
 * told.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"

struct look {
    struct lv_job job; /* first */
    struct lv_gather *g;
};

/* ---- the gathering ---- */

void lv_gather_unref(struct lv_gather *g) {
    if (!g || atomic_fetch_sub(&g->refs, 1) > 1)
        return;
    for (size_t i = 0; i < g->seen_count; i++)
        lv_free(g->seen[i].vm);
    lv_free(g->seen);
    lv_free(g->answered);
    pthread_mutex_destroy(&g->lock);
    lv_driver_unref(g->d);
    lv_free(g);
}

/* `less` hosts fewer are waited for; at the end of them all, or when it is closed, it goes to the desk, once. */
static void over(struct lv_gather *g, size_t less, bool now) {
    pthread_mutex_lock(&g->lock);
    g->waits -= less;
    bool ends = !g->ended && (now || !g->waits);
    g->ended |= ends;
    pthread_mutex_unlock(&g->lock);
    if (ends) {
        g->job.outcome = SPR_DONE;
        lv_desk_done(&g->job);
    }
}

void lv_gather_close(struct lv_gather *g) { over(g, 0, true); }

static void gather_destroy(struct lv_job *job) { lv_gather_unref((struct lv_gather *)job); }

/* ---- one domain ---- */

static bool has_saved_image(virDomainPtr dom) { return virDomainHasManagedSaveImage(dom, 0) == 1; }

static int state_of(const struct lv_shard_meta *m, virDomainPtr dom, bool usable) {
    static const int32_t of[] = {[LV_PHASE_RESERVED] = SPR_SHARD_RESERVED, [LV_PHASE_ALLOCATED] = SPR_SHARD_ALLOCATING,
                                 [LV_PHASE_WARMING] = SPR_SHARD_WARMING,   [LV_PHASE_WARM] = SPR_SHARD_WARM,
                                 [LV_PHASE_SERVING] = SPR_SHARD_SERVING,   [LV_PHASE_DRAINING] = SPR_SHARD_DRAINING};
    if (!usable)
        return m->piece_count ? SPR_SHARD_ALLOCATING : SPR_SHARD_DRAINING;
    if (m->phase == LV_PHASE_SERVING && m->kind == SPR_SHARD_REPLICA && lv_state(dom, NULL) != VIR_DOMAIN_RUNNING)
        return SPR_SHARD_WARM; /* somebody stopped it: it can be activated once more */
    return of[m->phase];
}

/* CPU since the last look. Without a last look it is not known yet. */
static double cpu_used(struct lv_driver_host *h, uint64_t shard, uint64_t cpu_ns) {
    int64_t now = lv_clock_ns();
    double used = 0;
    for (size_t i = 0; i < h->use_count; i++)
        if (h->use[i].shard == shard) {
            if (cpu_ns >= h->use[i].cpu_ns && now > h->use[i].at_ns)
                used = (double)(cpu_ns - h->use[i].cpu_ns) / (double)(now - h->use[i].at_ns);
            h->use[i].cpu_ns = cpu_ns;
            h->use[i].at_ns = now;
            return used;
        }
    if (lv_grow((void **)&h->use, &h->use_cap, h->use_count + 1, sizeof *h->use) == SPR_OK)
        h->use[h->use_count++] = (struct lv_use){shard, cpu_ns, now};
    return 0;
}

static void measure_use(struct lv_driver_host *h, virDomainPtr dom, struct lv_seen *s) {
    virDomainInfo info;
    if (s->kind != SPR_SHARD_REPLICA || !lv_runs(dom) || virDomainGetInfo(dom, &info) < 0)
        return;
    s->used.of[SPR_CPU] = cpu_used(h, s->id, info.cpuTime);
    s->used.of[SPR_MEMORY] = (double)info.memory * 1024;
}

/*
 * Is headroom held? By its definition, where nothing more was asked; else by its placeholder's memory, which may be
 * down for a moment or for as long as the VM moves in. (Looked at in this order: whoever takes it down says so first,
 * and is done only when it is up again or the move is known.)
 */
static bool is_held(struct spr_libvirt *v, struct lv_driver_host *h, virDomainPtr dom, const struct lv_shard_meta *m) {
    if (!m->holds_memory || lv_runs(dom) || atomic_load(&h->lowering) == m->id)
        return true;
    return lv_move_runs(v, m->id) || lv_runs(dom);
}

/* A shard that was ready and whose guest is gone (killed, or its host lost power) has nothing ready any more. */
static int read_shard(struct spr_libvirt *v, struct lv_driver_host *h, virDomainPtr dom, const struct lv_shard_meta *m,
                      struct lv_seen *s) {
    bool usable = m->phase <= LV_PHASE_WARMING ||
                  (m->kind == SPR_SHARD_HEADROOM ? is_held(v, h, dom, m) : lv_runs(dom) || has_saved_image(dom));
    s->id = m->id;
    s->fence = m->fence;
    s->kind = m->kind;
    s->vm = lv_strdup(m->vm);
    s->draining = m->draining;
    s->warmness = usable ? m->warmness : 0;
    if (usable)
        s->ready = m->ready;
    else
        memset(&s->draining, 0, sizeof s->draining);
    for (int32_t i = 0; i < m->piece_count; i++)
        lv_amounts_add(&s->pending, &m->piece[i].amounts, 1);
    s->state = state_of(m, dom, usable);
    s->expires_wall_ns = m->phase == LV_PHASE_RESERVED ? m->expires_wall_ns : 0;
    measure_use(h, dom, s);
    return s->vm ? SPR_OK : SPR_E_NOMEM;
}

/* Named like one of ours, without our metadata, and running: it takes what a shard would. */
static bool is_foreign(virDomainPtr dom, struct lv_seen *s) {
    virDomainInfo info;
    if (!lv_domain_name_id(virDomainGetName(dom)) || !lv_runs(dom) || virDomainGetInfo(dom, &info) < 0)
        return false;
    s->state = SPR_SHARD_UNKNOWN;
    s->ready.of[SPR_CPU] = info.nrVirtCpu;
    s->ready.of[SPR_MEMORY] = (double)info.memory * 1024;
    return true;
}

/* No shard: the primary that once was one is what it should be; the one whose place it took is told, running or not. */
static int read_other(struct lv_driver *d, virDomainPtr dom, struct lv_seen *out) {
    virDomainInfo info;
    int is = lv_promoted_look(d, dom, &out->vm);
    if (is == 0)
        return is_foreign(dom, out);
    if (is == 2 && lv_runs(dom) && virDomainGetInfo(dom, &info) == 0) {
        out->ready.of[SPR_CPU] = info.nrVirtCpu;
        out->ready.of[SPR_MEMORY] = (double)info.memory * 1024;
    }
    out->state = SPR_SHARD_UNKNOWN;
    return is == 2;
}

/* What an earlier controller measured on this host stands in its shards' metadata. */
static void learn(struct lv_driver *d, struct lv_facts *f, const struct lv_shard_meta *m) {
    struct {
        double *fact, seen;
    } all[] = {{&f->allocate_s, m->allocate_s},
               {&f->boot_s, m->boot_s},
               {&f->save_s, m->save_s},
               {&f->resume_s, m->resume_s},
               {&f->restore_s, m->restore_s}};
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!(*all[i].fact > 0) && all[i].seen > 0)
            *all[i].fact = all[i].seen;
    pthread_mutex_unlock(&d->lock);
}

/* 1: *out is filled. 0: none of ours. */
static int read_one(struct lv_driver *d, struct lv_driver_host *h, virDomainPtr dom, struct lv_seen *out) {
    struct lv_shard_meta m = {0};
    char why[LV_WHY] = "";
    int rc = lv_meta_read(dom, &m, why);
    if (rc == SPR_OK) {
        learn(d, &h->facts, &m);
        rc = read_shard(d->v, h, dom, &m, out);
        lv_meta_clear(&m);
        return rc < 0 ? rc : 1;
    }
    if (rc == SPR_E_FORMAT || rc == SPR_E_TOO_NEW) { /* of ours, but not to be understood: hands off */
        out->id = lv_domain_name_id(virDomainGetName(dom));
        out->state = SPR_SHARD_UNKNOWN;
        if (!out->id)
            return 0; /* by a name that is none of a shard's: no verb would find it */
        out->vm = lv_strdup("");
        return out->vm ? 1 : SPR_E_NOMEM;
    }
    return rc == SPR_E_NOT_FOUND ? read_other(d, dom, out) : rc; /* or it is gone meanwhile, and does not run */
}

/* ---- one host ---- */

/* What stands in the way of verbs that may come, found out while nobody waits for them. */
static void look_at_means(struct lv_driver *d, struct lv_facts *f, virConnectPtr conn) {
    struct lv_facts n = {0};
    virStoragePoolPtr pool = virStoragePoolLookupByName(conn, d->o.pool);
    if (!pool) {
        n.no_pool = true;
        snprintf(n.pool_why, sizeof n.pool_why, "%s", virGetLastErrorMessage());
    } else {
        virStoragePoolFree(pool);
    }
    size_t all = 0, left = 0;
    char why[LV_WHY] = "";
    if (d->o.vf_network && !lv_vfs_free(conn, d->o.vf_network, &all, &left, why))
        snprintf(n.vf_why, sizeof n.vf_why, "%s", why);
    else if (d->o.vf_network && !left)
        snprintf(n.vf_why, sizeof n.vf_why, "all %zu of network '%s' are in use", all, d->o.vf_network);
    bool secrets = virConnectNumOfSecrets(conn) >= 0;
    n.no_secrets = !secrets && lv_lacks_secrets();
    pthread_mutex_lock(&d->lock);
    f->looked = true;
    f->no_pool = n.no_pool;
    if (secrets || n.no_secrets)
        f->no_secrets = n.no_secrets;
    memcpy(f->pool_why, n.pool_why, sizeof f->pool_why);
    memcpy(f->vf_why, n.vf_why, sizeof f->vf_why);
    pthread_mutex_unlock(&d->lock);
}

static int keep(struct lv_seen **list, size_t *count, size_t *cap, const struct lv_seen *s) {
    if (lv_grow((void **)list, cap, *count + 1, sizeof **list) < 0)
        return SPR_E_NOMEM;
    (*list)[(*count)++] = *s;
    return SPR_OK;
}

static int read_host(struct look *l, virConnectPtr conn, struct lv_seen **list, size_t *count) {
    struct lv_driver_host *h = &l->g->d->host[l->job.host->index];
    virDomainPtr *all = NULL;
    size_t cap = 0;
    int n = virConnectListAllDomains(conn, &all, 0), rc = n < 0 ? lv_code_of_last_error() : SPR_OK;
    for (int i = 0; i < n; i++) {
        struct lv_seen s = {.host = l->job.host->index};
        int is = rc == SPR_OK ? read_one(l->g->d, h, all[i], &s) : 0;
        if (is > 0)
            rc = keep(list, count, &cap, &s);
        if (is < 0 || rc < 0) {
            rc = is < 0 ? is : rc;
            lv_free(s.vm);
        }
        virDomainFree(all[i]);
    }
    free(all);
    return rc;
}

/* Into the common list, unless nobody waits any more. */
static void hand_in(struct lv_gather *g, size_t host, struct lv_seen *list, size_t count) {
    pthread_mutex_lock(&g->lock);
    bool room = !g->ended && lv_grow((void **)&g->seen, &g->seen_cap, g->seen_count + count, sizeof *g->seen) == SPR_OK;
    if (room && count)
        memcpy(&g->seen[g->seen_count], list, count * sizeof *list);
    if (room) {
        g->seen_count += count;
        g->answered[host] = 1;
    }
    g->nomem |= !room && !g->ended;
    pthread_mutex_unlock(&g->lock);
    for (size_t i = 0; !room && i < count; i++)
        lv_free(list[i].vm);
    lv_free(list);
}

static void look_run(struct lv_job *job, virConnectPtr conn) {
    struct look *l = (struct look *)job;
    struct lv_driver_host *h = &l->g->d->host[job->host->index];
    struct lv_seen *list = NULL;
    size_t count = 0;
    if (read_host(l, conn, &list, &count) < 0) { /* half a picture is none: the host counts as not seen */
        for (size_t i = 0; i < count; i++)
            lv_free(list[i].vm);
        lv_free(list);
        return;
    }
    look_at_means(l->g->d, &h->facts, conn);
    lv_expire(l->g->d, job->host->index, list, count, l->g->fence);
    lv_means_look(l->g->d, job->host, conn);
    hand_in(l->g, job->host->index, list, count);
}

/* Whatever became of it, one host fewer is waited for. */
static void look_destroy(struct lv_job *job) {
    struct look *l = (struct look *)job;
    over(l->g, 1, false);
    lv_gather_unref(l->g);
    lv_free(l);
}

static struct lv_gather *gather_new(struct lv_driver *d, struct spr_time now) {
    struct lv_gather *g = lv_alloc(sizeof *g);
    if (!g)
        return NULL;
    g->answered = lv_alloc(d->v->host_count);
    if (!g->answered) {
        lv_free(g);
        return NULL;
    }
    atomic_init(&g->refs, 2);
    pthread_mutex_init(&g->lock, NULL);
    g->d = lv_driver_ref(d);
    g->job.destroy = gather_destroy;
    g->waits = d->v->host_count + 1; /* and whoever asks them */
    g->due_mono_ns = now.mono_ns + (int64_t)(d->v->opts.call_s * 1e9);
    return g;
}

int lv_observe(struct lv_driver *d, struct lv_desk *desk, uint64_t fence, struct spr_time now, int64_t deadline_mono_ns,
               struct lv_gather **out) {
    struct lv_gather *g = gather_new(d, now);
    if (!g)
        return SPR_E_NOMEM;
    g->fence = fence;
    lv_desk_accept(desk, &g->job, now, deadline_mono_ns);
    for (size_t i = 0; i < d->v->host_count; i++) {
        struct look *l = lv_alloc(sizeof *l);
        if (!l) {
            over(g, 1, false);
            continue; /* a host that was not asked is one that did not answer */
        }
        l->g = g;
        atomic_fetch_add(&g->refs, 1);
        l->job.run = look_run;
        l->job.destroy = look_destroy;
        l->job.deadline_ns = INT64_MAX;
        if (lv_lane_put(&d->v->hosts[i], LV_LOOK, &l->job) < 0)
            look_destroy(&l->job);
    }
    *out = g;
    over(g, 1, false);
    return SPR_OK;
}
