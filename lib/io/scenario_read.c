/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Scenario files: doc/formats.md, "Scenario"; doc/schema/scenario.json. */
#include "scenario.h"

#define KEYS(d, n, what, ...)                                                                                          \
    do {                                                                                                               \
        static const char *const keys_[] = {__VA_ARGS__};                                                              \
        spr__doc_keys(d, n, what, keys_, SPR_ARRAY_LEN(keys_));                                                        \
    } while (0)

enum { TRACES_MOST = 1024 };
static const double always = 1e12;

struct reading {
    struct spr__doc *d;
    spr__node *root;
    const struct spr_scenario_opts *opts;
    spr_scenario_file *file;
    struct spr__spec *spec;
};

/* ---- the trace ---- */

struct inputs {
    char *files[TRACES_MOST];
    size_t count;
    char *map, *capacity;
    struct spr_trace_opts opts;
};

static void read_files(struct reading *x, struct inputs *in) {
    struct spr__doc *d = x->d;
    spr__node *n = spr__doc_need(d, x->root, "trace");
    bool list = spr__doc_kind(n) == SPR__LIST;
    size_t count = list ? spr__doc_count(n) : 1;
    void *at = NULL;
    if (d->rc >= 0 && (!count || count > TRACES_MOST))
        spr__doc_fail(d, n, "trace must list 1 to %d files", TRACES_MOST);
    for (size_t i = 0; d->rc >= 0 && i < count; i++) {
        spr__node *v = list ? spr__doc_next(n, &at) : n;
        char *written = spr__doc_text(d, v);
        in->files[in->count] = spr__scenario_path(d, v, written, x->opts);
        in->count += in->files[in->count] != NULL;
        spr__io_strfree(d->ctx, written);
    }
}

static void read_capacity(struct reading *x, struct inputs *in) {
    struct spr__doc *d = x->d;
    spr__node *n = spr__doc_get(d, x->root, "capacity");
    if (!n)
        return;
    if (spr__doc_kind(n) == SPR__SCALAR) {
        char *written = spr__doc_text(d, n);
        in->capacity = spr__scenario_path(d, n, written, x->opts);
        spr__io_strfree(d->ctx, written);
        return;
    }
    KEYS(d, n, "capacity", "cpu_cores", "memory_bytes");
    spr__doc_number(d, spr__doc_get(d, n, "cpu_cores"), 1e-9, 1e9, &in->opts.capacity_cores);
    spr__doc_number(d, spr__doc_get(d, n, "memory_bytes"), 1, 1e18, &in->opts.capacity_bytes);
}

/* Only what the scenario plans is read, unless it names a resource that only the map knows. */
static uint32_t wanted_resources(struct reading *x) {
    spr__node *n = spr__doc_need(x->d, x->root, "resources");
    void *at = NULL;
    uint32_t bits = 0;
    if (x->d->rc >= 0 && (spr__doc_kind(n) != SPR__LIST || !spr__doc_count(n)))
        spr__doc_fail(x->d, n, "resources must list at least one resource");
    for (spr__node *v; x->d->rc >= 0 && (v = spr__doc_next(n, &at));) {
        char *name = spr__doc_text(x->d, v);
        int r = name ? spr_resource_find(name) : -1;
        spr__io_strfree(x->d->ctx, name);
        if (r < 0)
            return 0;
        bits |= 1u << r;
    }
    return bits;
}

static void read_trace(struct reading *x) {
    struct inputs in = {.opts = {.size = sizeof in.opts}};
    struct spr__doc *d = x->d;
    spr__node *map = spr__doc_get(d, x->root, "map");
    read_files(x, &in);
    if (map)
        in.map = spr__scenario_map(d, map, x->opts);
    read_capacity(x, &in);
    in.opts.resources = wanted_resources(x);
    in.opts.files = (const char *const *)in.files;
    in.opts.file_count = in.count;
    in.opts.map = in.map;
    in.opts.capacity = in.capacity;
    if (d->rc >= 0)
        d->rc = spr_trace_read(d->ctx, &in.opts, &x->file->trace);
    if (d->rc >= 0)
        x->file->series = spr_series_ref(spr_trace_series(x->file->trace));
    for (size_t i = 0; i < in.count; i++)
        spr__io_strfree(d->ctx, in.files[i]);
    spr__io_strfree(d->ctx, in.map);
    spr__io_strfree(d->ctx, in.capacity);
}

/* Every VM must have every resource that is planned. */
static void check_rows(struct reading *x, spr__node *at, int resource) {
    int64_t row;
    struct spr_trace_vm vm = {.size = sizeof vm};
    for (int64_t i = 0; x->d->rc >= 0 && i < spr_trace_vm_count(x->file->trace); i++) {
        spr_trace_vm(x->file->trace, i, &vm);
        if (spr_series_find(x->file->series, vm.id, resource, NULL, &row) < 0)
            spr__doc_fail(x->d, at, "the trace has no such resource of VM '%.80s'", vm.id);
    }
}

