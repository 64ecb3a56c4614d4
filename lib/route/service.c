/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One service: which shards take new flows, in what shares, and the table that says so row by row.
 *
 * The table starts from the one before: rows of shards that stay keep their shard, a shard that should have fewer
 * gives rows back to the primary, one that should have more takes rows from the primary. So a changed weight
 * moves rows between the primary and a shard, never from shard to shard, and established flows that a data plane
 * pins by row see no needless change. Rows are given and taken in an order of the VM's own (a keyed shuffle).
 */
#include "route/route.h"

#define TARGETS_MOST 255 /* a row is one byte */

int spr__route_role(const struct spr_shard *s) {
    bool ready = false, drains = false;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        ready |= s->ready.of[r] > 0;
        drains |= s->draining.of[r] > 0;
    }
    if (s->kind != SPR_SHARD_REPLICA || s->state == SPR_SHARD_RELEASED)
        return SPR__ROUTE_IDLE;
    if (s->state == SPR_SHARD_SERVING && ready)
        return SPR__ROUTE_SERVES;
    /* A shard nobody can see any more keeps the flows it has and gets no new ones. */
    return drains || (ready && s->state == SPR_SHARD_UNKNOWN) ? SPR__ROUTE_DRAINS : SPR__ROUTE_IDLE;
}

void spr__service_unref(const spr_context *ctx, struct service *s) {
    if (!s || !spr__unref(&s->refs))
        return;
    spr__free(ctx, s->targets, (size_t)s->target_count, sizeof *s->targets);
    spr__free(ctx, s, 1, sizeof *s);
}

/* ---- targets ---- */

static void add_target(struct service *s, const struct spr_shard *shard, bool draining) {
    struct spr_route_target *t = &s->targets[s->target_count++];
    *t = (struct spr_route_target){
        .size = sizeof *t, .shard = shard->id, .host = shard->host, .draining = draining, .capacity = shard->ready};
    for (int r = 0; r < SPR_RESOURCES_MAX && draining; r++)
        t->capacity.of[r] += shard->draining.of[r];
    s->route.target_count += !draining;
    s->route.drain_count += draining;
}

/* Share of the VM's demand that the serving shards can carry of every resource, at most what may spill. */
static double spill(const struct service *s, const spr_fleet *f) {
    double share = s->route.spill_at_most;
    for (int32_t i = 0; i < f->inventory->R && s->route.target_count; i++) {
        double demand = spr__fleet_demand(f, s->route.vm, i), carry = 0;
        for (int32_t t = 0; t < s->route.target_count; t++)
            carry += s->targets[t].capacity.of[f->inventory->resource[i]];
        if (demand > 0 && carry > 0) /* what no shard carries any of (disks), shards do not need */
            share = fmin(share, carry / demand);
    }
    return s->route.target_count ? share : 0;
}

/* Weight of a target: its part of what all serving ones carry, mean over the resources they carry any of. */
static void weigh(struct service *s, const spr_fleet *f) {
    double sum = 0;
    for (int32_t t = 0; t < s->route.target_count; t++) {
        double weight = 0;
        for (int32_t i = 0; i < f->inventory->R; i++) {
            int32_t r = f->inventory->resource[i];
            double all = 0;
            for (int32_t u = 0; u < s->route.target_count; u++)
                all += s->targets[u].capacity.of[r];
            weight += all > 0 ? s->targets[t].capacity.of[r] / all : 0;
        }
        s->targets[t].weight = weight;
        sum += weight;
    }
    for (int32_t t = 0; t < s->route.target_count && sum > 0; t++)
        s->targets[t].weight *= s->route.spill / sum;
}

/* ---- table ---- */

/* Rows in the VM's own order (Fisher-Yates, keyed by its name). */
static void shuffle(const char *id, uint8_t *order) {
    uint64_t key = spr__hash_text(id);
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
        order[i] = (uint8_t)i;
    for (int i = SPR_ROUTE_SLOTS - 1; i > 0; i--) {
        int j = (int)(spr__rand64(key, 1, (uint64_t)i) % (uint64_t)(i + 1));
        uint8_t row = order[i];
        order[i] = order[j];
        order[j] = row;
    }
}

/* Rows each target should have: largest remainders, ties to the earlier target. */
static void share_rows(const struct service *s, int *rows) {
    double left[TARGETS_MOST];
    int all = (int)(s->route.spill * SPR_ROUTE_SLOTS + 0.5), given = 0;
    for (int32_t t = 0; t < s->route.target_count; t++) {
        double want = s->targets[t].weight * SPR_ROUTE_SLOTS;
        rows[t] = (int)want;
        left[t] = want - rows[t];
        given += rows[t];
    }
    for (; given < all; given++) {
        int32_t best = 0;
        for (int32_t t = 1; t < s->route.target_count; t++)
            if (left[t] > left[best])
                best = t;
        rows[best]++;
        left[best] = -1;
    }
}

