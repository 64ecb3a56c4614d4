/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One turn of a verb: whose turn it is to change the host (seat), what is there (domain, metadata, fence), then the
 * verb. Whatever changes something goes through lv_guard first.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"

lv_verb *const lv_verbs[SPR_DRIVER_VERB_END_] = {
    [SPR_DRIVER_RESERVE] = lv_reserve,   [SPR_DRIVER_ALLOCATE] = lv_allocate, [SPR_DRIVER_WARM] = lv_warm,
    [SPR_DRIVER_ACTIVATE] = lv_activate, [SPR_DRIVER_DRAIN] = lv_drain,       [SPR_DRIVER_RESIZE] = lv_resize,
    [SPR_DRIVER_ABORT] = lv_release,     [SPR_DRIVER_RELEASE] = lv_release,   [SPR_DRIVER_ADOPT] = lv_adopt,
    [SPR_DRIVER_MIGRATE] = lv_migrate,   [SPR_DRIVER_PROMOTE] = lv_promote,
};

#ifdef LV_INSIDE
void (*_Atomic lv_between)(struct lv_act *a, bool late);
static void between(struct lv_act *a, bool late) {
    void (*hook)(struct lv_act *, bool) = atomic_load(&lv_between);
    if (hook)
        hook(a, late);
}
#else
static void between(struct lv_act *a, bool late) { (void)a, (void)late; }
#endif

/* ---- failing ---- */

void lv_fail(struct lv_act *a, const char *what, const char *of) {
    const virError *e = virGetLastError();
    if (e && e->message && strstr(e->message, "No space left on device"))
        lv_job_fail(&a->job, SPR_E_CAPACITY, "%s%s%s: its disk is full (pool '%s'): %s", what, of ? " " : "",
                    of ? of : "", a->d->o.pool, e->message);
    else
        lv_job_fail_libvirt(&a->job, what, of);
}

void lv_measured(struct lv_act *a, double *fact, double seconds) {
    pthread_mutex_lock(&a->d->lock);
    *fact = *fact > 0 ? 0.7 * *fact + 0.3 * seconds : seconds;
    pthread_mutex_unlock(&a->d->lock);
}

/* ---- what is there ---- */

int lv_state(virDomainPtr dom, int *reason) {
    int state = -1, why = 0;
    if (virDomainGetState(dom, &state, &why, 0) < 0)
        return -1;
    if (reason)
        *reason = why;
    return state;
}

bool lv_runs(virDomainPtr dom) { return virDomainIsActive(dom) == 1; }

unsigned int lv_affect(virDomainPtr dom) {
    return VIR_DOMAIN_AFFECT_CONFIG | (lv_runs(dom) ? VIR_DOMAIN_AFFECT_LIVE : 0);
}

int lv_meta_read(virDomainPtr dom, struct lv_shard_meta *out, char why[LV_WHY]) {
    /* The definition's: what a restored guest carries was true when it was saved. */
    char *xml = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, LV_SHARD_URN, VIR_DOMAIN_AFFECT_CONFIG);
    if (!xml) {
        int code = lv_code_of_last_error();
        bool none = virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_METADATA;
        snprintf(why, LV_WHY, "no metadata of ours: %s", virGetLastErrorMessage());
        if (!none && virDomainIsPersistent(dom) == 0) {
            xml = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, LV_SHARD_URN, VIR_DOMAIN_AFFECT_LIVE);
            code = xml ? SPR_OK : lv_code_of_last_error(); /* a transient one that is not ours hides nothing */
        }
        if (!xml)
            return code;
    }
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    int rc = lv_meta_parse(xml, out, why);
    free(xml);
    if (rc == SPR_OK && virDomainGetUUIDString(dom, uuid) == 0 && lv_meta_is_copy(out, uuid)) {
        snprintf(why, LV_WHY, "its metadata is a copy of domain %s", out->own_uuid);
        lv_meta_clear(out);
        rc = SPR_E_NOT_FOUND;
    }
    return rc;
}

/* By its metadata, whatever somebody has called it. NULL: *code is SPR_E_NOT_FOUND, or an error told. */
static virDomainPtr find_renamed(virConnectPtr conn, uint64_t shard, struct lv_shard_meta *meta, int *code,
                                 char why[LV_WHY]) {
    virDomainPtr *all = NULL, found = NULL;
    int n = virConnectListAllDomains(conn, &all, 0);
    *code = n < 0 ? lv_code_of_last_error() : SPR_E_NOT_FOUND;
    if (n < 0)
        snprintf(why, LV_WHY, "looking for shard %llu: %s", (unsigned long long)shard, virGetLastErrorMessage());
    for (int i = 0; i < n; i++) {
        char text[LV_WHY] = "";
        int rc = *code == SPR_E_NOT_FOUND ? lv_meta_read(all[i], meta, text) : SPR_E_STATE;
        if (rc == SPR_OK && meta->id == shard) {
            found = all[i];
            *code = SPR_OK;
            continue;
        }
        if (rc == SPR_OK)
            lv_meta_clear(meta);
        else if (*code == SPR_E_NOT_FOUND && rc != SPR_E_NOT_FOUND && rc != SPR_E_FORMAT && rc != SPR_E_TOO_NEW) {
            *code = rc; /* it may have been the one */
            snprintf(why, LV_WHY, "looking for shard %llu: %s", (unsigned long long)shard, text);
        }
        virDomainFree(all[i]);
    }
    free(all);
    return found;
}

