/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the VMs of a trace used: means, totals, and where VMs go when nobody says where they are. */
#include <stdlib.h>

#include "spec.h"

int spr__demand_rows(const spr_trace *t, int resource, int64_t *rows) {
    struct spr_trace_vm vm = {.size = sizeof vm};
    int found = 0;
    for (int64_t i = 0; i < spr_trace_vm_count(t); i++) {
        spr_trace_vm(t, i, &vm);
        if (spr_series_find(spr_trace_series(t), vm.id, resource, NULL, &rows[i]) < 0)
            rows[i] = -1;
        else
            found++;
    }
    return found;
}

static const double *row_of(const spr_trace *t, int64_t row, double *factor) {
    struct spr_panel p = {.size = sizeof p};
    struct spr_series_info info = {.size = sizeof info};
    spr_series_view(spr_trace_series(t), SPR_SERIES_MEAN, &p);
    spr_series_info(spr_trace_series(t), row, &info);
    *factor = info.unit_factor;
    return (const double *)(const void *)((const char *)p.data + row * p.series_stride);
}

void spr__demand_fill(const spr_trace *t, int64_t row, int64_t first, int64_t last, double *out) {
    double factor, held = 0;
    const double *v = row_of(t, row, &factor);
    int64_t steps = spr_series_steps(spr_trace_series(t)), from = first;
    while (from >= 0 && from < steps && isnan(v[from]))
        from--; /* the value before the window, if any */
    if (from < 0)
        for (from = first; from < steps && isnan(v[from]);)
            from++;
    if (from < steps)
        held = v[from];
    for (int64_t i = first; i < last; i++) {
        if (i < steps && !isnan(v[i]))
            held = v[i];
        out[i - first] = held * factor;
    }
}

int spr__demand_sums(spr_context *ctx, const spr_trace *t, int resource, int64_t first, int64_t last, double *means,
                     double *totals) {
    size_t vms = (size_t)spr_trace_vm_count(t), steps = (size_t)(last - first);
    int64_t *rows = spr_context_alloc(ctx, vms * sizeof *rows);
    double *filled = spr_context_alloc(ctx, steps * sizeof *filled);
    int rc = rows && filled ? spr__demand_rows(t, resource, rows) : spr__io_nomem(ctx);
    for (size_t s = 0; totals && s < steps; s++)
        totals[s] = 0;
    for (size_t i = 0; rc >= 0 && i < vms; i++) {
        double sum = 0;
        if (rows[i] >= 0)
            spr__demand_fill(t, rows[i], first, last, filled);
        for (size_t s = 0; rows[i] >= 0 && s < steps; s++) {
            sum += filled[s];
            if (totals)
                totals[s] += filled[s];
        }
        if (means)
            means[i] = sum / (double)steps;
    }
    spr_context_free(ctx, rows, vms * sizeof *rows);
    spr_context_free(ctx, filled, steps * sizeof *filled);
    return rc < 0 ? rc : SPR_OK;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int spr__demand_p99(spr_context *ctx, const spr_trace *t, int resource, int64_t first, int64_t last, double *out) {
    size_t n = (size_t)(last - first);
    double *totals = spr_context_alloc(ctx, n * sizeof *totals);
    int rc = totals ? spr__demand_sums(ctx, t, resource, first, last, NULL, totals) : spr__io_nomem(ctx);
    if (rc >= 0) {
        qsort(totals, n, sizeof *totals, by_value);
        double at = 0.99 * (double)(n - 1);
        size_t i = (size_t)at;
        *out = i + 1 < n ? totals[i] + (at - (double)i) * (totals[i + 1] - totals[i]) : totals[n - 1];
    }
    spr_context_free(ctx, totals, n * sizeof *totals);
    return rc;
}

/* ---- greedy placement ---- */

struct ranked {
    double load;
    int32_t vm;
};

static int by_load(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->load != y->load)
        return x->load < y->load ? 1 : -1;
    return (x->vm > y->vm) - (x->vm < y->vm);
}

struct greedy {
    size_t vms, hosts, resources;
    double *share; /* [vm][resource]: mean, in shares of the fleet's when there are several resources */
    double *load;  /* [host][resource] */
    struct ranked *order;
};

static int greedy_shares(struct spr__spec *s, struct greedy *g) {
    double *means = spr_context_alloc(s->ctx, g->vms * sizeof *means);
    int rc = means ? SPR_OK : spr__io_nomem(s->ctx);
    for (int r = 0, k = 0; rc >= 0 && r < SPR_RESOURCES_MAX; r++) {
        if (!(s->resources >> r & 1))
            continue;
        double total = 0;
        rc = spr__demand_sums(s->ctx, s->trace, r, s->first, s->last, means, NULL);
        for (size_t i = 0; rc >= 0 && i < g->vms; i++)
            total += means[i];
        for (size_t i = 0; rc >= 0 && i < g->vms; i++) {
            double x = g->resources > 1 && total > 0 ? means[i] / total : means[i];
            g->share[i * g->resources + (size_t)k] = x;
            g->order[i].load += x;
            g->order[i].vm = (int32_t)i;
        }
        k++;
    }
    spr_context_free(s->ctx, means, g->vms * sizeof *means);
    return rc;
}

/* The host whose fullest resource stays least full; ties go to the lowest index. */
static size_t least_filled(const struct greedy *g, const double *share) {
    size_t best = 0;
    double least = INFINITY;
    for (size_t h = 0; h < g->hosts; h++) {
        double fullest = 0;
        for (size_t k = 0; k < g->resources; k++)
            fullest = SPR_MAX(fullest, g->load[h * g->resources + k] + (g->resources > 1 ? share[k] : 0));
        if (fullest < least) {
            least = fullest;
            best = h;
        }
    }
    return best;
}

int spr__place_greedy(struct spr__spec *s, int32_t *host_of) {
    struct greedy g = {.vms = (size_t)spr_trace_vm_count(s->trace), .hosts = s->host_count};
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        g.resources += s->resources >> r & 1;
    size_t share_bytes = g.vms * g.resources * sizeof *g.share, load_bytes = g.hosts * g.resources * sizeof *g.load;
    g.share = spr_context_alloc(s->ctx, share_bytes);
    g.load = spr_context_alloc(s->ctx, load_bytes);
    g.order = spr_context_alloc(s->ctx, g.vms * sizeof *g.order);
    int rc = g.share && g.load && g.order ? greedy_shares(s, &g) : spr__io_nomem(s->ctx);
    if (rc >= 0) {
        qsort(g.order, g.vms, sizeof *g.order, by_load);
        for (size_t i = 0; i < g.vms; i++) {
            const double *share = g.share + (size_t)g.order[i].vm * g.resources;
            size_t h = least_filled(&g, share);
            for (size_t k = 0; k < g.resources; k++)
                g.load[h * g.resources + k] += share[k];
            host_of[g.order[i].vm] = (int32_t)h;
        }
    }
    spr_context_free(s->ctx, g.share, share_bytes);
    spr_context_free(s->ctx, g.load, load_bytes);
    spr_context_free(s->ctx, g.order, g.vms * sizeof *g.order);
    return rc;
}
