/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What would it say about my hosts? Connects read-only, watches for a while, prints what is worth doing and why, and
 * what it cannot know. It changes nothing.
 *
 *     libvirt_advise qemu:///system qemu+ssh://root@hv2/system --for 1m --every 2s
 *
 * Build: cc libvirt_advise.c $(pkg-config --cflags --libs shardpredict-libvirt) -lm
 */
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <shardpredict.h>
#include <shardpredict/backend-libvirt.h>

enum { HOSTS_MOST = 64, RESOURCES = SPR_DISK_WRITE + 1, HORIZON = 60 };

struct figures { /* of one VM and resource */
    double sum, peak, stalled, last;
    int count, censored;
    int64_t row; /* of its series, from 1; 0 = none */
};

struct advice {
    spr_context *ctx;
    const char *uris[HOSTS_MOST];
    size_t uri_count;
    double for_s, every_s;
    spr_libvirt *hosts;
    const struct spr_source_ops *ops;
    void *source;
    spr_fleet *fleet;   /* of the beginning: indices stay */
    struct figures *of; /* [vm][resource] */
    spr_metrics *metrics;
    spr_profile *profile; /* of the series, NULL = none */
    double *total;        /* [host][resource][round], what all VMs of a host wanted */
    int rounds, taken;
    char said[65536]; /* the recommendations, printed after the verdict */
    size_t said_bytes;
    int recommendations;
};

/* ---- asking the source ---- */

static struct spr_time now(void) {
    struct timespec w, m;
    clock_gettime(CLOCK_REALTIME, &w);
    clock_gettime(CLOCK_MONOTONIC, &m);
    return (struct spr_time){(int64_t)w.tv_sec * 1000000000 + w.tv_nsec, (int64_t)m.tv_sec * 1000000000 + m.tv_nsec};
}

static int ask(struct advice *a, int verb, struct spr_source_completion *c) {
    struct pollfd fd = {.fd = a->ops->async->fd(a->source), .events = POLLIN};
    spr_ticket ticket;
    size_t n = 0;
    int rc = a->ops->submit(a->source, verb, now(), INT64_MAX, &ticket);
    while (rc >= 0 && !n) {
        int64_t left = (a->ops->async->next_deadline(a->source) - now().mono_ns) / 1000000 + 1;
        poll(&fd, 1, left < 0 ? 0 : left > 1000 ? 1000 : (int)left);
        memset(c, 0, sizeof *c);
        c->size = sizeof *c;
        rc = a->ops->collect(a->source, now(), c, 1, &n);
    }
    if (rc >= 0 && c->outcome != SPR_DONE) {
        fprintf(stderr, "libvirt_advise: %s\n", c->text ? c->text : spr_error_text(c->code));
        return c->code < 0 ? c->code : SPR_E_IO;
    }
    return rc;
}

static int begin(struct advice *a) {
    struct spr_libvirt_host h[HOSTS_MOST];
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = h, .host_count = a->uri_count, .read_only = 1};
    struct spr_env env = {.size = sizeof env, .context = a->ctx};
    struct spr_source_completion c;
    memset(h, 0, sizeof h);
    for (size_t i = 0; i < a->uri_count; i++)
        h[i].size = sizeof h[i], h[i].uri = a->uris[i], h[i].id = a->uri_count > 1 ? a->uris[i] : NULL;
    int rc = spr_libvirt_open(a->ctx, &o, &a->hosts);
    a->ops = spr_libvirt_source();
    if (rc >= 0)
        rc = a->ops->open(&env, a->hosts, &a->source);
    if (rc < 0)
        return fprintf(stderr, "libvirt_advise: %s: %s\n", a->uris[0], spr_error_text(rc)), rc;
    if ((rc = ask(a, SPR_SOURCE_INVENTORY, &c)) < 0)
        return rc;
    a->fleet = c.inventory;
    a->of = calloc((size_t)spr_fleet_vm_count(a->fleet) * RESOURCES + 1, sizeof *a->of);
    a->total = calloc(a->uri_count * RESOURCES * (size_t)a->rounds, sizeof *a->total);
    return a->of && a->total ? SPR_OK : SPR_E_NOMEM;
}