virDomainPtr lv_find_ours(virConnectPtr conn, uint64_t shard, const char *vm, struct lv_shard_meta *meta, int *code,
                          char why[LV_WHY]) {
    char name[LV_NAME];
    lv_domain_name(shard, vm, name);
    virDomainPtr dom = virDomainLookupByName(conn, name), renamed = NULL;
    if (!dom && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN) {
        *code = lv_code_of_last_error();
        snprintf(why, LV_WHY, "looking for domain %s: %s", name, virGetLastErrorMessage());
        return NULL;
    }
    *code = dom ? lv_meta_read(dom, meta, why) : SPR_E_NOT_FOUND;
    if (*code == SPR_OK && meta->id != shard) {
        lv_meta_clear(meta);
        *code = SPR_E_NOT_FOUND;
    }
    if (*code == SPR_OK)
        return dom;
    if (*code == SPR_E_NOT_FOUND) {
        snprintf(why, LV_WHY, "there is no domain %s, nor another with this shard's metadata", name);
        renamed = find_renamed(conn, shard, meta, code, why);
    }
    if (dom && *code == SPR_E_NOT_FOUND) {
        *code = SPR_E_EXISTS;
        snprintf(why, LV_WHY, "a domain named %s is there that is not this shard; it is left alone", name);
    }
    if (dom)
        virDomainFree(dom);
    return renamed;
}

int lv_name_back(struct lv_act *a, virConnectPtr conn) {
    if (!a->dom || !strcmp(virDomainGetName(a->dom), a->name))
        return SPR_OK;
    int rc = lv_guard_ours(a, conn);
    if (rc == SPR_OK && virDomainRename(a->dom, a->name, 0) < 0) {
        lv_fail(a, "giving its own name back to", virDomainGetName(a->dom));
        rc = a->job.code;
    }
    return rc;
}

/* ---- checks ---- */

/* The truth of this moment: domain, metadata, fence. SPR_OK: a->dom may be NULL. */
static int look_again(struct lv_act *a, virConnectPtr conn) {
    char why[LV_WHY] = "";
    int code = SPR_OK;
    struct lv_shard_meta seen = {0};
    virDomainPtr dom = lv_find_ours(conn, a->shard, a->vm, &seen, &code, why);
    if (dom && seen.fence > a->fence) {
        lv_job_fail(&a->job, SPR_E_FENCED, "domain %s carries fence %llu of %s, this controller has %llu",
                    virDomainGetName(dom), (unsigned long long)seen.fence, seen.owner ? seen.owner : "another",
                    (unsigned long long)a->fence);
        lv_meta_clear(&seen);
        virDomainFree(dom);
        return SPR_E_FENCED;
    }
    bool creates = a->verb == SPR_DRIVER_RESERVE || a->verb == SPR_DRIVER_ALLOCATE;
    if (code == SPR_E_EXISTS && !creates)
        code = SPR_E_NOT_FOUND; /* of ours there is nothing */
    if (!dom && code != SPR_E_NOT_FOUND) {
        lv_job_fail(&a->job, code, "%s", why);
        return code;
    }
    a->dom = dom;
    a->meta = seen;
    return SPR_OK;
}

static void forget_turn(struct lv_act *a) {
    if (a->dom)
        virDomainFree(a->dom);
    a->dom = NULL;
    lv_meta_clear(&a->meta);
}

static int still_ours(struct lv_act *a, virConnectPtr conn) {
    struct lv_shard_meta seen = {0};
    virDomainPtr dom = NULL;
    char why[LV_WHY] = "";
    int code = SPR_OK, rc = lv_seat_take(a, conn);
    if (rc == SPR_AGAIN) {
        a->job.again = false; /* in the middle of an act there is no waiting: the next try begins anew */
        lv_job_fail(&a->job, SPR_E_BUSY, "the host's seat was lost while this was under way");
        rc = SPR_E_BUSY;
    }
    if (rc < 0)
        return rc;
    dom = lv_find_ours(conn, a->shard, a->vm, &seen, &code, why);
    if (dom && seen.fence > a->fence) {
        lv_job_fail(&a->job, SPR_E_FENCED, "domain %s was taken over with fence %llu while this was under way",
                    virDomainGetName(dom), (unsigned long long)seen.fence);
        rc = SPR_E_FENCED;
    } else if (!dom && a->dom) {
        lv_job_fail(&a->job, code, "%s", why);
        rc = code;
    } else if (dom && !a->dom) {
        lv_job_fail(&a->job, SPR_E_BUSY, "domain %s came up while this was under way", virDomainGetName(dom));
        rc = SPR_E_BUSY;
    }
    lv_meta_clear(&seen);
    if (dom)
        virDomainFree(dom);
    return rc;
}

