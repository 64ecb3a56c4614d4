/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What can be said of backends, services, spills, ports and the router: one table for YAML, JSON and their checks. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "router.h"

#define FIELDS(name, what)                                                                                             \
    const struct router_fields name##_fields = {what, name##_rows, sizeof name##_rows / sizeof *name##_rows}
enum { NEEDED = 1 };
#define ANY 1e15

static const struct router_word actions[] = {{"l2", SPR_DPDK_L2},
                                             {"vxlan", SPR_DPDK_VXLAN},
                                             {"geneve", SPR_DPDK_GENEVE},
                                             {"ipip", SPR_DPDK_IPIP},
                                             {"dnat", SPR_DPDK_DNAT},
                                             {"pass", SPR_DPDK_PASS},
                                             {NULL, 0}},
                                protocols[] = {{"tcp", 6}, {"udp", 17}, {NULL, 0}},
                                deaths[] = {{"primary", SPR_DEAD_PRIMARY},
                                            {"reset", SPR_DEAD_RESET},
                                            {"drop", SPR_DEAD_DROP},
                                            {"rehash", SPR_DEAD_REHASH},
                                            {NULL, 0}},
                                passes[] = {{"neighbour", 0}, {"drop", SPR_NONE}, {NULL, 0}},
                                idles[] = {{"interrupt", 0}, {"nap", SPR_NONE}, {NULL, 0}},
                                roles[] = {{"client", 0}, {"server", 1}, {NULL, 0}},
                                types[] = {{"af_xdp", 0}, {"af_packet", 1}, {"pcap", 2},   {"ring", 3}, {"null", 4},
                                           {"memif", 5},  {"vhost", 6},     {"device", 7}, {NULL, 0}};

#define AT(member) offsetof(struct spr_dpdk_backend, member)
static const struct router_field router_backend_rows[] = {
    {"name", ROUTER_TEXT, NEEDED, AT(name), 1, 31, NULL},
    {"action", ROUTER_WORD, NEEDED, AT(action), 0, 0, actions},
    {"port", ROUTER_WHOLE, 0, AT(port), 0, ROUTER_PORTS_MOST - 1, NULL},
    {"vlan", ROUTER_WHOLE, 0, AT(vlan), 0, 4094, NULL},
    {"mtu", ROUTER_WHOLE, 0, AT(mtu), 0, 65535, NULL},
    {"mac", ROUTER_TEXT, 0, AT(mac), 1, 64, NULL},
    {"source_mac", ROUTER_TEXT, 0, AT(source_mac), 1, 64, NULL},
    {"inner_mac", ROUTER_TEXT, 0, AT(inner_mac), 1, 64, NULL},
    {"inner_source_mac", ROUTER_TEXT, 0, AT(inner_source_mac), 1, 64, NULL},
    {"address", ROUTER_TEXT, 0, AT(address), 1, 64, NULL},
    {"source_address", ROUTER_TEXT, 0, AT(source_address), 1, 64, NULL},
    {"service_port", ROUTER_WHOLE, 0, AT(service_port), 0, 65535, NULL},
    {"vni", ROUTER_WHOLE, 0, AT(vni), 0, 16777215, NULL},
};
FIELDS(router_backend, "a backend");
#undef AT

#define AT(member) offsetof(struct spr_dpdk_service, member)
static const struct router_field router_service_rows[] = {
    {"name", ROUTER_TEXT, NEEDED, AT(name), 1, 31, NULL},
    {"address", ROUTER_TEXT, NEEDED, AT(address), 1, 64, NULL},
    {"protocol", ROUTER_WORD, NEEDED, AT(protocol), 0, 0, protocols},
    {"port", ROUTER_WHOLE, NEEDED, AT(port), 1, 65535, NULL},
    {"primary", ROUTER_TEXT, NEEDED, AT(primary), 1, 31, NULL},
    {"on_dead", ROUTER_WORD, 0, AT(on_dead), 0, 0, deaths},
    {"quic", ROUTER_FLAG, 0, AT(quic), 0, 0, NULL},
    {"pair", ROUTER_FLAG, 0, AT(pair), 0, 0, NULL},
    {"host", ROUTER_FLAG, 0, AT(host), 0, 0, NULL},
    {"flows_most", ROUTER_COUNT, 0, AT(flows_most), 0, 1e9, NULL},
    {"idle_s", ROUTER_NUMBER, 0, AT(idle_s), 0, 400, NULL},
    {"learn_s", ROUTER_NUMBER, 0, AT(learn_s), 0, 3600, NULL},
};
FIELDS(router_service, "a service");
#undef AT

