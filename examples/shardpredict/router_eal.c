/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The data plane's library, which need not be there, and EAL, which comes with it: opened when the verb runs, never
 * linked. */
#include <dirent.h>
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "router.h"
#include "tool.h"

#define STR_(x) #x
#define STR(x)  STR_(x)
#define SONAME  "libshardpredict-dpdk.so." STR(SPR_ABI_VERSION)

enum { MEMORY_MB = 256, ARGUMENTS = 16 + 2 * ROUTER_PORTS_MOST };

static bool find(void *library, const char *symbol, void *to, size_t bytes) {
    void *found = dlsym(library, symbol);
    memcpy(to, &found, bytes); /* dlsym gives a data pointer, hence the copy */
    return found != NULL;
}

int router_door_open(struct router_door *door) {
    door->library = dlopen(SONAME, RTLD_NOW);
    bool all = door->library != NULL;
    /* EAL is among what the library needs: asked through its handle. */
    all = all && find(door->library, "rte_eal_init", &door->eal_init, sizeof door->eal_init) &&
          find(door->library, "rte_eth_dev_get_port_by_name", &door->device_find, sizeof door->device_find) &&
          find(door->library, "rte_eth_dev_close", &door->device_close, sizeof door->device_close);
#define X(name) all = all && find(door->library, "spr_dpdk_" #name, &door->name, sizeof door->name);
    ROUTER_DOOR(X)
#undef X
    if (all)
        return 0;
    const char *why = dlerror();
    fprintf(stderr, "shardpredict router: needs the package libshardpredict-dpdk%d (%s)\n", SPR_ABI_VERSION,
            why ? why : SONAME " cannot be opened");
    return EXIT_CANNOT;
}

/* ---- devices ---- */

static const char *const drivers[] = {"net_af_xdp", "net_af_packet", "net_pcap", "net_ring",
                                      "net_null",   "net_memif",     "net_vhost"};
enum { AF_XDP, AF_PACKET, PCAP, RING, NULL_, MEMIF, VHOST, DEVICE };

static int append(struct router_device *d, char why[ROUTER_WHY], const char *key, const char *value) {
    size_t n = strlen(d->argument);
    if (value && strchr(value, ',')) {
        snprintf(why, ROUTER_WHY, "port %s: '%s' has a comma, which EAL's arguments cannot have", d->name, value);
        return -1;
    }
    if (value)
        snprintf(d->argument + n, sizeof d->argument - n, ",%s=%s", key, value);
    return 0;
}

static int need(const struct router_device *d, char why[ROUTER_WHY], const char *key, const char *value) {
    if (!value)
        snprintf(why, ROUTER_WHY, "port %s: the key '%s' is missing", d->name, key);
    return value ? 0 : -1;
}

static int pcap_arguments(struct router_device *d, const struct router_port *p, char why[ROUTER_WHY]) {
    if (p->interface)
        return append(d, why, "iface", p->interface);
    return need(d, why, "receive", p->receive) || need(d, why, "send", p->send) ||
                   append(d, why, "rx_pcap", p->receive) || append(d, why, "tx_pcap", p->send)
               ? -1
               : 0;
}

static int memif_arguments(struct router_device *d, const struct router_port *p, char why[ROUTER_WHY]) {
    char id[16];
    snprintf(id, sizeof id, "%d", p->id);
    return need(d, why, "socket", p->socket) || append(d, why, "role", p->role ? "server" : "client") ||
                   append(d, why, "id", id) || append(d, why, "socket", p->socket) ||
                   append(d, why, "socket-abstract", "no")
               ? -1
               : 0;
}

/* A port as EAL's --vdev has it; with as many queues as the router has lcores, where the device must be told. */
static int arguments(struct router_device *d, const struct router_port *p, int32_t queues, char why[ROUTER_WHY]) {
    char pairs[16];
    size_t n;
    snprintf(pairs, sizeof pairs, "%d", queues);
    switch (p->type) {
    case AF_XDP:
        return need(d, why, "interface", p->interface) || append(d, why, "iface", p->interface) ? -1 : 0;
    case AF_PACKET: /* the default ring drops thousands of packets when the poller has to wait for its processor */
        if (need(d, why, "interface", p->interface) || append(d, why, "iface", p->interface) ||
            append(d, why, "qpairs", pairs))
            return -1;
        n = strlen(d->argument);
        snprintf(d->argument + n, sizeof d->argument - n, "%s", ",blocksz=4096,framesz=2048,framecnt=4096");
        return 0;
    case PCAP:
        return pcap_arguments(d, p, why);
    case NULL_: /* its packets are of no use to anybody: it gives none unless asked */
        return p->options ? 0 : append(d, why, "no-rx", "1");
    case MEMIF:
        return memif_arguments(d, p, why);
    case VHOST:
        return need(d, why, "socket", p->socket) || append(d, why, "iface", p->socket) ||
                       append(d, why, "queues", pairs)
                   ? -1
                   : 0;
    default:
        return 0;
    }
}