static int target_of(const struct service *s, uint64_t shard) {
    for (int32_t t = 0; t < s->route.target_count; t++)
        if (s->targets[t].shard == shard)
            return t + 1;
    return 0;
}

static void make_table(struct service *s, const struct service *before, const char *id, int *want) {
    uint8_t order[SPR_ROUTE_SLOTS];
    bool freed[SPR_ROUTE_SLOTS] = {false};
    shuffle(id, order);
    for (int i = 0; i < SPR_ROUTE_SLOTS && before; i++)
        if (before->table[i])
            s->table[i] = (uint8_t)target_of(s, before->targets[before->table[i] - 1].shard);
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
        if (s->table[i])
            want[s->table[i] - 1]--;
    for (int k = SPR_ROUTE_SLOTS - 1; k >= 0; k--) { /* too many: last taken, first given back */
        uint8_t *row = &s->table[order[k]];
        if (*row && want[*row - 1] < 0) {
            want[*row - 1]++;
            *row = 0;
            freed[order[k]] = true; /* the primary's from now on; another shard may have it next time */
        }
    }
    for (int k = 0, t = 0; k < SPR_ROUTE_SLOTS; k++) {
        while (t < s->route.target_count && want[t] <= 0)
            t++;
        if (t == s->route.target_count)
            break;
        if (!s->table[order[k]] && !freed[order[k]]) {
            s->table[order[k]] = (uint8_t)(t + 1);
            want[t]--;
        }
    }
}

/* ---- the service ---- */

/* The same targets with as many rows as before: the table would come out the same, so it is not made again. */
static bool same(const struct service *a, const struct service *b, const int *want) {
    int rows[TARGETS_MOST + 1] = {0};
    if (!b || a->target_count != b->target_count || a->route.target_count != b->route.target_count ||
        a->route.primary != b->route.primary || a->route.spill_at_most != b->route.spill_at_most)
        return false;
    for (int32_t t = 0; t < a->target_count; t++)
        if (a->targets[t].shard != b->targets[t].shard || a->targets[t].host != b->targets[t].host ||
            a->targets[t].draining != b->targets[t].draining ||
            memcmp(&a->targets[t].capacity, &b->targets[t].capacity, sizeof a->targets[t].capacity))
            return false;
    for (int i = 0; i < SPR_ROUTE_SLOTS; i++)
        rows[b->table[i]]++;
    for (int32_t t = 0; t < a->route.target_count; t++)
        if (rows[t + 1] != want[t])
            return false;
    return true;
}

static struct service *publish(spr_context *ctx, const struct service *draft) {
    size_t n = (size_t)draft->target_count;
    struct service *s = spr__alloc(ctx, 1, sizeof *s);
    struct spr_route_target *targets = s ? spr__alloc(ctx, n, sizeof *targets) : NULL;
    if (!targets) {
        spr__free(ctx, s, 1, sizeof *s);
        return NULL;
    }
    *s = *draft;
    s->targets = memcpy(targets, draft->targets, n * sizeof *targets);
    spr__ref_init(&s->refs);
    return s;
}

int spr__service_make(spr_context *ctx, const spr_fleet *f, int32_t vm, struct service *before, struct service **out) {
    struct spr_route_target targets[TARGETS_MOST];
    int want[TARGETS_MOST] = {0};
    struct service draft = {.targets = targets, .route = {.size = sizeof draft.route, .vm = vm}};
    draft.route.primary = spr__fleet_vm_host(f, vm);
    if (f->inventory->vms[vm].replica != SPR_REPLICA_NEVER)
        draft.route.spill_at_most = f->inventory->vms[vm].spillable;
    for (int role = SPR__ROUTE_SERVES; role <= SPR__ROUTE_DRAINS; role++)
        for (int32_t k = f->vm_shard[vm]; k >= 0 && draft.target_count < TARGETS_MOST; k = f->vm_shard_next[k])
            if (spr__route_role(&f->shards[k]) == role)
                add_target(&draft, &f->shards[k], role == SPR__ROUTE_DRAINS);
    draft.route.spill = spill(&draft, f);
    weigh(&draft, f);
    share_rows(&draft, want);
    if (same(&draft, before, want)) {
        spr__ref(&before->refs);
        *out = before;
        return SPR_OK;
    }
    make_table(&draft, before, f->inventory->vms[vm].id, want);
    struct service *s = publish(ctx, &draft);
    if (!s)
        return spr__nomem(ctx);
    *out = s;
    return SPR_OK;
}