/* Demand: what it used, what its shards served, what it had to wait for. */
static void take(struct advice *a, const struct spr_usage *u, int round) {
    struct figures *f = &a->of[u->vm * RESOURCES + u->resource];
    struct spr_vm vm = {.size = sizeof vm};
    double stalled = u->flags & SPR_USAGE_STALL_KNOWN ? u->stalled : 0, want = u->used + u->served + stalled;
    f->sum += want;
    f->stalled += stalled;
    f->peak = want > f->peak ? want : f->peak;
    f->last = want;
    f->count++;
    f->censored += (u->flags & SPR_USAGE_THROTTLED) != 0;
    spr_fleet_vm(a->fleet, u->vm, &vm);
    if (!f->row && spr_metrics_add(a->metrics, vm.id, NULL, u->resource, SPR_GAUGE, 0, &f->row) >= 0)
        f->row++;
    if (f->row)
        spr_metrics_push(a->metrics, f->row - 1, (int64_t)(round * a->every_s * 1e9), want, 0);
    a->total[((size_t)vm.host * RESOURCES + (size_t)u->resource) * (size_t)a->rounds + (size_t)round] += want;
}

static void watch(struct advice *a) {
    struct spr_source_completion c;
    struct spr_metrics_opts grid = {.size = sizeof grid, .step_ns = (int64_t)(a->every_s * 1e9)};
    int64_t start = now().mono_ns;
    if (spr_metrics_create(a->ctx, &grid, &a->metrics) < 0)
        return;
    int rc = ask(a, SPR_SOURCE_SAMPLES, &c); /* the first answer is what the others are compared with */
    for (int k = 0; k < a->rounds; k++) {
        int64_t left = start + (int64_t)((k + 1) * a->every_s * 1e9) - now().mono_ns;
        struct timespec t = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
        if (left > 0)
            nanosleep(&t, NULL);
        rc = ask(a, SPR_SOURCE_SAMPLES, &c);
        for (size_t i = 0; rc >= 0 && i < c.usage_count; i++)
            take(a, &c.usage[i], a->taken);
        a->taken += rc >= 0;
    }
}

static void learn_habits(struct advice *a) {
    spr_series *series = NULL;
    spr_profiler *p = NULL;
    if (a->metrics && spr_metrics_finish(a->metrics, &series) >= 0 && spr_profiler_create(a->ctx, NULL, &p) >= 0 &&
        spr_profiler_run(p, series, 0, 0, &a->profile) < 0)
        a->profile = NULL;
    spr_profiler_destroy(p);
    spr_series_unref(series);
}

/* ---- saying ---- */

static void say(struct advice *a, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(a->said + a->said_bytes, sizeof a->said - a->said_bytes, format, args);
    va_end(args);
    a->said_bytes += n > 0 && a->said_bytes + (size_t)n < sizeof a->said ? (size_t)n : 0;
}

static const char *bytes(double v, char text[24]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int k = 0;
    while (v >= 1024 && k < 4)
        v /= 1024, k++;
    snprintf(text, 24, "%.3g %s", v, units[k]);
    return text;
}

static double mean(const struct figures *f) { return f->count ? f->sum / f->count : 0; }

/* ---- VMs: how each behaves, by the library's profile of what was seen ---- */

static double all_cpu(const struct advice *a) {
    double sum = 0;
    for (int32_t v = 0; v < spr_fleet_vm_count(a->fleet); v++)
        sum += mean(&a->of[v * RESOURCES + SPR_CPU]);
    return sum;
}

/* "usually 0.42, in bursts 0.31 more" */
static const char *habit(const struct advice *a, const struct figures *f, char text[80]) {
    struct spr_profile_row r = {.size = sizeof r};
    text[0] = 0;
    if (a->profile && f->row && spr_profile_get(a->profile, f->row - 1, &r) >= 0 && r.level >= 0) {
        int n = snprintf(text, 80, ", usually %.2f", r.level);
        if (r.burst_rate_per_day > 0)
            snprintf(text + n, 80 - (size_t)n, ", in bursts %.2f more", r.burst_size);
    }
    return text;
}

