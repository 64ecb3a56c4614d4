/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A plan of a whole placement domain: 100,000 VMs on 10,000 hosts, 24 steps ahead, 3 resources, by the value rule.
 *
 *     bench_plan [VMS HOSTS ROUNDS THREADS]
 *
 * The fleet is made from a seed: racks of 20 hosts, ten racks a zone, hosts between half and nearly full, every
 * fifth heading for a spike in the window and every tenth for one now, some holding shards for others, VMs of several
 * policies. A digest of all actions tells whether a faster planner still decides the same.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "forecast/forecast.h"
#include "plan/plan.h"

enum { STEPS = 24, LEVELS = 9, R = 3, THREADS_MOST = 16 };
static const int resource_of[R] = {SPR_CPU, SPR_MEMORY, SPR_NET_RX};
static const double levels[LEVELS] = {.1, .25, .5, .65, .75, .85, .9, .95, .99};
static const double capacity_of[R] = {96, 384e9, 25e9};

struct bytes {
    int64_t now, most;
};

static void *count_alloc(void *user, size_t n) {
    struct bytes *b = user;
    void *p = malloc(n);
    b->now += p ? (int64_t)n : 0;
    b->most = SPR_MAX(b->most, b->now);
    return p;
}
static void *count_realloc(void *user, void *block, size_t old, size_t n) {
    struct bytes *b = user;
    void *p = realloc(block, n);
    b->now += p ? (int64_t)n - (block ? (int64_t)old : 0) : 0;
    b->most = SPR_MAX(b->most, b->now);
    return p;
}
static void count_free(void *user, void *block, size_t n) {
    struct bytes *b = user;
    b->now -= block ? (int64_t)n : 0;
    free(block);
}

/* ---- threads ---- */

struct slice {
    void (*fn)(void *arg, size_t i);
    void *arg;
    size_t from, to;
};

static void *run_slice(void *arg) {
    struct slice *s = arg;
    for (size_t i = s->from; i < s->to; i++)
        s->fn(s->arg, i);
    return NULL;
}

static void parallel_for(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    size_t width = (size_t) * (int *)user;
    pthread_t threads[THREADS_MOST];
    struct slice slices[THREADS_MOST] = {{0}};
    for (size_t t = 0; t < width; t++)
        slices[t] = (struct slice){fn, arg, n * t / width, n * (t + 1) / width};
    for (size_t t = 1; t < width; t++)
        if (pthread_create(&threads[t], NULL, run_slice, &slices[t]))
            exit(1);
    run_slice(&slices[0]);
    for (size_t t = 1; t < width; t++)
        pthread_join(threads[t], NULL);
}

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the fleet ---- */

static void must(spr_context *ctx, int rc) {
    struct spr_error e = {.size = sizeof e};
    if (rc >= 0)
        return;
    spr_context_error(ctx, &e);
    fprintf(stderr, "bench_plan: %s\n", e.text);
    exit(1);
}

static double load_share(int32_t h) { return 0.45 + 0.5 * spr__rand(11, (uint64_t)h, 0); }

static void add_hosts(spr_context *ctx, spr_fleet_builder *b, int32_t hosts) {
    for (int32_t h = 0; h < hosts; h++) {
        char id[24], rack[24], zone[24];
        struct spr_host host = {.size = sizeof host, .id = id, .rack = rack, .zone = zone};
        snprintf(id, sizeof id, "host-%05d", h);
        snprintf(rack, sizeof rack, "rack-%d", h / 20);
        snprintf(zone, sizeof zone, "zone-%d", h / 200);
        for (int i = 0; i < R; i++)
            host.capacity.of[resource_of[i]] = capacity_of[i];
        must(ctx, spr_fleet_builder_host(b, &host, NULL));
    }
}

