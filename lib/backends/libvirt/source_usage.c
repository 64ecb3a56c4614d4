/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What every VM used since the last answered SAMPLES: its own, and what its shards served for it. */
#include <stdlib.h>
#include <string.h>

#include "source.h"

static int by_uuid(const void *uuid, const void *known) {
    return memcmp(uuid, ((const struct lv_known *)known)->uuid, LV_UUID_BYTES);
}

const struct lv_known *lv_source_known(const struct lv_source *s, const unsigned char *uuid) {
    return s->known_count ? bsearch(uuid, s->known, s->known_count, sizeof *s->known, by_uuid) : NULL;
}

/* The VM that a shard serves: by its UUID where the shard knows it, else by its name. */
static int32_t served_by(const struct lv_source *s, const struct lv_detail *d) {
    unsigned char uuid[LV_UUID_BYTES];
    const struct lv_known *k = NULL;
    size_t n = 0;
    for (const char *at = d->shard_uuid; *at && n < 2 * LV_UUID_BYTES; at++) {
        int digit = *at >= '0' && *at <= '9' ? *at - '0' : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10 : -1;
        if (digit >= 0) {
            uuid[n / 2] = (unsigned char)(n % 2 ? uuid[n / 2] | digit : digit << 4);
            n++;
        }
    }
    if (n == 2 * LV_UUID_BYTES)
        k = lv_source_known(s, uuid);
    return k ? k->vm : d->shard_vm ? spr_fleet_find_vm(s->inventory, d->shard_vm) : -1;
}

static void take_shard(struct lv_cell *row, const struct lv_tally *t) {
    for (int r = 0; r < LV_RESOURCES; r++)
        if (t->seconds[r] > 0)
            row[r].served += t->sum[r] / t->seconds[r];
}

static void take_vm(struct lv_cell *row, const struct lv_tally *t) {
    for (int r = 0; r < LV_RESOURCES; r++) {
        struct lv_cell *c = &row[r];
        c->known = t->seconds[r] > 0;
        c->used = c->known ? t->sum[r] / t->seconds[r] : 0;
        c->flags = c->known && t->throttled >> r & 1 ? SPR_USAGE_THROTTLED : 0;
    }
    if (row[SPR_CPU].known && t->stalled_seconds > 0) {
        row[SPR_CPU].stalled = t->stalled / t->stalled_seconds;
        row[SPR_CPU].flags |= SPR_USAGE_STALL_KNOWN;
    }
}

/* Under the watch's lock. `rank` by VM: of one UUID on two hosts the one that runs counts, then the one of the
 * inventory. */
static void take_host(struct lv_source *s, struct lv_watch *w, unsigned char *rank) {
    for (size_t i = 0; i < w->guest_count; i++) {
        struct lv_guest *g = w->guest[i];
        const struct lv_known *k;
        int32_t vm;
        if (g->detail && g->detail->shard) {
            if ((vm = served_by(s, g->detail)) >= 0)
                take_shard(&s->cell[(size_t)vm * LV_RESOURCES], &g->tally);
        } else if ((k = lv_source_known(s, g->uuid))) {
            unsigned char mine = (unsigned char)(1 + 2 * (g->id >= 0 && g->state == VIR_DOMAIN_RUNNING) +
                                                 (k->host == (int32_t)w->host->index));
            if (mine > rank[k->vm]) {
                rank[k->vm] = mine;
                take_vm(&s->cell[(size_t)k->vm * LV_RESOURCES], &g->tally);
            }
        }
        memset(&g->tally, 0, sizeof g->tally);
    }
}

int lv_usage_take(struct lv_source *s, size_t *count) {
    size_t vms = s->inventory ? (size_t)spr_fleet_vm_count(s->inventory) : 0, cells = vms * LV_RESOURCES, n = 0;
    unsigned char *rank = lv_alloc(vms);
    if (!rank || lv_grow((void **)&s->cell, &s->cell_cap, cells, sizeof *s->cell) < 0 ||
        lv_grow((void **)&s->usage, &s->usage_cap, cells, sizeof *s->usage) < 0) {
        lv_free(rank);
        return SPR_E_NOMEM;
    }
    if (cells)
        memset(s->cell, 0, cells * sizeof *s->cell);
    for (size_t h = 0; h < s->hosts && s->inventory; h++) {
        pthread_mutex_lock(&s->watch[h]->lock);
        take_host(s, s->watch[h], rank);
        pthread_mutex_unlock(&s->watch[h]->lock);
    }
    lv_free(rank);
    for (size_t i = 0; i < cells; i++)
        if (s->cell[i].known)
            s->usage[n++] = (struct spr_usage){.vm = (int32_t)(i / LV_RESOURCES),
                                               .resource = (int32_t)(i % LV_RESOURCES),
                                               .used = s->cell[i].used,
                                               .served = s->cell[i].served,
                                               .stalled = s->cell[i].stalled,
                                               .flags = s->cell[i].flags};
    *count = n;
    return SPR_OK;
}
