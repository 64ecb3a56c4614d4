/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Lines of the router to what they mean. Nothing here reads, writes or waits: tests/fuzz/fuzz_answer.c. */
#include <math.h>
#include <string.h>

#include "client.h"

/* Any text as one line that can stand in a terminal and in a log. */
static void plain(char *to, const char *text) {
    size_t n = 0;
    for (; text[n] && n < RC_TEXT - 1; n++)
        to[n] = text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?';
    to[n] = 0;
}

static bool count_of(const json_t *object, const char *key, uint64_t *out) {
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

/* Only what every service has is required, so that routers may say more. */
static bool is_stats(const json_t *root) {
    const json_t *services = json_object_get(root, "services");
    struct spr_route_counters c;
    const char *name;
    json_t *value;
    if (!json_is_object(services))
        return false;
    json_object_foreach((json_t *)(uintptr_t)services, name, value) {
        c.size = sizeof c;
        if (!rc_answer_counters(root, name, &c))
            return false;
    }
    return true;
}

static bool is_good(json_t *root, enum rc_asked asked, struct rc_answer *out) {
    const json_t *switched = json_object_get(root, "switched");
    switch (asked) {
    case RC_COMMIT:
        return json_is_true(json_object_get(root, "ok")) && count_of(root, "generation", &out->generation);
    case RC_SWITCHED:
        out->switched = json_is_true(switched);
        return json_is_boolean(switched);
    case RC_STATS:
        if (!is_stats(root))
            return false;
        out->stats = json_incref(root);
        return true;
    default:
        return json_is_true(json_object_get(root, "ok"));
    }
}

enum rc_meaning rc_answer_read(const char *line, size_t length, enum rc_asked asked, struct rc_answer *out) {
    json_error_t e;
    memset(out, 0, sizeof *out);
    json_t *root = json_loadb(line, length, JSON_REJECT_DUPLICATES, &e);
    const char *error = json_string_value(json_object_get(root, "error"));
    enum rc_meaning meaning = RC_NONSENSE;
    if (error) {
        plain(out->text, *error ? error : "refused without a word");
        meaning = RC_REFUSED;
    } else if (json_is_object(root) && is_good(root, asked, out))
        meaning = RC_YES;
    else
        plain(out->text, root ? "the answer is not what was asked for" : "the answer is no JSON");
    json_decref(root);
    return meaning;
}

bool rc_answer_counters(const json_t *stats, const char *service, struct spr_route_counters *out) {
    const json_t *s = json_object_get(json_object_get(stats, "services"), service);
    struct spr_route_counters c = {.size = out->size, .vm = out->vm, .answer_s = NAN};
    if (!count_of(s, "packets", &c.packets) || !count_of(s, "bytes", &c.bytes) || !count_of(s, "opened", &c.flows) ||
        !count_of(s, "spilled", &c.spilled) || !count_of(s, "repeated", &c.syn_again) ||
        !count_of(s, "flows", &c.active) || !count_of(s, "waiting", &c.waiting))
        return false;
    *out = c;
    return true;
}
