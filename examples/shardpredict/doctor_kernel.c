/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * This machine as a host of shards: what its kernel and its libvirt have for running and limiting shards (cards:
 * doctor_sriov.c). Only looks; whether traffic can be limited is tried, with the commands that libvirt will use, in a
 * network namespace that is gone when this ends.
 */
#include <fcntl.h>
#include <glob.h>
#include <mntent.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor.h"

static struct doctor_line *put(struct doctor_line *out, size_t *n, const char *name, int there, const char *todo,
                               const char *text) {
    struct doctor_line *l = &out[(*n)++];
    *l = (struct doctor_line){.name = name, .state = there > 0 ? "there" : there ? "unknown" : "missing", .todo = todo};
    snprintf(l->text, sizeof l->text, "%s", text);
    return l;
}

/* ---- control groups ---- */

static bool has_word(const char *path, const char *word) {
    char text[1024], *at = text;
    FILE *f = fopen(path, "r");
    bool found = false;
    if (f && fgets(text, sizeof text, f))
        for (char *w; (w = strsep(&at, " \n"));)
            found |= !strcmp(w, word);
    if (f)
        fclose(f);
    return found;
}

/* Where this controller is mounted; false = nowhere. */
static bool controller_at(const char *controller, char *where, size_t room) {
    FILE *f = setmntent("/proc/mounts", "r");
    bool found = false;
    for (struct mntent *m; f && !found && (m = getmntent(f));) {
        char list[512];
        snprintf(list, sizeof list, "%s/cgroup.controllers", m->mnt_dir);
        found = (!strcmp(m->mnt_type, "cgroup") && hasmntopt(m, controller)) ||
                (!strcmp(m->mnt_type, "cgroup2") && has_word(list, controller));
        if (found)
            snprintf(where, room, "%s", m->mnt_dir);
    }
    if (f)
        endmntent(f);
    return found;
}

static void look_at_groups(struct doctor_line *out, size_t *n) {
    char where[DOCTOR_TEXT] = "";
    bool found = controller_at("cpu", where, sizeof where);
    put(out, n, "cpu control group", found,
        "mount the control group controller cpu (version 2: it must stand in cgroup.controllers) and start libvirtd "
        "anew: without it no shard can be limited, and plans leave this host out",
        where);
}

/* ---- traffic shaping ---- */

static const struct step {
    const char *part, *arguments; /* of the kernel; of tc */
    int needs, undo;              /* another step + 1 that must have worked; 1: taken back at once */
} steps[] = {
    {"sch_sfq", "qdisc add dev lo root handle 9: sfq perturb 10", 0, 1},
    {"sch_htb", "qdisc add dev lo root handle 1: htb default 1", 0, 0},
    {"sch_ingress", "qdisc add dev lo ingress", 0, 0},
    {"cls_fw", "filter add dev lo parent ffff: protocol all prio 1 handle 1 fw classid 1:1", 3, 0},
    {"cls_u32", "filter add dev lo parent ffff: protocol all prio 2 u32 match u32 0 0 flowid 1:1", 3, 0},
    {"act_police",
     "filter add dev lo parent ffff: protocol all prio 3 u32 match u32 0 0 police rate 1000kbps burst 1000kb mtu 64kb "
     "drop "
     "flowid :1",
     5, 0},
};
enum { STEPS = sizeof steps / sizeof *steps, NO_TC = 1 << STEPS, NO_NAMESPACE = 1 << (STEPS + 1) };

