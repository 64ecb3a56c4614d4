/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* doctor: what this machine and this build can do. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "doctor.h"

#define STR_(x) #x
#define STR(x)  STR_(x)
#define SO      ".so." STR(SPR_ABI_VERSION)

/* Libraries we run on. `version` is a function that says what is really loaded. */
static const struct library {
    const char *name, *soname, *version, *license, *used_by;
} libraries[] = {
    {"jansson", "libjansson.so.4", "jansson_version_str", "MIT", "shardpredict-io"},
    {"zlib", "libz.so.1", "zlibVersion", "Zlib", "shardpredict-io"},
    {"libfyaml", "libfyaml.so.0", "fy_library_version", "MIT", "shardpredict-io"},
    {"popt", "libpopt.so.0", NULL, "MIT", "shardpredict"},
};

/* Backends, each a small library of its own; `table` is the accessor of its first ops table. */
static const struct backend {
    const char *name, *soname, *table, *package, *does;
} backends[] = {
    {"sim", "libshardpredict-sim" SO, "spr_sim_driver", NULL, "hosts, VMs, shards and routes in memory"},
    {"sqlite", "libshardpredict-sqlite" SO, "spr_sqlite_store", "libsqlite3-dev", "store of samples and journal"},
    {"prometheus", "libshardpredict-prometheus" SO, "spr_prometheus_source", "libcurl4-openssl-dev",
     "samples over HTTP"},
    {"libvirt", "libshardpredict-libvirt" SO, "spr_libvirt_source", "libvirt-dev", "hosts and VMs under libvirt"},
    {"dpdk", "libshardpredict-dpdk" SO, "spr_dpdk_router", "libdpdk-dev", "routes in a DPDK data plane"},
    {"sriov", "libshardpredict-sriov" SO, "spr_sriov_kernel", "libnl-route-3-dev",
     "virtual functions of network cards"},
    {"etcd", "libshardpredict-etcd" SO, "spr_etcd_coordinator", "libcurl4-openssl-dev",
     "leases for several controllers"},
    {"gsl", "libshardpredict-gsl" SO, "spr_forecaster_gsl_wavelet", "libgsl-dev",
     "wavelet forecaster (GPL-3.0-or-later)"},
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What every ops table begins with. */
struct table_head {
    size_t size;
    const char *name, *license;
};

/* A function of a library whose type the caller knows; dlsym gives a data pointer, hence the copy. */
static void look_up(void *library, const char *symbol, void (**out)(void)) {
    void *found = symbol ? dlsym(library, symbol) : NULL;
    memcpy(out, &found, sizeof found);
}

static bool library_version(const struct library *l, char *out, size_t room) {
    void *handle = dlopen(l->soname, RTLD_LAZY | RTLD_NOLOAD);
    void (*fn)(void) = NULL;
    snprintf(out, room, "%s", "unknown");
    if (!handle)
        return false;
    look_up(handle, l->version, &fn);
    if (fn)
        snprintf(out, room, "%s", ((const char *(*)(void))fn)());
    dlclose(handle);
    return true;
}

/* The licence that the backend's own table states, NULL when it is not built. The library stays loaded: its text is
 * shown. */
static const char *backend_license(const struct backend *b) {
    void *handle = dlopen(b->soname, RTLD_LAZY);
    void (*fn)(void) = NULL;
    if (!handle)
        return NULL;
    look_up(handle, b->table, &fn);
    if (!fn)
        return "not stated";
    return ((const struct table_head *(*)(void))fn)()->license;
}

static const char *simd_name(int level) {
    static const char *const names[] = {"auto", "plain", "avx2", "avx512"};
    return level >= 0 && level <= SPR_SIMD_AVX512 ? names[level] : "unknown";
}

static int best_simd(void) {
    spr_context *ctx = NULL;
    if (spr_context_create(NULL, &ctx) < 0)
        return SPR_SIMD_PLAIN;
    int level = spr_context_simd(ctx);
    spr_context_unref(ctx);
    return level;
}

static const char *folder_state(const char *path) {
    struct stat st;
    if (!path || !*path)
        return "not set";
    return !stat(path, &st) && S_ISDIR(st.st_mode) && !access(path, R_OK | X_OK) ? "readable" : "missing";
}

/* Where a libvirt daemon of this machine listens: one for all drivers, or one for QEMU; the first for reading only. */
static const char *const daemons[] = {"/run/libvirt/libvirt-sock-ro", "/run/libvirt/libvirt-sock",
                                      "/run/libvirt/virtqemud-sock-ro", "/run/libvirt/virtqemud-sock"};

static const char *daemon_state(const char *path) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)(const void *)&at, sizeof at);
    int why = rc < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return !why                                  ? "listens"
           : why == ENOENT || why == ENOTDIR     ? "missing"
           : why == EACCES || why == EPERM       ? "not permitted"
           : why == EAGAIN || why == EINPROGRESS ? "busy"
                                                 : "refuses";
}

