/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A flash crowd on packets: a client, a primary and three shards, each in a network namespace of its own with its
 * kernel's TCP, this library's router between them, and a load that every "day" has its crowd. The same requests three
 * times: nobody helps, shards by a threshold on what is measured, shards by a forecast before the crowd is there.
 *
 *   sudo flash_crowd [--quick] [--seed N] [--policy none|reactive|predictive] [--threshold 0.4] [--json]
 *
 * Real: packets, TCP, the router, the time each request took from the moment it was due. Made: a server is a process
 * that answers 120 requests a second and queues 60, a shard boots by waiting 2.5 s, a day takes 24 s (12 with --quick),
 * and the days before the first one exist only as the counts that a router would have made.
 */
#include "flash_crowd.h"

#include <getopt.h>
#include <math.h>
#include <rte_eal.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <shardpredict.h>
#include <shardpredict/backend-dpdk.h>
#include <shardpredict/route-steer.h>

enum { DAY = 48, PAST_DAYS = 8, AHEAD_MOST = 24, TICK_MS = 50, BINS = 64 };
enum policy { NONE, REACTIVE, PREDICTIVE, POLICIES };
static const char *const policy_name[POLICIES] = {"none", "reactive", "predictive"};
static const char *const names[SERVERS] = {"primary", "shard-1", "shard-2", "shard-3"};

struct options {
    uint64_t seed;
    double day_s, threshold;
    int days, only; /* only: a policy, -1 = all */
    bool json;
};
struct world {
    struct options o;
    spr_context *ctx;
    spr_dpdk *router;
    struct bed *bed;
    spr_forecaster *forecaster;
    spr_steer *steer;
    double step_s, count[PAST_DAYS * DAY]; /* of the days before */
    double rate;                           /* requests a second in the last step, as the router counted */
    uint64_t opened;
    int wanted, serving;
    double drained_s[SERVERS]; /* when a shard gets its end after its weights went, 0 = it is not leaving */
    double spent_s;            /* shard-seconds asked for */
};
struct result {
    double p50, p99, errors, spent_s, bin99[BINS], bin_load[BINS];
    uint32_t requests, failed;
    bool ran;
};

static int die(const char *what, const char *why) {
    fprintf(stderr, "flash_crowd: %s%s%s\n", what, why && *why ? ": " : "", why ? why : "");
    return 1;
}
static const char *said(spr_context *ctx) {
    static char text[256];
    struct spr_error e = {.size = sizeof e};
    snprintf(text, sizeof text, "%s", spr_context_error(ctx, &e) >= 0 && e.text ? e.text : "");
    return text;
}

/* ---- the load ---- */

static double random01(uint64_t *s) {
    *s ^= *s << 13, *s ^= *s >> 7, *s ^= *s << 17;
    return (double)(*s >> 11) / 9007199254740992.0;
}

/* Requests a second at a time of day (0..1): a quiet day, and a crowd from half past twelve on. */
static double rate_at(double day, double peak) {
    double x = day - floor(day), crowd = 0;
    if (x > 0.50 && x < 0.54)
        crowd = (x - 0.50) / 0.04;
    else if (x >= 0.54 && x < 0.72)
        crowd = 1;
    else if (x >= 0.72 && x < 0.84)
        crowd = (0.84 - x) / 0.12;
    return 60 + 15 * sin(2 * M_PI * (x - 0.25)) + peak * crowd;
}

/* No two crowds are of one size. */
static double peak_of(uint64_t *s) { return 250 + 60 * (random01(s) - 0.5); }

static uint32_t poisson(double mean, uint64_t *s) {
    uint32_t n = 0;
    for (double left = mean + log(random01(s) + 1e-300); left > 0; left += log(random01(s) + 1e-300))
        n++;
    return n;
}