static void add_vms(spr_context *ctx, spr_fleet_builder *b, int32_t vms, int32_t hosts) {
    double per_host = (double)vms / hosts;
    for (int32_t v = 0; v < vms; v++) {
        char id[24], group[24];
        struct spr_vm vm = {.size = sizeof vm, .id = id, .host = v % hosts, .klass = -1, .seen_mono_ns = 1};
        uint64_t n = (uint64_t)v;
        snprintf(id, sizeof id, "vm-%06d", v);
        snprintf(group, sizeof group, "service-%d", v / 40);
        vm.replica = spr__rand(2, n, 0) < 0.7 ? SPR_REPLICA_TEMPLATE : SPR_REPLICA_NEVER;
        vm.spillable = 0.5 + 0.4 * spr__rand(2, n, 1);
        vm.group = group;
        vm.anti_affinity = spr__rand(2, n, 2) < 0.2 ? group : NULL;
        vm.hosts_allowed = spr__rand(2, n, 3) < 0.1 ? "host-0????" : NULL;
        for (int i = 0; i < R; i++) {
            double mean = load_share(vm.host) * capacity_of[i] / per_host * (i == 1 ? 0.9 : i == 2 ? 0.5 : 1);
            vm.demand.of[resource_of[i]] = mean * (0.5 + spr__rand(3, n, (uint64_t)i));
            vm.demand_hour.of[resource_of[i]] = mean * (0.6 + 0.8 * spr__rand(4, n, (uint64_t)i));
        }
        must(ctx, spr_fleet_builder_vm(b, &vm, NULL));
    }
}

static void add_shards(spr_context *ctx, spr_fleet_builder *b, int32_t vms, int32_t hosts) {
    for (int32_t v = 0; v < vms; v += 61) {
        struct spr_shard s = {.size = sizeof s, .id = (uint64_t)v + 1, .vm = v, .state = SPR_SHARD_SERVING};
        s.host = (v % hosts + 1 + v % 37) % hosts;
        if (spr__rand(2, (uint64_t)v, 0) >= 0.7)
            continue;
        for (int i = 0; i < R; i++) {
            s.ready.of[resource_of[i]] = capacity_of[i] * (0.01 + 0.04 * spr__rand(5, (uint64_t)v, 0));
            s.used.of[resource_of[i]] = 0.7 * s.ready.of[resource_of[i]];
        }
        must(ctx, spr_fleet_builder_shard(b, &s));
    }
}

static spr_fleet *make_fleet(spr_context *ctx, int32_t vms, int32_t hosts) {
    spr_fleet_builder *b = NULL;
    spr_fleet *f = NULL;
    must(ctx, spr_fleet_builder_create(ctx, NULL, &b));
    for (int i = 0; i < R; i++)
        must(ctx, spr_fleet_builder_use(b, resource_of[i]));
    add_hosts(ctx, b, hosts);
    add_vms(ctx, b, vms, hosts);
    add_shards(ctx, b, vms, hosts);
    must(ctx, spr_fleet_builder_finish(b, (struct spr_time){INT64_C(300000000000) * 1000 + 1, 2}, &f));
    return f;
}

/* Totals: what is there now, a slow wave, a spread that grows with the step; every fifth host has a spike ahead, every
 * tenth now. */
static spr_forecast *make_forecast(spr_context *ctx, const spr_fleet *f, int32_t hosts) {
    spr_forecast *out = NULL;
    must(ctx, spr__forecast_new(ctx, (int64_t)hosts * R, STEPS, LEVELS, levels, 1000, &out));
    for (int32_t h = 0; h < hosts; h++)
        for (int i = 0; i < R; i++) {
            const struct spr__fleet_placement *at = f->placement;
            double now = 0, base;
            for (int32_t j = at->first[h]; j < at->first[h + 1]; j++)
                now += spr__fleet_demand(f, at->vms[j], i);
            int onset = STEPS;
            if (spr__rand(6, (uint64_t)h, 0) < 0.2)
                onset = spr__rand(6, (uint64_t)h, 1) < 0.5 ? 1 : (int)(STEPS * spr__rand(6, (uint64_t)h, 2));
            for (int j = 0; j < STEPS; j++) {
                base = now * (1 + 0.1 * sin(0.26 * j + h)) + (j >= onset && j < onset + 6 ? 0.5 * capacity_of[i] : 0);
                for (int k = 0; k < LEVELS; k++)
                    out->quantiles[(((int64_t)h * R + i) * STEPS + j) * LEVELS + k] =
                        base * (1 + 0.15 * sqrt(j + 1.0) / 5 * spr__normal_quantile(levels[k]));
                out->points[((int64_t)h * R + i) * STEPS + j] = base;
            }
        }
    return out;
}

/* ---- what came out ---- */

