/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The schemas of doc/schema hold: for what is written, and for what the readers take. */
#include <math.h>
#include <stdbool.h>
#include <jansson.h>

#include "io_scratch.h"

/* ---- as much of JSON Schema (draft 7) as our schemas use ---- */

static json_t *schema_root;

static bool has_type(const json_t *v, const char *type) {
    return !strcmp(type, "object")    ? json_is_object(v)
           : !strcmp(type, "array")   ? json_is_array(v)
           : !strcmp(type, "string")  ? json_is_string(v)
           : !strcmp(type, "boolean") ? json_is_boolean(v)
           : !strcmp(type, "null")    ? json_is_null(v)
           : !strcmp(type, "integer") ? json_is_integer(v)
                                      : json_is_number(v);
}

static bool type_fits(const json_t *v, json_t *type) {
    size_t i;
    json_t *t;
    if (json_is_string(type))
        return has_type(v, json_string_value(type));
    json_array_foreach(type, i, t) if (has_type(v, json_string_value(t))) return true;
    return !type;
}

static bool limits_fit(json_t *v, json_t *s) {
    double x = json_number_value(v);
    json_t *least = json_object_get(s, "minimum"), *above = json_object_get(s, "exclusiveMinimum"),
           *most = json_object_get(s, "maximum"), *few = json_object_get(s, "minItems"),
           *many = json_object_get(s, "maxItems");
    if (json_is_number(v) && ((least && x < json_number_value(least)) || (above && x <= json_number_value(above)) ||
                              (most && x > json_number_value(most))))
        return false;
    return !json_is_array(v) || ((!few || json_array_size(v) >= (size_t)json_integer_value(few)) &&
                                 (!many || json_array_size(v) <= (size_t)json_integer_value(many)));
}

static bool fits(json_t *v, json_t *s);

static bool members_fit(json_t *v, json_t *s) {
    json_t *required = json_object_get(s, "required"), *known = json_object_get(s, "properties"),
           *more = json_object_get(s, "additionalProperties"), *x;
    const char *key;
    size_t i;
    json_array_foreach(required, i, x) if (!json_object_get(v, json_string_value(x))) return false;
    json_object_foreach(v, key, x) {
        json_t *sub = json_object_get(known, key);
        if (!sub && json_is_false(more))
            return false;
        if (!fits(x, sub ? sub : more))
            return false;
    }
    return true;
}

static bool fits(json_t *v, json_t *s) {
    size_t i;
    json_t *x, *any = json_object_get(s, "anyOf"), *values = json_object_get(s, "enum"),
               *same = json_object_get(s, "const");
    bool found = !values && !any;
    if (!json_is_object(s))
        return true;
    json_array_foreach(values, i, x) found = found || json_equal(x, v);
    json_array_foreach(any, i, x) found = found || fits(v, x);
    if (!found || (same && !json_equal(same, v)) || !type_fits(v, json_object_get(s, "type")) || !limits_fit(v, s))
        return false;
    json_array_foreach(v, i, x) if (!fits(x, json_object_get(s, "items"))) return false;
    return !json_is_object(v) || members_fit(v, s);
}

static bool use_schema(const char *name) {
    char path[1024];
    const char *root = getenv("SPR_SOURCE_ROOT");
    json_decref(schema_root);
    snprintf(path, sizeof path, "%s/doc/schema/%s.json", root ? root : ".", name);
    schema_root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    return schema_root != NULL;
}
static bool text_fits(const char *text) {
    json_t *v = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    bool ok = v && fits(v, schema_root);
    json_decref(v);
    return ok;
}

/* ---- what is written ---- */

static int give_need(void *user, const spr_fleet *fleet, int resource, double *need, double *vm_demand,
                     double *host_peak) {
    (void)user, (void)resource;
    for (int32_t h = 0; h < spr_fleet_host_count(fleet); h++)
        need[h] = h == 0 ? 10.5 : 0, host_peak[h] = 1;
    for (int32_t v = 0; v < spr_fleet_vm_count(fleet); v++)
        vm_demand[v] = 6;
    return SPR_OK;
}

