/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as lines of the router's control socket. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(const char *line, size_t length) {
    struct router_request q;
    char why[ROUTER_WHY];
    if (router_request_parse(line, length, &q, why)) {
        json_t *said = json_string(why); /* a refusal has words, and they can stand in an answer */
        if (q.root || !why[0] || !said)
            abort();
        json_decref(said);
        return;
    }
    if (!q.root || !router_command_name((int)q.command))
        abort();
    struct spr_dpdk_backend backend = {.size = sizeof backend};
    struct spr_dpdk_service service = {.size = sizeof service};
    struct router_spill spill = {0};
    if (q.command == ROUTER_BACKEND_SET)
        router_fill(q.root, &router_backend_fields, &backend);
    if (q.command == ROUTER_SERVICE_SET)
        router_fill(q.root, &router_service_fields, &service);
    if (q.command == ROUTER_SPILL_SET)
        router_fill(q.root, &router_spill_fields, &spill);
    if ((q.command == ROUTER_BACKEND_SET && (!backend.name || backend.port < 0 || backend.port >= ROUTER_PORTS_MOST)) ||
        (q.command == ROUTER_SERVICE_SET && (!service.name || !service.primary || service.port < 1)) ||
        (q.command == ROUTER_SPILL_SET && (!spill.service || !json_is_object(spill.weights))) ||
        (q.command == ROUTER_DRAIN && !(q.arguments.backend && q.arguments.deadline_s >= 0)))
        abort(); /* what is accepted is whole and in range */
    router_request_free(&q);
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
        one(line, length);
        free(line);
        at += length + (stop != NULL);
    }
    return 0;
}