static void advise_cpu(struct advice *a, const struct spr_vm *vm, const struct figures *f) {
    double cores = vm->capacity.of[SPR_CPU], waits = f->count ? f->stalled / f->count : 0, all = all_cpu(a);
    char text[80];
    if (cores > 0 && (mean(f) >= 0.7 * cores || f->peak >= 0.95 * cores)) {
        a->recommendations++;
        say(a,
            "* %s: give it more vCPUs, or let it have a replica, because of its %.0f vCPUs it wanted %.2f on average",
            vm->id, cores, mean(f));
        say(a, "%s, %.2f at its peak (%.2f of the average waiting)\n", habit(a, f, text), f->peak, waits);
    } else if (all > 0.05 && mean(f) > 0.5 * all && spr_fleet_vm_count(a->fleet) > 1) {
        a->recommendations++;
        say(a, "* %s: look here first when its host gets busy, because %.0f %% of all CPU that VMs wanted is its: ",
            vm->id, 100 * mean(f) / all);
        say(a, "%.2f cores on average%s, %.2f at its peak\n", mean(f), habit(a, f, text), f->peak);
    }
    if (waits > 0.05 && waits > 0.1 * mean(f)) {
        a->recommendations++;
        say(a,
            "* %s: raise its CPU limit or move it, because %.0f %% of the time it wanted to run it was kept waiting ",
            vm->id, 100 * waits / mean(f));
        say(a, "(%.2f of %.2f cores)\n", waits, mean(f));
    }
}

static void advise_idle(struct advice *a, const struct spr_vm *vm, const struct figures *cpu,
                        const struct figures *mem) {
    struct spr_host h = {.size = sizeof h};
    char has[24], uses[24];
    spr_fleet_host(a->fleet, vm->host, &h);
    double share = h.capacity.of[SPR_MEMORY] > 0 ? vm->capacity.of[SPR_MEMORY] / h.capacity.of[SPR_MEMORY] : 0;
    bool wide = vm->capacity.of[SPR_CPU] >= 4 && vm->capacity.of[SPR_CPU] >= 0.25 * h.capacity.of[SPR_CPU];
    if (!cpu->count || mean(cpu) > 0.05 * vm->capacity.of[SPR_CPU] || !(share > 0.2 || wide))
        return;
    a->recommendations++;
    say(a,
        "* %s: make it smaller, because it idles on %.0f vCPUs and %s (%.2f cores%s%s used): an idle giant in nobody's "
        "way but "
        "the next VM's\n",
        vm->id, vm->capacity.of[SPR_CPU], bytes(vm->capacity.of[SPR_MEMORY], has), mean(cpu), mem->count ? ", " : "",
        mem->count ? bytes(mean(mem), uses) : "");
}

static void advise_vm(struct advice *a, int32_t v) {
    const struct figures *f = &a->of[v * RESOURCES], *mem = &f[SPR_MEMORY];
    struct spr_vm vm = {.size = sizeof vm};
    char used[24], most[24];
    spr_fleet_vm(a->fleet, v, &vm);
    advise_cpu(a, &vm, &f[SPR_CPU]);
    if (mem->count && mem->censored * 2 > mem->count) {
        a->recommendations++;
        say(a,
            "* %s: give it memory back, because it uses %s, at least 95 %% of what its balloon leaves it (it may have "
            "%s)\n",
            vm.id, bytes(mem->last, used), bytes(vm.capacity.of[SPR_MEMORY], most));
    }
    advise_idle(a, &vm, &f[SPR_CPU], mem);
}

/* ---- hosts: the forecast of their totals, when they pass their capacity, and what a plan would do ---- */