static spr_fleet *small_fleet(void) {
    const char *path =
        write_text("t.csv", "time_s,vm,cpu_cores\n0,a\"b\xc3\xa9,6\n0,c,1\n300,a\"b\xc3\xa9,6\n300,c,1\n");
    struct spr_trace_opts o = {.size = sizeof o, .files = &path, .file_count = 1};
    spr_trace *t = NULL;
    spr_fleet *f = NULL;
    assert_int_equal(spr_trace_read(ctx, &o, &t), SPR_OK);
    assert_int_equal(
        spr_fleet_read(ctx,
                       write_text("f.json",
                                  "{\"schema\": 1, \"hosts\": {\"count\": 3, \"cpu\": 8}, \"placement\": [0, 1],"
                                  "\"vms\": [{\"match\": \"*\", \"replica\": \"image\", \"spillable\": 0.9}]}"),
                       t, 0, 2, &f),
        SPR_OK);
    spr_trace_destroy(t);
    return f;
}

static void plans_fit_their_schema(void **state) {
    (void)state;
    struct spr_planner_config config = {.size = sizeof config, .rule = SPR_NEED_GIVEN, .given = give_need};
    spr_planner *planner = NULL;
    spr_plan *plan = NULL;
    spr_output *out = NULL;
    spr_fleet *f = small_fleet();
    if (!use_schema("plan"))
        skip();
    assert_int_equal(spr_planner_create(ctx, spr_planner_builtin(), &config, &planner), SPR_OK);
    assert_int_equal(spr_planner_run(planner, f, NULL, NULL, &plan), SPR_OK);
    assert_true(spr_plan_action_count(plan) > 0);
    const char *path = in_scratch("plan.json");
    assert_int_equal(spr_output_create(ctx, path, &out), SPR_OK);
    assert_int_equal(spr_plan_write(ctx, plan, 7, out), SPR_OK);
    assert_int_equal(spr_output_commit(out), SPR_OK);
    const char *text = read_text(path);
    assert_true(text_fits(text));
    json_t *doc = json_loads(text, 0, NULL), *first = json_array_get(json_object_get(doc, "actions"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "vm")), "a\"b\xc3\xa9");
    assert_string_equal(json_string_value(json_object_get(first, "kind")), "allocate");
    assert_true(json_is_null(json_object_get(first, "shard")));
    assert_int_equal(json_integer_value(json_object_get(doc, "fence")), 7);
    json_object_set_new(first, "colour", json_true()); /* the check itself can fail */
    assert_false(fits(doc, schema_root));
    json_decref(doc);
    spr_plan_unref(plan);
    spr_planner_destroy(planner);
    spr_fleet_unref(f);
}

/* ---- what is read: the reader and the schema agree ---- */

#define MAP                                                                                                            \
    "\"schema\": 1, \"form\": \"long\", \"time\": {\"column\": \"t\", \"unit\": \"steps\", \"step_s\": 300}, "         \
    "\"series\": {\"column\": \"vm\"}"

static void maps_and_their_schema_agree(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"{" MAP ", \"metrics\": {\"c\": {\"resource\": \"cpu\", \"unit\": \"cores\"}}}", true},
        {"{" MAP ", \"metrics\": {\"c\": {\"resource\": \"cpu\", \"unit\": \"cores\", \"aggregate\": \"mean\", "
         "\"kind\": \"counter\"}}}",
         true},
        {"{" MAP ", \"metrics\": {\"c\": {\"resource\": \"cpu\", \"unit\": \"cores\"}}, \"capacity\": {\"cpu_cores\": "
         "2}, \"several\": \"join\"}",
         true},
        {"{" MAP ", \"metrics\": {\"c\": {\"resource\": \"cpu\", \"unit\": \"yards\"}}}", false},
        {"{" MAP ", \"metrics\": {\"c\": {\"resource\": \"cpu\"}}}", false},
        {"{" MAP
         ", \"metrics\": {\"c\": {\"resource\": \"cpu\", \"unit\": \"cores\"}}, \"capacity\": {\"cpu_cores\": -2}}",
         false},
        {"{" MAP ", \"metrics\": {\"c\": {\"resource\": \"cpu\", \"unit\": \"cores\"}}, \"extra\": 1}", false},
        {"{\"schema\": 1, \"form\": \"long\"}", false},
    };
    if (!use_schema("map"))
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *file = write_text("t.csv", "t,vm,c\n0,a,1\n1,a,2\n"), *map = write_text("m.json", cases[i].text);
        struct spr_trace_opts o = {.size = sizeof o, .files = &file, .file_count = 1, .map = map};
        spr_trace *t = NULL;
        assert_int_equal(spr_trace_read(ctx, &o, &t) == SPR_OK, cases[i].good);
        if (text_fits(cases[i].text) != cases[i].good)
            fail_msg("case %zu: the schema says otherwise", i);
        spr_trace_destroy(t);
    }
}

