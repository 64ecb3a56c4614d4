/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the pictures need from the trace: loads of hosts before and after, the hottest hosts and VMs. The trace is read
 * in blocks of a few steps, row by row, so that a fleet of any size passes through a small window.
 */
#include <stdlib.h>

#include "report.h"

enum { BLOCK = 16 };

/* A shard that holds something at the moment the walk is at. */
struct live {
    uint64_t id;
    int32_t vm, host;
    const float *amounts; /* [resource_count][ready, held] */
};
struct walk {
    struct spr__gather *g;
    struct spr_panel mean;
    int policy;
    double *last;      /* [rows] value before the block */
    double *value;     /* [rows][BLOCK] */
    double *load;      /* [hosts][resource_count][BLOCK] */
    double *moved;     /* [hosts][resource_count] after - before */
    double *vm_ready;  /* [vms][resource_count] */
    int64_t *vm_row;   /* [vms][resource_count], -1 = none */
    struct live *live; /* by id */
    size_t live_count, live_cap;
    size_t next_event;
};

static double number_at(const struct spr_panel *p, int64_t row, int64_t step) {
    const char *at = (const char *)p->data + row * p->series_stride + step * p->step_stride;
    double d;
    float f;
    if (p->dtype == SPR_F64)
        return memcpy(&d, at, sizeof d), d;
    return memcpy(&f, at, sizeof f), (double)f;
}

double spr__gather_value(const struct spr__gather *g, const struct spr_panel *mean, int64_t row, int64_t step,
                         double last) {
    double x = step < g->steps ? number_at(mean, row, step) : NAN;
    return isnan(x) ? last : x;
}

double spr__gather_start(const struct spr_panel *mean, int64_t row, int64_t step) {
    for (int64_t i = SPR_MIN(step, mean->steps) - 1; i >= 0; i--)
        if (!isnan(number_at(mean, row, i)))
            return number_at(mean, row, i);
    for (int64_t i = SPR_MAX(step, 0); i < mean->steps; i++)
        if (!isnan(number_at(mean, row, i)))
            return number_at(mean, row, i);
    return 0;
}

/* ---- names ---- */

const char *spr__vm_name(const spr_report *r, int32_t vm) {
    struct spr_vm v = {.size = sizeof v};
    return spr_fleet_vm(r->fleet, vm, &v) >= 0 && v.id ? v.id : "?";
}
const char *spr__host_name(const spr_report *r, int32_t host) {
    struct spr_host h = {.size = sizeof h};
    return spr_fleet_host(r->fleet, host, &h) >= 0 && h.id ? h.id : "?";
}
const char *spr__resource_name(int32_t resource) {
    struct spr_resource_info info = {.size = sizeof info};
    return spr_resource_describe(resource, &info) >= 0 ? info.name : "resource";
}

/* ---- memory ---- */

static void *array(const spr_report *r, int64_t n, size_t each) {
    return spr_context_alloc(r->ctx, (size_t)SPR_MAX(n, 1) * each);
}
static void drop(const spr_report *r, void *block, int64_t n, size_t each) {
    spr_context_free(r->ctx, block, (size_t)SPR_MAX(n, 1) * each);
}

void spr__gather_finish(struct spr__gather *g) {
    const spr_report *r = g->r;
    int64_t cells = (int64_t)r->hosts * r->columns, pairs = (int64_t)r->hosts * r->resource_count;
    drop(r, g->row_vm, g->rows, sizeof *g->row_vm);
    drop(r, g->row_resource, g->rows, sizeof *g->row_resource);
    drop(r, g->row_factor, g->rows, sizeof *g->row_factor);
    drop(r, g->vm_host, r->vms, sizeof *g->vm_host);
    drop(r, g->vm_spillable, r->vms, sizeof *g->vm_spillable);
    drop(r, g->vm_peak, r->vms, sizeof *g->vm_peak);
    drop(r, g->capacity, pairs, sizeof *g->capacity);
    drop(r, g->excess, pairs, sizeof *g->excess);
    drop(r, g->peak, r->hosts, sizeof *g->peak);
    drop(r, g->order, r->hosts, sizeof *g->order);
    float *cell[] = {g->before, g->after, g->away, g->here};
    for (size_t i = 0; i < SPR_ARRAY_LEN(cell); i++)
        drop(r, cell[i], cells, sizeof(float));
    for (int i = 0; i < SPR__REPORT_SERIES; i++)
        drop(r, g->hot[i].demand, g->steps, sizeof(double));
    memset(g, 0, sizeof *g);
}