#define AT(member) offsetof(struct router_spill, member)
static const struct router_field router_spill_rows[] = {
    {"service", ROUTER_TEXT, NEEDED, AT(service), 1, 31, NULL},
    {"weights", ROUTER_WEIGHTS, NEEDED, AT(weights), 0, 0, NULL},
    {"ramp_per_s", ROUTER_NUMBER, 0, AT(ramp_per_s), 0, 1e6, NULL},
};
FIELDS(router_spill, "a spill");
static const struct router_field router_spike_rows[] = {
    {"service", ROUTER_TEXT, NEEDED, AT(service), 1, 31, NULL},
    {"weights", ROUTER_WEIGHTS, NEEDED, AT(weights), 0, 0, NULL},
};
FIELDS(router_spike, "a spike");
#undef AT

#define AT(member) offsetof(struct router_port, member)
static const struct router_field router_port_rows[] = {
    {"type", ROUTER_WORD, NEEDED, AT(type), 0, 0, types},   {"interface", ROUTER_TEXT, 0, AT(interface), 1, 15, NULL},
    {"receive", ROUTER_TEXT, 0, AT(receive), 1, 200, NULL}, {"send", ROUTER_TEXT, 0, AT(send), 1, 200, NULL},
    {"socket", ROUTER_TEXT, 0, AT(socket), 1, 107, NULL},   {"role", ROUTER_WORD, 0, AT(role), 0, 0, roles},
    {"id", ROUTER_WHOLE, 0, AT(id), 0, 65535, NULL},        {"device", ROUTER_TEXT, 0, AT(device), 1, 63, NULL},
    {"options", ROUTER_TEXT, 0, AT(options), 1, 200, NULL},
};
FIELDS(router_port, "a port");
#undef AT

#define AT(member) offsetof(struct router_settings, member)
static const struct router_field router_settings_rows[] = {
    {"queues", ROUTER_WHOLE, 0, AT(opts.queues), 1, ROUTER_QUEUES_MOST, NULL},
    {"flows", ROUTER_COUNT, 0, AT(opts.flows), 1, 2147483648.0, NULL},
    {"region", ROUTER_TEXT, 0, AT(opts.region), 1, 200, NULL},
    {"name", ROUTER_TEXT, 0, AT(opts.name), 1, 63, NULL},
    {"seed", ROUTER_COUNT, 0, AT(opts.seed), 0, ANY, NULL},
    {"pass", ROUTER_WORD, 0, AT(opts.pass), 0, 0, passes},
    {"promiscuous", ROUTER_FLAG, 0, AT(opts.promiscuous), 0, 0, NULL},
    {"sleep_us", ROUTER_WHOLE, 0, AT(opts.sleep_us), SPR_NONE, 1000000, NULL},
    {"idle", ROUTER_WORD, 0, AT(opts.interrupts), 0, 0, idles},
    {"memory_mb", ROUTER_WHOLE, 0, AT(memory_mb), 64, 1 << 20, NULL},
    {"lcores", ROUTER_LIST, 0, AT(lcores), 0, 1023, NULL},
};
FIELDS(router_settings, "the router");
#undef AT

/* ---- checks ---- */

static const struct router_field *find(const struct router_fields *fields, const char *name) {
    for (size_t i = 0; i < fields->count; i++)
        if (!strcmp(fields->field[i].name, name))
            return &fields->field[i];
    return NULL;
}

static const struct router_word *word_of(const struct router_word *w, const char *text) {
    while (w->word && strcmp(w->word, text) != 0)
        w++;
    return w->word ? w : NULL;
}

static bool weights_fit(const json_t *v) {
    const char *name;
    json_t *share;
    json_object_foreach((json_t *)(uintptr_t)v, name, share) {
        double d = json_number_value(share);
        if (!*name || !json_is_number(share) || !(d >= 0 && d <= 1))
            return false;
    }
    return json_is_object(v);
}

