/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The bed of flash_crowd; see flash_crowd.h. */
#include "flash_crowd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t bed_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* ---- links ---- */

static bool run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool run(const char *format, ...) {
    char command[512];
    va_list list;
    va_start(list, format);
    vsnprintf(command, sizeof command, format, list);
    va_end(list);
    int rc = system(command);
    if (rc)
        fprintf(stderr, "flash_crowd: '%s' failed\n", command);
    return rc == 0;
}

static void set(const char *file, const char *value) {
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* a kernel without it needs no setting */
    if (write(fd, value, strlen(value)) < 0)
        fprintf(stderr, "flash_crowd: %s: %s\n", file, strerror(errno));
    close(fd);
}

static void quiet_network(void) {
    set("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    set("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    set("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
    set("/proc/sys/net/ipv4/conf/default/rp_filter", "0");
    set("/proc/sys/net/ipv4/ip_local_port_range", "1024 65000");
    set("/proc/sys/net/core/somaxconn", "4096");
}

/* Checksums are to be in the packets: no card fills them in on the way. */
static bool checksums_by_kernel(const char *link) {
    struct ethtool_value off = {.cmd = ETHTOOL_STXCSUM};
    struct ifreq r = {.ifr_data = (void *)&off};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", link);
    int rc = s < 0 ? -1 : ioctl(s, SIOCETHTOOL, &r);
    if (s >= 0)
        close(s);
    return rc == 0;
}

/* ---- a server: so many answers a second, a queue, refusals ---- */

struct conn {
    int fd;
    bool asked;
};
struct server {
    struct bed_server *shared;
    int listener, epoll;
    int queue[QUEUE];
    unsigned first, queued;
    int64_t booted_ns, free_ns;
    bool primary;
};

static void end_with(int fd, const char *answer) {
    if (send(fd, answer, strlen(answer), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EPIPE)
        errno = 0; /* it gave up */
    close(fd);
}

static int listen_now(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(80)};
    int on = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0 || setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) || bind(s, (struct sockaddr *)&a, sizeof a) ||
        listen(s, 1024)) {
        perror("flash_crowd: server");
        exit(1);
    }
    return s;
}

static void come_or_go(struct server *s, int64_t now) {
    bool wanted = s->primary || atomic_load(&s->shared->wanted);
    if (!wanted && s->listener >= 0) {
        close(s->listener);
        s->listener = -1;
        atomic_store(&s->shared->ready, 0);
    }
    if (!wanted)
        s->booted_ns = 0;
    else if (!s->booted_ns)
        s->booted_ns = now + (s->primary ? 0 : (int64_t)(BOOT_S * 1e9));
    if (wanted && s->listener < 0 && now >= s->booted_ns) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = -1};
        s->listener = listen_now();
        epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &e);
        s->free_ns = now;
        atomic_store(&s->shared->ready, 1);
    }
}

static void accept_all(struct server *s) {
    int fd;
    while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e))
            close(fd);
    }
}

static void take(struct server *s, int fd) {
    char text[512];
    ssize_t n = recv(fd, text, sizeof text, MSG_DONTWAIT);
    epoll_ctl(s->epoll, EPOLL_CTL_DEL, fd, NULL);
    if (n <= 0) {
        close(fd);
    } else if (s->queued == QUEUE) {
        atomic_fetch_add(&s->shared->refused, 1);
        end_with(fd, "HTTP/1.0 503 busy\r\n\r\n");
    } else {
        s->queue[(s->first + s->queued++) % QUEUE] = fd;
    }
}

static void answer_due(struct server *s, int64_t now) {
    if (!s->queued && s->free_ns < now)
        s->free_ns = now;
    while (s->queued && s->free_ns <= now) {
        s->free_ns += (int64_t)(1e9 / CAPACITY);
        if (s->free_ns > now + (int64_t)(1e9 / CAPACITY))
            break;
        end_with(s->queue[s->first], "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
        s->first = (s->first + 1) % QUEUE;
        s->queued--;
        atomic_fetch_add(&s->shared->answered, 1);
    }
}

static void serve(struct bed *b, int k) {
    struct server s = {.shared = &b->server[k], .listener = -1, .epoll = epoll_create1(EPOLL_CLOEXEC), .primary = !k};
    struct epoll_event e[64];
    for (;;) {
        come_or_go(&s, bed_now_ns());
        int n = epoll_wait(s.epoll, e, 64, s.queued ? 1 : 5);
        for (int i = 0; i < n; i++)
            e[i].data.fd < 0 ? accept_all(&s) : take(&s, e[i].data.fd);
        answer_due(&s, bed_now_ns());
    }
}

/* ---- the client: an open loop; who waits for answers asks less when they are slow ---- */

struct asked {
    uint32_t request;
    int fd; /* -1 = over */
};
struct client {
    struct bed *bed;
    int epoll;
    uint32_t next, oldest; /* requests: to be sent next, oldest that may still be open */
    int *fd;               /* [REQUESTS_MOST] */
};

static void over(struct client *c, uint32_t i, bool good, int64_t now) {
    struct bed_request *r = &c->bed->request[i];
    double took = (double)(now - atomic_load(&c->bed->start_ns)) * 1e-9 - r->at_s;
    r->latency_s = good ? (float)took : -1;
    close(c->fd[i]);
    c->fd[i] = -1;
    atomic_fetch_add(&c->bed->done, 1);
}

static void ask(struct client *c, uint32_t i, int64_t now) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(80)};
    struct epoll_event e = {.events = EPOLLOUT, .data.u32 = i};
    inet_pton(AF_INET, SERVICE, &a.sin_addr);
    c->fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd[i] < 0 || (connect(c->fd[i], (struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS) ||
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->fd[i], &e))
        over(c, i, false, now);
}