/* The requests of the run (thinned from the highest rate), and the counts of the days before. */
static void make_load(struct world *w) {
    uint64_t s = w->o.seed * 0x9e3779b97f4a7c15u + 1;
    double peak = 0, t = 0, end = w->o.days * w->o.day_s;
    for (int d = 0; d < PAST_DAYS; d++) {
        peak = peak_of(&s);
        for (int k = 0; k < DAY; k++)
            w->count[d * DAY + k] = poisson(rate_at((k + 0.5) / DAY, peak) * w->step_s, &s) / w->step_s;
    }
    int day = -1;
    w->bed->count = 0;
    while (w->bed->count < REQUESTS_MOST) {
        t -= log(random01(&s) + 1e-300) / 400;
        if (t >= end)
            break;
        if ((int)(t / w->o.day_s) != day) {
            day = (int)(t / w->o.day_s);
            peak = peak_of(&s);
        }
        if (random01(&s) * 400 < rate_at(t / w->o.day_s, peak))
            w->bed->request[w->bed->count++] = (struct bed_request){.at_s = t, .latency_s = -1};
    }
}

/* ---- the router ---- */

static int open_router(struct world *w) {
    static const char *const ports[] = {"net_af_packet0", "net_af_packet1"};
    struct spr_dpdk_opts o = {.size = sizeof o, .ports = ports, .port_count = 2, .seed = 1, .promiscuous = 1};
    struct spr_dpdk_service s = {
        .size = sizeof s, .name = "web", .address = SERVICE, .protocol = 6, .port = 80, .primary = names[0]};
    int rc = spr_dpdk_open(w->ctx, &o, &w->router);
    if (rc >= 0)
        rc = spr_dpdk_begin(w->router);
    for (int k = 0; rc >= 0 && k < SERVERS; k++) {
        char mac[18];
        snprintf(mac, sizeof mac, BED_MAC "%02x", 16 + k);
        struct spr_dpdk_backend b = {.size = sizeof b, .name = names[k], .action = SPR_DPDK_L2, .port = 1, .mac = mac};
        rc = spr_dpdk_backend_set(w->router, &b);
    }
    if (rc >= 0)
        rc = spr_dpdk_service_set(w->router, &s);
    if (rc >= 0)
        rc = spr_dpdk_commit(w->router, (struct spr_time){0, 0}, NULL);
    return rc >= 0 ? spr_dpdk_start(w->router) : rc;
}

/* `spill` of new connections, evenly over the shards that answer; `most` is what a spike may make of it. */
static int steer_to(struct world *w, double spill, double most, double ramp_per_s) {
    const char *to[SERVERS];
    double weights[SERVERS], spike[SERVERS];
    size_t n = 0;
    for (int k = 1; k < SERVERS; k++)
        if (k <= w->serving)
            to[n++] = names[k];
    for (size_t i = 0; i < n; i++)
        weights[i] = spill / (double)n, spike[i] = most / (double)n;
    int rc = spr_dpdk_begin(w->router);
    if (rc >= 0)
        rc = spr_dpdk_spill_set(w->router, "web", to, weights, n, ramp_per_s);
    if (rc >= 0)
        rc = spr_dpdk_spike_set(w->router, "web", to, spike, n);
    return rc >= 0 ? spr_dpdk_commit(w->router, (struct spr_time){0, 0}, NULL) : rc;
}

/* ---- shards ---- */

/* Shards 1..n are to be there. Those above stop getting connections first and end half a second later. */
static void want(struct world *w, int n, double now_s) {
    int serving = 0;
    w->wanted = n;
    for (int k = 1; k < SERVERS; k++) {
        struct bed_server *s = &w->bed->server[k];
        if (k <= n) {
            w->drained_s[k] = 0;
            atomic_store(&s->wanted, 1);
        } else if (atomic_load(&s->wanted) && w->drained_s[k] == 0) {
            w->drained_s[k] = now_s + 0.5;
        } else if (w->drained_s[k] > 0 && now_s >= w->drained_s[k]) {
            atomic_store(&s->wanted, 0);
            w->drained_s[k] = 0;
        }
        serving += k == serving + 1 && k <= n && atomic_load(&s->ready);
    }
    w->serving = serving;
}