#define SCENARIO                                                                                                       \
    "\"schema\": 1, \"name\": \"x\", \"trace\": \"t.csv\", \"resources\": [\"cpu\"], \"train_until\": 1, \"score\": "  \
    "[1, 2]"

static void scenarios_and_their_schema_agree(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"{" SCENARIO ", \"fleet\": {\"hosts\": {\"count\": 2, \"cpu\": 4}}}", true},
        {"{" SCENARIO ", \"fleet\": {\"hosts\": [{\"id\": \"h\", \"cpu_cores\": 4}], \"vms\": [{\"match\": \"*\"}]}, "
         "\"lead_s\": 60}",
         true},
        {"{" SCENARIO ", \"fleet\": {\"hosts\": {\"count\": 2, \"cpu\": {\"rule\": \"r\", \"rho\": 0.7}}}, "
         "\"placement\": [1], \"seed\": 4}",
         true},
        {"{" SCENARIO ", \"fleet\": \"f.json\", \"faults\": {\"blackout\": [0, 1]}, \"expect\": [1]}", true},
        {"{" SCENARIO ", \"fleet\": {\"hosts\": {\"count\": 0, \"cpu\": 4}}}", false},
        {"{" SCENARIO ", \"fleet\": {\"hosts\": {\"count\": 2, \"cpu\": 4}}, \"lead\": 60}", false},
        {"{" SCENARIO ", \"fleet\": {\"hosts\": {\"count\": 2, \"cpu\": 4}}, \"room\": 1.5}", false},
        {"{" SCENARIO ", \"fleet\": {\"hosts\": {\"count\": 2, \"cpu\": 4}}, \"gaps\": \"zero\"}", false},
        {"{" SCENARIO "}", false},
    };
    if (!use_schema("scenario"))
        skip();
    write_text("t.csv", "time_s,vm,cpu_cores\n0,a,1\n300,a,2\n");
    write_text("f.json", "{\"schema\": 1, \"hosts\": [{\"id\": \"h\", \"cpu_cores\": 4}]}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        spr_scenario_file *f = NULL;
        struct spr_scenario_opts o = {.size = sizeof o};
        int rc = spr_scenario_read(ctx, write_text("s.json", cases[i].text), &o, &f);
        if ((rc == SPR_OK) != cases[i].good || text_fits(cases[i].text) != cases[i].good)
            fail_msg("case %zu: reader %d %s", i, rc, rc < 0 ? last_error().text : "");
        spr_scenario_file_destroy(f);
    }
}

static void the_other_schemas_are_whole(void **state) {
    (void)state;
    static const char *const names[] = {"fleet", "profile", "result"};
    for (size_t i = 0; i < 3; i++) {
        if (!use_schema(names[i]))
            skip();
        assert_true(json_is_object(json_object_get(schema_root, "properties")));
        assert_false(text_fits("{}"));
    }
    assert_true(use_schema("result"));
    assert_true(text_fits(
        "{\"schema\": 1, \"policies\": [], \"bound\": 1.5, \"unspillable_cost\": 0.0, \"has_room\": true, "
        "\"tuned\": {\"never\": true, \"hold_s\": 0}, \"host_capacity\": {\"cpu\": 4}, \"cpu_s\": 1, \"wall_s\": 1, "
        "\"peak_rss_bytes\": 4096}"));
}

static int forget_schema(void **state) {
    (void)state;
    json_decref(schema_root);
    schema_root = NULL;
    return 0;
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)
int main(void) {
    const struct CMUnitTest tests[] = {
        IO_TEST(plans_fit_their_schema),
        IO_TEST(maps_and_their_schema_agree),
        IO_TEST(scenarios_and_their_schema_agree),
        IO_TEST(the_other_schemas_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, forget_schema);
}
