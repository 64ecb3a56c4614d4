/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Map files: what they can say, and how a wrong one is told. */
#include <math.h>

#include "io_scratch.h"

static int read_with(const char *map, const char *const *files, size_t count, spr_trace **t) {
    struct spr_trace_opts o = {.size = sizeof o, .files = files, .file_count = count, .map = map};
    return spr_trace_read(ctx, &o, t);
}
static spr_trace *must_read(const char *map, const char *const *files, size_t count) {
    spr_trace *t = NULL;
    int rc = read_with(map, files, count, &t);
    if (rc < 0)
        fail_msg("%s:%d: %s", last_error().file ? last_error().file : "?", (int)last_error().line, last_error().text);
    return t;
}
static double value(const spr_trace *t, int field, const char *id, int resource, int64_t step) {
    struct spr_panel p = {.size = sizeof p};
    int64_t row = -1;
    if (spr_series_find(spr_trace_series(t), id, resource, NULL, &row) < 0)
        fail_msg("no series %s of resource %d", id, resource);
    assert_int_equal(spr_series_view(spr_trace_series(t), field, &p), SPR_OK);
    assert_true(step < p.steps);
    return *(const double *)((const char *)p.data + row * p.series_stride + step * p.step_stride);
}
static struct spr_series_info info_of(const spr_trace *t, const char *id, int resource) {
    struct spr_series_info info = {.size = sizeof info};
    int64_t row = -1;
    assert_int_equal(spr_series_find(spr_trace_series(t), id, resource, NULL, &row), SPR_OK);
    assert_int_equal(spr_series_info(spr_trace_series(t), row, &info), SPR_OK);
    return info;
}

/* ---- the example maps against the data they are for ---- */

struct set {
    const char *map, *files[2];
    int64_t vms, rows, end; /* series in all; last row's step + 1 */
    const char *id;
    int resource;
    int64_t step;
    double value;
    const char *metric;
};