static int needed(double rate, double share) {
    int n = (int)ceil(rate / (share * CAPACITY)) - 1;
    return n < 0 ? 0 : n >= SERVERS ? SERVERS - 1 : n;
}

/* ---- policies ---- */

/* As many servers as keep what is measured below the threshold; fewer only when one less would be well below it. */
static int reactive(struct world *w, double now_s) {
    int n = needed(w->rate, w->o.threshold), less = needed(w->rate, 0.85 * w->o.threshold);
    want(w, n > w->wanted ? n : less < w->wanted ? less : w->wanted, now_s);
    return steer_to(w, w->serving / (w->serving + 1.0), 0, 0);
}

/* The highest 0.9 quantile of the steps until a shard that is asked for now would serve, and one more. */
static int look_ahead(struct world *w, double *peak) {
    spr_forecast *f = NULL;
    struct spr_panel now = {.size = sizeof now,
                            .data = &w->rate,
                            .series = 1,
                            .steps = 1,
                            .series_stride = sizeof(double),
                            .step_stride = sizeof(double)};
    int rc = spr_forecaster_update(w->forecaster, &now);
    if (rc >= 0)
        rc = spr_forecaster_predict(w->forecaster, NULL, &f);
    *peak = w->rate;
    for (int h = 0; rc >= 0 && h < spr_forecast_horizon(f); h++)
        *peak = fmax(*peak, spr_forecast_quantiles(f)[h]);
    spr_forecast_unref(f);
    return rc;
}

static int predictive(struct world *w, double now_s) {
    double peak = 0;
    int rc = look_ahead(w, &peak);
    if (rc < 0)
        return rc;
    int n = needed(peak, 0.8), less = needed(peak, 0.7);
    want(w, n > w->wanted ? n : less < w->wanted ? less : w->wanted, now_s);
    double even = w->serving / (w->serving + 1.0), carry = w->rate > 0 ? fmin(1, w->serving * CAPACITY / w->rate) : 1;
    struct spr_dpdk_service_stats s = {.size = sizeof s};
    spr_dpdk_service_stats(w->router, "web", &s);
    struct spr_steer_in in = {.size = sizeof in,
                              .demand = peak,
                              .room = CAPACITY,
                              .lead_s = BOOT_S,
                              .use = w->rate * (1 - s.share) / CAPACITY,
                              .pressure = NAN,
                              .queue = NAN,
                              .carry = carry,
                              .warmness = w->serving ? 1 : 0,
                              .spill_at_most = even,
                              .flow_lifetime_s = 0.1};
    struct spr_steer_out out = {.size = sizeof out};
    int64_t now_ns = (int64_t)(now_s * 1e9);
    if (!w->serving) {
        spr_steer_reset(w->steer, 0);
        return steer_to(w, 0, 0, 0);
    }
    rc = spr_steer_step(w->steer, (struct spr_time){now_ns, now_ns}, &in, 1);
    if (rc >= 0)
        rc = spr_steer_get(w->steer, 0, &out);
    return rc >= 0 ? steer_to(w, out.spill, even, out.ramp_per_s) : rc;
}

/* ---- a run ---- */

