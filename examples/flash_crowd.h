/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The bed of flash_crowd: a client and servers, each a process in a network namespace of its own, and what all share.
 */
#ifndef EXAMPLES_FLASH_CROWD_H
#define EXAMPLES_FLASH_CROWD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { SERVERS = 4, REQUESTS_MOST = 1 << 18 }; /* server 0 is the primary */
#define CAPACITY  120.0                        /* requests a second that each server answers */
#define QUEUE     60  /* requests that wait at a server, half a second's worth; more are refused */
#define BOOT_S    2.5 /* from asked for until a shard answers */
#define PATIENCE  2.0 /* seconds; a request that takes longer has failed */
#define BED_MAC   "02:fc:00:00:00:"
#define SERVER_IP "10.99.0.%d", 10 + (k)
#define CLIENT_IP "10.99.0.1"
#define SERVICE   "10.99.0.80"

struct bed_server {
    _Atomic int wanted; /* the control side: 1 = be there */
    _Atomic int ready;  /* it answers */
    _Atomic uint64_t answered, refused;
};
struct bed_request {
    double at_s;     /* scheduled, from the start of the run */
    float latency_s; /* from then on; below 0: failed */
};
/* In memory that all processes map. */
struct bed {
    struct bed_server server[SERVERS];
    _Atomic int64_t start_ns; /* of the run, CLOCK_MONOTONIC; 0 = none */
    _Atomic uint32_t done;    /* requests that ended */
    uint32_t count;           /* of the run */
    struct bed_request request[REQUESTS_MOST];
};

int64_t bed_now_ns(void);
/*
 * Make namespaces, links and processes. This process is the router's afterwards: its namespace has the links fc-l0 (to
 * the client) and fc-l1 (to the servers). All ends with it, nothing of the machine's own network is touched.
 * @return NULL, and *why
 */
struct bed *bed_open(const char **why);

#endif