static int make_arrays(struct spr__gather *g) {
    const spr_report *r = g->r;
    int64_t cells = (int64_t)r->hosts * r->columns, pairs = (int64_t)r->hosts * r->resource_count;
    g->row_vm = array(r, g->rows, sizeof *g->row_vm);
    g->row_resource = array(r, g->rows, sizeof *g->row_resource);
    g->row_factor = array(r, g->rows, sizeof *g->row_factor);
    g->vm_host = array(r, r->vms, sizeof *g->vm_host);
    g->vm_spillable = array(r, r->vms, sizeof *g->vm_spillable);
    g->vm_peak = array(r, r->vms, sizeof *g->vm_peak);
    g->capacity = array(r, pairs, sizeof *g->capacity);
    g->excess = array(r, pairs, sizeof *g->excess);
    g->peak = array(r, r->hosts, sizeof *g->peak);
    g->order = array(r, r->hosts, sizeof *g->order);
    g->before = array(r, cells, sizeof(float));
    g->after = array(r, cells, sizeof(float));
    g->away = array(r, cells, sizeof(float));
    g->here = array(r, cells, sizeof(float));
    bool all = g->row_vm && g->row_resource && g->row_factor && g->vm_host && g->vm_spillable && g->vm_peak &&
               g->capacity && g->excess && g->peak && g->order && g->before && g->after && g->away && g->here;
    return all ? SPR_OK : spr__io_nomem(r->ctx);
}

static void free_walk(struct walk *w) {
    const spr_report *r = w->g->r;
    int64_t pairs = (int64_t)r->hosts * r->resource_count, needs = (int64_t)r->vms * r->resource_count;
    drop(r, w->last, w->g->rows, sizeof *w->last);
    drop(r, w->value, w->g->rows * BLOCK, sizeof *w->value);
    drop(r, w->load, pairs * BLOCK, sizeof *w->load);
    drop(r, w->moved, pairs, sizeof *w->moved);
    drop(r, w->vm_ready, needs, sizeof *w->vm_ready);
    drop(r, w->vm_row, needs, sizeof *w->vm_row);
    spr_context_free(r->ctx, w->live, w->live_cap * sizeof *w->live);
}

static int make_walk(struct walk *w) {
    const spr_report *r = w->g->r;
    int64_t pairs = (int64_t)r->hosts * r->resource_count, needs = (int64_t)r->vms * r->resource_count;
    w->last = array(r, w->g->rows, sizeof *w->last);
    w->value = array(r, w->g->rows * BLOCK, sizeof *w->value);
    w->load = array(r, pairs * BLOCK, sizeof *w->load);
    w->moved = array(r, pairs, sizeof *w->moved);
    w->vm_ready = array(r, needs, sizeof *w->vm_ready);
    w->vm_row = array(r, needs, sizeof *w->vm_row);
    return w->last && w->value && w->load && w->moved && w->vm_ready && w->vm_row ? SPR_OK : spr__io_nomem(r->ctx);
}

/* ---- who is who ---- */

static void read_fleet(struct spr__gather *g) {
    const spr_report *r = g->r;
    for (int32_t h = 0; h < r->hosts; h++) {
        struct spr_host host = {.size = sizeof host};
        spr_fleet_host(r->fleet, h, &host);
        for (int32_t k = 0; k < r->resource_count; k++)
            g->capacity[h * r->resource_count + k] = host.capacity.of[r->resource[k]] / r->reference[k];
    }
    for (int32_t v = 0; v < r->vms; v++) {
        struct spr_vm vm = {.size = sizeof vm};
        spr_fleet_vm(r->fleet, v, &vm);
        g->vm_host[v] = vm.host;
        g->vm_spillable[v] = vm.replica == SPR_REPLICA_NEVER ? 0 : vm.spillable;
    }
}

static void read_rows(struct walk *w) {
    struct spr__gather *g = w->g;
    const spr_report *r = g->r;
    for (int64_t i = 0; i < (int64_t)r->vms * r->resource_count; i++)
        w->vm_row[i] = -1;
    for (int64_t row = 0; row < g->rows; row++) {
        struct spr_series_info info = {.size = sizeof info};
        spr_series_info(g->series, row, &info);
        int32_t vm = spr_fleet_find_vm(r->fleet, info.id), k = 0;
        while (k < r->resource_count && r->resource[k] != info.resource)
            k++;
        bool ours = vm >= 0 && k < r->resource_count && w->vm_row[(int64_t)vm * r->resource_count + k] < 0;
        g->row_vm[row] = ours ? vm : -1;
        g->row_resource[row] = ours ? k : 0;
        if (!ours)
            continue;
        g->row_factor[row] = info.unit_factor / r->reference[k];
        w->vm_row[(int64_t)vm * r->resource_count + k] = row;
        w->last[row] = spr__gather_start(&w->mean, row, r->first);
    }
}