static spr_forecast *forecast_totals(struct advice *a, int32_t resources, const int *use, int64_t step_ns) {
    struct spr_holt_winters_opts hw = {.size = sizeof hw, .period = SPR_NONE}; /* some seconds have no season */
    struct spr_forecaster_opts o = SPR_FORECASTER_OPTS_INIT;
    spr_forecaster *f = NULL;
    spr_forecast *out = NULL;
    int64_t rows = (int64_t)a->uri_count * resources, first = now().wall_ns / step_ns - a->taken;
    double *y = calloc((size_t)(rows * a->taken), sizeof *y);
    o.step_ns = step_ns;
    o.horizon = HORIZON;
    o.config = &hw;
    for (int64_t r = 0; y && r < rows; r++)
        memcpy(y + r * a->taken, a->total + ((r / resources) * RESOURCES + use[r % resources]) * a->rounds,
               (size_t)a->taken * sizeof *y);
    struct spr_panel p = {.size = sizeof p,
                          .data = y,
                          .dtype = SPR_F64,
                          .series = rows,
                          .steps = a->taken,
                          .series_stride = a->taken * (int64_t)sizeof *y,
                          .step_stride = sizeof *y};
    if (!y || spr_forecaster_create(a->ctx, spr_forecaster_holt_winters(), &o, &f) < 0 ||
        spr_forecaster_fit(f, &p, first, 0) < 0 || spr_forecaster_predict(f, NULL, &out) < 0)
        out = NULL;
    spr_forecaster_destroy(f);
    free(y);
    return out;
}

/* The snapshot with what every VM wants now. */
static spr_fleet *fleet_now(struct advice *a) {
    spr_fleet_builder *b = NULL;
    spr_fleet *out = NULL;
    int rc = spr_fleet_builder_create(a->ctx, a->fleet, &b);
    for (int32_t v = 0; rc >= 0 && v < spr_fleet_vm_count(a->fleet); v++) {
        struct spr_vm vm = {.size = sizeof vm};
        spr_fleet_vm(a->fleet, v, &vm);
        for (int r = 0; r < RESOURCES; r++) {
            vm.demand.of[r] = a->of[v * RESOURCES + r].last;
            vm.demand_hour.of[r] = mean(&a->of[v * RESOURCES + r]);
        }
        vm.seen_mono_ns = now().mono_ns;
        rc = spr_fleet_builder_observe(b, v, &vm);
    }
    if (rc < 0)
        spr_fleet_builder_destroy(b);
    else if (spr_fleet_builder_finish(b, now(), &out) < 0)
        out = NULL;
    return out;
}

static void advise_plan(struct advice *a, const spr_forecast *f, double step_s) {
    struct spr_plan_opts o = {
        .size = sizeof o, .lead_s = 10 * step_s, .pre_s = step_s, .step_s = step_s, .control_s = step_s};
    spr_planner *planner = NULL;
    spr_plan *plan = NULL;
    spr_fleet *fleet = fleet_now(a);
    if (fleet && spr_planner_create(a->ctx, spr_planner_builtin(), NULL, &planner) >= 0 &&
        spr_planner_run(planner, fleet, f, &o, &plan) >= 0) {
        for (int32_t i = 0; i < spr_plan_action_count(plan); i++) {
            struct spr_action act = {.size = sizeof act};
            struct spr_vm vm = {.size = sizeof vm};
            struct spr_host to = {.size = sizeof to};
            spr_plan_action(plan, i, &act);
            spr_fleet_vm(fleet, act.vm, &vm);
            spr_fleet_host(fleet, act.host, &to);
            a->recommendations++;
            say(a, "* plan: %s %.2f cores and %.0f MiB for %s on %s, because %s\n", spr_action_kind_name(act.kind),
                act.amounts.of[SPR_CPU], act.amounts.of[SPR_MEMORY] / 1048576, vm.id, to.id,
                spr_because_text(act.because));
        }
        for (int32_t i = 0; i < spr_plan_infeasible_count(plan); i++) {
            struct spr_infeasible w = {.size = sizeof w};
            struct spr_host h = {.size = sizeof h};
            struct spr_resource_info r = {.size = sizeof r};
            spr_plan_infeasible(plan, i, &w);
            spr_fleet_host(fleet, w.host, &h);
            spr_resource_describe(w.resource, &r);
            a->recommendations++;
            say(a, "* %s: relieve it by hand, because it is short of %.3g %s (%s) and %s\n", h.id, w.amount, r.unit,
                r.name, spr_because_text(w.because));
        }
    }
    spr_plan_unref(plan);
    spr_planner_destroy(planner);
    spr_fleet_unref(fleet);
}

