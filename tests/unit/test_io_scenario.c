/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Scenarios and fleets: read, by default, and wrong. */
#include <math.h>

#include "io_scratch.h"

static struct spr_scenario_opts opts(void) {
    struct spr_scenario_opts o = {.size = sizeof o, .data_dir = scratch, .maps_dir = scratch, .seed = 11};
    return o;
}
static int read_scenario(const char *path, spr_scenario_file **f) {
    struct spr_scenario_opts o = opts();
    return spr_scenario_read(ctx, path, &o, f);
}
static struct spr_vm vm_of(const spr_fleet *f, int32_t i) {
    struct spr_vm v = {.size = sizeof v};
    assert_int_equal(spr_fleet_vm(f, i, &v), SPR_OK);
    return v;
}
static struct spr_host host_of(const spr_fleet *f, int32_t i) {
    struct spr_host h = {.size = sizeof h};
    assert_int_equal(spr_fleet_host(f, i, &h), SPR_OK);
    return h;
}

/* Four VMs, ten steps: a 100 %, b 60 %, c 50 %, d 10 % of 2000 MIPS each; b has a gap. */
static void write_trace(void) {
    char text[512] = "t,a,b,c,d\n";
    for (int i = 0; i < 10; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d,100,%s,50,10\n", i, i == 0 || i == 5 ? "" : "60");
    write_text("trace.csv", text);
    write_text("caps.csv", "vm,cpu_capacity_mips\na,2000\nb,2000\nc,2000\nd,2000\n");
    write_text("pct.yaml", "schema: 1\nform: wide\ntime: {column: t, unit: steps, step_s: 300}\n"
                           "files: [{resource: cpu, unit: percent_of_capacity, default: true}]\nseveral: separate\n");
}

static const char whole[] =
    "{\"schema\": 1, \"name\": \"small\", \"trace\": [\"$SPR_DATA/trace.csv\"], \"map\": \"pct\", \"capacity\": "
    "\"caps.csv\",\n"
    "\"resources\": [\"cpu\"], \"gaps\": \"hold\", \"step_s\": 300, \"substep_s\": 10, \"control_s\": 30, \"refit_s\": "
    "3600,\n"
    "\"train_until\": 4, \"score\": [5, 9],\n"
    "\"fleet\": {\"hosts\": {\"count\": 2, \"cpu\": {\"rule\": \"any words\", \"rho\": 0.5, \"unit\": \"MIPS\"}},\n"
    "           \"vms\": {\"replica\": \"0110\", \"spillable\": 0.7, \"flow_lifetime_s\": 45, \"shards_at_most\": "
    "3}},\n"
    "\"placement\": \"greedy-mean\", \"lead_s\": 70, \"prices\": {\"cpu\": {\"unserved\": 7, \"held\": 2}}, \"room\": "
    "0.8,\n"
    "\"change_at_least\": 0.05, \"reactive\": {\"published\": {\"threshold\": 0.85, \"hold_s\": 600},\n"
    "  \"tuned\": {\"thresholds\": [0.7, 1.2], \"holds_s\": [0], \"never\": false, \"rule\": \"words\"}},\n"
    "\"policy\": {\"actions_per_vm_day\": 4}, \"seed\": 99, \"expect\": {\"none\": 1, \"what\": [\"ever\"]}}\n";

static void every_word_of_a_scenario_counts(void **state) {
    (void)state;
    write_trace();
    spr_scenario_file *f = NULL;
    int rc = read_scenario(write_text("s.json", whole), &f);
    if (rc < 0)
        fail_msg("%s:%d: %s", last_error().file, (int)last_error().line, last_error().text);
    const struct spr_scenario *s = spr_scenario_file_scenario(f);
    const char *unit = NULL;
    assert_string_equal(s->name, "small");
    assert_int_equal(s->train_until, 4);
    assert_true(s->score_first == 5 && s->score_end == 9);
    assert_true(s->substep_s == 10 && s->control_s == 30 && s->refit_s == 3600);
    assert_true(s->allocate_s[0] == 40 && s->warm_s[0] == 30 && s->allocate_s[1] == 40 && s->warm_s[1] == 30);
    assert_true(s->price[SPR_CPU].unserved == 7 && s->price[SPR_CPU].held == 2);
    assert_true(s->room == 0.8 && s->change_at_least == 0.05);
    assert_true(s->reactive_threshold == 0.85 && s->reactive_hold_s == 600);
    assert_int_equal(s->tuned_threshold_count, 2);
    assert_true(s->tuned_thresholds[1] == 1.2 && s->tuned_hold_count == 1 && s->tuned_never == SPR_NONE);
    assert_int_equal(s->actions_per_vm_day, 4);
    assert_true(s->seed == 99);
    /* 4.4 cores at every step, the gap of b filled with its first value: C = 4.4 / (2 * 0.5). */
    assert_int_equal(spr_fleet_host_count(s->fleet), 2);
    assert_true(fabs(host_of(s->fleet, 1).capacity.of[SPR_CPU] - 4.4) < 1e-12);
    assert_true(spr_scenario_file_unit(f, SPR_CPU, &unit) == 1000);
    assert_string_equal(unit, "MIPS");
    static const int32_t where[] = {0, 1, 1, 0}, may[] = {0, 1, 1, 0}; /* a | b, c | d to the emptier */
    for (int i = 0; i < 4; i++) {
        struct spr_vm v = vm_of(s->fleet, i);
        assert_int_equal(v.host, where[i]);
        assert_int_equal(v.replica, may[i]);
        assert_true(v.spillable == 0.7 && v.flow_lifetime_s == 45 && v.shards_at_most == 3);
        assert_true(v.capacity.of[SPR_CPU] == 2);
    }
    assert_string_equal(vm_of(s->fleet, 2).id, "trace/c");
    assert_int_equal(spr_series_count(spr_scenario_file_series(f)), 4);
    spr_scenario_file_destroy(f);
}

/* The scenario with one text replaced by another. */
static const char *with(const char *old, const char *new) {
    static char text[8192];
    const char *at = strstr(whole, old);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, new, at + strlen(old));
    return write_text("s.json", text);
}

