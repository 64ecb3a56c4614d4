/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Every allocation behind the readers and writers of files fails once. */
#include "failing_alloc.h" /* before the scratch folder, whose context has a name that its functions use */
#include "io_scratch.h"

static const char rows[] =
    "job,task,part,t,c,m,top\n1,a,train,0,5,1,9\n1,a,test,1,6,2,9\n1,\"b\",train,0,7,,9\n2,c,train,2,1,1,1\n";
static const char map[] =
    "schema: 1\nform: long\nabout: x\ntime: {column: t, unit: steps, step_s: 300, origin: 2020-01-01, zone: UTC}\n"
    "series: {column: [job, task]}\nseveral: separate\nwhere: {part: train}\nmetrics:\n"
    "  c: {resource: cpu, unit: percent_of_capacity}\n  top: {resource: cpu, unit: percent_of_capacity, aggregate: "
    "max}\n"
    "  m: {resource: hits, unit: none}\ncapacity: {file: side.csv, series: name, cpu: {column: mhz, unit: MHz}}\n";
static const char scenario[] =
    "schema: 1\nname: x\ntrace: [own.csv]\ncapacity: {cpu_cores: 2}\nresources: [cpu]\ntrain_until: 1\nscore: [1, "
    "3]\nfleet: fleet.yaml\n"
    "reactive: {tuned: {thresholds: [1], holds_s: [0]}}\nprices: {cpu: {unserved: 10, held: 1}}\n";
static const char fleet[] =
    "schema: 1\nhosts: [{id: h, count: 2, cpu_cores: 4, rack: r, zone: z, countable: {vf: 2}}, {id: g, cpu_cores: 9}]\n"
    "vms: [{match: a, replica: image, group: g, affinity: b, anti_affinity: c, hosts_allowed: \"*\", max: {cpu_cores: "
    "2}}, {match: \"*\"}]\n"
    "declared: [{vm: a, resource: cpu, start: 0, end: 300, amount: 1}]\nplacement: {a: h0, b: 2}\n";
static const char own[] = "time_s,vm,cpu_cores,memory_bytes\n300,a,1,1\n0,a,2,2\n300,b,1,1\n600,a,1,1\n600,b,4,4\n";

static int read_mapped(spr_context *c, void *arg) {
    const char *file = arg, *m = in_scratch("map.yaml");
    struct spr_trace_opts o = {.size = sizeof o, .files = &file, .file_count = 1, .map = m, .where = "job=1"};
    spr_trace *t = NULL;
    int rc = spr_trace_read(c, &o, &t);
    assert_true((rc < 0) == !t);
    spr_trace_destroy(t);
    return rc;
}

static void traces_with_maps_survive_every_failing_allocation(void **state) {
    (void)state;
    write_text("map.yaml", map);
    write_text("side.csv", "name,mhz\n1/a,2000\n1/b,1000\n");
    char path[512];
    snprintf(path, sizeof path, "%s", write_text("t.csv", rows));
    assert_true(failing_sweep(read_mapped, path) > 60);
}

static int read_scenario(spr_context *c, void *arg) {
    struct spr_scenario_opts o = {.size = sizeof o};
    spr_scenario_file *f = NULL;
    int rc = spr_scenario_read(c, arg, &o, &f);
    assert_true((rc < 0) == !f);
    spr_scenario_file_destroy(f);
    return rc;
}

static void scenarios_survive_every_failing_allocation(void **state) {
    (void)state;
    write_text("own.csv", own);
    write_text("fleet.yaml", fleet);
    char path[512];
    snprintf(path, sizeof path, "%s", write_text("s.yaml", scenario));
    assert_true(failing_sweep(read_scenario, path) > 100);
}

static int default_and_fleet(spr_context *c, void *arg) {
    const char *file = arg;
    struct spr_trace_opts o = {.size = sizeof o, .files = &file, .file_count = 1};
    spr_trace *t = NULL;
    spr_scenario_file *f = NULL;
    spr_fleet *fl = NULL;
    int rc = spr_trace_read(c, &o, &t);
    if (rc >= 0)
        rc = spr_scenario_default(c, t, NULL, &f);
    if (rc >= 0)
        rc = spr_fleet_read(c, in_scratch("fleet.yaml"), t, 0, 2, &fl);
    spr_fleet_unref(fl);
    spr_scenario_file_destroy(f);
    spr_trace_destroy(t);
    return rc;
}

static void default_scenarios_and_fleets_survive_every_failing_allocation(void **state) {
    (void)state;
    char path[512];
    write_text("fleet.yaml", fleet);
    snprintf(path, sizeof path, "%s", write_text("own.csv", own));
    assert_true(failing_sweep(default_and_fleet, path) > 100);
}

static int write_document(spr_context *c, void *arg) {
    spr_output *o = NULL;
    int rc = spr_output_create(c, arg, &o);
    if (rc < 0)
        return rc;
    for (int i = 0; i < 10000; i++)
        spr_output_number(o, i + 0.5, 9);
    return spr_output_commit(o);
}

static void documents_survive_every_failing_allocation(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", write_text("out.txt", "old"));
    assert_true(failing_sweep(write_document, path) > 4);
    assert_int_equal(scratch_files(), 1);
}

static const char plan[] =
    "{\"schema\": 1, \"fence\": 0, \"fleet_id\": 1, \"made_at_ns\": 1, \"infeasible\": [], \"actions\": [{\"id\": 1, "
    "\"kind\": \"allocate\", \"vm\": \"v\", \"shard\": null, \"host\": \"h\", \"resources\": {\"cpu_cores\": 1}, "
    "\"due_ns\": 1, "
    "\"deadline_ns\": 2, \"quantile\": 0.9, \"because\": {\"code\": \"no-need\", \"text\": \"x\", \"constraint\": "
    "null}, "
    "\"cost\": 0.1, \"precondition\": \"none\", \"inverse\": \"release\"}]}\n";

static int explain_both_ways(spr_context *c, void *arg) {
    int rc = SPR_OK;
    for (int json = 0; json < 2 && rc == SPR_OK; json++) {
        spr_output *o = NULL;
        if ((rc = spr_output_create(c, in_scratch("why"), &o)) < 0)
            return rc;
        rc = (json ? spr_plan_explain_json : spr_plan_explain)(c, arg, 1, o);
        if (rc == SPR_OK)
            rc = spr_output_commit(o);
        else
            spr_output_discard(o);
    }
    return rc;
}

static void explaining_survives_every_failing_allocation(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", write_text("plan.json", plan));
    assert_true(failing_sweep(explain_both_ways, path) > 6);
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)
int main(void) {
    const struct CMUnitTest tests[] = {
        IO_TEST(traces_with_maps_survive_every_failing_allocation),
        IO_TEST(scenarios_survive_every_failing_allocation),
        IO_TEST(default_scenarios_and_fleets_survive_every_failing_allocation),
        IO_TEST(explaining_survives_every_failing_allocation),
        IO_TEST(documents_survive_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