static void advise_trends(struct advice *a) {
    static const int all[] = {SPR_CPU, SPR_MEMORY, SPR_NET_RX, SPR_NET_TX};
    int use[4], n = 0;
    int64_t step_ns = (int64_t)(a->every_s * 1e9);
    for (int i = 0; i < 4; i++)
        if (spr_fleet_resources(a->fleet) >> all[i] & 1)
            use[n++] = all[i];
    spr_forecast *f = a->taken >= 4 ? forecast_totals(a, n, use, step_ns) : NULL;
    if (!f)
        return;
    for (int64_t row = 0; row < (int64_t)a->uri_count * n; row++) {
        struct spr_host h = {.size = sizeof h};
        struct spr_exceedance e;
        struct spr_resource_info r = {.size = sizeof r};
        size_t found = 1;
        spr_fleet_host(a->fleet, (int32_t)(row / n), &h);
        double limit = 0.9 * h.capacity.of[use[row % n]];
        spr_resource_describe(use[row % n], &r);
        if (limit > 0 && spr_forecast_windows(f, row, limit, 0.5, &e, sizeof e, &found) >= 0 && found) {
            a->recommendations++;
            say(a,
                "* %s: keep new VMs away from it, because its VMs are expected to want more than 90 %% of its %s %s "
                "(probability %.2f, up "
                "to %.3g of %.3g %s)\n",
                h.id, r.name, e.onset ? "soon" : "now", e.probability, e.peak, h.capacity.of[use[row % n]], r.unit);
        }
    }
    advise_plan(a, f, a->every_s);
    spr_forecast_unref(f);
}

static void advise_host(struct advice *a, int32_t i) {
    struct spr_libvirt_facts f = {.size = sizeof f};
    struct spr_host h = {.size = sizeof h};
    char one[24], two[24];
    spr_fleet_host(a->fleet, i, &h);
    if (spr_libvirt_facts(a->hosts, (size_t)i, &f) < 0)
        return;
    if (f.cores_promised > 2 * f.cores) {
        a->recommendations++;
        say(a,
            "* %s: promise no more vCPUs, because %.0f are promised on %.0f cores; it is busy with %.2f of them now\n",
            h.id, f.cores_promised, f.cores, f.cores_busy);
    }
    if (f.memory_promised > h.capacity.of[SPR_MEMORY] && f.memory > 0) {
        a->recommendations++;
        say(a, "* %s: move a VM away before all of them want their memory, because they may grow to %s and it has %s\n",
            h.id, bytes(f.memory_promised, one), bytes(f.memory, two));
    }
    if (f.memory_free > 0 && f.memory_free < 0.1 * f.memory) {
        a->recommendations++;
        say(a, "* %s: make room, because only %s of its %s are free\n", h.id, bytes(f.memory_free, one),
            bytes(f.memory, two));
    }
    if (f.cores_busy > 0.9 * f.cores) {
        a->recommendations++;
        say(a, "* %s: relieve it, because it is busy with %.2f of its %.0f cores (everything on it, not VMs alone)\n",
            h.id, f.cores_busy, f.cores);
    }
}

/* ---- what it cannot know ---- */