static int device_of(const struct router_port *p, int row, int32_t queues, struct router_device *d,
                     char why[ROUTER_WHY]) {
    memset(d, 0, sizeof *d);
    if (p->type == DEVICE) {
        if (!p->device) {
            snprintf(why, ROUTER_WHY, "port %d: the key 'device' is missing", row);
            return -1;
        }
        snprintf(d->name, sizeof d->name, "%s", p->device);
    } else
        snprintf(d->name, sizeof d->name, "%s%d", drivers[p->type], row);
    snprintf(d->argument, sizeof d->argument, "%s", d->name);
    if (p->type != DEVICE && arguments(d, p, queues, why))
        return -1;
    size_t n = strlen(d->argument);
    if (p->options)
        snprintf(d->argument + n, sizeof d->argument - n, ",%s", p->options);
    return 0;
}

/* "null", "af_packet,iface=eth0" or "0000:01:00.0" of --ports; the text after the comma goes to EAL as it is. */
static void given(const char *text, char name[64], struct router_port *p) {
    static const char *const types[] = {"af_xdp", "af_packet", "pcap", "ring", "null", "memif", "vhost"};
    size_t n = strcspn(text, ",");
    memset(p, 0, sizeof *p);
    p->type = DEVICE;
    for (int i = 0; i < DEVICE; i++)
        if (strlen(types[i]) == n && !memcmp(types[i], text, n))
            p->type = i;
    snprintf(name, 64, "%.*s", (int)(n < 63 ? n : 63), text);
    p->device = name;
    p->options = text[n] ? text + n + 1 : NULL;
}

static int given_device(const char *text, int row, struct router_device *d, char why[ROUTER_WHY]) {
    struct router_port p;
    char name[64];
    given(text, name, &p);
    if (p.type == DEVICE || !p.options)
        return device_of(&p, row, 1, d, why);
    memset(d, 0, sizeof *d);
    snprintf(d->name, sizeof d->name, "%s%d", drivers[p.type], row);
    snprintf(d->argument, sizeof d->argument, "%s,%s", d->name, p.options);
    return 0;
}

int router_devices(const json_t *config, const char *const *ports, struct router_device devices[ROUTER_PORTS_MOST],
                   char why[ROUTER_WHY]) {
    const json_t *list = json_object_get(config, "ports");
    struct router_settings s = {.opts.queues = 1};
    int n = 0, count = (int)json_array_size(list);
    router_fill(json_object_get(config, "settings"), &router_settings_fields, &s);
    bool each = ports && ports[0] && !ports[1] && (!strcmp(ports[0], "null") || !strcmp(ports[0], "ring"));
    if (each) /* one of them for every port that the file has */
        for (; n < (count ? count : 1); n++)
            if (given_device(ports[0], n, &devices[n], why))
                return -1;
    for (; !each && ports && ports[n]; n++)
        if (n == ROUTER_PORTS_MOST || given_device(ports[n], n, &devices[n], why))
            return n == ROUTER_PORTS_MOST ? snprintf(why, ROUTER_WHY, "more than %d ports", ROUTER_PORTS_MOST), -1 : -1;
    for (; !(ports && ports[0]) && n < count; n++) {
        struct router_port p = {.type = DEVICE};
        router_fill(json_array_get(list, (size_t)n), &router_port_fields, &p);
        if (device_of(&p, n, s.opts.queues, &devices[n], why))
            return -1;
    }
    if (!n)
        snprintf(why, ROUTER_WHY, "there are no ports: neither in the configuration nor by --ports");
    return n ? n : -1;
}

/* ---- EAL ---- */

/* MiB of free huge pages. */
static uint64_t huge_mb(void) {
    static const char folder[] = "/sys/kernel/mm/hugepages";
    uint64_t sum = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        unsigned long long kb = 0, pages = 0;
        char path[400];
        if (sscanf(e->d_name, "hugepages-%llukB", &kb) != 1)
            continue;
        snprintf(path, sizeof path, "%s/%s/free_hugepages", folder, e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%llu", &pages) == 1)
            sum += pages * kb / 1024;
        if (f)
            fclose(f);
    }
    if (dir)
        closedir(dir);
    return sum;
}

