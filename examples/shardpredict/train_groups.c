/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Sums of random groups of VMs as training series: what a planner asks about is the total of a host, whichever VMs a
 * placement puts there. Groups are as large as hosts have VMs, and the hosts' own totals are among them.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train_groups.h"

enum { GROUPS = 200, GROUPS_SHORT = 400, GROUP_MOST = 40 };

struct sums {
    const spr_series *series;
    struct spr_panel mean;
    int64_t steps;  /* that may be used */
    int64_t *row;   /* [vms] of the resource in work */
    double *factor; /* [vms] */
    int32_t *host;  /* [vms], -1 = unknown */
    int64_t vms;
    int32_t hosts;       /* 0 = unknown */
    uint64_t state;      /* of the random numbers */
    double *sum;         /* [series][steps] */
    int32_t *resource;   /* [series] */
    int64_t count, room; /* series */
};

/* Splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_number(struct sums *p) {
    uint64_t z = p->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
static int64_t below(struct sums *p, int64_t n) { return (int64_t)(next_number(p) % (uint64_t)n); }

/* Gaps hold: the last value, before the first one the first; nothing below 0. */
static void add_vm(struct sums *p, int64_t vm, double *to) {
    double last = NAN;
    for (int64_t t = 0; t < p->steps && isnan(last); t++)
        last = panel_value(&p->mean, p->row[vm], t);
    if (isnan(last))
        return;
    for (int64_t t = 0; t < p->steps; t++) {
        double y = panel_value(&p->mean, p->row[vm], t);
        last = isnan(y) ? last : y;
        to[t] += last > 0 ? last * p->factor[vm] : 0;
    }
}

static int64_t vms_of(const struct sums *p, int32_t host) {
    int64_t n = 0;
    for (int64_t v = 0; v < p->vms; v++)
        n += p->host[v] == host;
    return n;
}

/* As many as a random host has; without hosts 2 to 40, small groups as likely as large ones. */
static int64_t group_size(struct sums *p) {
    double most = (double)(p->vms / 2 < GROUP_MOST ? p->vms / 2 : GROUP_MOST);
    int64_t n = p->hosts ? vms_of(p, (int32_t)below(p, p->hosts))
                         : (int64_t)(2 * pow(most > 2 ? most / 2 : 1, (double)below(p, 1 << 20) / (1 << 20)));
    return n < 1 ? 1 : n > p->vms ? p->vms : n;
}

/* The first `size` of a shuffle. */
static void add_group(struct sums *p, int64_t *order) {
    double *to = p->sum + p->count++ * p->steps;
    int64_t size = group_size(p);
    for (int64_t k = 0; k < size; k++) {
        int64_t other = k + below(p, p->vms - k), swap = order[k];
        order[k] = order[other];
        order[other] = swap;
        add_vm(p, order[k], to);
    }
}

static void add_hosts(struct sums *p) {
    for (int32_t h = 0; h < p->hosts; h++) {
        double *to = p->sum + p->count++ * p->steps;
        for (int64_t v = 0; v < p->vms; v++)
            if (p->host[v] == h)
                add_vm(p, v, to);
    }
}

/* Which resource is said: cores are not weighed against bytes, and the controller asks by resource too. */
static int feed(spr_context *ctx, struct sums *p, int resource, int32_t groups, spr_trainer *trainer) {
    int64_t *order = calloc((size_t)p->vms + 1, sizeof *order);
    p->room = groups + p->hosts;
    p->count = 0;
    p->sum = calloc((size_t)(p->room * p->steps) + 1, sizeof *p->sum);
    p->resource = calloc((size_t)p->room + 1, sizeof *p->resource);
    int rc = order && p->sum && p->resource ? 0 : EXIT_FAILED;
    if (rc)
        fprintf(stderr, "shardpredict: out of memory\n");
    for (int64_t v = 0; !rc && v < p->vms; v++)
        order[v] = v;
    for (int32_t g = 0; !rc && g < groups; g++)
        add_group(p, order);
    if (!rc)
        add_hosts(p);
    for (int64_t s = 0; !rc && s < p->count; s++)
        p->resource[s] = resource;
    struct spr_panel panel = {.size = sizeof panel,
                              .data = p->sum,
                              .dtype = SPR_F64,
                              .series = p->count,
                              .steps = p->steps,
                              .series_stride = p->steps * (int64_t)sizeof *p->sum,
                              .step_stride = sizeof *p->sum};
    struct spr_training_opts opts = {
        .size = sizeof opts, .first_step = series_first_step(p->series), .resource = p->resource};
    if (!rc && spr_trainer_add(trainer, &panel, &opts) < 0)
        rc = tool_error(ctx, "train");
    free(order), free(p->sum), free(p->resource);
    p->sum = NULL, p->resource = NULL;
    return rc;
}

