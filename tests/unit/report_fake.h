/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A made-up replay for the report's tests: the scenario and the verdict stand here in place of the library's, so that
 * every sentence form and every hostile name can be had. Included by one program each, which links the report's own
 * objects.
 */
#ifndef SPR_TESTS_REPORT_FAKE_H
#define SPR_TESTS_REPORT_FAKE_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <shardpredict/io.h>

struct spr_verdict {
    struct spr_verdict_summary sum;
    int32_t count;
    struct spr_policy_score score[SPR_POLICY_COUNT];
};
struct spr_scenario_file {
    struct spr_scenario scenario;
    spr_series *series;
    spr_fleet *fleet;
    double unit;
};

int spr_verdict_summary(const spr_verdict *v, struct spr_verdict_summary *out) { return *out = v->sum, SPR_OK; }
int32_t spr_verdict_count(const spr_verdict *v) { return v->count; }
int spr_verdict_score(const spr_verdict *v, int32_t i, struct spr_policy_score *out) {
    return *out = v->score[i], SPR_OK;
}
struct spr_scenario *spr_scenario_file_scenario(spr_scenario_file *s) {
    return &s->scenario;
}
spr_series *spr_scenario_file_series(const spr_scenario_file *s) { return s->series; }
double spr_scenario_file_unit(const spr_scenario_file *s, int resource, const char **name) {
    if (name)
        *name = resource == SPR_CPU ? "MHz" : "bytes";
    return resource == SPR_CPU ? s->unit : 1;
}

/* A verdict of all six policies; costs in the order of ::spr_policy, `asked` a mask. The rival is found as the library
 * does. */
static inline struct spr_verdict fake_verdict(const double cost[SPR_POLICY_COUNT], unsigned asked) {
    static const int rivals[] = {SPR_POLICY_NONE, SPR_POLICY_STATIC_P95, SPR_POLICY_REACTIVE_TUNED};
    struct spr_verdict v = {
        .sum = {.size = sizeof v.sum, .bound = cost[5] * 0.93, .unspillable_cost = cost[5] * 0.7, .hours = 384}};
    v.sum.tuned_threshold = 0.95;
    v.sum.tuned_hold_s = 300;
    for (size_t i = 0; i < 3; i++)
        if (cost[rivals[i]] < cost[v.sum.rival])
            v.sum.rival = rivals[i];
    double none = cost[0], oracle = cost[5], rival = cost[v.sum.rival];
    v.sum.has_room = rival - oracle >= 0.02 * (none - oracle) && none > oracle;
    for (int k = 0; k < SPR_POLICY_COUNT; k++) {
        struct spr_policy_score s = {.size = sizeof s, .policy = k, .asked = (int)(asked >> k & 1), .cost = cost[k]};
        s.cost_unserved = k == 0 ? cost[k] : 0.71 * cost[k];
        s.cost_held = cost[k] - s.cost_unserved;
        s.saved = none - oracle > 1e-9 * none ? (none - cost[k]) / (none - oracle) : NAN;
        s.regret = rival - oracle > 1e-9 * none ? (cost[k] - oracle) / (rival - oracle) : NAN;
        s.unserved_share = 1e-5 * s.cost_unserved;
        s.violation_minutes = 81.3 * s.cost_unserved;
        s.episodes = 913;
        s.episodes_covered = k == 0 ? 0 : 613 + 40 * k;
        s.lead_median_s = k == 0 ? NAN : 117.5;
        s.shard_hours_held = s.cost_held;
        s.shard_hours_used = 0.61 * s.cost_held;
        s.actions = 800 * k;
        s.energy_kwh = NAN;
        v.score[v.count++] = s;
    }
    return v;
}

/* ---- a fleet with days, bursts and names of anybody's choice ---- */

static inline double fake_noise(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*state >> 11) / 9007199254740992.0;
}

static inline double fake_demand(int vm, int64_t step, uint64_t *state) {
    double day = sin(6.283185307179586 * ((double)step / 288.0 + 0.07 * (vm % 9)));
    double burst = (step / 40 + vm * 5) % 17 == 0 ? 2.2 : 0;
    return 1 + 0.5 * day + burst + 0.25 * fake_noise(state);
}

static inline int fake_series(spr_context *c, int vms, int64_t steps, const char *(*name)(int), spr_series **out) {
    struct spr_metrics_opts o = SPR_METRICS_OPTS_INIT;
    spr_metrics *m = NULL;
    uint64_t state = 17;
    int rc = spr_metrics_create(c, &o, &m);
    for (int v = 0; rc >= 0 && v < vms; v++) {
        int64_t row;
        rc = spr_metrics_add(m, name(v), NULL, SPR_CPU, SPR_GAUGE, 1, &row);
        for (int64_t s = 0; rc >= 0 && s < steps; s++) {
            double x = fake_demand(v, s, &state);
            if ((s + v) % 97 != 0) /* a gap now and then */
                rc = spr_metrics_push(m, row, s * INT64_C(300000000000), x, 0);
        }
    }
    rc = rc < 0 ? rc : spr_metrics_finish(m, out);
    spr_metrics_destroy(m);
    return rc;
}