static bool list_fits(const json_t *v, const struct router_field *f) {
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *item = json_array_get(v, i);
        if (!json_is_integer(item) || (double)json_integer_value(item) < f->least ||
            (double)json_integer_value(item) > f->most)
            return false;
    }
    return json_array_size(v) > 0;
}

static bool fits(const json_t *v, const struct router_field *f) {
    double d = json_number_value(v);
    switch (f->kind) {
    case ROUTER_TEXT:
        return json_is_string(v) && (double)json_string_length(v) >= f->least &&
               (double)json_string_length(v) <= f->most;
    case ROUTER_WHOLE:
    case ROUTER_COUNT:
        return json_is_integer(v) && d >= f->least && d <= f->most;
    case ROUTER_NUMBER:
        return json_is_number(v) && d >= f->least && d <= f->most;
    case ROUTER_FLAG:
        return json_is_boolean(v);
    case ROUTER_WORD:
        return json_is_string(v) && word_of(f->words, json_string_value(v));
    case ROUTER_WEIGHTS:
        return weights_fit(v);
    default:
        return list_fits(v, f);
    }
}

static void say_wrong(const struct router_fields *fields, const struct router_field *f, char why[ROUTER_WHY]) {
    int n = snprintf(why, ROUTER_WHY, "%s: '%s' must be ", fields->what, f->name);
    char *to = why + n;
    size_t room = ROUTER_WHY - (size_t)n;
    switch (f->kind) {
    case ROUTER_TEXT:
        snprintf(to, room, "a text of %g to %g bytes", f->least, f->most);
        return;
    case ROUTER_WHOLE:
    case ROUTER_COUNT:
    case ROUTER_NUMBER:
        snprintf(to, room, "a %snumber between %.17g and %.17g", f->kind == ROUTER_NUMBER ? "" : "whole ", f->least,
                 f->most);
        return;
    case ROUTER_FLAG:
        snprintf(to, room, "true or false");
        return;
    case ROUTER_WORD:
        snprintf(to, room, "one of:");
        for (const struct router_word *w = f->words; w->word; w++)
            snprintf(why + strlen(why), ROUTER_WHY - strlen(why), " %s", w->word);
        return;
    case ROUTER_WEIGHTS:
        snprintf(to, room, "an object of backends' names to shares between 0 and 1");
        return;
    default:
        snprintf(to, room, "a list of whole numbers between %g and %g", f->least, f->most);
    }
}

int router_check(const json_t *object, const struct router_fields *fields, char why[ROUTER_WHY]) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        const struct router_field *f = find(fields, key);
        if (!strcmp(key, "cmd"))
            continue;
        if (!f) {
            snprintf(why, ROUTER_WHY, "%s: unknown key '%.60s'", fields->what, key);
            return -1;
        }
        if (!fits(value, f)) {
            say_wrong(fields, f, why);
            return -1;
        }
    }
    for (size_t i = 0; i < fields->count; i++)
        if (fields->field[i].needed && !json_object_get(object, fields->field[i].name)) {
            snprintf(why, ROUTER_WHY, "%s: the key '%s' is missing", fields->what, fields->field[i].name);
            return -1;
        }
    return 0;
}

/* ---- values ---- */

void router_fill(const json_t *object, const struct router_fields *fields, void *to) {
    for (size_t i = 0; i < fields->count; i++) {
        const struct router_field *f = &fields->field[i];
        json_t *v = json_object_get(object, f->name);
        void *at = (char *)to + f->at;
        if (!v)
            continue;
        const char *text = json_string_value(v);
        double number = json_number_value(v);
        uint64_t count = json_is_integer(v) ? (uint64_t)json_integer_value(v) : 0;
        int32_t whole = f->kind == ROUTER_FLAG   ? json_is_true(v)
                        : f->kind == ROUTER_WORD ? word_of(f->words, text)->value
                                                 : (int32_t)count;
        switch (f->kind) {
        case ROUTER_TEXT:
            memcpy(at, &text, sizeof text);
            break;
        case ROUTER_COUNT:
            memcpy(at, &count, sizeof count);
            break;
        case ROUTER_NUMBER:
            memcpy(at, &number, sizeof number);
            break;
        case ROUTER_WEIGHTS:
        case ROUTER_LIST:
            memcpy(at, &v, sizeof v);
            break;
        default:
            memcpy(at, &whole, sizeof whole);
        }
    }
}