static void values_win_over_rules_and_places_may_be_said(void **state) {
    (void)state;
    write_trace();
    spr_scenario_file *f = NULL;
    assert_int_equal(read_scenario(with("\"rho\": 0.5", "\"rho\": 0.5, \"value\": 3391.63"), &f), SPR_OK);
    assert_true(host_of(spr_scenario_file_scenario(f)->fleet, 0).capacity.of[SPR_CPU] * 1000 == 3391.63);
    spr_scenario_file_destroy(f);
    assert_int_equal(read_scenario(with("\"greedy-mean\"", "[1, 0, 1, 1]"), &f), SPR_OK);
    assert_int_equal(vm_of(spr_scenario_file_scenario(f)->fleet, 1).host, 0);
    assert_int_equal(vm_of(spr_scenario_file_scenario(f)->fleet, 3).host, 1);
    spr_scenario_file_destroy(f);
    assert_int_equal(
        read_scenario(
            with("\"greedy-mean\"", "{\"trace/a\": \"host1\", \"trace/b\": 0, \"trace/c\": 1, \"trace/d\": \"host0\"}"),
            &f),
        SPR_OK);
    assert_int_equal(vm_of(spr_scenario_file_scenario(f)->fleet, 0).host, 1);
    spr_scenario_file_destroy(f);
    assert_int_equal(read_scenario(with("\"lead_s\": 70", "\"durations_s\": {\"allocate\": {\"p50\": 5, \"p95\": 9.5}, "
                                                          "\"warm\": {\"p50\": 30, \"p95\": 60}}"),
                                   &f),
                     SPR_OK);
    assert_true(spr_scenario_file_scenario(f)->allocate_s[1] == 9.5);
    spr_scenario_file_destroy(f);
    assert_int_equal(read_scenario(with("\"lead_s\": 70", "\"lead_s\": 10"), &f), SPR_OK);
    assert_true(spr_scenario_file_scenario(f)->allocate_s[0] == 10 &&
                spr_scenario_file_scenario(f)->warm_s[0] == SPR_NONE);
    spr_scenario_file_destroy(f);
}