static const struct set sets[] = {
    {"azure_v1_vms",
     {"azure_v1_vms/periodic_cpu_avg.csv.gz", "azure_v1_vms/periodic_cpu_max.csv.gz"},
     40,
     40,
     8400,
     "vm1050146",
     SPR_CPU,
     100,
     0.26468,
     "periodic_cpu_avg"},
    {"azure_v1_vms",
     {"azure_v1_vms/random_cpu_avg.csv.gz", NULL},
     50,
     50,
     8004,
     "vm1633748",
     SPR_CPU,
     1,
     47.935,
     "random_cpu_avg"},
    {"azure_v1_vms",
     {"azure_v1_vms/random_cpu_max.csv.gz", NULL},
     50,
     50,
     8004,
     "vm1948107",
     SPR_CPU,
     100,
     9.6761,
     "random_cpu_max"},
    {"bitbrains_rnd_5min",
     {"bitbrains_rnd/aug2013_5min.csv.gz", NULL},
     250,
     1500,
     8640,
     "1",
     SPR_MEMORY,
     4999,
     950700,
     "mem_kb"},
    {"bitbrains_rnd_hourly",
     {"bitbrains_rnd/aug_sep2013_hourly.csv.gz", NULL},
     250,
     1500,
     1440,
     "7",
     SPR_NET_TX,
     679,
     9.717,
     "net_tx_kbps"},
    {"bitbrains_rnd_july",
     {"bitbrains_rnd/jul2013_cpu_mhz_t0000_7199.csv.gz", NULL},
     500,
     500,
     7200,
     "vm1",
     SPR_CPU,
     7199,
     702.24,
     "jul2013_cpu_mhz_t0000_7199"},
    {"bitbrains_rnd_july",
     {"bitbrains_rnd/jul2013_cpu_pct_t0000_7199.csv.gz", NULL},
     500,
     500,
     7200,
     "vm5",
     SPR_CPU,
     0,
     7.2,
     "jul2013_cpu_pct_t0000_7199"},
    {"datacenter_aggregates_alibaba",
     {"datacenter_aggregates/alibaba2018_machines.csv.gz", NULL},
     1,
     5,
     1728,
     "alibaba2018",
     6,
     100,
     9.36472,
     "disk_io_percent"},
    {"datacenter_aggregates_google",
     {"datacenter_aggregates/google2019_instances.csv.gz", NULL},
     1,
     4,
     6336,
     "google2019",
     SPR_CPU,
     100,
     0.402721,
     "avg_cpu"},
    {"datacenter_aggregates_azure",
     {"datacenter_aggregates/azure_v2_vms.csv.gz", NULL},
     1,
     2,
     6336,
     "azure_v2",
     SPR_CPU,
     100,
     5.5976e+06,
     "cpu_usage"},
    {"google2011_vms",
     {"google2011_vms/cpu_pct.csv.gz", "google2011_vms/mem_pct.csv.gz"},
     784,
     1568,
     288,
     "vm_1218322450_2",
     SPR_MEMORY,
     287,
     7.227,
     "mem_pct"},
    {"google2019_tasks",
     {"google2019_tasks/tasks.csv.gz", NULL},
     10,
     20,
     8930,
     "113/115",
     SPR_CPU,
     1,
     0.025574,
     "cpu_avg"},
    {"m4_hourly", {"m4_hourly/m4_hourly.csv.gz", NULL}, 207, 207, 1008, "H413", 6, 1007, 34, "value"},
    {"m4_weekly", {"m4_weekly/m4_weekly.csv.gz", NULL}, 180, 180, 2296, "W5", 6, 616, 2374, "value"},
    {"nab",
     {"nab/realKnownCause__nyc_taxi.csv.gz", NULL},
     1,
     1,
     10320,
     "realKnownCause__nyc_taxi/value",
     6,
     100,
     5826,
     "realKnownCause__nyc_taxi"},
    {"nab",
     {"nab/realAWSCloudwatch__ec2_cpu_utilization_24ae8d.csv.gz", NULL},
     1,
     1,
     4032,
     "realAWSCloudwatch__ec2_cpu_utilization_24ae8d/value",
     SPR_CPU,
     4031,
     0.134,
     "realAWSCloudwatch__ec2_cpu_utilization_24ae8d"},
    {"nab",
     {"nab/realAdExchange__exchange-2_cpc_results.csv.gz", NULL},
     1,
     1,
     1648,
     "realAdExchange__exchange-2_cpc_results/value",
     6,
     100,
     0.0448206751055,
     "realAdExchange__exchange-2_cpc_results"},
    {"planetlab",
     {"planetlab/20110303.csv.gz", "planetlab/20110306.csv.gz"},
     1950,
     1950,
     288,
     "20110303/146-179_surfsnel_dsl_internl_net_rnp_dcc_ufjf",
     SPR_CPU,
     287,
     62,
     "20110303"},
    {"wikipedia_daily",
     {"wikipedia_daily/peyton_manning.csv.gz", NULL},
     1,
     1,
     2964,
     "views",
     6,
     0,
     14629,
     "peyton_manning"},
    {"worldcup98",
     {"worldcup98/requests_per_minute.csv.gz", NULL},
     1,
     1,
     87990,
     "requests",
     6,
     87989,
     24221,
     "requests_per_minute"},
};

static void check_set(const struct set *s) {
    char map[1024], paths[2][1024];
    const char *files[2] = {paths[0], paths[1]};
    size_t count = 0;
    for (; count < 2 && s->files[count]; count++)
        snprintf(paths[count], sizeof paths[0], "%s", shared_data(s->files[count]));
    snprintf(map, sizeof map, "%s/examples/maps/%s.yaml", getenv("SPR_SOURCE_ROOT"), s->map);
    spr_trace *t = must_read(map, files, count);
    if (spr_trace_vm_count(t) != s->vms || spr_series_count(spr_trace_series(t)) != s->rows ||
        spr_trace_end(t) != s->end || spr_series_steps(spr_trace_series(t)) != s->end)
        fail_msg("%s: %d VMs, %d series, end %d", s->files[0], (int)spr_trace_vm_count(t),
                 (int)spr_series_count(spr_trace_series(t)), (int)spr_trace_end(t));
    assert_true(value(t, SPR_SERIES_MEAN, s->id, s->resource, s->step) == s->value);
    assert_string_equal(info_of(t, s->id, s->resource).metric, s->metric);
    spr_trace_destroy(t);
}

static void every_example_map_reads_its_set(void **state) {
    (void)state;
    size_t read = 0;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (getenv("SPR_SOURCE_ROOT") && shared_data(sets[i].files[0])) {
            check_set(&sets[i]);
            read++;
        }
    if (!read) {
        print_message("the shared data are not here: set SPR_DATA\n");
        skip();
    }
}

