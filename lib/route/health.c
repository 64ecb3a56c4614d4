/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Alive or dead, by counts of probes in a row; and damping of what goes up and down all the time: every death costs a
 * penalty that halves with time, as routes' flaps do in RFC 2439.
 */
#include "route/route.h"

#include <shardpredict/route-steer.h>

struct probed {
    uint64_t shard;
    int32_t vm, streak; /* probes in a row against the state */
    double penalty;     /* at `at` */
    int64_t at;
    bool dead, suppressed;
};

struct spr_health {
    spr_context *ctx;
    struct spr_health_opts opts;
    struct probed *rows; /* by vm, then shard */
    size_t count, cap;
};

int spr_health_create(spr_context *ctx, const struct spr_health_opts *opts, spr_health **out) {
    struct spr_health_opts o;
    if (!ctx || !out)
        return SPR_E_ARG;
    int rc = spr__opts_copy(ctx, "spr_health_opts", opts, &o, sizeof o);
    if (rc < 0)
        return rc;
    o.rise = o.rise ? o.rise : 2;
    o.fall = o.fall ? o.fall : 3;
    o.half_life_s = o.half_life_s == 0 ? 60 : o.half_life_s;
    o.suppress = o.suppress == 0 ? 3 : o.suppress == SPR_NONE ? INFINITY : o.suppress;
    o.reuse = o.reuse == 0 ? 1 : o.reuse;
    if (o.rise < 1 || o.fall < 1 || !(o.half_life_s > 0) || !(o.suppress > 0) ||
        !(o.reuse > 0 && o.reuse <= o.suppress))
        return spr__fail(ctx, SPR_E_ARG, "spr_health_opts: rise, fall, half_life_s, suppress or reuse is out of range");
    spr_health *h = spr__alloc(ctx, 1, sizeof *h);
    if (!h)
        return spr__nomem(ctx);
    h->ctx = spr_context_ref(ctx);
    h->opts = o;
    *out = h;
    return SPR_OK;
}

void spr_health_destroy(spr_health *h) {
    if (!h)
        return;
    spr_context *ctx = h->ctx;
    spr__free(ctx, h->rows, h->cap, sizeof *h->rows);
    spr__free(ctx, h, 1, sizeof *h);
    spr_context_unref(ctx);
}

/* First row that is not before it. */
static size_t place(const spr_health *h, int32_t vm, uint64_t shard) {
    size_t low = 0, high = h->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct probed *p = &h->rows[mid];
        if (p->vm < vm || (p->vm == vm && p->shard < shard))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct probed *find(const spr_health *h, int32_t vm, uint64_t shard) {
    size_t k = place(h, vm, shard);
    return k < h->count && h->rows[k].vm == vm && h->rows[k].shard == shard ? &h->rows[k] : NULL;
}

static int row_of(spr_health *h, int32_t vm, uint64_t shard, struct probed **out) {
    if ((*out = find(h, vm, shard)))
        return SPR_OK;
    void *rows = h->rows;
    int rc = spr__reserve(h->ctx, &rows, &h->cap, h->count + 1, sizeof *h->rows);
    h->rows = rows;
    if (rc < 0)
        return rc;
    size_t k = place(h, vm, shard);
    memmove(&h->rows[k + 1], &h->rows[k], (h->count++ - k) * sizeof *h->rows);
    h->rows[k] = (struct probed){.vm = vm, .shard = shard};
    *out = &h->rows[k];
    return SPR_OK;
}

static void damp(const spr_health *h, struct probed *p, int64_t now) {
    if (p->penalty > 0 && now > p->at)
        p->penalty *= exp2(-(double)(now - p->at) * 1e-9 / h->opts.half_life_s);
    p->at = now;
    if (p->penalty < h->opts.reuse)
        p->suppressed = false;
}

int spr_health_report(spr_health *h, int32_t vm, uint64_t shard, int ok, struct spr_time now) {
    struct probed *p = NULL;
    if (!h || vm < 0)
        return SPR_E_ARG;
    int rc = row_of(h, vm, shard, &p);
    if (rc < 0)
        return rc;
    bool was = p->dead || p->suppressed;
    damp(h, p, now.mono_ns);
    p->streak = (ok != 0) == p->dead ? p->streak + 1 : 0; /* against the state: counts; with it: begins anew */
    if (p->streak >= (p->dead ? h->opts.rise : h->opts.fall)) {
        p->dead = !p->dead;
        p->streak = 0;
        p->penalty += p->dead;
        p->suppressed |= p->penalty >= h->opts.suppress;
    }
    return was != (p->dead || p->suppressed);
}

int spr_health_alive(const spr_health *h, int32_t vm, uint64_t shard) {
    const struct probed *p = h ? find(h, vm, shard) : NULL;
    return !p || !(p->dead || p->suppressed);
}

void spr_health_forget(spr_health *h, int32_t vm, uint64_t shard) {
    struct probed *p = h ? find(h, vm, shard) : NULL;
    if (p)
        memmove(p, p + 1, (size_t)(&h->rows[h->count--] - p - 1) * sizeof *p);
}

void spr__health_renumber(spr_health *h, const spr_fleet *was, const spr_fleet *now) {
    size_t kept = 0;
    for (size_t k = 0; h && k < h->count; k++) {
        struct probed p = h->rows[k];
        p.vm = p.vm < was->inventory->vm_count ? spr_fleet_find_vm(now, was->inventory->vms[p.vm].id) : -1;
        if (p.vm < 0)
            continue;
        size_t to = kept++; /* they stay in order, whatever the new numbers are */
        for (; to > 0 && (h->rows[to - 1].vm > p.vm || (h->rows[to - 1].vm == p.vm && h->rows[to - 1].shard > p.shard));
             to--)
            h->rows[to] = h->rows[to - 1];
        h->rows[to] = p;
    }
    if (h)
        h->count = kept;
}