static int run_tc(const char *arguments) {
    char text[256], *at = text, *argv[40] = {(char *)(uintptr_t) "tc"};
    int count = 1, status = 0, null;
    snprintf(text, sizeof text, "%s", arguments);
    while (count < 39 && (argv[count] = strsep(&at, " ")))
        count++;
    pid_t child = fork();
    if (!child) {
        null = open("/dev/null", O_RDWR);
        for (int fd = 0; fd < 3; fd++)
            dup2(null, fd);
        execvp("tc", argv);
        _exit(127);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

static void write_to(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        fd = (close(fd), -1);
    if (fd >= 0)
        close(fd);
}

/* Without rights: a user namespace, in which we are root. */
static bool own_network(void) {
    char map[64];
    unsigned user = geteuid();
    if (unshare(CLONE_NEWNET) == 0)
        return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    snprintf(map, sizeof map, "0 %u 1", user);
    write_to("/proc/self/uid_map", map);
    return true;
}

/* Bit by step that works; in a process of its own, because a namespace cannot be left. */
static int shaping(void) {
    int result = NO_NAMESPACE, channel[2];
    if (pipe(channel) < 0)
        return result;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        result = own_network() ? 0 : NO_NAMESPACE;
        for (int i = 0; i < STEPS && !(result & (NO_NAMESPACE | NO_TC)); i++) {
            if (steps[i].needs && !(result >> (steps[i].needs - 1) & 1))
                continue;
            int rc = run_tc(steps[i].arguments);
            result |= rc == 127 ? NO_TC : rc ? 0 : 1 << i;
            if (!rc && steps[i].undo)
                run_tc("qdisc del dev lo root");
        }
        _exit(write(channel[1], &result, sizeof result) != (ssize_t)sizeof result);
    }
    close(channel[1]);
    if (child < 0 || read(channel[0], &result, sizeof result) != (ssize_t)sizeof result)
        result = NO_NAMESPACE;
    close(channel[0]);
    if (child > 0)
        waitpid(child, NULL, 0);
    return result;
}

static void look_at_shaping(struct doctor_line *out, size_t *n) {
    int works = shaping();
    put(out, n, "tc", works & NO_NAMESPACE ? -1 : !(works & NO_TC),
        "install iproute2: libvirt limits bandwidth with it",
        works & NO_NAMESPACE ? "no network namespace to try it in" : "");
    for (int i = 0; i < STEPS; i++) {
        bool told = !(works & (NO_NAMESPACE | NO_TC)) && (!steps[i].needs || works >> (steps[i].needs - 1) & 1);
        put(out, n, steps[i].part, told ? works >> i & 1 : -1,
            "load it (modprobe, or a kernel that has it) or set limit_net off, else plans for the network leave this "
            "host out",
            told ? "" : "could not be tried");
    }
}

/* ---- devices ---- */

static void look_at_devices(struct doctor_line *out, size_t *n) {
    put(out, n, "kvm", !access("/dev/kvm", R_OK | W_OK), "guests are emulated and slow: load kvm_intel or kvm_amd", "");
}

/* ---- libvirt's own parts ---- */

static void look_at_drivers(struct doctor_line *out, size_t *n) {
    static const struct {
        const char *name, *file, *todo;
    } of[] = {
        {"driver qemu", "libvirt_driver_qemu.so", "install libvirt-daemon-driver-qemu"},
        {"driver secret", "libvirt_driver_secret.so",
         "install libvirt's secret driver: without it only fences keep two controllers apart"},
        {"driver storage", "libvirt_driver_storage.so",
         "install libvirt's storage driver: without it there are no overlays, so no replicas of VMs with disks"},
    };
    static const char *const folders[] = {"/usr/lib/*/libvirt/connection-driver/",
                                          "/usr/lib64/libvirt/connection-driver/",
                                          "/usr/lib/libvirt/connection-driver/"};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        char path[256], found[DOCTOR_TEXT] = "";
        for (size_t k = 0; k < sizeof folders / sizeof *folders && !found[0]; k++) {
            glob_t g;
            snprintf(path, sizeof path, "%s%s", folders[k], of[i].file);
            if (glob(path, 0, NULL, &g) == 0) {
                snprintf(found, sizeof found, "%s", g.gl_pathv[0]);
                globfree(&g);
            }
        }
        put(out, n, of[i].name, found[0] != 0, of[i].todo, found);
    }
}

size_t doctor_kernel(struct doctor_line *out) {
    size_t n = 0;
    look_at_groups(out, &n);
    look_at_shaping(out, &n);
    look_at_devices(out, &n);
    look_at_drivers(out, &n);
    return n;
}