static void a_wrong_scenario_is_told_with_its_place(void **state) {
    (void)state;
    write_trace();
    static const struct {
        const char *old, *new, *says;
        int64_t line;
    } cases[] = {
        {"\"room\"", "\"rooom\"", "did you mean 'room'", 6},
        {"\"lead_s\": 70", "\"lead_s\": \"soon\"", "'soon'", 6},
        {"\"lead_s\": 70", "\"lead_s\": -1", "between", 6},
        {"\"name\": \"small\", ", "", "'name' is missing", 1},
        {"\"map\": \"pct\"", "\"map\": \"nowhere\"", "no map 'nowhere'", 1},
        {"$SPR_DATA/trace", "../trace", "'..'", 1},
        {"\"resources\": [\"cpu\"]", "\"resources\": [\"memory\"]", "", 2},
        {"\"step_s\": 300", "\"step_s\": 60", "the trace's step is 300", 2},
        {"\"gaps\": \"hold\"", "\"gaps\": \"zero\"", "hold", 2},
        {"\"score\": [5, 9]", "\"score\": [5, 99]", "between", 3},
        {"\"score\": [5, 9]", "\"score\": [5]", "score must be", 3},
        {"\"train_until\": 4", "\"train_until\": 0", "between", 3},
        {"\"rho\": 0.5, ", "", "a value, or a rule with rho", 4},
        {"\"unit\": \"MIPS\"", "\"unit\": \"bytes\"", "'bytes'", 4},
        {"\"0110\"", "\"011\"", "3 VMs, the trace has 4", 5},
        {"\"0110\"", "\"01x0\"", "0 and 1", 5},
        {"\"greedy-mean\"", "[0, 0, 0]", "3 VMs, the trace has 4", 6},
        {"\"greedy-mean\"", "[0, 0, 0, 2]", "between 0 and 1", 6},
        {"\"greedy-mean\"", "{\"trace/a\": 1}", "'trace/b'", 6},
        {"\"never\": false", "\"never\": 7", "true or false", 8},
        {"\"actions_per_vm_day\"", "\"actions_per_wm_day\"", "did you mean", 9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        spr_scenario_file *f = NULL;
        const char *path = with(cases[i].old, cases[i].new);
        int rc = read_scenario(path, &f);
        assert_null(f);
        if (rc != SPR_E_FORMAT || !strstr(last_error().text, cases[i].says))
            fail_msg("case %zu: %d, %s", i, rc, rc < 0 ? last_error().text : "");
        if (*cases[i].says && (strcmp(last_error().file, path) != 0 || last_error().line != cases[i].line))
            fail_msg("case %zu: %s:%d: %s", i, last_error().file, (int)last_error().line, last_error().text);
    }
    spr_scenario_file *f = NULL;
    struct spr_scenario_opts o = opts();
    o.data_dir = NULL;
    assert_int_equal(spr_scenario_read(ctx, write_text("s.json", whole), &o, &f), SPR_E_FORMAT);
    assert_non_null(strstr(last_error().text, "SPR_DATA"));
    assert_int_equal(read_scenario(in_scratch("none.json"), &f), SPR_E_NOT_FOUND);
    assert_null(f);
}

static void the_acceptance_scenarios_read(void **state) {
    (void)state;
    static const char *const names[] = {"azure_periodic", "azure_random", "bitbrains", "google", "planetlab_20110303"};
    const char *root = getenv("SPR_SOURCE_ROOT"), *data = shared_data("");
    char maps[512], path[1200], folder[1024];
    if (!root || !data) {
        print_message("the shared data are not here: set SPR_DATA\n");
        skip();
    }
    snprintf(maps, sizeof maps, "%s/examples/maps", root);
    snprintf(folder, sizeof folder, "%s", data);
    struct spr_scenario_opts o = {.size = sizeof o, .data_dir = folder, .maps_dir = maps};
    for (int i = 0; i < 10; i++) {
        spr_scenario_file *f = NULL;
        snprintf(path, sizeof path, "%s/../accept/scenarios/%s-%d.json", folder, names[i / 2], i % 2 ? 60 : 300);
        if (access(path, R_OK) != 0)
            continue;
        if (spr_scenario_read(ctx, path, &o, &f) < 0)
            fail_msg("%s:%d: %s", last_error().file, (int)last_error().line, last_error().text);
        const struct spr_scenario *s = spr_scenario_file_scenario(f);
        assert_true(s->allocate_s[0] + s->warm_s[0] == (i % 2 ? 60 : 300));
        spr_scenario_file_destroy(f);
    }
}

static spr_trace *own_trace(int days) {
    FILE *w = fopen(in_scratch("own.csv"), "w");
    fputs("time_s,vm,cpu_cores,memory_bytes,net_rx_bps,net_tx_bps,disk_read_Bps,disk_write_Bps\n", w);
    for (int t = 0; t < days * 288; t++)
        for (int v = 0; v < 30; v++)
            fprintf(w, "%d,vm%d,%d,%d,0,%d,1,1\n", t * 300, v, 1 + v % 7 + (t % 288 > 200), 1000 * (v + 1), t % 13);
    fclose(w);
    const char *path = in_scratch("own.csv");
    struct spr_trace_opts o = {.size = sizeof o, .files = &path, .file_count = 1};
    spr_trace *t = NULL;
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_OK);
    return t;
}