static uint64_t digest_of(const spr_plan *p, const spr_fleet *f, double *worst) {
    uint64_t digest = 0;
    int32_t hosts = spr_fleet_host_count(f);
    double *held = calloc((size_t)hosts * SPR_RESOURCES_MAX, sizeof *held);
    if (!held)
        exit(1);
    for (int32_t k = 0; k < spr_plan_action_count(p); k++) {
        struct spr_action a = {.size = sizeof a};
        spr_plan_action(p, k, &a);
        digest = spr__mix64(digest ^ ((uint64_t)a.kind << 56) ^ ((uint64_t)a.vm << 28) ^ (uint64_t)a.host);
        for (int i = 0; i < R; i++) {
            uint64_t bits;
            memcpy(&bits, &a.amounts.of[resource_of[i]], sizeof bits);
            digest = spr__mix64(digest ^ bits);
            if (a.kind == SPR_ACTION_ALLOCATE || a.kind == SPR_ACTION_GROW)
                held[a.host * SPR_RESOURCES_MAX + i] += a.amounts.of[resource_of[i]];
        }
    }
    *worst = 0; /* fullest target: its own load and all shards, share of its capacity */
    for (int32_t h = 0; h < hosts; h++)
        for (int i = 0; i < R; i++) {
            const struct spr__fleet_placement *at = f->placement;
            double sum = held[h * SPR_RESOURCES_MAX + i];
            if (sum <= 0)
                continue;
            sum += spr__fleet_held(f, h, i);
            for (int32_t j = at->first[h]; j < at->first[h + 1]; j++)
                sum += spr__fleet_demand(f, at->vms[j], i);
            *worst = SPR_MAX(*worst, sum / capacity_of[i]);
        }
    free(held);
    return digest;
}

static int by_time(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    int32_t vms = argc > 1 ? atoi(argv[1]) : 100000, hosts = argc > 2 ? atoi(argv[2]) : 10000;
    int rounds = argc > 3 ? atoi(argv[3]) : 3, threads = argc > 4 ? atoi(argv[4]) : 2;
    double times[64], cpu[64], worst = 0;
    struct bytes bytes = {0, 0};
    struct spr_allocator alloc = {sizeof alloc, count_alloc, count_realloc, count_free, &bytes};
    struct spr_executor pool = {.size = sizeof pool, .parallel_for = parallel_for, .user = &threads, .width = threads};
    struct spr_context_opts o = {.size = sizeof o, .allocator = &alloc, .executor = threads > 1 ? &pool : NULL};
    spr_context *ctx = NULL;
    if (vms < hosts || hosts < 2 || rounds < 1 || rounds > 64 || threads < 1 || threads > THREADS_MOST ||
        spr_context_create(&o, &ctx) < 0)
        return 2;
    spr_fleet *f = make_fleet(ctx, vms, hosts);
    int64_t fleet_bytes = bytes.now;
    spr_forecast *forecast = make_forecast(ctx, f, hosts);
    int64_t before = bytes.now;
    bytes.most = bytes.now;
    spr_plan *plan = NULL;
    for (int k = 0; k < rounds; k++) { /* a planner each round: they all give the same plan */
        spr_planner *planner = NULL;
        must(ctx, spr_planner_create(ctx, NULL, NULL, &planner));
        spr_plan_unref(plan);
        double start = seconds(CLOCK_MONOTONIC), work = seconds(CLOCK_PROCESS_CPUTIME_ID);
        must(ctx, spr_planner_run(planner, f, forecast, NULL, &plan));
        times[k] = seconds(CLOCK_MONOTONIC) - start;
        cpu[k] = seconds(CLOCK_PROCESS_CPUTIME_ID) - work;
        spr_planner_destroy(planner);
    }
    qsort(times, (size_t)rounds, sizeof *times, by_time);
    qsort(cpu, (size_t)rounds, sizeof *cpu, by_time);
    uint64_t digest = digest_of(plan, f, &worst);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("plan of %d VMs on %d hosts, %d steps, %d resources, %d threads: %.3f s, processor %.3f s (median of %d)\n",
           vms, hosts, STEPS, R, threads, times[rounds / 2], cpu[rounds / 2], rounds);
    printf("actions %d, unmet %d, fullest target %.3f of its capacity, digest %016llx\n", spr_plan_action_count(plan),
           spr_plan_infeasible_count(plan), worst, (unsigned long long)digest);
    printf("fleet %.0f, forecast %.0f, planner and plan %.0f bytes a VM and host; peak resident %.0f MiB\n",
           (double)fleet_bytes / (vms + hosts), (double)(before - fleet_bytes) / (vms + hosts),
           (double)(bytes.most - before) / (vms + hosts), (double)usage.ru_maxrss / 1024);
    spr_plan_unref(plan);
    spr_forecast_unref(forecast);
    spr_fleet_unref(f);
    spr_context_unref(ctx);
    return worst <= 1 ? 0 : 1;
}