static int start_policy(struct world *w, enum policy p) {
    struct spr_holt_winters_opts hw = {.size = sizeof hw, .period = DAY, .trend = SPR_HW_TREND_NONE};
    static const double levels[] = {0.9};
    int ahead = (int)ceil((BOOT_S + 1) / w->step_s) + 1;
    struct spr_forecaster_opts f = {.size = sizeof f,
                                    .step_ns = (int64_t)(w->step_s * 1e9),
                                    .horizon = ahead < AHEAD_MOST ? ahead : AHEAD_MOST,
                                    .level_count = 1,
                                    .levels = levels,
                                    .config = &hw};
    struct spr_steer_opts law = {
        .size = sizeof law, .services = 1, .target = 0.7, .high = 0.8, .ramp_per_s = 2, .fall_per_s = 1};
    struct spr_panel past = {.size = sizeof past,
                             .data = w->count,
                             .series = 1,
                             .steps = PAST_DAYS * DAY,
                             .series_stride = sizeof w->count,
                             .step_stride = sizeof(double)};
    spr_forecaster_destroy(w->forecaster);
    spr_steer_destroy(w->steer);
    w->forecaster = NULL, w->steer = NULL;
    w->wanted = w->serving = 0, w->spent_s = 0, w->rate = w->count[PAST_DAYS * DAY - 1];
    memset(w->drained_s, 0, sizeof w->drained_s);
    for (int k = 1; k < SERVERS; k++)
        atomic_store(&w->bed->server[k].wanted, 0);
    int rc = steer_to(w, 0, 0, 0);
    if (rc < 0 || p != PREDICTIVE)
        return rc;
    rc = spr_forecaster_create(w->ctx, spr_forecaster_holt_winters(), &f, &w->forecaster);
    if (rc >= 0)
        rc = spr_forecaster_fit(w->forecaster, &past, 0, 0);
    return rc >= 0 ? spr_steer_create(w->ctx, &law, &w->steer) : rc;
}

/* A control step: what the router counted since the last one, then what the policy makes of it. */
static int control(struct world *w, enum policy p, double now_s) {
    struct spr_dpdk_service_stats s = {.size = sizeof s};
    int rc = spr_dpdk_service_stats(w->router, "web", &s);
    w->rate = (double)(s.opened - w->opened) / w->step_s;
    w->opened = s.opened;
    if (rc < 0 || p == NONE)
        return rc;
    return p == REACTIVE ? reactive(w, now_s) : predictive(w, now_s);
}

static int run_policy(struct world *w, enum policy p) {
    struct bed *b = w->bed;
    struct spr_dpdk_service_stats s = {.size = sizeof s};
    int rc = start_policy(w, p), told = -1;
    if (rc < 0 || (rc = spr_dpdk_service_stats(w->router, "web", &s)) < 0)
        return rc;
    w->opened = s.opened;
    for (uint32_t i = 0; i < b->count; i++)
        b->request[i].latency_s = -1;
    atomic_store(&b->done, 0);
    int64_t start = bed_now_ns() + 100000000, last = start;
    double next_s = w->step_s;
    atomic_store(&b->start_ns, start);
    while (atomic_load(&b->start_ns) && rc >= 0) {
        usleep(TICK_MS * 1000);
        int64_t now = bed_now_ns();
        double now_s = (double)(now - start) * 1e-9;
        rc = spr_dpdk_step(w->router, (struct spr_time){now, now});
        for (int k = 1; k < SERVERS; k++)
            w->spent_s += atomic_load(&b->server[k].wanted) ? (double)(now - last) * 1e-9 : 0;
        last = now;
        if (rc >= 0 && now_s >= next_s) {
            next_s += w->step_s;
            rc = control(w, p, now_s);
        }
        int part = (int)(20 * now_s / (w->o.days * w->o.day_s));
        if (part != told && isatty(2))
            fprintf(stderr, "\r%-10s %3d %%  %d shards, %.0f requests/s ", policy_name[p], part > 20 ? 100 : 5 * part,
                    w->serving, w->rate);
        told = part;
    }
    if (isatty(2))
        fprintf(stderr, "\r%60s\r", "");
    return rc;
}

/* ---- what came of it ---- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What failed took longer than any patience. */
static double quantile(double *x, size_t n, double q) {
    if (!n)
        return 0;
    qsort(x, n, sizeof *x, by_size);
    size_t at = (size_t)ceil(q * (double)n);
    return x[at ? at - 1 : 0];
}