static inline int fake_fleet(spr_context *c, int vms, int hosts, const char *(*name)(int), spr_fleet **out) {
    spr_fleet_builder *b = NULL;
    struct spr_time now = {0, 0};
    int32_t index;
    int rc = spr_fleet_builder_create(c, NULL, &b);
    rc = rc < 0 ? rc : spr_fleet_builder_use(b, SPR_CPU);
    for (int h = 0; rc >= 0 && h < hosts; h++) {
        char id[32];
        snprintf(id, sizeof id, h == 1 ? "h&st<%d>" : "host%d", h);
        struct spr_host host = {.size = sizeof host, .id = id};
        host.capacity.of[SPR_CPU] = 1.55 * vms / hosts;
        rc = spr_fleet_builder_host(b, &host, &index);
    }
    for (int v = 0; rc >= 0 && v < vms; v++) {
        struct spr_vm vm = {
            .size = sizeof vm, .id = name(v), .host = v % hosts, .replica = v % 2, .spillable = 0.8, .klass = -1};
        vm.capacity.of[SPR_CPU] = v % 3 ? 4 : 0;
        rc = spr_fleet_builder_vm(b, &vm, &index);
    }
    if (rc < 0)
        spr_fleet_builder_destroy(b);
    return rc < 0 ? rc : spr_fleet_builder_finish(b, now, out);
}

static inline int fake_scenario(spr_context *c, int vms, int hosts, int64_t steps, const char *(*name)(int),
                                struct spr_scenario_file *s) {
    memset(s, 0, sizeof *s);
    s->unit = 1000;
    s->scenario = (struct spr_scenario){.size = sizeof s->scenario,
                                        .name = "made <up> & \"odd\"",
                                        .train_until = steps * 7 / 15,
                                        .score_first = steps * 7 / 15,
                                        .score_end = steps,
                                        .seed = 3};
    int rc = fake_series(c, vms, steps, name, &s->series);
    rc = rc < 0 ? rc : fake_fleet(c, vms, hosts, name, &s->fleet);
    s->scenario.fleet = s->fleet;
    return rc;
}

static inline void fake_scenario_finish(struct spr_scenario_file *s) {
    spr_series_unref(s->series);
    spr_fleet_unref(s->fleet);
    memset(s, 0, sizeof *s);
}

/* Rows and changes as a replay would give them: what bursts lack, less for the better policies; shards of bursting VMs.
 */
static inline int fake_run(spr_report *r, const struct spr_scenario_file *s, int vms, int hosts) {
    static const double lacks[] = {1, 0.6, 0.5, 0.32, 0.3, 0.25};
    int rc = SPR_OK;
    for (int k = 0; k < SPR_POLICY_COUNT; k++)
        for (int64_t t = s->scenario.score_first; rc >= 0 && t < s->scenario.score_end; t++)
            for (int v = 0; rc >= 0 && v < vms; v++) {
                bool burst = (t / 40 + v * 5) % 17 == 0;
                struct spr_replay_step step = {.size = sizeof step,
                                               .policy = k,
                                               .vm = v,
                                               .resource = SPR_CPU,
                                               .time_s = 300.0 * (double)t,
                                               .demand = 3.1};
                step.got = burst ? 3.1 - 0.9 * lacks[k] : 3.1;
                step.held = k && burst && v % 2 ? 0.93 : 0;
                if (step.got < step.demand || step.held > 0)
                    rc = spr_report_step(r, &step);
                if (!burst || !k || v % 2 == 0 || (t % 40 != 0 && t % 40 != 39))
                    continue;
                struct spr_lifecycle_event e = {
                    .size = sizeof e, .vm = v, .host = (v + 3) % hosts, .shard = (uint64_t)(t / 40 * vms + v + 1)};
                struct spr_replay_event event = {
                    .size = sizeof event, .policy = k, .time_s = 300.0 * (double)t, .change = &e};
                e.to = t % 40 == 0 ? SPR_SHARD_WARM : SPR_SHARD_RELEASED;
                e.because = t % 40 == 0 ? SPR_BECAUSE_EXPECTED_WORTH : SPR_BECAUSE_DRAINED;
                e.ready.of[SPR_CPU] = t % 40 == 0 ? 0.93 : 0;
                rc = rc < 0 ? rc : spr_report_event(r, &event);
            }
    return rc;
}

#endif