/* ---- shards ---- */

/* Place of a shard among the live ones, or where it would stand. */
static size_t live_place(const struct walk *w, uint64_t id) {
    size_t low = 0, high = w->live_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (w->live[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int take_event(struct walk *w, size_t i) {
    const spr_report *r = w->g->r;
    const struct spr__report_event *e = &r->events[i];
    const float *a = r->amounts + i * 2 * (size_t)r->resource_count;
    size_t at = live_place(w, e->shard);
    bool known = at < w->live_count && w->live[at].id == e->shard;
    float held = 0;
    for (int32_t k = 0; k < r->resource_count; k++)
        held += a[2 * k + 1];
    if (!(held > 0)) {
        if (known)
            memmove(w->live + at, w->live + at + 1, (--w->live_count - at) * sizeof *w->live);
        return SPR_OK;
    }
    if (!known) {
        int rc = spr__io_reserve(r->ctx, (void **)&w->live, &w->live_cap, w->live_count + 1, sizeof *w->live);
        if (rc < 0)
            return rc;
        memmove(w->live + at + 1, w->live + at, (w->live_count++ - at) * sizeof *w->live);
    }
    w->live[at] = (struct live){e->shard, e->vm, e->host, a};
    return SPR_OK;
}

static int take_events(struct walk *w, double until_s) {
    const spr_report *r = w->g->r;
    int rc = SPR_OK;
    if (r->kept != w->policy)
        return rc;
    for (; rc >= 0 && w->next_event < r->event_count && r->events[w->next_event].time_s <= until_s; w->next_event++)
        rc = take_event(w, w->next_event);
    return rc;
}

/* What one shard changes: its VM's host keeps less to do, its own host loses what is held. */
static void take_shard(struct walk *w, const struct live *s, int32_t b, int64_t column) {
    struct spr__gather *g = w->g;
    const spr_report *r = g->r;
    int32_t home = g->vm_host[s->vm], n = r->resource_count;
    double most = 0;
    for (int32_t k = 0; k < n; k++) {
        int64_t row = w->vm_row[(int64_t)s->vm * n + k];
        double demand = row < 0 ? 0 : w->value[row * BLOCK + b] * g->vm_spillable[s->vm];
        double scale = (double)1 / r->reference[k], ready = s->amounts[2 * k] * scale,
               held = s->amounts[2 * k + 1] * scale;
        double all = w->vm_ready[(int64_t)s->vm * n + k];
        w->moved[home * n + k] -= all > demand ? ready * demand / all : ready;
        w->moved[s->host * n + k] += held;
        most = SPR_MAX(most, held);
    }
    g->away[home * r->columns + column] += (float)(most / (double)r->column_steps);
    g->here[s->host * r->columns + column] += (float)(most / (double)r->column_steps);
}

static void take_shards(struct walk *w, int32_t b, int64_t column) {
    const spr_report *r = w->g->r;
    int32_t n = r->resource_count;
    memset(w->moved, 0, (size_t)(r->hosts * n) * sizeof *w->moved);
    for (size_t i = 0; i < w->live_count; i++)
        for (int32_t k = 0; k < n; k++)
            w->vm_ready[(int64_t)w->live[i].vm * n + k] = 0;
    for (size_t i = 0; i < w->live_count; i++)
        for (int32_t k = 0; k < n; k++)
            w->vm_ready[(int64_t)w->live[i].vm * n + k] += w->live[i].amounts[2 * k] / r->reference[k];
    for (size_t i = 0; i < w->live_count; i++)
        take_shard(w, &w->live[i], b, column);
}

/* ---- the walk ---- */

static void read_block(struct walk *w, int64_t step, int32_t width) {
    struct spr__gather *g = w->g;
    const spr_report *r = g->r;
    memset(w->load, 0, (size_t)(r->hosts * r->resource_count * BLOCK) * sizeof *w->load);
    for (int64_t row = 0; row < g->rows; row++) {
        int32_t vm = g->row_vm[row];
        if (vm < 0)
            continue;
        double *load = w->load + (int64_t)(g->vm_host[vm] * r->resource_count + g->row_resource[row]) * BLOCK;
        for (int32_t b = 0; b < width; b++) {
            w->last[row] = spr__gather_value(g, &w->mean, row, step + b, w->last[row]);
            double x = w->value[row * BLOCK + b] = w->last[row] * g->row_factor[row];
            load[b] += x;
            g->vm_peak[vm] = SPR_MAX(g->vm_peak[vm], x);
        }
    }
}

static void score_step(struct walk *w, int32_t b, int64_t column) {
    struct spr__gather *g = w->g;
    const spr_report *r = g->r;
    for (int32_t h = 0; h < r->hosts; h++) {
        double before = 0, after = 0, over[2] = {0, 0};
        for (int32_t k = 0; k < r->resource_count; k++) {
            int32_t i = h * r->resource_count + k;
            double x = w->load[(int64_t)i * BLOCK + b], c = g->capacity[i];
            if (c <= 0)
                continue;
            g->excess[i] += SPR_MAX(0, x - c) * r->price[k].unserved;
            before = SPR_MAX(before, x / c);
            after = SPR_MAX(after, (x + w->moved[i]) / c);
            over[0] = SPR_MAX(over[0], x - c);
            over[1] = SPR_MAX(over[1], x + w->moved[i] - c);
        }
        for (int i = 0; i < 2; i++)
            g->over[i] += over[i] * r->step_s / 3600;
        float *cell = &g->before[h * r->columns + column];
        *cell = SPR_MAX(*cell, (float)before);
        cell = &g->after[h * r->columns + column];
        *cell = SPR_MAX(*cell, (float)after);
        g->peak[h] = SPR_MAX(g->peak[h], before);
    }
}

static int walk_all(struct walk *w) {
    const spr_report *r = w->g->r;
    int rc = SPR_OK;
    for (int64_t step = r->first; rc >= 0 && step < r->end; step += BLOCK) {
        int32_t width = (int32_t)SPR_MIN(BLOCK, r->end - step);
        read_block(w, step, width);
        for (int32_t b = 0; rc >= 0 && b < width; b++) {
            int64_t column = (step + b - r->first) / r->column_steps;
            rc = take_events(w, ((double)(step + b) + 0.5) * r->step_s);
            take_shards(w, b, column);
            score_step(w, b, column);
        }
    }
    return rc;
}

/* ---- the hottest ---- */

static double excess_of(const struct spr__gather *g, int32_t h) {
    double sum = 0;
    for (int32_t k = 0; k < g->r->resource_count; k++)
        sum += g->excess[h * g->r->resource_count + k];
    return sum;
}

struct rank {
    double first, second;
    int32_t index;
};
static int by_rank(const void *a, const void *b) {
    const struct rank *x = a, *y = b;
    if (x->first != y->first)
        return x->first > y->first ? -1 : 1;
    if (x->second != y->second)
        return x->second > y->second ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int order_hosts(struct spr__gather *g) {
    const spr_report *r = g->r;
    struct rank *rank = array(r, r->hosts, sizeof *rank);
    if (!rank)
        return spr__io_nomem(r->ctx);
    for (int32_t h = 0; h < r->hosts; h++)
        rank[h] = (struct rank){excess_of(g, h), g->peak[h], h};
    qsort(rank, (size_t)r->hosts, sizeof *rank, by_rank);
    for (int32_t h = 0; h < r->hosts; h++)
        g->order[h] = rank[h].index;
    drop(r, rank, r->hosts, sizeof *rank);
    return SPR_OK;
}

/* The resource a host is short of, or nearest to. */
static int32_t tight_resource(const struct spr__gather *g, int32_t host) {
    int32_t best = 0, n = g->r->resource_count;
    for (int32_t k = 1; k < n; k++)
        if (g->excess[host * n + k] > g->excess[host * n + best])
            best = k;
    return best;
}

/* The VMs that lack most without shards, the largest ones where none lacks anything; -1 = no more. */
static int32_t hot_vm(const struct spr__gather *g, int32_t not_this) {
    const spr_report *r = g->r;
    const double *lack = r->sums[SPR_POLICY_NONE].vm_unserved;
    int32_t best = -1;
    for (int32_t v = 0; v < r->vms; v++) {
        if (v == not_this)
            continue;
        double a = lack ? lack[v] : 0, b = best >= 0 && lack ? lack[best] : 0;
        if (best < 0 || a > b || (a == b && g->vm_peak[v] > g->vm_peak[best]))
            best = v;
    }
    return best;
}

double spr__readable_unit(const spr_report *r, int resource, double size, char *name, size_t room) {
    static const struct { const char *unit, *with; } units[] = {{"bytes", "B"}, {"byte/s", "B/s"}, {"bit/s", "bit/s"}};
    const char *unit = NULL;
    size_t i = 0;
    spr_scenario_file_unit(r->file, resource, &unit);
    unit = unit ? unit : "";
    while (i < SPR_ARRAY_LEN(units) && strcmp(units[i].unit, unit))
        i++;
    int power = i == SPR_ARRAY_LEN(units) || size < 2e4 ? 0 : size < 2e6 ? 1 : size < 2e9 ? 2 : 3;
    if (power)
        snprintf(name, room, "%c%s", " kMG"[power], units[i].with);
    else
        snprintf(name, room, "%s", unit);
    return pow(10, -3 * power);
}

/* Demand of the rows that belong to it, in shares times `unit`. */
static double add_demand(const struct walk *w, struct spr__hot *hot, int32_t k, double unit) {
    const struct spr__gather *g = w->g;
    double peak = 0;
    for (int64_t row = 0; row < g->rows; row++) {
        int32_t vm = g->row_vm[row];
        if (vm < 0 || g->row_resource[row] != k || (hot->vm >= 0 ? vm != hot->vm : g->vm_host[vm] != hot->host))
            continue;
        double last = spr__gather_start(&w->mean, row, 0);
        for (int64_t s = 0; s < g->steps; s++) {
            last = spr__gather_value(g, &w->mean, row, s, last);
            hot->demand[s] += last * g->row_factor[row] * unit;
            peak = SPR_MAX(peak, hot->demand[s]);
        }
    }
    return peak;
}

static int add_hot(const struct walk *w, int32_t vm, int32_t host) {
    struct spr__gather *g = w->g;
    const spr_report *r = g->r;
    int32_t k = tight_resource(g, host);
    double unit = spr_scenario_file_unit(r->file, r->resource[k], NULL);
    struct spr__hot *hot = &g->hot[g->hot_count];
    struct spr_vm info = {.size = sizeof info};
    *hot = (struct spr__hot){.vm = vm,
                             .host = host,
                             .resource = r->resource[k],
                             .capacity = NAN,
                             .demand = array(r, g->steps, sizeof(double))};
    if (!hot->demand)
        return spr__io_nomem(r->ctx);
    if (vm < 0)
        hot->capacity = g->capacity[host * r->resource_count + k] * r->reference[k] * unit;
    else if (spr_fleet_vm(r->fleet, vm, &info) >= 0 && info.capacity.of[hot->resource] > 0)
        hot->capacity = info.capacity.of[hot->resource] * unit;
    double peak = add_demand(w, hot, k, unit * r->reference[k]);
    double factor = spr__readable_unit(r, hot->resource, peak, hot->unit, sizeof hot->unit);
    hot->capacity *= factor;
    for (int64_t s = 0; s < g->steps; s++)
        hot->demand[s] *= factor;
    g->hot_count++;
    return SPR_OK;
}

static int pick_hot(const struct walk *w) {
    struct spr__gather *g = w->g;
    int rc = SPR_OK;
    for (int32_t i = 0; rc >= 0 && i < SPR_MIN(2, g->r->hosts); i++)
        rc = add_hot(w, -1, g->order[i]);
    int32_t first = hot_vm(g, -1), second = first < 0 ? -1 : hot_vm(g, first);
    if (rc >= 0 && first >= 0)
        rc = add_hot(w, first, g->vm_host[first]);
    if (rc >= 0 && second >= 0)
        rc = add_hot(w, second, g->vm_host[second]);
    return rc;
}

int spr__gather_make(const spr_report *r, int policy, struct spr__gather *g) {
    struct walk w = {.g = g, .policy = policy, .mean = {.size = sizeof w.mean}};
    *g = (struct spr__gather){.r = r, .series = spr_scenario_file_series(r->file)};
    g->steps = spr_series_steps(g->series);
    g->rows = spr_series_count(g->series);
    int rc = spr_series_view(g->series, SPR_SERIES_MEAN, &w.mean);
    rc = rc < 0 ? rc : make_arrays(g);
    rc = rc < 0 ? rc : make_walk(&w);
    if (rc >= 0) {
        read_fleet(g);
        read_rows(&w);
        rc = walk_all(&w);
    }
    rc = rc < 0 ? rc : order_hosts(g);
    rc = rc < 0 ? rc : pick_hot(&w);
    free_walk(&w);
    if (rc < 0)
        spr__gather_finish(g);
    return rc;
}
