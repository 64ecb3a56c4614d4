/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Any bytes as the router's configuration. */
#include "fuzz.h"

#include "router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[40], why[ROUTER_WHY];
    int fd = fuzz_file(data, size, path);
    struct router_device devices[ROUTER_PORTS_MOST];
    spr_context *ctx = fuzz_context();
    json_t *config = router_config_read(ctx, path);
    if (!config) {
        struct spr_error e = {.size = sizeof e};
        if (spr_context_error(ctx, &e) < 0 || !e.text || !e.text[0])
            abort(); /* a failure must say why */
    } else {
        static const struct {
            const char *list;
            const struct router_fields *fields;
        } lists[] = {{"ports", &router_port_fields},
                     {"backends", &router_backend_fields},
                     {"services", &router_service_fields},
                     {"spills", &router_spill_fields}};
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
            for (size_t k = 0; k < json_array_size(json_object_get(config, lists[i].list)); k++)
                if (router_check(json_array_get(json_object_get(config, lists[i].list), k), lists[i].fields, why))
                    abort(); /* the file and the socket agree on what is right */
        if (router_check(json_object_get(config, "settings"), &router_settings_fields, why))
            abort();
        router_devices(config, NULL, devices, why);
    }
    json_decref(config);
    fuzz_context_end(ctx);
    close(fd);
    return 0;
}
