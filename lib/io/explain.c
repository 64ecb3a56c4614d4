/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The why of an action, read back from a plan file: action, forecast, limit, price, precondition, way back. */
#include <jansson.h>
#include <stdarg.h>

#include "doc.h"

static int fail(spr_context *ctx, const char *path, int code, int line, int column, const char *text) {
    struct spr_error e = {.size = sizeof e, .code = code, .text = text, .file = path, .line = line, .column = column};
    return spr_context_fail(ctx, &e);
}

/* ---- reading: first the keys, because only this reader knows lines; then the values ---- */

static const char *const plan_keys[] = {"schema", "fence", "fleet_id", "made_at_ns", "actions", "infeasible"};
static const char *const action_keys[] = {"id",      "kind",        "vm",       "shard",     "host", "resources",
                                          "due_ns",  "deadline_ns", "quantile", "because",   "cost", "precondition",
                                          "inverse", "into",        "worth",    "held_back", "wait"};
enum { ACTION_NEEDS = 13 }; /* into, worth, held_back and wait may be absent */

static void check_action(struct spr__doc *d, spr__node *action) {
    spr__doc_keys(d, action, "an action", action_keys, SPR_ARRAY_LEN(action_keys));
    for (size_t i = 0; i < ACTION_NEEDS && d->rc >= 0; i++)
        (void)spr__doc_need(d, action, action_keys[i]);
    int64_t id = 0;
    if (d->rc >= 0)
        spr__doc_integer(d, spr__doc_get(d, action, "id"), 1, INT64_MAX, &id);
    static const char *const mappings[] = {"resources", "because"};
    for (size_t i = 0; i < SPR_ARRAY_LEN(mappings) && d->rc >= 0; i++) {
        spr__node *n = spr__doc_get(d, action, mappings[i]);
        if (spr__doc_kind(n) != SPR__MAPPING)
            spr__doc_fail(d, n, "%s must be a mapping of keys to values", mappings[i]);
    }
}

static int check(spr_context *ctx, const char *path) {
    struct spr__doc d;
    spr__node *root = NULL, *actions = NULL;
    int rc = spr__doc_open(ctx, path, &d, &root);
    if (rc < 0)
        return rc;
    spr__doc_schema(&d, root);
    spr__doc_keys(&d, root, "a plan", plan_keys, SPR_ARRAY_LEN(plan_keys));
    for (size_t i = 0; i < SPR_ARRAY_LEN(plan_keys) && d.rc >= 0; i++)
        (void)spr__doc_need(&d, root, plan_keys[i]);
    if (d.rc >= 0 && spr__doc_kind(actions = spr__doc_get(&d, root, "actions")) != SPR__LIST)
        spr__doc_fail(&d, actions, "actions must be a list");
    void *at = NULL;
    for (spr__node *a; d.rc >= 0 && (a = spr__doc_next(actions, &at));)
        check_action(&d, a);
    rc = d.rc;
    spr__doc_close(&d);
    return rc;
}

/* The plan with no other actions than the one that is asked for (0 = all). */
static int read_plan(spr_context *ctx, const char *path, int64_t action, json_t **out) {
    json_error_t where;
    int rc = check(ctx, path);
    if (rc < 0)
        return rc;
    json_t *plan = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (!plan)
        return fail(ctx, path, where.line > 0 ? SPR_E_FORMAT : SPR_E_IO, where.line > 0 ? where.line : 0,
                    where.line > 0 ? where.column : 0, where.text);
    json_t *actions = json_object_get(plan, "actions");
    for (size_t i = json_array_size(actions); action && i-- > 0;)
        if (json_integer_value(json_object_get(json_array_get(actions, i), "id")) != action)
            json_array_remove(actions, i);
    if (action && !json_array_size(actions)) {
        json_decref(plan);
        return fail(ctx, path, SPR_E_NOT_FOUND, 0, 0, "the plan has no action of that number");
    }
    *out = plan;
    return SPR_OK;
}

/* ---- writing ---- */

