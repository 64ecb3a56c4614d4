/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The sriov library from a shell, for the test in the guest:
 *   hold JOURNAL look                              one line a card and VF
 *   hold JOURNAL vfs PF COUNT                      number of VFs of the card with that interface
 *   hold JOURNAL take SHARD NIC PF KEY=VALUE...    mac= vlan= qos= proto= min= max= spoofchk= trust= flags=
 *   hold JOURNAL give SHARD NIC
 *   hold JOURNAL xml SHARD NIC
 * DIE=N in the environment: the process ends by SIGKILL before the N-th thing that it changes in the kernel.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <shardpredict/backend-sriov.h>

/* The real kernel, with a step at which we die. */
static struct spr_sriov_kernel_ops dying;
static long steps, die_at;

static void step(void) {
    if (++steps == die_at)
        kill(getpid(), SIGKILL);
}
static int dying_write(void *state, const char *sysfs, const char *path, const char *text) {
    step();
    return spr_sriov_kernel()->write(state, sysfs, path, text);
}
static int dying_set(void *state, const char *pf, uint32_t vf, const struct spr_sriov_settings *want) {
    step();
    return spr_sriov_kernel()->vf_set(state, pf, vf, want);
}

static void say(const struct spr_sriov_vf *v) {
    const struct spr_sriov_settings *f = &v->settings;
    printf("vf %s pf=%s index=%d netdev=%s driver=%s group=%d state=%d shard=%llu known=%u "
           "mac=%02x:%02x:%02x:%02x:%02x:%02x "
           "vlan=%u qos=%u min=%u max=%u spoofchk=%u trust=%u why=%s\n",
           v->address, v->pf_netdev, v->index, v->netdev[0] ? v->netdev : "-", v->driver[0] ? v->driver : "-",
           v->iommu_group, v->state, (unsigned long long)v->shard, f->known, f->mac[0], f->mac[1], f->mac[2], f->mac[3],
           f->mac[4], f->mac[5], (unsigned)f->vlan, f->vlan_qos, f->min_mbps, f->max_mbps, f->spoofchk, f->trust,
           v->why);
}

static int look(const spr_sriov *s) {
    struct spr_sriov_pf p = {.size = sizeof p};
    struct spr_sriov_vf v = {.size = sizeof v};
    for (int32_t i = 0; !spr_sriov_pf(s, i, &p); i++) {
        printf("pf %s %s driver=%s vfs=%d of %d up=%d\n", p.address, p.netdev, p.driver, p.vfs, p.vfs_most, p.up);
        for (int32_t k = 0; !spr_sriov_vf(s, i, k, &v); k++)
            say(&v);
    }
    return SPR_OK;
}

static int vfs(spr_sriov *s, const char *pf, const char *count) {
    struct spr_sriov_pf p = {.size = sizeof p};
    for (int32_t i = 0; !spr_sriov_pf(s, i, &p); i++)
        if (!strcmp(p.netdev, pf))
            return spr_sriov_set_vfs(s, i, atoi(count));
    return SPR_E_NOT_FOUND;
}

static void wish(struct spr_sriov_want *w, const char *text) {
    static const struct {
        const char *key;
        size_t at;
    } numbers[] = {{"vlan=", offsetof(struct spr_sriov_want, vlan)},
                   {"qos=", offsetof(struct spr_sriov_want, vlan_qos)},
                   {"proto=", offsetof(struct spr_sriov_want, vlan_proto)},
                   {"min=", offsetof(struct spr_sriov_want, min_mbps)},
                   {"max=", offsetof(struct spr_sriov_want, max_mbps)},
                   {"spoofchk=", offsetof(struct spr_sriov_want, spoofchk)},
                   {"trust=", offsetof(struct spr_sriov_want, trust)},
                   {"flags=", offsetof(struct spr_sriov_want, flags)}};
    uint8_t *m = w->mac;
    sscanf(text, "mac=%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strncmp(text, numbers[i].key, strlen(numbers[i].key))) {
            int32_t x = (int32_t)strtol(text + strlen(numbers[i].key), NULL, 0);
            memcpy((char *)w + numbers[i].at, &x, sizeof x);
        }
}

static int take(spr_sriov *s, int n, char **arg) {
    struct spr_sriov_want w = {
        .size = sizeof w, .shard = strtoull(arg[0], NULL, 10), .nic = atoi(arg[1]), .pf = arg[2]};
    struct spr_sriov_vf v = {.size = sizeof v};
    for (int i = 3; i < n; i++)
        wish(&w, arg[i]);
    int rc = spr_sriov_allocate(s, &w, &v);
    if (rc >= 0)
        say(&v);
    return rc;
}

static int xml(const spr_sriov *s, uint64_t shard, int32_t nic) {
    struct spr_sriov_vf v = {.size = sizeof v};
    char text[512];
    int rc = spr_sriov_find(s, shard, nic, &v);
    if (rc >= 0)
        rc = spr_sriov_interface_xml(&v, 0, text, sizeof text);
    if (rc >= 0)
        fputs(text, stdout);
    return rc;
}

static int obey(spr_sriov *s, int n, char **arg) {
    if (n == 1 && !strcmp(arg[0], "look"))
        return look(s);
    if (n == 3 && !strcmp(arg[0], "vfs"))
        return vfs(s, arg[1], arg[2]);
    if (n >= 4 && !strcmp(arg[0], "take"))
        return take(s, n - 1, arg + 1);
    if (n == 3 && !strcmp(arg[0], "give"))
        return spr_sriov_release(s, strtoull(arg[1], NULL, 10), atoi(arg[2]));
    if (n == 3 && !strcmp(arg[0], "xml"))
        return xml(s, strtoull(arg[1], NULL, 10), atoi(arg[2]));
    fprintf(stderr, "see the head of hold.c\n");
    return SPR_E_ARG;
}

static void log_line(void *user, const struct spr_log_record *r) {
    (void)user;
    fprintf(stderr, "%s: %s\n", r->subject ? r->subject : r->stage, r->text);
}

int main(int argc, char **argv) {
    struct spr_logger logger = {.size = sizeof logger, .log = log_line};
    struct spr_context_opts c = {.size = sizeof c, .logger = &logger};
    struct spr_sriov_opts o = {.size = sizeof o, .journal = argc > 1 ? argv[1] : NULL, .kernel = &dying};
    struct spr_error e = {.size = sizeof e, .text = "no memory"};
    spr_context *ctx = NULL;
    spr_sriov *s = NULL;
    dying = *spr_sriov_kernel();
    dying.write = dying_write;
    dying.vf_set = dying_set;
    die_at = getenv("DIE") ? atol(getenv("DIE")) : 0;
    int rc = spr_context_create(&c, &ctx);
    if (rc >= 0)
        rc = spr_sriov_open(ctx, &o, &s);
    if (rc >= 0)
        rc = obey(s, argc - 2, argv + 2);
    if (rc < 0) {
        spr_context_error(ctx, &e);
        fprintf(stderr, "%s: %s\n", spr_error_name(rc), e.text);
    }
    spr_sriov_close(s);
    spr_context_unref(ctx);
    return rc < 0;
}
