/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The whole user space of a lab guest: PID 1, statically linked, no files but kernel modules.
 *
 * Kernel arguments: lab.ip=A.B.C.D/LEN  lab.name=NAME  lab.mute=1 (never answers: a guest that does not become ready)
 *   lab.reads=AT:STEP:COUNT  before it serves it reads 64 KiB of its disk at AT KiB and every STEP KiB after that
 * HTTP on port 80, one connection at a time, so that load queues where it would in a small server:
 *   /          "NAME ADDRESS up SECONDS served N"
 *   /work?N    N thousand turns of a multiply loop first
 *   /fill?K    K KiB more memory made resident
 *   /dirty?K   a child that rewrites K KiB without end (0 ends it): what makes a live migration hard
 *   /bulk?K    K KiB of dots
 *   /seed      64 bytes of the second disk
 *   /read?O    64 bytes of the disk at O KiB, as text        /write?O  the guest's name there, and on the medium
 *   /off       power off                                     /panic    the kernel panics
 * A QEMU guest agent as far as "is it there": guest-sync, guest-sync-delimited, guest-ping, guest-info.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char arguments[4096], name[64] = "guest", address[64];
static unsigned long served;
static pid_t dirtier;

static double uptime(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The value of a kernel argument; the last one of a name wins, as it does in the kernel. */
static int argument(const char *key, char *value, size_t room) {
    char copy[sizeof arguments];
    int found = 0;
    size_t n = strlen(key);
    memcpy(copy, arguments, sizeof copy);
    for (char *rest = copy, *word; (word = strtok_r(rest, " \n", &rest));) {
        if (strncmp(word, key, n) == 0 && word[n] == '=') {
            snprintf(value, room, "%s", word + n + 1);
            found = 1;
        }
    }
    return found;
}

static void read_file(const char *path, char *text, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, room - 1);
    text[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
}

/* /modules/order names the files in the order in which they must be loaded. */
static void load_modules(void) {
    char order[4096], path[256];
    read_file("/modules/order", order, sizeof order);
    for (char *rest = order, *file; (file = strtok_r(rest, "\n", &rest));) {
        snprintf(path, sizeof path, "/modules/%s", file);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0)
            printf("module %s: %s\n", file, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
}

static int interface_up(int s, const char *interface) {
    struct ifreq r = {0};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", interface);
    if (ioctl(s, SIOCGIFFLAGS, &r) != 0)
        return -1;
    r.ifr_flags |= IFF_UP;
    return ioctl(s, SIOCSIFFLAGS, &r);
}

static int network_up(void) {
    char *slash = strchr(address, '/');
    int bits = slash ? atoi(slash + 1) : 16;
    if (slash)
        *slash = 0;
    struct ifreq r = {.ifr_name = "eth0"};
    struct sockaddr_in a = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, address, &a.sin_addr) != 1)
        return -1;
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(&r.ifr_addr, &a, sizeof a);
    int bad = ioctl(s, SIOCSIFADDR, &r);
    a.sin_addr.s_addr = htonl(bits > 0 ? ~0u << (32 - bits) : 0);
    memcpy(&r.ifr_netmask, &a, sizeof a);
    bad |= ioctl(s, SIOCSIFNETMASK, &r) | interface_up(s, "eth0") | interface_up(s, "lo");
    close(s);
    return bad;
}