static int pool_open(struct sums *p, const spr_series *series, int64_t steps, int64_t vms, uint64_t seed) {
    *p = (struct sums){.series = series, .mean = {.size = sizeof p->mean}, .steps = steps, .state = seed};
    p->row = calloc((size_t)vms + 1, sizeof *p->row);
    p->factor = calloc((size_t)vms + 1, sizeof *p->factor);
    p->host = calloc((size_t)vms + 1, sizeof *p->host);
    if (p->row && p->factor && p->host && spr_series_view(series, SPR_SERIES_MEAN, &p->mean) == SPR_OK)
        return 0;
    fprintf(stderr, "shardpredict: out of memory\n");
    return EXIT_FAILED;
}

static void pool_close(struct sums *p) { free(p->row), free(p->factor), free(p->host); }

static int32_t default_groups(int64_t steps) { return steps >= 1000 ? GROUPS : GROUPS_SHORT; }

/* ---- a scenario's warm-up ---- */

/* The controller asks this many steps past the running one. */
static int32_t steps_ahead(const struct spr_scenario *s, double step_s) {
    double life = 0, lead = s->allocate_s[1] + s->warm_s[1];
    for (int32_t v = 0; v < spr_fleet_vm_count(s->fleet); v++) {
        struct spr_vm vm = {.size = sizeof vm};
        spr_fleet_vm(s->fleet, v, &vm);
        life = fmax(life, vm.flow_lifetime_s > 0 ? vm.flow_lifetime_s : 60);
    }
    int32_t n = (int32_t)ceil(((lead > 0 ? lead : 300) + fmin(life, 600)) / step_s) + 6;
    return (n < 16 ? n : 16) - 1;
}

static void take_fleet(struct sums *p, const struct spr_scenario *s, int resource) {
    p->vms = 0;
    p->hosts = spr_fleet_host_count(s->fleet);
    for (int32_t v = 0; v < spr_fleet_vm_count(s->fleet); v++) {
        struct spr_vm vm = {.size = sizeof vm};
        struct spr_series_info info = {.size = sizeof info};
        spr_fleet_vm(s->fleet, v, &vm);
        if (spr_series_find(p->series, vm.id, resource, NULL, &p->row[p->vms]) < 0 ||
            spr_series_info(p->series, p->row[p->vms], &info) < 0)
            continue;
        p->factor[p->vms] = info.unit_factor;
        p->host[p->vms++] = vm.host;
    }
}

static int from_scenario(spr_context *ctx, spr_scenario_file *file, const struct train_groups *g,
                         struct spr_trainer_opts *opts, spr_trainer **trainer) {
    static const double levels[] = {0.1, 0.25, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.99}; /* the controller's */
    const struct spr_scenario *s = spr_scenario_file_scenario(file);
    const spr_series *series = spr_scenario_file_series(file);
    struct sums p;
    opts->step_ns = spr_series_step_ns(series);
    opts->horizon = g->horizon > 0 ? g->horizon : steps_ahead(s, (double)opts->step_ns * 1e-9);
    opts->levels = levels;
    opts->level_count = sizeof levels / sizeof levels[0];
    if (spr_trainer_create(ctx, opts, trainer) < 0)
        return tool_error(ctx, g->scenario);
    int32_t groups = g->groups > 0 ? g->groups : default_groups(s->train_until);
    int rc = pool_open(&p, series, s->train_until, spr_fleet_vm_count(s->fleet), g->seed);
    for (int r = 0; !rc && r < SPR_RESOURCES_MAX; r++)
        if (spr_fleet_resources(s->fleet) >> r & 1) {
            take_fleet(&p, s, r);
            if (p.vms)
                rc = feed(ctx, &p, r, groups, *trainer);
        }
    pool_close(&p);
    return rc;
}

int train_groups_scenario(spr_context *ctx, const struct train_groups *g, struct spr_trainer_opts *opts,
                          spr_trainer **trainer) {
    struct spr_scenario_opts so = {.size = sizeof so,
                                   .data_dir = getenv("SPR_DATA"),
                                   .maps_dir = getenv("SPR_MAPS"),
                                   .installed_dir = SHARDPREDICT_DATADIR,
                                   .seed = g->seed};
    spr_scenario_file *file = NULL;
    if (spr_scenario_read(ctx, g->scenario, &so, &file) < 0)
        return tool_error(ctx, g->scenario);
    int rc = from_scenario(ctx, file, g, opts, trainer);
    spr_scenario_file_destroy(file);
    return rc;
}

/* ---- any trace ---- */

int train_groups_series(spr_context *ctx, const struct train_groups *g, const spr_series *series, int64_t until,
                        spr_trainer *trainer) {
    struct sums p;
    int64_t rows = spr_series_count(series);
    int rc = pool_open(&p, series, until, rows, g->seed);
    for (int r = -1; !rc && r < SPR_RESOURCES_MAX; r++) {
        p.vms = 0;
        for (int64_t row = 0; row < rows; row++) {
            struct spr_series_info info = {.size = sizeof info};
            if (spr_series_info(series, row, &info) < 0 || info.resource != r || !panel_has_values(&p.mean, row))
                continue;
            p.row[p.vms] = row;
            p.factor[p.vms++] = 1;
        }
        if (p.vms > 1)
            rc = feed(ctx, &p, r, g->groups, trainer);
    }
    pool_close(&p);
    return rc;
}
