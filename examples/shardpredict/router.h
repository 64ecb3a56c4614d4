/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The router as a process of its own: what the files router_*.c share. Configuration and control socket speak of the
 * same things in the same words, so both go through one table of fields (router_fields.c) and one change
 * (router_change.c).
 */
#ifndef SHARDPREDICT_ROUTER_H
#define SHARDPREDICT_ROUTER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <shardpredict.h>
#include <shardpredict/backend-dpdk.h>

enum { ROUTER_WHY = 320, ROUTER_LINE_MOST = 1 << 16, ROUTER_PORTS_MOST = 16, ROUTER_QUEUES_MOST = 64 };

/* ---- fields (router_fields.c) ---- */

enum router_kind {
    ROUTER_TEXT,    /* const char * */
    ROUTER_WHOLE,   /* int32_t */
    ROUTER_COUNT,   /* uint64_t */
    ROUTER_NUMBER,  /* double */
    ROUTER_FLAG,    /* int32_t, true or false */
    ROUTER_WORD,    /* int32_t, a value of a word */
    ROUTER_WEIGHTS, /* json_t *, an object of names to shares */
    ROUTER_LIST,    /* json_t *, a list of whole numbers */
};
struct router_word {
    const char *word;
    int32_t value;
};
struct router_field {
    const char *name;
    int kind;
    bool needed;
    size_t at; /* in the struct that router_fill fills */
    double least, most;
    const struct router_word *words; /* NULL-ended */
};
struct router_fields {
    const char *what; /* for messages */
    const struct router_field *field;
    size_t count;
};
extern const struct router_fields router_backend_fields, router_service_fields, router_spill_fields,
    router_spike_fields, router_port_fields, router_settings_fields;

struct router_spill { /* what router_spill_fields and router_spike_fields fill */
    const char *service;
    json_t *weights;
    double ramp_per_s;
};
struct router_port {
    int32_t type; /* row of router_port_types */
    const char *interface, *receive, *send, *socket, *device, *options;
    int32_t role, id;
};
struct router_settings {
    struct spr_dpdk_opts opts;
    int32_t memory_mb;
    json_t *lcores;
};

/* Has the object these fields only, each of its kind and range? 0, or -1 and why. "cmd" is nobody's field. */
int router_check(const json_t *object, const struct router_fields *fields, char why[ROUTER_WHY]);
/* Values of a checked object into its struct; texts are borrowed from it. Absent ones stay. */
void router_fill(const json_t *object, const struct router_fields *fields, void *to);

/* ---- lines (router_line.c): text to a request, without any input or output ---- */

enum router_command {
    ROUTER_STATS,
    ROUTER_SERVICES,
    ROUTER_BACKENDS,
    ROUTER_METRICS,
    ROUTER_FLOWS,
    ROUTER_CAPTURE,
    ROUTER_SWITCHED,
    ROUTER_BEGIN,
    ROUTER_COMMIT,
    ROUTER_REVERT,
    ROUTER_BACKEND_SET,
    ROUTER_BACKEND_REMOVE,
    ROUTER_SERVICE_SET,
    ROUTER_SERVICE_REMOVE,
    ROUTER_SPILL_SET,
    ROUTER_SPIKE_SET,
    ROUTER_DRAIN,
    ROUTER_ALIVE,
    ROUTER_PROMOTE,
    ROUTER_COMMANDS
};
struct router_arguments { /* of the commands that have no struct of their own */
    const char *name, *service, *source, *file, *backend;
    uint64_t limit, packets, generation;
    double deadline_s;
    int32_t alive;
};
struct router_request {
    enum router_command command;
    json_t *root; /* owned; texts below are borrowed from it */
    struct router_arguments arguments;
};
int router_request_parse(const char *line, size_t length, struct router_request *q, char why[ROUTER_WHY]);
void router_request_free(struct router_request *q);
const char *router_command_name(int command);
/* A text that can stand in JSON whatever it was made of. */
void router_plain(char *text);

/* ---- configuration (router_config.c) ---- */

/* A file as {"settings", "ports", "backends", "services", "spills", "spikes"}, checked; NULL: the context says where it
 * is wrong. */
json_t *router_config_read(spr_context *ctx, const char *path);

/* ---- the library, opened by its soname, and EAL behind it (router_eal.c) ---- */

#define ROUTER_DOOR(X)                                                                                                 \
    X(open)                                                                                                            \
    X(close) X(begin) X(backend_set) X(backend_remove) X(service_set) X(service_remove) X(spill_set) X(spike_set)      \
        X(drain) X(alive) X(promote) X(revert) X(commit) X(switched) X(step) X(start) X(stop) X(service_stats) X(counter_count)   \
            X(counter_name) X(counter) X(metrics) X(text_free) X(busy) X(cpu) X(idle) X(flows) X(capture)
struct router_door {
    void *library;
    int (*eal_init)(int argc, char **argv);
    int (*device_find)(const char *name, uint16_t *id);
    int (*device_close)(uint16_t id);
#define ROUTER_X(name) __typeof__(&spr_dpdk_##name) name;
    ROUTER_DOOR(ROUTER_X)
#undef ROUTER_X
};
struct router_device { /* as EAL is told of it, and its name there */
    char argument[512], name[64];
};
/* 0, or 77 after naming the package on stderr. */
int router_door_open(struct router_door *door);
/* Devices of the configuration, or of --ports instead of them. Their number, or -1 and why. */
int router_devices(const json_t *config, const char *const *ports, struct router_device devices[ROUTER_PORTS_MOST],
                   char why[ROUTER_WHY]);
int router_eal_start(const struct router_door *door, const struct router_settings *settings,
                     const struct router_device *devices, int count, char why[ROUTER_WHY]);
/* Close the devices, once nobody uses them; the process must end then. */
void router_eal_end(const struct router_door *door, const struct router_device *devices, int count);

/* ---- what is steered (router_change.c) ---- */

struct router {
    spr_context *ctx;
    struct router_door door;
    spr_dpdk *plane;
    const struct router_device *devices;
    int device_count;
    json_t *now, *draft; /* {"backends", "services"} by name: in force, and in the open change */
    const void *holder;  /* whose change is open, NULL = nobody's */
    uint64_t generation;
    int64_t started_ns;
};
struct spr_time router_now(void);
/* All of a configuration in one change. */
int router_apply(struct router *r, const json_t *config, char why[ROUTER_WHY]);
/* A command that changes something, from `who`: within its open change, or as a change of its own. */
json_t *router_change(struct router *r, const void *who, const struct router_request *q);
/* `who` is gone: its open change is forgotten. */
void router_forget(struct router *r, const void *who);

/* ---- answers (router_answer.c) ---- */

json_t *router_error(const char *text);
/* Takes an answer: one line. */
typedef void (*router_say_fn)(void *user, json_t *line); /* steals the reference */
void router_answer(struct router *r, const void *who, const struct router_request *q, router_say_fn say, void *user);

/* ---- the socket (router_socket.c) ---- */

struct router_socket;
/* Does a living process listen there, or is it no socket? -1 and why. */
int router_socket_probe(const char *path, char why[ROUTER_WHY]);
/* Listen; a dead process's socket is replaced. */
struct router_socket *router_socket_open(struct router *r, const char *path, char why[ROUTER_WHY]);
/* One round: wait at most so long for clients, answer them. */
void router_socket_round(struct router_socket *s, int timeout_ms);
/* Close all and remove the file, when it is still ours. */
void router_socket_close(struct router_socket *s);

#endif