static int sum_up(const struct world *w, struct result *r) {
    const struct bed *b = w->bed;
    double *x = malloc((b->count + 1) * sizeof *x), end = w->o.days * w->o.day_s;
    if (!x)
        return SPR_E_NOMEM;
    *r = (struct result){.requests = b->count, .spent_s = w->spent_s, .ran = true};
    for (int bin = 0; bin < BINS; bin++) {
        size_t n = 0;
        for (uint32_t i = 0; i < b->count; i++)
            if ((int)(b->request[i].at_s / end * BINS) == bin)
                x[n++] = b->request[i].latency_s < 0 ? PATIENCE : b->request[i].latency_s;
        r->bin_load[bin] = (double)n / (end / BINS);
        r->bin99[bin] = quantile(x, n, 0.99);
    }
    for (uint32_t i = 0; i < b->count; i++) {
        r->failed += b->request[i].latency_s < 0;
        x[i] = b->request[i].latency_s < 0 ? PATIENCE : b->request[i].latency_s;
    }
    r->p50 = quantile(x, b->count, 0.5);
    r->p99 = quantile(x, b->count, 0.99);
    r->errors = b->count ? (double)r->failed / b->count : 0;
    free(x);
    return SPR_OK;
}

static void draw(const char *name, const double *y, double low, double high, bool logarithm) {
    static const char *const block[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    printf("  %-11s", name);
    for (int i = 0; i < BINS; i++) {
        double part = logarithm ? log(fmax(y[i], low) / low) / log(high / low) : (y[i] - low) / (high - low);
        int level = (int)(part * 8.999);
        fputs(block[level < 0 ? 0 : level > 8 ? 8 : level], stdout);
    }
    putchar('\n');
}

static void show(const struct world *w, const struct result *r) {
    const struct result *one = NULL;
    if (r[PREDICTIVE].ran && r[REACTIVE].ran)
        printf("Of %u requests %u failed with the forecast, %u with the threshold, %u without shards; the slowest "
               "hundredth took %.0f, %.0f and %.0f ms.\n\n",
               r[NONE].requests ? r[NONE].requests : r[REACTIVE].requests, r[PREDICTIVE].failed, r[REACTIVE].failed,
               r[NONE].failed, 1e3 * r[PREDICTIVE].p99, 1e3 * r[REACTIVE].p99, 1e3 * r[NONE].p99);
    printf("  %-11s %9s %9s %9s %9s %14s\n", "", "p50 ms", "p99 ms", "failed", "share", "shard-seconds");
    for (int p = 0; p < POLICIES; p++)
        if (r[p].ran)
            one = &r[p], printf("  %-11s %9.1f %9.1f %9u %8.2f%% %14.1f\n", policy_name[p], 1e3 * r[p].p50,
                                1e3 * r[p].p99, r[p].failed, 100 * r[p].errors, r[p].spent_s);
    if (!one)
        return;
    printf("\n  slowest hundredth over time, 5 ms to 2 s (logarithmic); requests a second, 0 to 400\n");
    for (int p = 0; p < POLICIES; p++)
        if (r[p].ran)
            draw(policy_name[p], r[p].bin99, 0.005, PATIENCE, true);
    draw("load", one->bin_load, 0, 400, false);
    printf("\n  Real: packets, TCP, the router. Made: servers that answer %.0f requests a second, shards that boot in "
           "%.1f s, a day of %.0f s; seed %llu, threshold %.2f.\n",
           CAPACITY, BOOT_S, w->o.day_s, (unsigned long long)w->o.seed, w->o.threshold);
}

static void show_json(const struct world *w, const struct result *r) {
    printf("{\"seed\": %llu, \"day_s\": %g, \"days\": %d, \"threshold\": %g, \"policies\": {",
           (unsigned long long)w->o.seed, w->o.day_s, w->o.days, w->o.threshold);
    for (int p = 0, n = 0; p < POLICIES; p++)
        if (r[p].ran)
            printf("%s\"%s\": {\"requests\": %u, \"failed\": %u, \"p50_s\": %.6f, \"p99_s\": %.6f, \"shard_s\": %.1f}",
                   n++ ? ", " : "", policy_name[p], r[p].requests, r[p].failed, r[p].p50, r[p].p99, r[p].spent_s);
    printf("}}\n");
}

/* ---- begin ---- */

static int read_options(int argc, char **argv, struct options *o) {
    static const struct option known[] = {{"quick", 0, NULL, 'q'},
                                          {"seed", 1, NULL, 's'},
                                          {"policy", 1, NULL, 'p'},
                                          {"threshold", 1, NULL, 't'},
                                          {"json", 0, NULL, 'j'},
                                          {"help", 0, NULL, 'h'},
                                          {0}};
    int c;
    *o = (struct options){.seed = 1, .day_s = 24, .days = 2, .threshold = 0.4, .only = -1};
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (c == 'q')
            o->day_s = 12, o->days = 1;
        else if (c == 's')
            o->seed = strtoull(optarg, NULL, 10);
        else if (c == 't')
            o->threshold = atof(optarg);
        else if (c == 'j')
            o->json = true;
        else if (c == 'p') {
            for (o->only = POLICIES - 1; o->only >= 0 && strcmp(policy_name[o->only], optarg) != 0; o->only--)
                ;
            if (o->only < 0)
                return die("--policy is none, reactive or predictive, not", optarg);
        } else {
            fprintf(c == 'h' ? stdout : stderr, "usage: flash_crowd [--quick] [--seed N] [--policy "
                                                "none|reactive|predictive] [--threshold SHARE] [--json]\n");
            exit(c == 'h' ? 0 : 2);
        }
    }
    return o->threshold > 0.05 && o->threshold < 2 ? 0 : die("--threshold is a share of a server, 0.05 to 2", NULL);
}