static void read_resources(struct reading *x) {
    spr__node *n = spr__doc_get(x->d, x->root, "resources");
    void *at = NULL;
    for (spr__node *v; x->d->rc >= 0 && (v = spr__doc_next(n, &at));) {
        char *name = spr__doc_text(x->d, v);
        int r = name ? spr__spec_resource(x->d, v, x->spec, name) : -1;
        spr__io_strfree(x->d->ctx, name);
        if (r < 0)
            return;
        x->spec->resources |= 1u << r;
        check_rows(x, v, r);
    }
}

/* ---- times ---- */

static void read_steps(struct reading *x) {
    struct spr__doc *d = x->d;
    struct spr_scenario *s = &x->file->scenario;
    double step_s = 0, have = (double)spr_series_step_ns(x->file->series) * 1e-9;
    int64_t end = spr_trace_end(x->file->trace);
    spr__node *n = spr__doc_get(d, x->root, "step_s"), *score = spr__doc_need(d, x->root, "score"),
              *gaps = spr__doc_get(d, x->root, "gaps");
    void *at = NULL;
    spr__doc_number(d, n, 1e-6, always, &step_s);
    if (d->rc >= 0 && n && fabs(step_s - have) > 1e-9 * have)
        spr__doc_fail(d, n, "step_s is %g, the trace's step is %g s", step_s, have);
    if (d->rc >= 0 && gaps && !spr__doc_is(gaps, "hold"))
        spr__doc_fail(d, gaps, "gaps: only 'hold' is known");
    spr__doc_integer(d, spr__doc_need(d, x->root, "train_until"), 1, end, &s->train_until);
    if (d->rc >= 0 && (spr__doc_kind(score) != SPR__LIST || spr__doc_count(score) != 2))
        spr__doc_fail(d, score, "score must be [first step, one past the last]");
    spr__node *first = d->rc >= 0 ? spr__doc_next(score, &at) : NULL,
              *last = d->rc >= 0 ? spr__doc_next(score, &at) : NULL;
    spr__doc_integer(d, first, s->train_until, end - 1, &s->score_first);
    spr__doc_integer(d, last, s->score_first + 1, end, &s->score_end);
}

static void read_pair(struct spr__doc *d, spr__node *n, const char *what, double *out) {
    KEYS(d, n, what, "p50", "p95");
    spr__doc_number(d, spr__doc_need(d, n, "p50"), 1e-6, always, &out[0]);
    spr__doc_number(d, spr__doc_need(d, n, "p95"), 1e-6, always, &out[1]);
    if (d->rc >= 0 && out[1] < out[0])
        spr__doc_fail(d, n, "p95 is less than p50");
}

static void read_durations(struct reading *x) {
    struct spr__doc *d = x->d;
    struct spr_scenario *s = &x->file->scenario;
    spr__node *lead = spr__doc_get(d, x->root, "lead_s"), *n = spr__doc_get(d, x->root, "durations_s");
    double lead_s = 300;
    if (lead && n)
        spr__doc_fail(d, n, "lead_s and durations_s say the same: one of them is enough");
    spr__doc_number(d, lead, 1e-6, always, &lead_s);
    if (!n) {
        spr__scenario_lead(s, lead_s);
        return;
    }
    KEYS(d, n, "durations_s", "allocate", "warm");
    read_pair(d, spr__doc_need(d, n, "allocate"), "allocate", s->allocate_s);
    read_pair(d, spr__doc_need(d, n, "warm"), "warm", s->warm_s);
}

static void read_intervals(struct reading *x) {
    struct spr_scenario *s = &x->file->scenario;
    spr__doc_number(x->d, spr__doc_get(x->d, x->root, "substep_s"), 1e-3, 86400, &s->substep_s);
    spr__doc_number(x->d, spr__doc_get(x->d, x->root, "control_s"), 1e-3, 86400, &s->control_s);
    spr__doc_number(x->d, spr__doc_get(x->d, x->root, "refit_s"), 1, always, &s->refit_s);
    spr__doc_number(x->d, spr__doc_get(x->d, x->root, "room"), 1e-6, 1, &s->room);
    spr__doc_number(x->d, spr__doc_get(x->d, x->root, "change_at_least"), 1e-9, 1, &s->change_at_least);
}

/* ---- prices, rivals, limits ---- */