static void a_trace_alone_gets_the_default_scenario(void **state) {
    (void)state;
    spr_trace *t = own_trace(7);
    struct spr_scenario_opts o = opts();
    spr_scenario_file *f = NULL, *g = NULL;
    assert_int_equal(spr_scenario_default(ctx, t, &o, &f), SPR_OK);
    const struct spr_scenario *s = spr_scenario_file_scenario(f);
    assert_int_equal(s->train_until, 3 * 288);
    assert_int_equal(s->score_end, 7 * 288);
    assert_int_equal(spr_fleet_host_count(s->fleet), 3);
    assert_int_equal(spr_fleet_resources(s->fleet),
                     1u << SPR_CPU | 1u << SPR_MEMORY | 1u << SPR_NET_TX); /* rx is idle */
    double total = 30;
    for (int v = 0; v < 30; v++)
        total += 1 + v % 7;
    assert_true(fabs(host_of(s->fleet, 0).capacity.of[SPR_CPU] - total / (3 * 0.7)) < 1e-9);
    assert_true(s->price[SPR_MEMORY].unserved == 50 && s->price[SPR_NET_TX].unserved == 10);
    assert_true(s->allocate_s[0] == 180 && s->warm_s[0] == 120);
    int may = 0, on[3] = {0};
    for (int i = 0; i < 30; i++) {
        may += vm_of(s->fleet, i).replica == SPR_REPLICA_TEMPLATE;
        on[vm_of(s->fleet, i).host]++;
        assert_true(vm_of(s->fleet, i).spillable == 0.8);
    }
    assert_int_equal(may, 15);
    assert_true(on[0] > 5 && on[1] > 5 && on[2] > 5);
    o.seed = 12;
    o.hosts = 4;
    assert_int_equal(spr_scenario_default(ctx, t, &o, &g), SPR_OK);
    int same = 0;
    for (int i = 0; i < 30; i++)
        same += vm_of(spr_scenario_file_scenario(g)->fleet, i).replica == vm_of(s->fleet, i).replica;
    assert_true(same < 30); /* another seed, other VMs */
    assert_int_equal(spr_fleet_host_count(spr_scenario_file_scenario(g)->fleet), 4);
    spr_trace_destroy(t); /* the scenario holds the series */
    assert_int_equal(spr_series_steps(spr_scenario_file_series(f)), 7 * 288);
    spr_scenario_file_destroy(f);
    spr_scenario_file_destroy(g);
    t = own_trace(3);
    assert_int_equal(spr_scenario_default(ctx, t, NULL, &f), SPR_OK);
    assert_int_equal(spr_scenario_file_scenario(f)->train_until, 288);
    spr_scenario_file_destroy(f);
    spr_trace_destroy(t);
}

