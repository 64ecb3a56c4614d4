/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The seat: one libvirt secret per host. Its usage is fixed and its UUID new with every acquisition, so defining it
 * fails while somebody else has it (the daemon's own lock makes that a compare-and-set), and whoever takes it over
 * undefines exactly the UUID that it saw. Its value is never set; the description says owner, fence and a turn that
 * counts up while the owner is alive.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define USAGE_TYPE VIR_SECRET_USAGE_TYPE_CEPH
#define USAGE      "shardpredict seat"
#define MARK       "shardpredict seat 1 "

struct seen {
    char uuid[LV_UUID], owner[LV_TEXT];
    uint64_t fence, turn;
};

/* Never the same twice: time, process and a counter. */
static void new_uuid(struct lv_act *a, char out[LV_UUID]) {
    pthread_mutex_lock(&a->d->lock);
    uint64_t n = ++a->d->secret_turn;
    pthread_mutex_unlock(&a->d->lock);
    uint64_t x = lv_mix(a->d->salt + n * UINT64_C(0x9E3779B97F4A7C15)),
             y = lv_mix(x ^ (uint64_t)lv_clock_ns() ^ a->target);
    snprintf(out, LV_UUID, "%08" PRIx64 "-%04" PRIx64 "-4%03" PRIx64 "-8%03" PRIx64 "-%012" PRIx64, x >> 32,
             x >> 16 & 0xFFFF, x & 0xFFF, y >> 52, y & UINT64_C(0xFFFFFFFFFFFF));
}

/* fence=N turn=N owner=TEXT, as we wrote it; the owner has no characters that XML would change. */
static bool read_description(const char *xml, struct seen *out) {
    const char *at = strstr(xml, MARK "fence=");
    char *end;
    if (!at)
        return false;
    out->fence = strtoull(at + strlen(MARK "fence="), &end, 10);
    if (strncmp(end, " turn=", 6))
        return false;
    out->turn = strtoull(end + 6, &end, 10);
    if (strncmp(end, " owner=", 7))
        return false;
    snprintf(out->owner, sizeof out->owner, "%.*s", (int)strcspn(end + 7, "<"), end + 7);
    return true;
}

static bool fails(struct lv_act *a, const char *what) {
    lv_fail(a, what, "the host's seat");
    return false;
}

bool lv_lacks_secrets(void) {
    const virError *e = virGetLastError();
    return e && (e->code == VIR_ERR_NO_SUPPORT ||
                 (e->code == VIR_ERR_NO_CONNECT && e->message && strstr(e->message, "secret://")));
}

/* What was found out holds for this connection: a daemon that is started anew may have what it lacked. */
static void has_none(struct lv_act *a, bool none) {
    struct lv_host *h = lv_target(a);
    lv_here(a)->seat.none = none;
    pthread_mutex_lock(&h->v->lock);
    lv_here(a)->seat.epoch = h->epoch;
    pthread_mutex_unlock(&h->v->lock);
    pthread_mutex_lock(&a->d->lock);
    lv_here(a)->facts.no_secrets = none;
    pthread_mutex_unlock(&a->d->lock);
}

static bool is_reconnected(struct lv_act *a) {
    struct lv_host *h = lv_target(a);
    pthread_mutex_lock(&h->v->lock);
    bool is = lv_here(a)->seat.epoch != h->epoch;
    pthread_mutex_unlock(&h->v->lock);
    return is;
}

/* Who has it? False: the job has failed. uuid "" = nobody. */
static bool look(struct lv_act *a, virConnectPtr conn, struct seen *out) {
    memset(out, 0, sizeof *out);
    virSecretPtr secret = virSecretLookupByUsage(conn, USAGE_TYPE, USAGE);
    if (!secret) {
        int code = virGetLastErrorCode();
        if (code == VIR_ERR_NO_SECRET)
            return true;
        if (lv_lacks_secrets()) {
            has_none(a, true);
            return true;
        }
        return fails(a, "looking at");
    }
    char *xml = virSecretGetXMLDesc(secret, 0);
    bool ok = xml && virSecretGetUUIDString(secret, out->uuid) == 0;
    if (!ok && virGetLastErrorCode() == VIR_ERR_NO_SECRET) { /* gone between the two */
        out->uuid[0] = 0;
        ok = true;
    } else if (!ok) {
        fails(a, "reading");
    } else if (!read_description(xml, out)) {
        lv_job_fail(&a->job, SPR_E_STATE, "secret %s has the usage of a seat and is none: remove it if nobody needs it",
                    out->uuid);
        ok = false;
    }
    free(xml);
    virSecretFree(secret);
    return ok;
}

/* SPR_OK, SPR_E_EXISTS (somebody was faster), or the job has failed. */
static int define(struct lv_act *a, virConnectPtr conn, const char *uuid, uint64_t turn) {
    char xml[1024];
    snprintf(xml, sizeof xml,
             "<secret ephemeral='no' private='no'><uuid>%s</uuid><description>" MARK "fence=%" PRIu64 " turn=%" PRIu64
             " owner=%s</description><usage type='ceph'><name>" USAGE "</name></usage></secret>",
             uuid, a->fence, turn, a->d->o.owner);
    virSecretPtr secret = virSecretDefineXML(conn, xml, 0);
    if (!secret) {
        const virError *e = virGetLastError();
        if (e && e->code == VIR_ERR_INTERNAL_ERROR && e->message && strstr(e->message, "already defined"))
            return SPR_E_EXISTS;
        fails(a, "taking");
        return a->job.code;
    }
    virSecretFree(secret);
    struct lv_seat *s = &lv_here(a)->seat;
    memcpy(s->uuid, uuid, LV_UUID);
    s->fence = a->fence;
    s->turn = turn;
    s->renewed_ns = lv_clock_ns();
    s->other_uuid[0] = 0;
    return SPR_OK;
}

/* Undefine exactly this one. */
static int undefine(struct lv_act *a, virConnectPtr conn, const char *uuid) {
    virSecretPtr secret = virSecretLookupByUUIDString(conn, uuid);
    int rc = secret ? virSecretUndefine(secret) : -1;
    bool gone = rc < 0 && virGetLastErrorCode() == VIR_ERR_NO_SECRET;
    if (rc < 0 && !gone)
        fails(a, "taking over");
    if (secret)
        virSecretFree(secret);
    return rc < 0 && !gone ? a->job.code : SPR_OK;
}

/* Another of our fence: wait until it has been silent for a whole lease, by our own clock. */
static bool silent(struct lv_act *a, const struct seen *other) {
    struct lv_seat *s = &lv_here(a)->seat;
    int64_t now = lv_clock_ns();
    if (strcmp(s->other_uuid, other->uuid) || s->other_turn != other->turn) {
        memcpy(s->other_uuid, other->uuid, LV_UUID);
        s->other_turn = other->turn;
        s->other_since_ns = now;
    }
    return (double)(now - s->other_since_ns) > a->d->o.lease_s * 1e9;
}

static int wait_for(struct lv_act *a, double seconds) {
    lv_job_again(&a->job, seconds);
    return SPR_AGAIN;
}

static int take_over(struct lv_act *a, virConnectPtr conn, const struct seen *other) {
    struct lv_seat *s = &lv_here(a)->seat;
    atomic_store(&lv_here(a)->acts, false);
    if (other->fence > a->fence) {
        lv_job_fail(&a->job, SPR_E_FENCED,
                    "%s has taken the host over with fence %" PRIu64 ", this controller has %" PRIu64, other->owner,
                    other->fence, a->fence);
        return SPR_E_FENCED;
    }
    if (other->fence == a->fence && !silent(a, other))
        return wait_for(a, a->d->o.lease_s / 10);
    int rc = undefine(a, conn, other->uuid);
    if (rc < 0)
        return rc;
    /* Whoever had it may have looked a moment ago and be about to act: that moment is a third of the lease at most. */
    if (strcmp(other->owner, a->d->o.owner) || other->fence != a->fence)
        s->quiet_until_ns = lv_clock_ns() + (int64_t)(a->d->o.lease_s / 3 * 1e9);
    return SPR_OK;
}

/* It is ours, by its UUID; write it anew with a higher fence, or so that others see that we live. */
static int keep(struct lv_act *a, virConnectPtr conn) {
    struct lv_seat *s = &lv_here(a)->seat;
    if (a->fence < s->fence) {
        lv_job_fail(&a->job, SPR_E_FENCED,
                    "this controller has the host's seat with fence %" PRIu64 ", asked with %" PRIu64, s->fence,
                    a->fence);
        return SPR_E_FENCED;
    }
    if (a->fence > s->fence || (double)(lv_clock_ns() - s->renewed_ns) > a->d->o.lease_s / 3 * 1e9)
        return define(a, conn, s->uuid, s->turn + 1);
    return SPR_OK;
}

int lv_seat_take(struct lv_act *a, virConnectPtr conn) {
    struct lv_seat *s = &lv_here(a)->seat;
    if (s->none && is_reconnected(a))
        has_none(a, false);
    for (int tries = 0; tries < 8 && !s->none; tries++) {
        struct seen other;
        char uuid[LV_UUID];
        int rc;
        if (!look(a, conn, &other))
            return a->job.code;
        if (s->none)
            break;
        bool ours = other.uuid[0] && !strcmp(other.uuid, s->uuid);
        if (ours)
            rc = keep(a, conn);
        else if (other.uuid[0])
            rc = take_over(a, conn, &other);
        else
            rc = SPR_OK;
        if (rc == SPR_OK && !ours) {
            new_uuid(a, uuid);
            rc = define(a, conn, uuid, 1);
        }
        if (rc == SPR_E_EXISTS)
            continue; /* somebody was faster: look again */
        if (rc != SPR_OK)
            return rc;
        if (lv_clock_ns() < s->quiet_until_ns)
            return wait_for(a, (double)(s->quiet_until_ns - lv_clock_ns()) * 1e-9 + 0.001);
        atomic_store(&lv_here(a)->acts, true);
        return SPR_OK;
    }
    if (s->none) {
        atomic_store(&lv_here(a)->acts, true);
        return SPR_OK;
    }
    lv_job_fail(&a->job, SPR_E_BUSY, "others take the host's seat all the time");
    return SPR_E_BUSY;
}

static bool any_shard(virConnectPtr conn) {
    virDomainPtr *all = NULL;
    int n = virConnectListAllDomains(conn, &all, 0);
    bool found = n < 0;
    for (int i = 0; i < n; i++) {
        struct lv_shard_meta m = {0};
        char why[LV_WHY];
        found = found || lv_meta_read(all[i], &m, why) != SPR_E_NOT_FOUND; /* what cannot be read is somebody's, too */
        lv_meta_clear(&m);
        virDomainFree(all[i]);
    }
    free(all);
    return found;
}

void lv_seat_leave(struct lv_act *a, virConnectPtr conn) {
    struct lv_seat *s = &lv_here(a)->seat;
    if (s->none || !s->uuid[0] || any_shard(conn))
        return;
    virSecretPtr secret = virSecretLookupByUUIDString(conn, s->uuid);
    if (secret) {
        virSecretUndefine(secret);
        virSecretFree(secret);
    }
    s->uuid[0] = 0;
    atomic_store(&lv_here(a)->acts, false);
}
