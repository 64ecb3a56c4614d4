/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The other end of a router's ports, in a process of its own: a guest's virtio_user, another memif. It takes frames
 * from its standard input and prints those that come; what they mean is its caller's business.
 *
 *   peer EAL-ARGUMENTS...         every port that EAL finds, in EAL's order, one queue each
 *
 * In, one a line: "send PORT HEX", tried until the port takes it. Out: "ready PORTS", "got PORT HEX" for each frame
 * that came, "took N" when all lines so far are done. It ends with its input.
 */
#include <errno.h>
#include <poll.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RING = 512, MBUFS = 8191, FRAME_MOST = 1600, LINE_MOST = 2 * FRAME_MOST + 32, NAP_US = 100 };

static struct rte_mempool *pool;
static unsigned port_count, sent;
static char line[LINE_MOST];
static size_t line_length;

static int fail(const char *what, int rc) {
    fprintf(stderr, "peer: %s: %s\n", what, rte_strerror(rc < 0 ? -rc : rc));
    return EXIT_FAILURE;
}

static int start(uint16_t port) {
    struct rte_eth_conf conf = {0};
    uint16_t rx = RING, tx = RING;
    int rc = rte_eth_dev_configure(port, 1, 1, &conf);
    if (!rc)
        rc = rte_eth_dev_adjust_nb_rx_tx_desc(port, &rx, &tx);
    if (!rc)
        rc = rte_eth_rx_queue_setup(port, 0, rx, rte_socket_id(), NULL, pool);
    if (!rc)
        rc = rte_eth_tx_queue_setup(port, 0, tx, rte_socket_id(), NULL);
    return rc ? rc : rte_eth_dev_start(port);
}

/* @return packets that came */
static unsigned receive(void) {
    struct rte_mbuf *m[32];
    unsigned all = 0;
    for (uint16_t port = 0; port < port_count; port++) {
        uint16_t n = rte_eth_rx_burst(port, 0, m, 32);
        for (uint16_t i = 0; i < n; i++) {
            uint8_t room[FRAME_MOST];
            uint32_t length = m[i]->pkt_len < FRAME_MOST ? m[i]->pkt_len : FRAME_MOST;
            const uint8_t *p = rte_pktmbuf_read(m[i], 0, length, room); /* it may lie in pieces */
            printf("got %u ", port);
            for (uint32_t k = 0; p && k < length; k++)
                printf("%02x", p[k]);
            putchar('\n');
        }
        rte_pktmbuf_free_bulk(m, n);
        all += n;
    }
    return all;
}

/* A port that is not connected yet, or whose other end is slow, takes nothing: what comes meanwhile is not lost. */
static int send_frame(unsigned port, const uint8_t *frame, uint16_t length) {
    struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
    char *to = m ? rte_pktmbuf_append(m, length) : NULL;
    if (!to) {
        rte_pktmbuf_free(m);
        return fail("no packet is free", ENOMEM);
    }
    memcpy(to, frame, length);
    uint64_t until = rte_rdtsc() + 20 * rte_get_tsc_hz();
    while (!rte_eth_tx_burst((uint16_t)port, 0, &m, 1)) {
        if (rte_rdtsc() > until)
            return fail("a port takes nothing for 20 s", EIO);
        if (!receive())
            usleep(NAP_US);
    }
    sent++;
    return EXIT_SUCCESS;
}

static int obey(const char *text) {
    uint8_t frame[FRAME_MOST];
    unsigned port, byte;
    int at = 0;
    uint16_t length = 0;
    if (sscanf(text, "send %u %n", &port, &at) != 1 || !at || port >= port_count)
        return fail(text, EINVAL);
    for (text += at; length < FRAME_MOST && sscanf(text, "%2x", &byte) == 1; text += 2)
        frame[length++] = (uint8_t)byte;
    return *text ? fail("a frame of at most 1600 bytes in hex", EINVAL) : send_frame(port, frame, length);
}

/* @return 1 as long as there is more to come, 0 at the end, -1 failed */
static int listen_to_caller(void) {
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&in, 1, 0) <= 0) {
        if (sent)
            printf("took %u\n", sent);
        sent = 0;
        return 1;
    }
    ssize_t n = read(STDIN_FILENO, line + line_length, sizeof line - line_length);
    if (n <= 0)
        return 0;
    line_length += (size_t)n;
    char *begin = line;
    for (char *end; (end = memchr(begin, '\n', line_length - (size_t)(begin - line))) != NULL; begin = end + 1) {
        *end = 0;
        if (obey(begin))
            return -1;
    }
    line_length -= (size_t)(begin - line);
    memmove(line, begin, line_length);
    return line_length < sizeof line || !fail("a line is too long", EINVAL) ? 1 : -1;
}

int main(int argc, char **argv) {
    int rc = rte_eal_init(argc, argv), more = 1;
    if (rc < 0)
        return fail("EAL", rte_errno);
    port_count = rte_eth_dev_count_avail();
    pool = rte_pktmbuf_pool_create("peer", MBUFS, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, (int)rte_socket_id());
    if (!pool || !port_count)
        return fail("no ports, or no memory for packets", pool ? ENODEV : ENOMEM);
    for (uint16_t port = 0; port < port_count; port++)
        if ((rc = start(port)))
            return fail("a port does not start", rc);
    printf("ready %u\n", port_count);
    while (more == 1) {
        unsigned n = receive();
        more = listen_to_caller();
        fflush(stdout);
        if (!n && more == 1)
            usleep(NAP_US);
    }
    for (uint16_t port = 0; port < port_count; port++)
        rte_eth_dev_stop(port);
    rte_eal_cleanup();
    return more ? EXIT_FAILURE : EXIT_SUCCESS;
}
