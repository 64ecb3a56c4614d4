/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The journal: a store of records (the core's file store unless the caller gives one) and the table that they add up
 * to. */
#include <stdint.h>
#include <string.h>

#include <shardpredict/lifecycle.h>

#include "sriov.h"

struct sv_record *sv_claim_of(const struct spr_sriov *s, const char *address) {
    for (int32_t i = 0; i < s->claims; i++)
        if (!strcmp(s->claim[i].address, address) && s->claim[i].kind != SV_RESIZE)
            return &s->claim[i];
    return NULL;
}

static struct sv_record *resize_of(const struct spr_sriov *s, const char *address) {
    for (int32_t i = 0; i < s->claims; i++)
        if (!strcmp(s->claim[i].address, address) && s->claim[i].kind == SV_RESIZE)
            return &s->claim[i];
    return NULL;
}

static void forget(struct spr_sriov *s, const struct sv_record *r) {
    if (!r)
        return;
    size_t at = (size_t)(r - s->claim);
    s->claims--;
    memmove(&s->claim[at], &s->claim[at + 1], ((size_t)s->claims - at) * sizeof *s->claim);
}

/*
 * What a record changes. One whose append failed may be in the journal all the same, and what followed it counts: hence
 * a claim may follow a claim (nothing was done under the first), and "gone" may follow anything.
 */
static int apply(struct spr_sriov *s, const struct sv_record *r) {
    struct sv_record *before = r->kind >= SV_RESIZE ? resize_of(s, r->address) : sv_claim_of(s, r->address);
    switch (r->kind) {
    case SV_CLAIM:
    case SV_RESIZE:
        if (before && before->kind != r->kind)
            return SPR_E_CORRUPT;
        if (before) {
            *before = *r;
            return SPR_OK;
        }
        if (sv_reserve(s, (void **)&s->claim, &s->claim_room, (size_t)s->claims, sizeof *s->claim) < 0)
            return SPR_E_NOMEM;
        s->claim[s->claims++] = *r;
        return SPR_OK;
    case SV_HOLD:
    case SV_DROP:
        if (!before || (r->kind == SV_HOLD && before->kind != SV_CLAIM))
            return SPR_E_CORRUPT;
        before->kind = r->kind;
        return SPR_OK;
    default:
        forget(s, before);
        return SPR_OK;
    }
}

/* ---- writing ---- */

/* Done means that it survives our death; a store that keeps us waiting for that is not one for this. */
static int append(struct spr_sriov *s, const char *text, int bytes) {
    struct spr_store_completion done = {.size = sizeof done};
    struct spr_time now = {0, 0};
    spr_ticket ticket = 0;
    size_t n = 0;
    int rc = s->store.append(s->store_state, text, (size_t)bytes, INT64_MAX, &ticket);
    if (rc >= 0)
        rc = s->store.collect(s->store_state, now, &done, 1, &n);
    if (rc < 0)
        return rc;
    if (n != 1 || done.ticket != ticket)
        return sv_fail(s, SPR_E_UNSUPPORTED, NULL, "the store %s of the SR-IOV journal does not complete at once",
                       s->store.name);
    if (done.outcome != SPR_DONE)
        return sv_fail(s, done.code < 0 ? done.code : SPR_E_IO, NULL, "the SR-IOV journal cannot be written: %s",
                       done.text ? done.text : spr_error_text(done.code));
    return SPR_OK;
}

int sv_journal(struct spr_sriov *s, const struct sv_record *r) {
    char text[SV_RECORD];
    /* Room first: what is in the journal must get into the table. */
    int rc = sv_reserve(s, (void **)&s->claim, &s->claim_room, (size_t)s->claims, sizeof *s->claim);
    int n = sv_record_format(r, text);
    if (rc >= 0)
        rc = append(s, text, n);
    return rc < 0 ? rc : apply(s, r);
}

int sv_journal_note(struct spr_sriov *s, int kind, const char *address) {
    struct sv_record r = {.kind = kind};
    sv_text(r.address, sizeof r.address, address);
    return sv_journal(s, &r);
}

/* ---- opening ---- */

struct replay {
    struct spr_sriov *s;
    int64_t number;
};

static int replay(void *user, const void *data, size_t bytes) {
    struct replay *p = user;
    struct sv_record r;
    p->number++;
    int rc = sv_record_parse(data, bytes, &r);
    if (rc >= 0)
        rc = apply(p->s, &r);
    if (rc == SPR_E_NOMEM)
        return rc;
    return rc < 0 ? sv_fail(p->s, rc, NULL, "the SR-IOV journal: record %lld: %s", (long long)p->number,
                            rc == SPR_E_CORRUPT ? "it does not follow from the ones before" : spr_error_text(rc))
                  : SPR_OK;
}

int sv_journal_open(struct spr_sriov *s, const struct spr_sriov_opts *o) {
    struct spr_env env = {.size = sizeof env, .context = s->ctx};
    struct spr_store_file_opts file = {.size = sizeof file, .path = o->journal, .sync = o->sync};
    const struct spr_store_ops *ops = o->store ? o->store : o->journal ? spr_store_file() : NULL;
    const void *config = o->store ? o->store_config : &file;
    struct replay p = {.s = s};
    int64_t torn = 0;
    if (!ops)
        return SPR_OK;
    if (ops->size < sizeof *ops || !ops->open || !ops->close || !ops->append || !ops->collect || !ops->read)
        return sv_fail(s, SPR_E_ARG, NULL, "spr_sriov_opts: the store's table lacks a slot");
    int rc = ops->open(&env, config, &s->store_state);
    if (rc < 0)
        return rc;
    s->store = *ops;
    s->can_write = true;
    rc = s->store.read(s->store_state, replay, &p, &torn);
    if (rc >= 0 && torn)
        sv_warn(s, NULL, "the SR-IOV journal's last record was cut off by a crash: %lld bytes", (long long)torn);
    return rc;
}

void sv_journal_close(struct spr_sriov *s) {
    if (s->store.close)
        s->store.close(s->store_state);
}