/* A vCPU that is plugged in later comes offline. */
static void online_cpus(void) {
    for (int i = 1; i < 16; i++) {
        char path[64], state[4];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/online", i);
        read_file(path, state, sizeof state);
        if (state[0] != '0')
            continue;
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && write(fd, "1", 1) != 1)
            printf("cpu%d: %s\n", i, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
}

static void burn(unsigned long thousands) {
    volatile unsigned long x = 88172645463325252UL;
    for (unsigned long i = 0; i < thousands * 1000; i++)
        x = x * 6364136223846793005UL + 1442695040888963407UL;
}

static void touch(char *memory, unsigned long kib, unsigned salt) {
    for (unsigned long i = 0; i < kib; i++)
        memset(memory + i * 1024, (int)(i * 31 + salt), 1024);
}

static void fill(unsigned long kib) {
    char *memory = malloc(kib * 1024);
    if (memory)
        touch(memory, kib, 1);
}

static void dirty(unsigned long kib) {
    if (dirtier > 0) {
        kill(dirtier, SIGKILL);
        waitpid(dirtier, NULL, 0);
        dirtier = 0;
    }
    if (kib == 0)
        return;
    dirtier = fork();
    if (dirtier != 0)
        return;
    char *memory = malloc(kib * 1024);
    for (unsigned turn = 0; memory; turn++)
        touch(memory, kib, turn);
    _exit(1);
}

/* 64 bytes at an offset of a disk; O_SYNC so that what was written is on the host when we answer. */
static void disk(const char *path, int writes, unsigned long kib, char *text, size_t room) {
    char block[65] = "";
    off_t at = (off_t)kib * 1024;
    int fd = open(path, (writes ? O_RDWR : O_RDONLY) | O_SYNC | O_CLOEXEC);
    ssize_t n = -1;
    if (fd >= 0) {
        if (writes) {
            snprintf(block, sizeof block, "%s", name);
            n = pwrite(fd, block, 64, at);
        } else {
            n = pread(fd, block, 64, at);
        }
    }
    if (n == 64)
        snprintf(text, room, "%s\n", block);
    else
        snprintf(text, room, "disk: %s\n", strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* What a real guest does with its files while it boots. */
static void read_disk(void) {
    static char block[1 << 16];
    char text[64] = "";
    unsigned long at = 0, step = 0, count = 0;
    if (!argument("lab.reads", text, sizeof text) || sscanf(text, "%lu:%lu:%lu", &at, &step, &count) != 3)
        return;
    int fd = open("/dev/vda", O_RDONLY | O_CLOEXEC);
    for (unsigned long i = 0; fd >= 0 && i < count; i++)
        if (pread(fd, block, sizeof block, (off_t)(at + i * step) * 1024) != (ssize_t)sizeof block)
            printf("disk: %s\n", strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void panic(void) {
    int fd = open("/proc/sysrq-trigger", O_WRONLY);
    if (fd >= 0 && write(fd, "c", 1) != 1)
        printf("panic: %s\n", strerror(errno));
}

static void answer(int c) {
    char request[2048], body[256], reply[512];
    struct pollfd p = {c, POLLIN, 0};
    ssize_t n = poll(&p, 1, 2000) > 0 ? read(c, request, sizeof request - 1) : -1;
    if (n <= 0)
        return;
    request[n] = 0;
    char path[64] = "";
    unsigned long amount = 0;
    sscanf(request, "GET %63[^? ]?%lu", path, &amount);
    int known = 1;
    snprintf(body, sizeof body, "%s %s up %.2f served %lu\n", name, address, uptime(), ++served);
    if (strcmp(path, "/work") == 0)
        burn(amount ? amount : 1000);
    else if (strcmp(path, "/fill") == 0)
        fill(amount);
    else if (strcmp(path, "/dirty") == 0)
        dirty(amount);
    else if (strcmp(path, "/read") == 0)
        disk("/dev/vda", 0, amount, body, sizeof body);
    else if (strcmp(path, "/write") == 0)
        disk("/dev/vda", 1, amount, body, sizeof body);
    else if (strcmp(path, "/seed") == 0)
        disk("/dev/vdb", 0, 0, body, sizeof body);
    else
        known = strcmp(path, "/") == 0 || strcmp(path, "/bulk") == 0 || strcmp(path, "/off") == 0 ||
                strcmp(path, "/panic") == 0;
    size_t bulk = strcmp(path, "/bulk") == 0 ? amount * 1024 : 0;
    int length =
        snprintf(reply, sizeof reply, "HTTP/1.0 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
                 known ? "200 OK" : "404 Not Found", strlen(body) + bulk, body);
    if (write(c, reply, (size_t)length) != length)
        return;
    memset(request, '.', sizeof request);
    for (ssize_t sent; bulk > 0; bulk -= (size_t)sent)
        if ((sent = write(c, request, bulk < sizeof request ? bulk : sizeof request)) <= 0)
            return;
    shutdown(c, SHUT_WR);
    if (strcmp(path, "/off") == 0)
        reboot(RB_POWER_OFF);
    if (strcmp(path, "/panic") == 0)
        panic();
}

/* One request a line. The delimited form begins its answer with a byte that JSON cannot hold. */
static void agent(int fd) {
    static char line[4096];
    size_t have = 0;
    for (;;) {
        char c;
        ssize_t n = read(fd, &c, 1);
        if (n <= 0) { /* nobody has opened the host's end: no event tells when that changes */
            usleep(50000);
            continue;
        }
        if (c != '\n') {
            if ((unsigned char)c == 0xff)
                have = 0;
            else if (have + 1 < sizeof line)
                line[have++] = c;
            continue;
        }
        line[have] = 0;
        have = 0;
        char reply[256];
        const char *id = strstr(line, "\"id\"");
        long long number = id && (id = strchr(id, ':')) ? strtoll(id + 1, NULL, 10) : 0;
        int delimited = strstr(line, "guest-sync-delimited") != NULL;
        if (strstr(line, "guest-sync"))
            snprintf(reply, sizeof reply, "%s{\"return\": %lld}\n", delimited ? "\xff" : "", number);
        else if (strstr(line, "guest-ping"))
            snprintf(reply, sizeof reply, "{\"return\": {}}\n");
        else if (strstr(line, "guest-info"))
            snprintf(reply, sizeof reply,
                     "{\"return\": {\"version\": \"1\", \"supported_commands\": "
                     "[{\"name\": \"guest-ping\", \"enabled\": true, \"success-response\": true}]}}\n");
        else
            snprintf(reply, sizeof reply,
                     "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"not in this guest\"}}\n");
        if (write(fd, reply, strlen(reply)) < 0)
            usleep(50000);
    }
}

static void start_agent(void) {
    for (int i = 0; i < 3; i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/vport%dp1", i);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fork() == 0)
            agent(fd);
        close(fd);
        return;
    }
}

static int listen_http(void) {
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(80)};
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&a, sizeof a) != 0 || listen(s, 128) != 0)
        printf("listen: %s\n", strerror(errno));
    return s;
}

int main(void) {
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    for (int fd = 0; console >= 0 && fd < 3; fd++)
        dup2(console, fd);
    setvbuf(stdout, NULL, _IONBF, 0);
    signal(SIGPIPE, SIG_IGN);
    read_file("/proc/cmdline", arguments, sizeof arguments);
    argument("lab.name", name, sizeof name);
    argument("lab.ip", address, sizeof address);
    load_modules();
    int network = network_up();
    start_agent();
    read_disk();
    char mute[8] = "";
    int s = argument("lab.mute", mute, sizeof mute) ? -1 : listen_http();
    printf("READY %.2f %s %s network %s\n", uptime(), name, address, network == 0 ? "up" : "FAILED");
    for (;;) {
        struct pollfd p = {s, POLLIN, 0};
        if (poll(&p, 1, 1000) <= 0) {
            online_cpus();
            continue;
        }
        int c = accept4(s, NULL, NULL, SOCK_CLOEXEC);
        if (c < 0)
            continue;
        answer(c);
        close(c);
    }
}