/* libvirt's own library, which the backend runs on; as libvirt counts: a million, a thousand, one. */
static bool libvirt_version(char *out, size_t room) {
    void *handle = dlopen("libvirt.so.0", RTLD_LAZY);
    void (*fn)(void) = NULL;
    unsigned long v = 0;
    look_up(handle, handle ? "virGetVersion" : NULL, &fn);
    if (!fn || ((int (*)(unsigned long *, const char *, unsigned long *))fn)(&v, NULL, NULL) < 0)
        return false;
    snprintf(out, room, "%lu.%lu.%lu", v / 1000000, v / 1000 % 1000, v % 1000);
    return true;
}

static void say_libvirt_json(void) {
    char version[64];
    printf("\"libvirt\": {");
    tool_json_text("library", libvirt_version(version, sizeof version) ? version : NULL);
    printf(", \"daemons\": [");
    for (size_t i = 0; i < COUNT(daemons); i++) {
        printf("%s{", i ? ", " : "");
        tool_json_text("socket", daemons[i]);
        printf(", ");
        tool_json_text("state", daemon_state(daemons[i]));
        printf("}");
    }
    printf("]}");
}

static void say_libvirt_text(void) {
    char version[64];
    bool found = libvirt_version(version, sizeof version), any = false;
    printf("\nlibvirt\n  library     %s\n", found ? version : "not found; needs package libvirt0");
    for (size_t i = 0; i < COUNT(daemons); i++) {
        const char *state = daemon_state(daemons[i]);
        if (!strcmp(state, "missing"))
            continue;
        any = true;
        printf("  daemon      %s %s\n", daemons[i], state);
    }
    if (!any)
        printf("  daemon      none on this machine (no socket in /run/libvirt); hosts elsewhere are given by URI\n");
}

static void say_kernel_json(void) {
    struct doctor_line lines[DOCTOR_LINES];
    size_t n = doctor_kernel(lines);
    printf("\"host\": [");
    for (size_t i = 0; i < n; i++) {
        printf("%s{", i ? ", " : "");
        tool_json_text("name", lines[i].name);
        printf(", ");
        tool_json_text("state", lines[i].state);
        printf(", ");
        tool_json_text("text", lines[i].text[0] ? lines[i].text : NULL);
        printf(", ");
        tool_json_text("todo", strcmp(lines[i].state, "there") ? lines[i].todo : NULL);
        printf("}");
    }
    printf("]");
}

static void say_kernel_text(void) {
    struct doctor_line lines[DOCTOR_LINES];
    size_t n = doctor_kernel(lines);
    printf("\nthis machine as a host of shards\n");
    for (size_t i = 0; i < n; i++) {
        bool there = !strcmp(lines[i].state, "there");
        printf("  %-18s %-8s %s%s%s\n", lines[i].name, lines[i].state, lines[i].text,
               lines[i].text[0] && !there ? "; " : "", there ? "" : lines[i].todo);
    }
}