static void confess(const struct advice *a) {
    int mute = 0, silent = 0;
    for (size_t i = 0; i < a->uri_count; i++) {
        struct spr_libvirt_facts f = {.size = sizeof f};
        struct spr_libvirt_status s = {.size = sizeof s};
        mute += spr_libvirt_facts(a->hosts, i, &f) >= 0 ? f.guests_mute : 0;
        if (spr_libvirt_status(a->hosts, i, &s) >= 0 && !s.connected)
            printf("- Nothing is known of %s now: %s\n", s.uri, s.text);
    }
    for (int32_t v = 0; v < spr_fleet_vm_count(a->fleet); v++)
        silent += !a->of[v * RESOURCES + SPR_CPU].count;
    if (mute)
        printf("- %d running guest%s no balloon statistics (driver in the guest and <stats period='10'/> in "
               "<memballoon>): what "
               "the host sees of their memory is shown, which says little of what they need.\n",
               mute, mute == 1 ? " gives" : "s give");
    if (silent)
        printf("- %d VM%s no CPU figures; nothing is concluded from that.\n", silent,
               silent == 1 ? " shows" : "s show");
    printf("- %.0f s show a moment. Days, weeks, bursts and what a VM will need tonight take a history: let the "
           "controller watch, or "
           "give a trace to shardpredict profile.\n",
           a->taken * a->every_s);
}

static void report(struct advice *a) {
    int32_t vms = spr_fleet_vm_count(a->fleet), busiest = -1;
    for (int32_t v = 0; v < vms; v++) {
        advise_vm(a, v);
        if (busiest < 0 || mean(&a->of[v * RESOURCES + SPR_CPU]) > mean(&a->of[busiest * RESOURCES + SPR_CPU]))
            busiest = v;
    }
    for (int32_t h = 0; h < spr_fleet_host_count(a->fleet); h++)
        advise_host(a, h);
    advise_trends(a);
    printf("%d recommendation%s for %d VM%s on %zu host%s, watched for %.0f s", a->recommendations,
           a->recommendations == 1 ? "" : "s", (int)vms, vms == 1 ? "" : "s", a->uri_count,
           a->uri_count == 1 ? "" : "s", a->taken * a->every_s);
    if (busiest >= 0 && a->of[busiest * RESOURCES + SPR_CPU].count) {
        struct spr_vm vm = {.size = sizeof vm};
        spr_fleet_vm(a->fleet, busiest, &vm);
        printf("; the busiest is %s with %.2f of %.0f cores", vm.id, mean(&a->of[busiest * RESOURCES + SPR_CPU]),
               vm.capacity.of[SPR_CPU]);
    }
    printf(".\n\n%s%sWhat this cannot know:\n", a->said, a->said_bytes ? "\n" : "");
    confess(a);
}

/* ---- words ---- */

static double seconds(const char *text) {
    char *end;
    double v = strtod(text, &end);
    v *= !strcmp(end, "m") ? 60 : !strcmp(end, "h") ? 3600 : 1;
    return end > text && (!*end || strchr("smh", *end)) && v >= 0.1 && v < 1e7 ? v : -1;
}

static int read_words(struct advice *a, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        bool timed = !strcmp(argv[i], "--for") || !strcmp(argv[i], "--every");
        double *to = !strcmp(argv[i], "--for") ? &a->for_s : &a->every_s;
        if (timed && i + 1 < argc && (*to = seconds(argv[i + 1])) > 0)
            i++;
        else if (timed || argv[i][0] == '-' || a->uri_count == HOSTS_MOST)
            return -1;
        else
            a->uris[a->uri_count++] = argv[i];
    }
    a->rounds = (int)ceil(a->for_s / a->every_s - 1e-9);
    return a->uri_count && a->rounds >= 1 ? 0 : -1;
}

int main(int argc, char **argv) {
    static struct advice a = {.for_s = 20, .every_s = 2};
    int rc;
    if (read_words(&a, argc, argv) < 0) {
        fprintf(stderr, "usage: libvirt_advise URI... [--for 20s] [--every 2s]\nWatches hosts read-only and says what "
                        "is worth doing, "
                        "and why.\n");
        return 2;
    }
    if (spr_context_create(NULL, &a.ctx) < 0)
        return 1;
    if ((rc = begin(&a)) >= 0) {
        watch(&a);
        learn_habits(&a);
        report(&a);
    }
    if (a.source)
        a.ops->close(a.source);
    spr_libvirt_close(a.hosts, 1);
    spr_fleet_unref(a.fleet);
    spr_profile_unref(a.profile);
    spr_metrics_destroy(a.metrics);
    free(a.of), free(a.total);
    spr_context_unref(a.ctx);
    return rc < 0;
}