int lv_check(struct lv_act *a, virConnectPtr conn) {
    if ((double)(lv_clock_ns() - a->checked_ns) > a->d->o.lease_s / 3 * 1e9) {
        int rc = still_ours(a, conn);
        if (rc < 0)
            return rc;
        a->checked_ns = lv_clock_ns();
    }
    return SPR_OK;
}

static int guard(struct lv_act *a, virConnectPtr conn) {
    between(a, false);
    int rc = lv_check(a, conn);
    a->touched |= rc == SPR_OK;
    return rc;
}

int lv_guard(struct lv_act *a, virConnectPtr conn) {
    int rc = guard(a, conn);
    if (rc == SPR_OK)
        between(a, true);
    return rc;
}

int lv_guard_ours(struct lv_act *a, virConnectPtr conn) {
    struct lv_shard_meta seen = {0};
    char why[LV_WHY] = "";
    int rc = guard(a, conn);
    if (rc < 0)
        return rc;
    rc = lv_meta_read(a->dom, &seen, why);
    if (rc == SPR_OK && (seen.id != a->shard || seen.fence > a->fence))
        rc = seen.id != a->shard ? SPR_E_STATE : SPR_E_FENCED;
    lv_meta_clear(&seen);
    if (rc < 0)
        lv_job_fail(&a->job, rc, "domain %s is no longer this shard: it is left alone", a->name);
    else
        between(a, true);
    return rc;
}

int lv_meta_save(struct lv_act *a, virConnectPtr conn) {
    char why[LV_WHY] = "", *xml = NULL;
    a->meta.fence = a->fence;
    virDomainGetUUIDString(a->dom, a->meta.own_uuid);
    int rc = lv_meta_text(&a->meta.owner, a->d->o.owner);
    if (rc >= 0)
        rc = lv_meta_format(&a->meta, &xml, why);
    if (rc < 0) {
        lv_job_fail(&a->job, rc, "metadata of domain %s: %s", a->name, why);
        return rc;
    }
    rc = lv_guard(a, conn);
    if (rc == SPR_OK &&
        virDomainSetMetadata(a->dom, VIR_DOMAIN_METADATA_ELEMENT, xml, "spr", LV_SHARD_URN, lv_affect(a->dom)) < 0) {
        lv_fail(a, "writing the metadata of domain", a->name);
        rc = a->job.code;
    }
    lv_free(xml);
    return rc;
}

/* ---- the turn ---- */

static void turn(struct lv_act *a, virConnectPtr conn) {
    int rc = lv_seat_take(a, conn);
    if (rc != SPR_OK)
        return;
    if (look_again(a, conn) < 0)
        return;
    a->checked_ns = lv_clock_ns();
    lv_verbs[a->verb](a, conn);
}

void lv_act_run(struct lv_job *job, virConnectPtr conn) {
    struct lv_act *a = (struct lv_act *)job;
    if (a->lost_code) {
        job->outcome = SPR_FAILED, job->code = a->lost_code;
        memcpy(job->text, a->lost, sizeof job->text);
    } else {
        turn(a, conn);
    }
    if (job->outcome == SPR_FAILED) {
        job->again = false;
        if (a->touched && virConnectIsAlive(conn) != 1)
            job->outcome = SPR_UNKNOWN; /* the call may have arrived, and its answer not */
    }
    if (!job->again && !a->dom && job->outcome != SPR_UNKNOWN)
        lv_seat_leave(a, conn); /* of this shard there is nothing, perhaps of no other either */
    forget_turn(a);
}

struct lv_act *lv_act_new(struct lv_driver *d, int verb, uint64_t shard, const char *vm, size_t host, uint64_t fence) {
    struct lv_act *a = lv_alloc(sizeof *a);
    if (!a || !(a->vm = lv_strdup(vm))) {
        lv_free(a);
        return NULL;
    }
    a->d = lv_driver_ref(d);
    a->job.run = lv_act_run;
    a->job.leave = lv_act_leave;
    a->job.destroy = lv_act_destroy;
    a->job.host = &d->v->hosts[host];
    a->verb = verb;
    a->shard = shard;
    a->fence = fence;
    a->target = host;
    lv_domain_name(shard, vm, a->name);
    return a;
}

void lv_act_leave(struct lv_job *job) {
    struct lv_act *a = (struct lv_act *)job;
    forget_turn(a);
    lv_move_leave(a);
}

void lv_act_destroy(struct lv_job *job) {
    struct lv_act *a = (struct lv_act *)job;
    if (a->expires)
        atomic_fetch_sub(&lv_here(a)->expiring, 1);
    lv_ahead_free(a);
    for (size_t i = 0; i < a->kernel_arg_count; i++)
        lv_free(a->kernel_args[i]);
    lv_free(a->kernel_args);
    lv_free(a->seed_url), lv_free(a->seed_image), lv_free(a->mac), lv_free(a->probe);
    lv_nets_clear(a);
    lv_free(a->asked), lv_free(a->vm);
    lv_primary_clear(&a->primary);
    lv_driver_unref(a->d);
    lv_free(a);
}