static void say_json(long threads) {
    char version[64];
    printf("{\"schema\": 1, ");
    tool_json_text("version", spr_version_string());
    printf(", \"abi\": %d, ", SPR_ABI_VERSION);
    tool_json_text("license", spr_build_license());
    printf(", \"threads\": %ld, ", threads);
    tool_json_text("simd", simd_name(best_simd()));
    printf(", \"libraries\": [");
    for (size_t i = 0; i < COUNT(libraries); i++) {
        bool loaded = library_version(&libraries[i], version, sizeof version);
        printf("%s{", i ? ", " : "");
        tool_json_text("name", libraries[i].name);
        printf(", ");
        tool_json_text("version", loaded ? version : NULL);
        printf(", ");
        tool_json_text("license", libraries[i].license);
        printf(", ");
        tool_json_text("used_by", libraries[i].used_by);
        printf("}");
    }
    printf("], \"backends\": [");
    for (size_t i = 0; i < COUNT(backends); i++) {
        const char *license = backend_license(&backends[i]);
        printf("%s{", i ? ", " : "");
        tool_json_text("name", backends[i].name);
        printf(", \"built\": %s, ", license ? "true" : "false");
        tool_json_text("license", license);
        printf(", ");
        tool_json_text("package", backends[i].package);
        printf("}");
    }
    printf("], ");
    say_libvirt_json();
    printf(", ");
    doctor_sriov(true);
    printf(", ");
    say_kernel_json();
    printf(", \"folders\": [");
    static const char *const names[] = {"SPR_DATA", "SPR_MAPS"};
    for (size_t i = 0; i < COUNT(names); i++) {
        printf("%s{", i ? ", " : "");
        tool_json_text("name", names[i]);
        printf(", ");
        tool_json_text("path", getenv(names[i]));
        printf(", ");
        tool_json_text("state", folder_state(getenv(names[i])));
        printf("}");
    }
    printf("]}\n");
}

static void say_folder(const char *name) {
    const char *path = getenv(name);
    printf("%-11s %s%s%s\n", name, path && *path ? path : "", path && *path ? ", " : "", folder_state(path));
}

static void say_text(long threads) {
    printf("version     %s (ABI %d), %s\n", spr_version_string(), SPR_ABI_VERSION, spr_build_license());
    printf("machine     %ld threads, SIMD %s\n", threads, simd_name(best_simd()));
    say_folder("SPR_DATA");
    say_folder("SPR_MAPS");
    printf("\nbackends\n");
    for (size_t i = 0; i < COUNT(backends); i++) {
        const struct backend *b = &backends[i];
        if (backend_license(b))
            printf("  %-11s ready      %s\n", b->name, b->does);
        else
            printf("  %-11s not built  %s; needs package %s\n", b->name, b->does, b->package ? b->package : "none");
    }
    say_libvirt_text();
    doctor_sriov(false);
    say_kernel_text();
}

static void say_licenses(void) {
    char version[64];
    printf("%-26s %-12s %s\n", "what is loaded", "version", "licence (SPDX)");
    printf("%-26s %-12s %s\n", "shardpredict", spr_version_string(), spr_build_license());
    for (size_t i = 0; i < COUNT(libraries); i++)
        if (library_version(&libraries[i], version, sizeof version))
            printf("%-26s %-12s %s\n", libraries[i].name, version, libraries[i].license);
    for (size_t i = 0; i < COUNT(backends); i++) {
        const char *license = backend_license(&backends[i]);
        if (license)
            printf("shardpredict-%-13s %-12s %s\n", backends[i].name, spr_version_string(), license);
    }
}

int verb_doctor(int argc, const char **argv) {
    static int json, licenses;
    static char *libvirt;
    struct poptOption table[] = {
        {"json", 'j', POPT_ARG_NONE, &json, 0, "answer in JSON", NULL},
        {"licenses", 'l', POPT_ARG_NONE, &licenses, 0, "list the licences of everything that is loaded", NULL},
        {"libvirt", 0, POPT_ARG_STRING, &libvirt, 0,
         "what a host under libvirt lacks, as plans will know it; exit 3 where they leave it out", "URI"},
        POPT_TABLEEND,
    };
    int rc = tool_options(
        "doctor",
        "Says what this machine and this build can do: version, SIMD level, threads, the libraries it runs on with\n"
        "their licences, the backends that are built and the package that each missing one needs, whether libvirt's\n"
        "library and a daemon of this machine are there, which network cards have virtual functions and whether they\n"
        "can be given away, what this machine lacks as a host of shards and what to do, and the folders that "
        "scenarios\n"
        "and maps are looked for in. Changes nothing: whether traffic can be limited is tried in a network namespace\n"
        "that is gone afterwards.",
        "Example: shardpredict doctor --json", table, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    if (libvirt)
        return doctor_libvirt(libvirt, json);
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    if (json)
        say_json(threads);
    else if (licenses)
        say_licenses();
    else
        say_text(threads);
    return EXIT_DONE;
}