static void check_values_of_the_sets_come_out(void **state) {
    (void)state;
    char map[1024];
    const char *file = shared_data("planetlab/20110303.csv.gz"), *root = getenv("SPR_SOURCE_ROOT");
    if (!file || !root)
        skip();
    snprintf(map, sizeof map, "%s/examples/maps/planetlab.yaml", root);
    spr_trace *t = must_read(map, &file, 1);
    struct spr_panel p = {.size = sizeof p};
    assert_int_equal(spr_series_view(spr_trace_series(t), SPR_SERIES_MEAN, &p), SPR_OK);
    const double *v = p.data;
    double sum = 0;
    for (int64_t i = 0; i < p.series * p.steps; i++)
        sum += v[i];
    assert_true(fabs(sum / (double)(p.series * p.steps) - 12.31) < 0.005); /* the folder's README */
    spr_trace_destroy(t);
}

static void per_cent_of_a_capacity_becomes_cores(void **state) {
    (void)state;
    const char *map = write_text(
        "m.yaml", "schema: 1\nform: long\ntime: {column: t, unit: steps, step_s: 300}\nseries: {column: vm}\n"
                  "metrics:\n  pct: {resource: cpu, unit: percent_of_capacity}\n  kb: {resource: memory, unit: KB}\n"
                  "  net: {resource: net_rx, unit: KB/s}\n  share: {resource: memory, unit: fraction}\n"
                  "capacity: {file: caps.csv, series: name, cpu: {column: mhz, unit: MHz}, "
                  "memory: {column: mb, unit: MB}, cpu_cores: 3}\n");
    const char *file = write_text("t.csv", "t,vm,pct,kb,net,share\n0,a,12.77,10,1,0.5\n0,b,50,,,\n");
    write_text("caps.csv", "name,mhz,mb\na,5852,2\n");
    spr_trace *t = must_read(map, &file, 1);
    struct spr_trace_vm vm = {.size = sizeof vm};
    double cores = value(t, SPR_SERIES_MEAN, "a", SPR_CPU, 0) * info_of(t, "a", SPR_CPU).unit_factor;
    assert_true(fabs(cores / (12.77 / 100 * 5.852) - 1) < 1e-12);
    assert_true(info_of(t, "b", SPR_CPU).unit_factor == 0.03); /* not in the side file: declared */
    assert_true(info_of(t, "a", SPR_MEMORY).unit_factor == 1024);
    assert_true(info_of(t, "a", SPR_NET_RX).unit_factor == 8192);
    assert_int_equal(spr_trace_vm(t, 0, &vm), SPR_OK);
    assert_true(vm.capacity.of[SPR_CPU] == 5.852 && vm.capacity.of[SPR_MEMORY] == 2097152);
    assert_non_null(strstr(notes_seen, "1 VMs that the side file does not name"));
    spr_trace_destroy(t);
    unlink(in_scratch("caps.csv"));
    t = must_read(map, &file, 1);
    assert_true(info_of(t, "a", SPR_CPU).unit_factor == 0.03);
    assert_non_null(strstr(notes_seen, "caps.csv: is not there"));
    spr_trace_destroy(t);
}

static void a_scenarios_capacities_replace_the_maps(void **state) {
    (void)state;
    const char *map =
        write_text("m.yaml", "schema: 1\nform: wide\ntime: {column: t, unit: steps, step_s: 300}\nseveral: separate\n"
                             "files: [{resource: cpu, unit: percent_of_capacity}]\ncapacity: {cpu_cores: 9}\n");
    const char *file = write_text("day.one.csv", "t,a,b\n0,10,20\n");
    struct spr_trace_opts o = {.size = sizeof o, .files = &file, .file_count = 1, .map = map};
    spr_trace *t = NULL;
    o.capacity = write_text("caps.csv", "vm,cpu_capacity_mips\na,2500\nb,500\n");
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_OK);
    assert_true(fabs(info_of(t, "day/a", SPR_CPU).unit_factor - 0.025) < 1e-15);
    assert_true(fabs(info_of(t, "day/b", SPR_CPU).unit_factor - 0.005) < 1e-15);
    spr_trace_destroy(t);
    o.capacity = NULL;
    o.capacity_cores = 2;
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_OK);
    assert_true(info_of(t, "day/b", SPR_CPU).unit_factor == 0.02);
    spr_trace_destroy(t);
}

static const char joined_map[] =
    "schema: 1\nform: wide\ntime: {column: t, unit: steps, step_s: 60, origin: \"2013-07-31T22:00:00Z\"}\n"
    "files:\n  - {match: \"*_avg*\", resource: cpu, unit: cores, default: true}\n"
    "  - {match: \"*_max*\", resource: cpu, unit: cores, aggregate: max}\n"
    "  - {match: \"mem*\", resource: memory, unit: bytes}\nseveral: join\n";