/* "--lcores=0@(0-1),1@3": the control thread goes where the process may, each worker to its processor, if it has one.
 */
static int lcores_argument(const struct router_settings *s, char *text, size_t room, char why[ROUTER_WHY]) {
    cpu_set_t set;
    char all[1024] = "";
    int workers = s->opts.queues ? s->opts.queues : 1, listed = (int)json_array_size(s->lcores);
    if (sched_getaffinity(0, sizeof set, &set)) {
        snprintf(why, ROUTER_WHY, "the processors of this process cannot be read");
        return -1;
    }
    for (int i = 0; i < CPU_SETSIZE && strlen(all) < sizeof all - 8; i++)
        if (CPU_ISSET(i, &set))
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%d", *all ? "," : "", i);
    if (listed && listed != workers) {
        snprintf(why, ROUTER_WHY, "%d queues need as many lcores, the list has %d", workers, listed);
        return -1;
    }
    int n = snprintf(text, room, "--lcores=0@(%s)", all);
    for (int i = 0; i < workers; i++) {
        int cpu = (int)json_integer_value(json_array_get(s->lcores, (size_t)i));
        if (listed && !CPU_ISSET(cpu, &set)) {
            snprintf(why, ROUTER_WHY, "lcores: processor %d is not one that this process may use", cpu);
            return -1;
        }
        if (listed)
            n += snprintf(text + n, room - (size_t)n, ",%d@%d", i + 1, cpu);
        else
            n += snprintf(text + n, room - (size_t)n, ",%d@(%s)", i + 1, all);
        if ((size_t)n >= room) {
            snprintf(why, ROUTER_WHY, "too many lcores for EAL's arguments");
            return -1;
        }
    }
    return 0;
}

int router_eal_start(const struct router_door *door, const struct router_settings *settings,
                     const struct router_device *devices, int count, char why[ROUTER_WHY]) {
    static char lcores[1 << 16], memory[32], prefix[64], vdev[ROUTER_PORTS_MOST][560]; /* EAL keeps pointers */
    static char *argv[ARGUMENTS];
    static char program[] = "shardpredict", in_memory[] = "--in-memory", no_huge[] = "--no-huge",
                no_files[] = "--no-shconf", no_pci[] = "--no-pci", quiet[] = "--no-telemetry", m[] = "-m",
                level[] = "--log-level=error";
    int argc = 0, mb = settings->memory_mb ? settings->memory_mb : MEMORY_MB;
    bool pci = false, huge = huge_mb() >= (uint64_t)mb;
    if (lcores_argument(settings, lcores, sizeof lcores, why))
        return -1;
    snprintf(memory, sizeof memory, "%d", huge ? mb : 2 * mb);
    snprintf(prefix, sizeof prefix, "--file-prefix=shardpredict-%ld", (long)getpid());
    argv[argc++] = program;
    argv[argc++] = lcores;
    argv[argc++] = quiet;
    argv[argc++] = level;
    argv[argc++] = prefix;
    if (huge) {
        argv[argc++] = in_memory;
    } else {
        fprintf(stderr,
                "shardpredict router: note: fewer than %d MiB of huge pages are free; goes on without, slower "
                "(sysctl vm.nr_hugepages=%d)\n",
                mb, mb / 2);
        argv[argc++] = no_huge;
        argv[argc++] = no_files;
        argv[argc++] = m;
        argv[argc++] = memory;
    }
    for (int i = 0; i < count; i++) {
        bool virtual_one = !strncmp(devices[i].name, "net_", 4);
        pci |= !virtual_one;
        snprintf(vdev[i], sizeof vdev[i], "%s%s", virtual_one ? "--vdev=" : "--allow=", devices[i].argument);
        argv[argc++] = vdev[i];
    }
    if (!pci)
        argv[argc++] = no_pci;
    argv[argc] = NULL;
    if (door->eal_init(argc, argv) >= 0)
        return 0;
    snprintf(why, ROUTER_WHY, "EAL does not start; its reason stands above");
    return -1;
}

/*
 * Not rte_eal_cleanup: it unmaps EAL's memory, in which EAL's thread for interrupts, which nobody can end, still reads.
 * With a memif peer that ended at the same time that was a SIGSEGV. What stays behind a process are the devices' traces
 * (XDP programs, socket files), and closing takes them away.
 */
void router_eal_end(const struct router_door *door, const struct router_device *devices, int count) {
    uint16_t id;
    for (int i = 0; i < count; i++)
        if (!door->device_find(devices[i].name, &id))
            door->device_close(id);
}
