/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as lines that a router says to its client: whatever was asked. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(const char *line, size_t length, enum rc_asked asked) {
    struct rc_answer a;
    enum rc_meaning meaning = rc_answer_read(line, length, asked, &a);
    if ((meaning == RC_YES) == (a.text[0] != 0) || (a.stats && (meaning != RC_YES || asked != RC_STATS)) ||
        (asked == RC_STATS && meaning == RC_YES && !a.stats))
        abort(); /* a refusal has words, and only what was asked for is given */
    for (const char *p = a.text; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            abort();
    const char *service;
    json_t *value;
    json_object_foreach(json_object_get(a.stats, "services"), service, value) {
        struct spr_route_counters c = {.size = sizeof c, .vm = 3};
        if (!rc_answer_counters(a.stats, service, &c) || c.vm != 3 || c.packets > INT64_MAX)
            abort(); /* what was accepted can be read */
    }
    json_decref(a.stats);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *at = (const char *)data, *end = at + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        char *line = malloc(length ? length : 1); /* of its own, so that reading past it is seen */
        if (!line)
            abort();
        memcpy(line, at, length);
        for (int asked = RC_NOTHING; asked <= RC_STATS; asked++)
            one(line, length, (enum rc_asked)asked);
        free(line);
        at += length + (stop != NULL);
    }
    return 0;
}