static void files_of_the_same_vms_are_joined(void **state) {
    (void)state;
    const char *map = write_text("m.yaml", joined_map), *files[3];
    files[0] = write_text("x_max.csv", "t,b,a\n0,7.5,9\n1,,4\n"); /* before its means, in another order */
    files[1] = write_text("x_avg.csv", "t,a,b\n0,1,2\n1,3,4\n");
    files[2] = write_text("mem.csv", "t,a\n0,1024\n");
    spr_trace *t = must_read(map, files, 3);
    assert_int_equal(spr_trace_vm_count(t), 2);
    assert_int_equal(spr_series_count(spr_trace_series(t)), 3);
    assert_true(value(t, SPR_SERIES_MEAN, "b", SPR_CPU, 0) == 2);
    assert_true(value(t, SPR_SERIES_MAX, "b", SPR_CPU, 0) == 7.5);
    assert_true(value(t, SPR_SERIES_MAX, "b", SPR_CPU, 1) == 4); /* no maximum: the mean */
    assert_true(value(t, SPR_SERIES_MEAN, "a", SPR_MEMORY, 0) == 1024);
    assert_string_equal(info_of(t, "a", SPR_CPU).metric, "x_avg");
    assert_true(spr_series_origin_ns(spr_trace_series(t)) == INT64_C(1375308000) * 1000000000);
    spr_trace_destroy(t);
    t = must_read(map, files, 1); /* maxima alone are values like any other */
    assert_true(value(t, SPR_SERIES_MEAN, "b", SPR_CPU, 0) == 7.5);
    spr_trace_destroy(t);
}

static void times_may_be_text_seconds_or_milliseconds(void **state) {
    (void)state;
    static const struct {
        const char *time, *rows;
    } cases[] = {
        {"{column: t, unit: iso8601, step_s: 60}", "t,v\n2020-03-29T00:59:00+01:00,1\n2020-03-29 00:01:30Z,3\n"},
        {"{column: t, unit: s, step_s: 60}", "t,v\n1585439940,1\n1585440090,3\n"},
        {"{column: t, unit: ms, step_s: 60}", "t,v\n1585439940000,1\n1585440090000,3\n"},
        {"{column: t, unit: s, step_s: 60, origin: 2020-03-28T23:59Z}", "t,v\n0,1\n150.0,3\n"},
        {"{column: t, unit: iso8601}", "t,v\n2020-03-28T23:59,1\n2020-03-29T00:00,\n2020-03-29T00:01:30,3\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "schema: 1\nform: wide\ntime: %s\nfiles: [{resource: hits, unit: none}]\n",
                 cases[i].time);
        const char *map = write_text("m.yaml", text), *file = write_text("t.csv", cases[i].rows);
        spr_trace *t = must_read(map, &file, 1);
        int64_t step = spr_series_step_ns(spr_trace_series(t)) / 1000000000;
        assert_int_equal(step, i == 4 ? 90 : 60);
        assert_true(spr_series_origin_ns(spr_trace_series(t)) == INT64_C(1585439940000000000));
        assert_true(value(t, SPR_SERIES_MEAN, "v", 6, 150 / step) == 3);
        struct spr_resource_info info = {.size = sizeof info};
        assert_int_equal(spr_trace_resource(t, 6, &info), SPR_OK);
        assert_string_equal(info.name, "hits");
        assert_int_equal(spr_trace_resource(t, 7, &info), SPR_E_ARG);
        spr_trace_destroy(t);
    }
}

static void names_may_be_put_together_and_rows_left_out(void **state) {
    (void)state;
    const char *map = write_text(
        "m.yaml", "schema: 1\nform: long\ntime: {column: t, unit: steps, step_s: 1}\n"
                  "series: {column: [job, task]}\nmetrics: {x: {resource: cpu, unit: cores}}\nwhere: {part: train}\n");
    const char *file = write_text("t.csv", "job,task,part,t,x\n1,2,train,0,5\n1,2,test,1,6\n1,3,train,0,7\n");
    spr_trace *t = must_read(map, &file, 1);
    assert_int_equal(spr_trace_end(t), 1);
    assert_true(value(t, SPR_SERIES_MEAN, "1/3", SPR_CPU, 0) == 7);
    spr_trace_destroy(t);
}