static int start_eal(void) {
    char *args[] = {"flash_crowd",
                    "--no-huge",
                    "-m",
                    "256",
                    "--no-pci",
                    "--no-telemetry",
                    "--no-shconf",
                    "--lcores",
                    NULL,
                    "--log-level=lib.eal:error",
                    "--vdev=net_af_packet0,iface=fc-l0,blocksz=4096,framesz=2048,framecnt=4096",
                    "--vdev=net_af_packet1,iface=fc-l1,blocksz=4096,framesz=2048,framecnt=4096"};
    char cores[64];
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    snprintf(cores, sizeof cores, n > 1 ? "0@(0-%ld),1@(0-%ld)" : "0@0,1@0", n - 1, n - 1);
    args[8] = cores;
    return rte_eal_init((int)(sizeof args / sizeof *args), args);
}

int main(int argc, char **argv) {
    static struct world w;
    static struct result results[POLICIES];
    const char *why = "";
    if (read_options(argc, argv, &w.o))
        return 2;
    if (geteuid())
        return die("it makes network namespaces and needs root", "sudo flash_crowd");
    signal(SIGPIPE, SIG_IGN);
    if (!(w.bed = bed_open(&why)))
        return die("the bed cannot be made", why);
    if (start_eal() < 0)
        return die("EAL cannot be initialised", "");
    w.step_s = w.o.day_s / DAY;
    make_load(&w);
    int rc = spr_context_create(NULL, &w.ctx);
    if (rc >= 0)
        rc = open_router(&w);
    for (int p = 0; p < POLICIES && rc >= 0; p++) {
        if (w.o.only >= 0 && w.o.only != p)
            continue;
        rc = run_policy(&w, (enum policy)p);
        if (rc >= 0)
            rc = sum_up(&w, &results[p]);
    }
    if (rc < 0)
        return die("the router", said(w.ctx));
    w.o.json ? show_json(&w, results) : show(&w, results);
    spr_forecaster_destroy(w.forecaster);
    spr_steer_destroy(w.steer);
    spr_dpdk_close(w.router);
    spr_context_unref(w.ctx);
    return 0;
}
