/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A line of the control socket to a request. Nothing here reads, writes or waits: tests/fuzz/fuzz_control.c. */
#include <stdio.h>
#include <string.h>

#include "router.h"

#define AT(member) offsetof(struct router_arguments, member)
#define ROWS(table)                                                                                                    \
    { "the request", table, sizeof table / sizeof *table }
#define LABEL(key)                                                                                                     \
    { #key, ROUTER_TEXT, true, AT(key), 1, 31, NULL }
#define MAYBE(key)                                                                                                     \
    { #key, ROUTER_TEXT, false, AT(key), 1, 64, NULL }

static const struct router_field name_rows[] = {LABEL(name)},
                                 flows_rows[] = {MAYBE(service),
                                                 MAYBE(source),
                                                 {"limit", ROUTER_COUNT, false, AT(limit), 1, 65536, NULL}},
                                 capture_rows[] = {{"file", ROUTER_TEXT, false, AT(file), 1, 4095, NULL},
                                                   MAYBE(service),
                                                   MAYBE(source),
                                                   {"packets", ROUTER_COUNT, false, AT(packets), 1, 1e9, NULL}},
                                 switched_rows[] = {{"generation", ROUTER_COUNT, true, AT(generation), 0, 9e15, NULL}},
                                 drain_rows[] = {LABEL(backend),
                                                 {"deadline_s", ROUTER_NUMBER, false, AT(deadline_s), 0, 1e9, NULL}},
                                 promote_rows[] = {LABEL(service),
                                                   {"backend", ROUTER_TEXT, false, AT(backend), 1, 31, NULL}},
                                 alive_rows[] = {LABEL(backend), {"alive", ROUTER_FLAG, true, AT(alive), 0, 0, NULL}};
static const struct router_fields no_fields = {"the request", NULL, 0}, name_fields = ROWS(name_rows),
                                  flows_fields = ROWS(flows_rows), capture_fields = ROWS(capture_rows),
                                  switched_fields = ROWS(switched_rows), drain_fields = ROWS(drain_rows),
                                  alive_fields = ROWS(alive_rows), promote_fields = ROWS(promote_rows);

static const struct {
    const char *name;
    const struct router_fields *fields;
    bool own; /* has a struct of its own, which the command fills */
} commands[ROUTER_COMMANDS] = {
    [ROUTER_STATS] = {"stats", &no_fields, false},
    [ROUTER_SERVICES] = {"services", &no_fields, false},
    [ROUTER_BACKENDS] = {"backends", &no_fields, false},
    [ROUTER_METRICS] = {"metrics", &no_fields, false},
    [ROUTER_FLOWS] = {"flows", &flows_fields, false},
    [ROUTER_CAPTURE] = {"capture", &capture_fields, false},
    [ROUTER_SWITCHED] = {"switched", &switched_fields, false},
    [ROUTER_BEGIN] = {"begin", &no_fields, false},
    [ROUTER_COMMIT] = {"commit", &no_fields, false},
    [ROUTER_REVERT] = {"revert", &no_fields, false},
    [ROUTER_BACKEND_SET] = {"backend_set", &router_backend_fields, true},
    [ROUTER_BACKEND_REMOVE] = {"backend_remove", &name_fields, false},
    [ROUTER_SERVICE_SET] = {"service_set", &router_service_fields, true},
    [ROUTER_SERVICE_REMOVE] = {"service_remove", &name_fields, false},
    [ROUTER_SPILL_SET] = {"spill_set", &router_spill_fields, true},
    [ROUTER_SPIKE_SET] = {"spike_set", &router_spike_fields, true},
    [ROUTER_DRAIN] = {"drain", &drain_fields, false},
    [ROUTER_ALIVE] = {"alive", &alive_fields, false},
    [ROUTER_PROMOTE] = {"promote", &promote_fields, false},
};

const char *router_command_name(int command) {
    return command >= 0 && command < ROUTER_COMMANDS ? commands[command].name : NULL;
}

void router_plain(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
}

static int read_request(struct router_request *q, char why[ROUTER_WHY]) {
    const char *name = json_string_value(json_object_get(q->root, "cmd"));
    int c = 0;
    if (!json_is_object(q->root) || !name) {
        snprintf(why, ROUTER_WHY, "a request is an object with \"cmd\": one of the commands of doc/schema/router.json");
        return -1;
    }
    while (c < ROUTER_COMMANDS && strcmp(commands[c].name, name) != 0)
        c++;
    if (c == ROUTER_COMMANDS) {
        snprintf(why, ROUTER_WHY, "there is no command '%.60s'", name);
        return -1;
    }
    if (router_check(q->root, commands[c].fields, why))
        return -1;
    q->command = (enum router_command)c;
    if (!commands[c].own)
        router_fill(q->root, commands[c].fields, &q->arguments);
    return 0;
}

int router_request_parse(const char *line, size_t length, struct router_request *q, char why[ROUTER_WHY]) {
    json_error_t e;
    memset(q, 0, sizeof *q);
    why[0] = 0;
    q->root = json_loadb(line, length, JSON_REJECT_DUPLICATES, &e);
    if (!q->root)
        snprintf(why, ROUTER_WHY, "the line is no JSON: %s", e.text);
    if (q->root && !read_request(q, why))
        return 0;
    router_request_free(q);
    router_plain(why);
    return -1;
}

void router_request_free(struct router_request *q) {
    json_decref(q->root);
    q->root = NULL;
}