static void read_prices(struct reading *x) {
    struct spr__doc *d = x->d;
    spr__node *n = spr__doc_get(d, x->root, "prices");
    void *at = NULL;
    const char *key;
    size_t length;
    if (n && spr__doc_kind(n) != SPR__MAPPING)
        spr__doc_fail(d, n, "prices must map resources to {unserved, held}");
    for (spr__node *v; n && (v = spr__doc_next_pair(d, n, &at, &key, &length));) {
        char *name = spr__io_strndup(d->ctx, key, length);
        int r = name ? spr__spec_resource(d, v, x->spec, name) : SPR_E_NOMEM;
        spr__io_strfree(d->ctx, name);
        if (r < 0) {
            d->rc = d->rc < 0 ? d->rc : r;
            return;
        }
        KEYS(d, v, "a price", "unserved", "held");
        spr__doc_number(d, spr__doc_need(d, v, "unserved"), 1e-9, always, &x->file->scenario.price[r].unserved);
        spr__doc_number(d, spr__doc_need(d, v, "held"), 1e-9, always, &x->file->scenario.price[r].held);
    }
}

static int64_t read_numbers(struct spr__doc *d, spr__node *n, double *out) {
    void *at = NULL;
    size_t count = spr__doc_count(n), got = 0;
    if (d->rc >= 0 && (spr__doc_kind(n) != SPR__LIST || !count || count > SPR__TUNED_MOST))
        spr__doc_fail(d, n, "a list of 1 to %d numbers is expected here", SPR__TUNED_MOST);
    for (; d->rc >= 0 && got < count; got++)
        spr__doc_number(d, spr__doc_next(n, &at), 0, always, &out[got]);
    return (int64_t)got;
}

static void read_tuned(struct reading *x, spr__node *n) {
    struct spr__doc *d = x->d;
    spr_scenario_file *f = x->file;
    bool never = true;
    KEYS(d, n, "tuned", "thresholds", "holds_s", "never", "rule");
    f->scenario.tuned_threshold_count = read_numbers(d, spr__doc_need(d, n, "thresholds"), f->thresholds);
    f->scenario.tuned_hold_count = read_numbers(d, spr__doc_need(d, n, "holds_s"), f->holds_s);
    f->scenario.tuned_thresholds = f->thresholds;
    f->scenario.tuned_holds_s = f->holds_s;
    spr__doc_bool(d, spr__doc_get(d, n, "never"), &never);
    f->scenario.tuned_never = never ? 0 : SPR_NONE;
}

static void read_reactive(struct reading *x) {
    struct spr__doc *d = x->d;
    struct spr_scenario *s = &x->file->scenario;
    spr__node *n = spr__doc_get(d, x->root, "reactive");
    if (!n)
        return;
    KEYS(d, n, "reactive", "published", "tuned");
    spr__node *published = spr__doc_get(d, n, "published"), *tuned = spr__doc_get(d, n, "tuned");
    if (published) {
        KEYS(d, published, "published", "threshold", "hold_s");
        spr__doc_number(d, spr__doc_get(d, published, "threshold"), 1e-6, 100, &s->reactive_threshold);
        spr__doc_number(d, spr__doc_get(d, published, "hold_s"), 1e-6, always, &s->reactive_hold_s);
    }
    if (tuned)
        read_tuned(x, tuned);
}

static void read_limit(struct spr__doc *d, spr__node *n, const char *key, int32_t *out) {
    int64_t v = 0;
    spr__doc_integer(d, spr__doc_get(d, n, key), 0, INT32_MAX, &v);
    *out = (int32_t)v;
}

static void read_policy(struct reading *x) {
    struct spr_scenario *s = &x->file->scenario;
    spr__node *n = spr__doc_get(x->d, x->root, "policy");
    if (!n)
        return;
    KEYS(x->d, n, "policy", "actions_per_vm_day", "actions_per_host_day", "actions_per_day");
    read_limit(x->d, n, "actions_per_vm_day", &s->actions_per_vm_day);
    read_limit(x->d, n, "actions_per_host_day", &s->actions_per_host_day);
    read_limit(x->d, n, "actions_per_day", &s->actions_per_day);
}

/* What goes wrong on purpose. */
static void read_faults(struct reading *x) {
    struct spr__doc *d = x->d;
    struct spr_scenario *s = &x->file->scenario;
    spr__node *n = spr__doc_get(d, x->root, "faults");
    void *at = NULL;
    if (!n)
        return;
    KEYS(d, n, "faults", "blackout", "fail_every");
    spr__doc_integer(d, spr__doc_get(d, n, "fail_every"), 1, INT32_MAX, &s->fail_every);
    spr__node *dark = spr__doc_get(d, n, "blackout");
    if (!dark)
        return;
    if (d->rc >= 0 && (spr__doc_kind(dark) != SPR__LIST || spr__doc_count(dark) != 2))
        spr__doc_fail(d, dark, "blackout must be [first step, one past the last]");
    spr__node *first = spr__doc_next(dark, &at), *last = spr__doc_next(dark, &at);
    spr__doc_integer(d, first, 0, INT32_MAX, &s->blackout_first);
    spr__doc_integer(d, last, s->blackout_first + 1, INT32_MAX, &s->blackout_end);
}

