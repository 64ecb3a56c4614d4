/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Any bytes as a sysfs (lines "d", "l" and "f" of tests/unit/sysfs_tree.h) and a journal (lines "j RECORD") of the
 * sriov library, and as a record alone. Nothing outside the unfolded folder is read, and nothing at all is written but
 * through the table.
 */
#include "fuzz.h"

#include <errno.h>

#include "../unit/sysfs_tree.h"
#include "sriov.h"

static void broken(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

/* ---- a kernel that obeys or not, as the input's length has it ---- */

static unsigned turn;

static int fuzz_open(const struct spr_env *env, const void *config, void **state) {
    (void)env, (void)config;
    *state = NULL;
    return 0;
}
static void fuzz_close(void *state) { (void)state; }
static int fuzz_write(void *state, const char *sysfs, const char *path, const char *text) {
    (void)state, (void)sysfs;
    if (strstr(path, "..") || path[0] == '/' || strlen(text) > 40)
        broken("a write that leaves sysfs");
    return turn++ % 3 ? 0 : -EIO;
}
static int fuzz_get(void *state, const char *pf, uint32_t vf, struct spr_sriov_settings *out) {
    (void)state, (void)vf;
    if (!*pf || strchr(pf, '/'))
        broken("a card without a name");
    out->known = turn % 2 ? SPR_SRIOV_ALL : 0;
    return 0;
}
static int fuzz_set(void *state, const char *pf, uint32_t vf, const struct spr_sriov_settings *want) {
    (void)state, (void)pf, (void)vf, (void)want;
    return turn++ % 3 ? 0 : -EOPNOTSUPP;
}
static int fuzz_addresses(void *state, const char *netdev) {
    (void)state, (void)netdev;
    return 0;
}
static int fuzz_group(void *state, int32_t group) {
    (void)state, (void)group;
    return turn % 5 ? 0 : -EBUSY;
}
static const struct spr_sriov_kernel_ops kernel = {
    .size = sizeof kernel,
    .name = "fuzz",
    .license = "MIT OR Apache-2.0",
    .open = fuzz_open,
    .close = fuzz_close,
    .write = fuzz_write,
    .vf_get = fuzz_get,
    .vf_set = fuzz_set,
    .addresses = fuzz_addresses,
    .group_free = fuzz_group,
};

/* ---- a store whose records are the input's "j" lines ---- */

static spr_ticket last_ticket;

static int store_open(const struct spr_env *env, const void *config, void **state) {
    (void)env;
    *state = (void *)(uintptr_t)config;
    return 0;
}
static int store_append(void *state, const void *record, size_t bytes, int64_t deadline, spr_ticket *out) {
    struct sv_record r;
    (void)state, (void)deadline;
    if (sv_record_parse(record, bytes, &r) < 0)
        broken("it writes what it does not read");
    *out = ++last_ticket;
    return SPR_OK;
}
static int store_collect(void *state, struct spr_time now, struct spr_store_completion *out, size_t room,
                         size_t *count) {
    (void)state, (void)now, (void)room;
    *out = (struct spr_store_completion){.size = sizeof *out, .ticket = last_ticket, .outcome = SPR_DONE};
    *count = 1;
    return SPR_OK;
}
static int store_read(void *state, int (*record)(void *user, const void *data, size_t bytes), void *user,
                      int64_t *torn) {
    int rc = SPR_OK;
    for (const char *at = state; rc >= 0 && *at; at += *at == '\n') {
        size_t n = strcspn(at, "\n");
        if (n > 2 && at[0] == 'j' && at[1] == ' ')
            rc = record(user, at + 2, n - 2);
        at += n;
    }
    *torn = 0;
    return rc;
}
static int store_cancel(void *state, spr_ticket ticket) {
    (void)state, (void)ticket;
    return SPR_E_NOT_FOUND;
}
static const struct spr_async_ops waiting = {.size = sizeof waiting, .cancel = store_cancel};
static const struct spr_store_ops store = {
    .size = sizeof store,
    .name = "fuzz",
    .license = "MIT OR Apache-2.0",
    .async = &waiting,
    .open = store_open,
    .close = fuzz_close,
    .append = store_append,
    .collect = store_collect,
    .read = store_read,
};

/* ---- */

static void as_record(const uint8_t *data, size_t size) {
    struct sv_record r;
    char text[SV_RECORD];
    if (sv_record_parse(data, size, &r) == SPR_OK &&
        (sv_record_format(&r, text) != (int)size || memcmp(text, data, size) != 0))
        broken("a record with two spellings");
}

static void use(spr_context *ctx, spr_sriov *s) {
    struct spr_sriov_want w = {.size = sizeof w, .shard = 9, .vlan = 5, .max_mbps = 10, .flags = turn % 9};
    struct spr_sriov_vf v = {.size = sizeof v};
    char xml[400];
    for (int pf = 0; pf < 3; pf++)
        for (int i = 0; spr_sriov_vf(s, pf, i, &v) == SPR_OK; i++)
            if (spr_sriov_interface_xml(&v, i & 1, xml, sizeof xml) <= 0)
                broken("a VF that has no XML");
    if (!(w.flags & SPR_SRIOV_HOST_DRIVER) || !(w.flags & SPR_SRIOV_MANAGED))
        fuzz_told(ctx, spr_sriov_allocate(s, &w, &v));
    fuzz_told(ctx, spr_sriov_look(s));
    spr_sriov_release(s, 9, 0);
    spr_sriov_set_vfs(s, 0, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char root[64], *text = malloc(size + 1), *journal = malloc(size + 1);
    spr_context *ctx = fuzz_context();
    spr_sriov *s = NULL;
    if (!text || !journal)
        abort();
    as_record(data, size);
    memcpy(text, data, size);
    text[size] = 0;
    memcpy(journal, text, size + 1);
    turn = (unsigned)size;
    last_ticket = 0;
    tree_unfold(text, root);
    struct spr_sriov_opts o = {
        .size = sizeof o, .sysfs = root, .kernel = &kernel, .store = &store, .store_config = journal};
    int rc = spr_sriov_open(ctx, &o, &s);
    fuzz_told(ctx, rc);
    if (rc == SPR_OK)
        use(ctx, s);
    spr_sriov_close(s);
    tree_remove(root);
    fuzz_context_end(ctx);
    free(text);
    free(journal);
    return 0;
}