static const char fleet_text[] =
    "schema: 1\nhosts:\n  - {id: big, cpu_cores: 16, cpu_speed: 1.5, memory_bytes: 1e9, net_bps: 1e9, rack: r1, zone: "
    "z,\n"
    "     power_w: [90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100]}\n  - {id: small, count: 2, cpu_cores: 8, countable: "
    "{vf: 4}}\n"
    "latency_ms: {same_rack: 0.2, same_zone: 0.7, other_zone: 3}\n"
    "vms:\n  - {match: \"vm1*\", replica: image, spillable: 0.9, group: web, anti_affinity: db, priority: 3,\n"
    "     hosts_allowed: \"small*\", max: {cpu_cores: 2}, flow_lifetime_s: 30}\n  - {match: \"*\"}\n"
    "declared:\n  - {match: \"vm2*\", resource: cpu, start: 3600, end: \"1970-01-02T00:00:00Z\", amount: 2.5, "
    "confidence: 0.75}\n";

static void a_fleet_file_is_built_around_the_trace(void **state) {
    (void)state;
    spr_trace *t = own_trace(2);
    spr_fleet *f = NULL;
    if (spr_fleet_read(ctx, write_text("fleet.yaml", fleet_text), t, 0, 300, &f) < 0)
        fail_msg("%s:%d: %s", last_error().file, (int)last_error().line, last_error().text);
    assert_int_equal(spr_fleet_host_count(f), 3);
    assert_string_equal(host_of(f, 2).id, "small1");
    assert_true(host_of(f, 0).capacity.of[SPR_CPU] == 24 && host_of(f, 0).capacity.of[SPR_NET_TX] == 1e9);
    assert_true(host_of(f, 0).power_w[10] == 100);
    assert_true(host_of(f, 1).capacity.of[SPR_RESOURCE_COUNTABLE] == 4);
    assert_true(spr_fleet_resources(f) & 1u << SPR_CPU);
    struct spr_vm v = vm_of(f, 10), w = vm_of(f, 2);
    assert_string_equal(v.id, "vm10");
    assert_int_equal(v.replica, SPR_REPLICA_IMAGE);
    assert_true(v.spillable == 0.9 && v.priority == 3 && v.max.of[SPR_CPU] == 2);
    assert_string_equal(v.hosts_allowed, "small*");
    assert_int_equal(w.replica, SPR_REPLICA_NEVER);
    assert_true(w.demand.of[SPR_CPU] == 3 && w.demand_hour.of[SPR_CPU] == 3); /* step 299: before the daily rise */
    assert_true(w.seen_mono_ns == spr_fleet_time(f).mono_ns);
    assert_int_equal(spr_fleet_declared_count(f), 1);
    struct spr_declared d = {.size = sizeof d};
    assert_int_equal(spr_fleet_declared(f, 0, &d), SPR_OK);
    assert_true(d.start_wall_ns == INT64_C(3600000000000) && d.end_wall_ns == INT64_C(86400000000000));
    assert_true(d.amount == 2.5 && d.confidence == 0.75);
    spr_fleet_unref(f);
    f = NULL;
    assert_int_equal(
        spr_fleet_read(ctx, write_text("bad.yaml", "schema: 1\nhosts: [{id: a, cpu_core: 4}]\n"), t, 0, 300, &f),
        SPR_E_FORMAT);
    assert_non_null(strstr(last_error().text, "did you mean 'cpu_cores'"));
    assert_int_equal(last_error().line, 2);
    assert_int_equal(spr_fleet_read(ctx, write_text("bad.yaml", "schema: 1\nhosts: []\n"), t, 0, 300, &f),
                     SPR_E_FORMAT);
    assert_int_equal(spr_fleet_read(ctx, in_scratch("fleet.yaml"), t, 0, 300000, &f), SPR_E_ARG);
    assert_null(f);
    spr_trace_destroy(t);
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)
int main(void) {
    const struct CMUnitTest tests[] = {
        IO_TEST(every_word_of_a_scenario_counts),         IO_TEST(values_win_over_rules_and_places_may_be_said),
        IO_TEST(a_wrong_scenario_is_told_with_its_place), IO_TEST(the_acceptance_scenarios_read),
        IO_TEST(a_trace_alone_gets_the_default_scenario), IO_TEST(a_fleet_file_is_built_around_the_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