static void say(spr_output *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(spr_output *out, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    spr_output_text(out, line);
}

static void number(spr_output *out, const json_t *value) {
    if (json_is_number(value))
        spr_output_number(out, json_number_value(value), 6);
    else
        spr_output_text(out, "unknown");
}

static const char *text_of(const json_t *object, const char *key, const char *absent) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : absent;
}

/* The action itself: "3. allocate for vm007 on host04: cpu_cores 1.25, memory_bytes 1073741824" */
static void say_action(spr_output *out, const json_t *a) {
    const char *key, *separator = ": ";
    json_t *amount;
    say(out, "%lld. %s for %s on %s", (long long)json_integer_value(json_object_get(a, "id")), text_of(a, "kind", "?"),
        text_of(a, "vm", "?"), text_of(a, "host", "?"));
    json_object_foreach(json_object_get(a, "resources"), key, amount) {
        if (json_number_value(amount) <= 0)
            continue;
        say(out, "%s%s ", separator, key);
        number(out, amount);
        separator = ", ";
    }
    say(out, "\n");
}

static void say_why(spr_output *out, const json_t *a) {
    const json_t *because = json_object_get(a, "because"), *limit = json_object_get(because, "constraint");
    say(out, "   because     %s: %s\n", text_of(because, "code", "?"), text_of(because, "text", "?"));
    if (json_is_object(limit)) {
        say(out, "   forecast    %s of %s may need ", text_of(limit, "resource", "?"), text_of(limit, "host", "?"));
        number(out, json_object_get(limit, "forecast"));
        say(out, " (sized for the ");
        number(out, json_object_get(limit, "quantile"));
        say(out, " quantile)\n   limit       ");
        number(out, json_object_get(limit, "limit"));
        say(out, " of it is left there\n");
    }
    say(out, "   worth       ");
    number(out, json_object_get(a, "worth"));
    say(out, " hours of the price of holding, against ");
    number(out, json_object_get(a, "cost"));
    say(out, " until it could be ready\n");
    const char *state = text_of(a, "precondition", "none");
    if (strcmp(state, "none"))
        say(out, "   only if     the shard is %s\n", state);
    const json_t *held_back = json_object_get(a, "held_back");
    if (json_is_object(held_back))
        say(out, "   advice only %s: %s\n", text_of(held_back, "code", "?"), text_of(held_back, "text", "?"));
    const json_t *wait = json_object_get(a, "wait");
    if (json_is_object(wait))
        say(out, "   until then  %s\n", text_of(wait, "text", "?"));
    say(out, "   undone by   %s\n", text_of(a, "inverse", "nothing"));
}

int spr_plan_explain(spr_context *ctx, const char *path, int64_t action, spr_output *out) {
    json_t *plan = NULL, *a;
    size_t i;
    if (!ctx || !path || !out)
        return SPR_E_ARG;
    int rc = read_plan(ctx, path, action, &plan);
    if (rc < 0)
        return rc;
    json_t *actions = json_object_get(plan, "actions");
    json_array_foreach(actions, i, a) {
        say_action(out, a);
        say_why(out, a);
    }
    if (!json_array_size(actions))
        say(out, "The plan has no actions: nothing is expected to be worth its price.\n");
    json_decref(plan);
    return SPR_OK;
}

static int put(const char *text, size_t bytes, void *out) {
    spr_output_write(out, text, bytes);
    return 0;
}

int spr_plan_explain_json(spr_context *ctx, const char *path, int64_t action, spr_output *out) {
    json_t *plan = NULL;
    if (!ctx || !path || !out)
        return SPR_E_ARG;
    int rc = read_plan(ctx, path, action, &plan);
    if (rc < 0)
        return rc;
    if (json_dump_callback(plan, put, out, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) < 0)
        rc = fail(ctx, NULL, SPR_E_NOMEM, 0, 0, spr_error_text(SPR_E_NOMEM));
    spr_output_text(out, "\n");
    json_decref(plan);
    return rc;
}