static void a_wrong_map_is_told_with_its_place(void **state) {
    (void)state;
#define HEAD "schema: 1\nform: long\ntime: {column: t, unit: steps, step_s: 300}\nseries: {column: vm}\n"
    static const struct {
        const char *text;
        int64_t line;
        const char *says;
    } cases[] = {
        {"step: [oops\n  metrics: {\n", 3, ""},
        {HEAD "metrics: {c: {resource: cpu, unit: cores}}\nno_such_key: 1\n", 6, "no_such_key"},
        {HEAD "metrics: {c: {resource: cpu, unit: cores}}\nwere: {a: b}\n", 6, "did you mean 'where'"},
        {HEAD "metrics:\n  c: {resource: cpu, unit: furlongs}\n", 6, "furlongs"},
        {HEAD "metrics:\n  c: {resource: cpu, unit: bytes}\n", 6, "'bytes' is no unit of cpu"},
        {HEAD "metrics:\n  c: {unit: cores}\n", 6, "'resource' is missing"},
        {HEAD "metrics:\n  c: {resource: cpu, unit: cores, aggregat: max}\n", 6, "did you mean 'aggregate'"},
        {HEAD, 1, "'metrics' is missing"},
        {HEAD "metrics: 7\n", 5, "metrics must map"},
        {HEAD "metrics: {c: {resource: cpu, unit: cores}}\ncapacity: {file: ../x.csv}\n", 6, "'..'"},
        {HEAD "metrics: {c: {resource: cpu, unit: cores}}\ncapacity: {cpu_cores: lots}\n", 6, "'lots' is not a number"},
        {HEAD "metrics: {c: {resource: cpu, unit: cores}}\nfiles: []\n", 1, "wide"},
        {"form: long\n", 1, "'schema' is missing"},
        {"schema: one\n", 1, "'one'"},
        {"schema: 1\nform: round\n", 2, "round"},
        {"schema: 1\nform: wide\ntime: {column: t, unit: steps}\n", 3, "step_s"},
        {"schema: 1\nform: wide\ntime: {column: t, unit: s, origin: yesterday}\n", 3, "yesterday"},
        {"schema: 1\nschema: 1\n", 2, ""},
        {"- 1\n- 2\n", 1, "mapping"},
        {"", 1, "empty"},
    };
    const char *file = write_text("t.csv", "t,vm,c\n0,a,1\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        spr_trace *t = NULL;
        const char *map = write_text("bad.yaml", cases[i].text);
        assert_int_equal(read_with(map, &file, 1, &t), SPR_E_FORMAT);
        assert_null(t);
        assert_string_equal(last_error().file, map);
        if (last_error().line != cases[i].line || !strstr(last_error().text, cases[i].says))
            fail_msg("case %zu, line %d: %s", i, (int)last_error().line, last_error().text);
    }
    spr_trace *t = NULL;
    assert_int_equal(read_with(write_text("new.yaml", "schema: 2\n"), &file, 1, &t), SPR_E_TOO_NEW);
    assert_int_equal(read_with(in_scratch("none.yaml"), &file, 1, &t), SPR_E_NOT_FOUND);
    assert_non_null(strstr(last_error().file, "none.yaml"));
    assert_int_equal(read_with(write_bytes("bin.yaml", "a: \0\1", 5), &file, 1, &t), SPR_E_FORMAT);
}

static void a_file_that_does_not_fit_its_map_is_told(void **state) {
    (void)state;
    const char *map = write_text("m.yaml", HEAD "metrics: {c: {resource: cpu, unit: cores}}\n");
    const char *file = write_text("t.csv", "t,vm,d\n0,a,1\n");
    spr_trace *t = NULL;
    assert_int_equal(read_with(map, &file, 1, &t), SPR_E_FORMAT);
    assert_non_null(strstr(last_error().text, "'c'"));
    assert_string_equal(last_error().file, file);
    map = write_text("w.yaml", "schema: 1\nform: wide\ntime: {column: t, unit: steps, step_s: 300}\n"
                               "files: [{match: \"*_avg*\", resource: cpu, unit: cores}]\n");
    assert_int_equal(read_with(map, &file, 1, &t), SPR_E_FORMAT);
    assert_non_null(strstr(last_error().text, "matches this name"));
    assert_null(t);
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)
int main(void) {
    const struct CMUnitTest tests[] = {
        IO_TEST(every_example_map_reads_its_set),
        IO_TEST(check_values_of_the_sets_come_out),
        IO_TEST(per_cent_of_a_capacity_becomes_cores),
        IO_TEST(a_scenarios_capacities_replace_the_maps),
        IO_TEST(files_of_the_same_vms_are_joined),
        IO_TEST(times_may_be_text_seconds_or_milliseconds),
        IO_TEST(names_may_be_put_together_and_rows_left_out),
        IO_TEST(a_wrong_map_is_told_with_its_place),
        IO_TEST(a_file_that_does_not_fit_its_map_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
