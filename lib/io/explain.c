/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The why of an action, read back from a plan file: action, forecast, limit, price, precondition, way back. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <shardpredict/io.h>

static int fail(spr_context *ctx, const char *path, int code, int line, int column, const char *text) {
    struct spr_error e = {.size = sizeof e, .code = code, .text = text, .file = path, .line = line, .column = column};
    return spr_context_fail(ctx, &e);
}

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
    say(out, "   undone by   %s\n", text_of(a, "inverse", "nothing"));
}

int spr_plan_explain(spr_context *ctx, const char *path, int64_t action, spr_output *out) {
    json_error_t where;
    if (!ctx || !path || !out)
        return SPR_E_ARG;
    json_t *plan = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (!plan)
        return fail(ctx, path, where.line > 0 ? SPR_E_FORMAT : SPR_E_IO, where.line > 0 ? where.line : 0,
                    where.line > 0 ? where.column : 0, where.text);
    json_t *actions = json_object_get(plan, "actions"), *a;
    size_t i, shown = 0;
    int rc = SPR_OK;
    if (json_integer_value(json_object_get(plan, "schema")) != 1 || !json_is_array(actions))
        rc = fail(ctx, path, SPR_E_FORMAT, 1, 0, "this is no plan: \"schema\": 1 and \"actions\" are required");
    json_array_foreach(actions, i, a) {
        if (rc < 0 || (action && json_integer_value(json_object_get(a, "id")) != action))
            continue;
        say_action(out, a);
        say_why(out, a);
        shown++;
    }
    if (rc == SPR_OK && !shown && action)
        rc = fail(ctx, path, SPR_E_NOT_FOUND, 0, 0, "the plan has no action of that number");
    else if (rc == SPR_OK && !shown)
        say(out, "The plan has no actions: nothing is expected to be worth its price.\n");
    json_decref(plan);
    return rc;
}