/* ---- the fleet ---- */

static void fleet_of_file(struct reading *x, spr__node *n) {
    struct spr__doc *d = x->d, other;
    spr__node *root;
    char *written = spr__doc_text(d, n), *path = spr__scenario_path(d, n, written, x->opts);
    if (path && (d->rc = spr__doc_open(d->ctx, path, &other, &root)) >= 0) {
        spr__doc_schema(&other, root);
        spr__spec_read(&other, root, x->spec);
        d->rc = other.rc;
        spr__doc_close(&other);
    }
    spr__io_strfree(d->ctx, written);
    spr__io_strfree(d->ctx, path);
}

static void read_fleet(struct reading *x) {
    spr__node *n = spr__doc_need(x->d, x->root, "fleet");
    x->spec->first = 0;
    x->spec->last = x->file->scenario.train_until;
    x->spec->seed = x->file->scenario.seed;
    if (x->d->rc < 0)
        return;
    if (spr__doc_kind(n) == SPR__SCALAR)
        fleet_of_file(x, n);
    else
        spr__spec_read(x->d, n, x->spec);
    /* In a scenario these may stand beside the fleet as well. */
    spr__doc_number(x->d, spr__doc_get(x->d, x->root, "spillable"), 0, 1, &x->spec->spillable);
    spr__doc_number(x->d, spr__doc_get(x->d, x->root, "flow_lifetime_s"), 0, always, &x->spec->flow_lifetime_s);
    spr__doc_integer(x->d, spr__doc_get(x->d, x->root, "shards_at_most"), 1, 1000, &x->spec->shards_at_most);
    spr__node *placement = spr__doc_get(x->d, x->root, "placement");
    if (placement && x->spec->placement)
        spr__doc_fail(x->d, placement, "placement stands in the fleet already");
    spr__spec_placement(x->d, placement, x->spec);
}

static void read_name(struct reading *x) {
    int64_t seed = 0;
    spr__node *n = spr__doc_get(x->d, x->root, "seed");
    x->file->name = spr__doc_text(x->d, spr__doc_need(x->d, x->root, "name"));
    spr__doc_integer(x->d, n, 0, INT64_MAX, &seed);
    x->file->scenario.seed = n ? (uint64_t)seed : x->opts->seed;
}

static void read_scenario(struct reading *x) {
    KEYS(x->d, x->root, "scenario", "schema", "about", "name", "trace", "map", "capacity", "resources", "gaps",
         "step_s", "substep_s", "control_s", "refit_s", "train_until", "score", "fleet", "spillable", "flow_lifetime_s",
         "shards_at_most", "placement", "lead_s", "durations_s", "prices", "room", "change_at_least", "reactive",
         "policy", "faults", "seed", "expect");
    spr__doc_schema(x->d, x->root);
    read_name(x);
    /* What needs no trace comes first: a wrong key should not wait for a large file. */
    read_intervals(x);
    read_durations(x);
    read_reactive(x);
    read_policy(x);
    read_faults(x);
    if (x->d->rc >= 0)
        read_trace(x);
    if (x->d->rc < 0)
        return;
    spr__spec_init(x->d->ctx, x->file->trace, x->spec);
    read_resources(x);
    read_prices(x);
    read_steps(x);
    if (x->d->rc >= 0)
        read_fleet(x);
    if (x->d->rc >= 0)
        x->d->rc = spr__scenario_close(x->file, x->spec);
}

int spr_scenario_read(spr_context *ctx, const char *path, const struct spr_scenario_opts *opts,
                      spr_scenario_file **out) {
    struct spr_scenario_opts o;
    struct spr__doc d;
    struct spr__spec spec = {.ctx = ctx};
    if (!ctx)
        return SPR_E_ARG;
    if (!path || !*path || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_scenario_read: a path and an output are required");
    struct reading x = {.d = &d, .opts = &o, .spec = &spec};
    int rc = spr__io_opts(ctx, "spr_scenario_opts", opts, &o, sizeof o);
    if (rc < 0 || (rc = spr__doc_open(ctx, path, &d, &x.root)) < 0)
        return rc;
    if ((x.file = spr_context_alloc(ctx, sizeof *x.file))) {
        x.file->ctx = spr_context_ref(ctx);
        read_scenario(&x);
        rc = d.rc;
    } else {
        rc = spr__io_nomem(ctx);
    }
    spr__spec_finish(&spec);
    spr__doc_close(&d);
    if (rc < 0) {
        spr_scenario_file_destroy(x.file);
        return rc;
    }
    *out = x.file;
    return SPR_OK;
}