static void go_on(struct client *c, const struct epoll_event *e, int64_t now) {
    static const char request[] = "GET / HTTP/1.0\r\n\r\n";
    uint32_t i = e->data.u32;
    char text[256];
    if (c->fd[i] < 0)
        return;
    if (e->events & EPOLLOUT) {
        struct epoll_event next = {.events = EPOLLIN, .data.u32 = i};
        if (send(c->fd[i], request, sizeof request - 1, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof request - 1 ||
            epoll_ctl(c->epoll, EPOLL_CTL_MOD, c->fd[i], &next))
            over(c, i, false, now);
        return;
    }
    ssize_t n = recv(c->fd[i], text, sizeof text - 1, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    text[n > 0 ? n : 0] = 0;
    over(c, i, n > 0 && strstr(text, " 200 "), now);
}

static void one_run(struct client *c) {
    struct bed *b = c->bed;
    int64_t start = atomic_load(&b->start_ns);
    struct epoll_event e[256];
    c->next = c->oldest = 0;
    while (atomic_load(&b->done) < b->count) {
        int64_t now = bed_now_ns();
        while (c->next < b->count && start + (int64_t)(b->request[c->next].at_s * 1e9) <= now)
            ask(c, c->next++, now);
        int n = epoll_wait(c->epoll, e, 256, 1);
        now = bed_now_ns();
        for (int i = 0; i < n; i++)
            go_on(c, &e[i], now);
        for (; c->oldest < c->next; c->oldest++) { /* in the order in which their patience ends */
            if (c->fd[c->oldest] < 0)
                continue;
            if ((double)(now - start) * 1e-9 < b->request[c->oldest].at_s + PATIENCE)
                break;
            over(c, c->oldest, false, now);
        }
    }
    atomic_store(&b->start_ns, 0);
}

static void be_client(struct bed *b) {
    struct client c = {.bed = b, .epoll = epoll_create1(EPOLL_CLOEXEC), .fd = calloc(REQUESTS_MOST, sizeof *c.fd)};
    if (!c.fd || c.epoll < 0)
        exit(1);
    for (;;) {
        if (atomic_load(&b->start_ns))
            one_run(&c);
        usleep(1000);
    }
}

/* ---- processes ---- */

/* Waits until its link is there, sets it up, and says so with one byte. k below 0: the client. */
static void be(struct bed *b, int k, int control) {
    char byte = 0;
    bool good = unshare(CLONE_NEWNET) == 0;
    quiet_network();
    if (write(control, "u", 1) != 1 || read(control, &byte, 1) != 1)
        exit(1);
    good = good && checksums_by_kernel("fc-e") && run("ip link set lo up && ip link set fc-e up");
    if (k < 0) {
        good = good && run("ip addr add " CLIENT_IP "/24 dev fc-e && ip neigh add " SERVICE " lladdr " BED_MAC
                           "f0 dev fc-e nud permanent");
    } else {
        good = good && run("ip addr add 10.99.0.%d/24 dev fc-e && ip addr add " SERVICE
                           "/32 dev lo && ip neigh add " CLIENT_IP " lladdr " BED_MAC "01 dev fc-e nud permanent",
                           10 + k);
    }
    if (write(control, good ? "g" : "b", 1) != 1 || !good)
        exit(1);
    close(control);
    if (k < 0)
        be_client(b);
    else
        serve(b, k);
}

static pid_t begin(struct bed *b, int k, int *control) {
    int pair[2];
    char byte;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        return -1;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* and with the process goes its namespace */
        if (getppid() != parent)
            exit(1);
        close(pair[0]);
        be(b, k, pair[1]);
        exit(0);
    }
    close(pair[1]);
    *control = pair[0];
    return pid > 0 && read(pair[0], &byte, 1) == 1 ? pid : -1;
}

static bool set_up(int control) {
    char byte = 0;
    bool good = write(control, "l", 1) == 1 && read(control, &byte, 1) == 1 && byte == 'g';
    close(control);
    return good;
}

struct bed *bed_open(const char **why) {
    struct bed *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int control[SERVERS + 1];
    pid_t pid[SERVERS + 1];
    *why = "no memory";
    if (b == MAP_FAILED)
        return NULL;
    *why = "a namespace cannot be made (root is needed)";
    for (int k = 0; k <= SERVERS; k++)
        if ((pid[k] = begin(b, k - 1, &control[k])) < 0)
            return NULL;
    if (unshare(CLONE_NEWNET))
        return NULL;
    quiet_network();
    *why = "the links cannot be made (ip of iproute2 is needed)";
    if (!run("ip link add fc-l0 address " BED_MAC "f0 type veth peer name fc-e address " BED_MAC "01 netns %d",
             pid[0]) ||
        !run("ip link add fc-br type bridge stp_state 0 mcast_snooping 0 && ip link add fc-l1 address " BED_MAC
             "f1 type veth peer name fc-b1 && ip link set fc-b1 master fc-br && ip link set fc-br up && ip link set "
             "fc-b1 up && "
             "ip link set fc-l0 up && ip link set fc-l1 up"))
        return NULL;
    for (int k = 0; k < SERVERS; k++)
        if (!run("ip link add fc-s%d type veth peer name fc-e address " BED_MAC
                 "%02x netns %d && ip link set fc-s%d master "
                 "fc-br && ip link set fc-s%d up",
                 k, 16 + k, pid[k + 1], k, k))
            return NULL;
    *why = "a process of the bed failed";
    for (int k = 0; k <= SERVERS; k++)
        if (!set_up(control[k]))
            return NULL;
    return b;
}
