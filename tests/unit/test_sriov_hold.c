/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Taking virtual functions and giving them back: which one, how it is set, that it is as before afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "fake_vfs.h"

struct scene {
    struct fake_vfs *f;
    spr_context *ctx;
    spr_sriov *s;
};

static int set_up(void **state) {
    struct scene *c = calloc(1, sizeof *c);
    c->f = fake_vfs_make();
    assert_int_equal(spr_context_create(NULL, &c->ctx), SPR_OK);
    assert_int_equal(fake_vfs_open(c->ctx, c->f, &c->s), SPR_OK);
    *state = c;
    return 0;
}
static int tear_down(void **state) {
    struct scene *c = *state;
    spr_sriov_close(c->s);
    spr_context_unref(c->ctx);
    fake_vfs_end(c->f);
    free(c);
    return 0;
}
static void reopen(struct scene *c) {
    spr_sriov_close(c->s);
    c->s = NULL;
    assert_int_equal(fake_vfs_open(c->ctx, c->f, &c->s), SPR_OK);
}

static const char *said(struct scene *c) {
    static struct spr_error e;
    e.size = sizeof e;
    return spr_context_error(c->ctx, &e) < 0 ? "" : e.text;
}

static struct spr_sriov_want want(uint64_t shard) {
    return (struct spr_sriov_want){.size = sizeof(struct spr_sriov_want),
                                   .shard = shard,
                                   .pf = "eth0",
                                   .vlan = 100,
                                   .vlan_qos = 3,
                                   .min_mbps = 50,
                                   .max_mbps = 200,
                                   .spoofchk = SPR_NONE,
                                   .trust = 1,
                                   .mac = {0x52, 0x54, 0, 0xaa, 0, (uint8_t)shard}};
}

static struct spr_sriov_vf take(struct scene *c, const struct spr_sriov_want *w) {
    struct spr_sriov_vf v = {.size = sizeof v};
    int rc = spr_sriov_allocate(c->s, w, &v);
    if (rc < 0)
        print_message("%s\n", said(c));
    assert_int_equal(rc, SPR_OK);
    return v;
}

static void test_sriov_hold__sets_binds_and_puts_back(void **state) {
    struct scene *c = *state;
    struct spr_sriov_settings before[8];
    struct spr_sriov_want w = want(5);
    char driver[64];
    memcpy(before, c->f->vf[0], sizeof before);
    struct spr_sriov_vf v = take(c, &w);
    assert_string_equal(v.address, "0000:01:10.0");
    assert_string_equal(v.driver, "vfio-pci");
    assert_string_equal(v.netdev, "");
    assert_int_equal(v.state, SPR_SRIOV_OURS);
    assert_int_equal(v.shard, 5);
    struct spr_sriov_settings *now = &c->f->vf[0][0];
    assert_memory_equal(now->mac, w.mac, 6);
    assert_int_equal(now->vlan, 100);
    assert_int_equal(now->vlan_qos, 3);
    assert_int_equal(now->min_mbps, 50);
    assert_int_equal(now->max_mbps, 200);
    assert_int_equal(now->spoofchk, 0);
    assert_int_equal(now->trust, 1);
    assert_int_equal(v.settings.vlan, 100);
    assert_memory_equal(&c->f->vf[0][1], &before[1], sizeof before[1]);

    reopen(c); /* another process finds it */
    struct spr_sriov_vf again = {.size = sizeof again};
    assert_int_equal(spr_sriov_find(c->s, 5, 0, &again), SPR_OK);
    assert_string_equal(again.address, v.address);
    assert_int_equal(spr_sriov_find(c->s, 5, 1, &again), SPR_E_NOT_FOUND);
    assert_int_equal(spr_sriov_allocate(c->s, &w, &again), SPR_E_EXISTS);

    assert_int_equal(spr_sriov_release(c->s, 5, 0), SPR_OK);
    assert_memory_equal(c->f->vf[0], before, sizeof before);
    fake_driver(c->f, v.address, driver);
    assert_string_equal(driver, "igbvf");
    assert_int_equal(spr_sriov_release(c->s, 5, 0), SPR_E_NOT_FOUND);
    reopen(c);
    assert_int_equal(spr_sriov_find(c->s, 5, 0, &again), SPR_E_NOT_FOUND);
}

/* What nobody wished stays as an administrator left it, also the other half of a pair. */
static void test_sriov_hold__leaves_what_is_not_wished(void **state) {
    struct scene *c = *state;
    struct spr_sriov_want first = {.size = sizeof first, .shard = 1, .pf = "0000:01:00.0"},
                          w = {.size = sizeof w, .shard = 2, .pf = "eth0", .min_mbps = 10};
    take(c, &first);
    assert_int_equal(c->f->sets, 0);
    struct spr_sriov_vf v = take(c, &w);
    assert_int_equal(v.index, 1);
    assert_int_equal(c->f->vf[0][1].max_mbps, 500);
    assert_int_equal(c->f->vf[0][1].min_mbps, 10);
    assert_int_equal(c->f->vf[0][1].vlan, 7);
    assert_int_equal(spr_sriov_release(c->s, 2, 0), SPR_OK);
    w.min_mbps = 0;
    w.max_mbps = w.vlan = SPR_NONE;
    v = take(c, &w);
    assert_int_equal(v.index, 1);
    assert_int_equal(c->f->vf[0][1].max_mbps, 0);
    assert_int_equal(c->f->vf[0][1].vlan, 0);
    assert_int_equal(spr_sriov_release(c->s, 2, 0), SPR_OK);
    assert_int_equal(c->f->vf[0][1].max_mbps, 500);
    assert_int_equal(c->f->vf[0][1].vlan, 7);
    assert_int_equal(c->f->vf[0][1].vlan_qos, 2);
}

static void test_sriov_hold__chooses_by_node_then_by_room(void **state) {
    struct scene *c = *state;
    struct spr_sriov_want w = {.size = sizeof w, .shard = 1};
    fake_text(c->f, "0000:02:10.2", "numa_node", "1");
    w.flags = SPR_SRIOV_NUMA_PREFER;
    w.numa_node = 1;
    assert_string_equal(take(c, &w).address, "0000:02:10.2");
    w.shard = 2;
    assert_string_equal(take(c, &w).address, "0000:01:10.0"); /* any, of the card with more free ones */
    w.shard = 3;
    w.flags = SPR_SRIOV_NUMA_ONLY;
    struct spr_sriov_vf v = {.size = sizeof v};
    assert_int_equal(spr_sriov_allocate(c->s, &w, &v), SPR_E_CAPACITY);
    assert_non_null(strstr(said(c), "it is on NUMA node -1, not 1"));
    w.flags = 0;
    take(c, &w);
    w.shard = 4;
    fake_interface(c->f, "0000:01:00.0", "eth0", "0x1002"); /* that card goes down */
    assert_string_equal(take(c, &w).address, "0000:02:10.0");
}

static void test_sriov_hold__refuses_groups_shared_with_others(void **state) {
    struct scene *c = *state;
    char path[TREE_PATH];
    struct spr_sriov_vf v = {.size = sizeof v};
    struct spr_sriov_want w = {.size = sizeof w, .shard = 1, .pf = "eth0"};
    for (int g = 10; g < 13; g++)
        mkdir(fake_path(c->f, path, "kernel/iommu_groups/%d/devices/0000:00:1f.2", g), 0700);
    assert_int_equal(spr_sriov_allocate(c->s, &w, &v), SPR_E_CAPACITY);
    assert_non_null(strstr(said(c), "IOMMU group 10 is shared with 0000:00:1f.2"));
    assert_int_equal(c->f->step, 0);
    w.flags = SPR_SRIOV_HOST_DRIVER; /* a container's needs no group */
    v = take(c, &w);
    assert_string_equal(v.driver, "igbvf");

    /* Two VFs in one group: the same shard may have both, two shards may not. */
    w = (struct spr_sriov_want){.size = sizeof w, .shard = 7, .pf = "eth1"};
    for (int g = 13; g < 16; g++)
        for (int i = 0; i < 3; i++)
            mkdir(fake_path(c->f, path, "kernel/iommu_groups/%d/devices/0000:02:10.%d", g, 2 * i), 0700);
    assert_int_equal(spr_sriov_allocate(c->s, &w, &v), SPR_E_CAPACITY);
    assert_non_null(strstr(said(c), "shared with 0000:02:10."));
}

static void test_sriov_hold__gives_a_shard_all_of_a_group(void **state) {
    struct scene *c = *state;
    char path[TREE_PATH];
    struct spr_sriov_want w = {.size = sizeof w, .shard = 7, .pf = "eth1"};
    take(c, &w);
    assert_int_equal(spr_sriov_look(c->s), SPR_OK);
    mkdir(fake_path(c->f, path, "kernel/iommu_groups/14/devices/0000:02:10.0"), 0700);
    mkdir(fake_path(c->f, path, "kernel/iommu_groups/15/devices/0000:02:10.0"), 0700);
    struct spr_sriov_vf v = {.size = sizeof v};
    w.shard = 8;
    assert_int_equal(spr_sriov_allocate(c->s, &w, &v), SPR_E_CAPACITY);
    w.shard = 7;
    w.nic = 1;
    assert_string_equal(take(c, &w).address, "0000:02:10.2");
}

static void test_sriov_hold__undoes_what_a_card_refuses(void **state) {
    struct scene *c = *state;
    struct spr_sriov_settings before[8];
    struct spr_sriov_want w = want(1);
    struct spr_sriov_vf v = {.size = sizeof v, .index = 33};
    char driver[64];
    memcpy(before, c->f->vf[0], sizeof before);
    for (int bit = SPR_SRIOV_MAC; bit < SPR_SRIOV_ALL; bit *= 2) {
        c->f->refuse = bit;
        assert_int_equal(spr_sriov_allocate(c->s, &w, &v), SPR_E_UNSUPPORTED);
        assert_non_null(strstr(said(c), "0000:01:10.0: its card eth0 refuses the"));
        assert_memory_equal(c->f->vf[0], before, sizeof before);
        fake_driver(c->f, "0000:01:10.0", driver);
        assert_string_equal(driver, "igbvf");
    }
    c->f->refuse = 0;
    c->f->igbvf_only = 1;
    assert_int_equal(spr_sriov_allocate(c->s, &w, &v), SPR_E_IO);
    assert_non_null(strstr(said(c), "vfio-pci did not take it"));
    assert_memory_equal(c->f->vf[0], before, sizeof before);
    fake_driver(c->f, "0000:01:10.0", driver);
    assert_string_equal(driver, "igbvf");
    assert_int_equal(v.index, 33);
    struct spr_sriov_facts f = {.size = sizeof f};
    assert_int_equal(spr_sriov_facts(c->s, &f), SPR_OK);
    assert_int_equal(f.vfs_free, 6);
}

static void test_sriov_hold__waits_for_guests_and_containers(void **state) {
    struct scene *c = *state;
    struct spr_sriov_want w = want(1);
    struct spr_sriov_facts f = {.size = sizeof f};
    struct spr_sriov_vf v = take(c, &w);
    c->f->group_busy = 1;
    assert_int_equal(spr_sriov_release(c->s, 1, 0), SPR_E_BUSY);
    assert_non_null(strstr(said(c), "still has it open (VFIO group 10)"));
    assert_int_equal(spr_sriov_facts(c->s, &f), SPR_OK);
    assert_int_equal(f.stuck, 1);
    assert_int_equal(spr_sriov_vf(c->s, 0, 0, &v), SPR_OK);
    assert_non_null(strstr(v.why, "still has it open"));
    reopen(c); /* still */
    assert_int_equal(spr_sriov_facts(c->s, &f), SPR_OK);
    assert_int_equal(f.stuck, 1);
    c->f->group_busy = 0;
    assert_int_equal(spr_sriov_look(c->s), SPR_OK); /* the next look finishes it */
    assert_int_equal(spr_sriov_facts(c->s, &f), SPR_OK);
    assert_int_equal(f.vfs_free, 6);

    w.flags = SPR_SRIOV_HOST_DRIVER;
    v = take(c, &w);
    assert_string_equal(v.driver, "igbvf");
    assert_true(v.netdev[0]);
    fake_no_interfaces(c->f, v.address); /* a container has it */
    assert_int_equal(spr_sriov_release(c->s, 1, 0), SPR_E_BUSY);
    assert_non_null(strstr(said(c), "another namespace"));
    fake_interface(c->f, v.address, "back", "0x1002");
    assert_int_equal(spr_sriov_release(c->s, 1, 0), SPR_OK);
    assert_int_equal(c->f->vf[0][0].vlan, 0);
}

static void test_sriov_hold__leaves_binding_to_libvirt(void **state) {
    struct scene *c = *state;
    struct spr_sriov_want w = want(1);
    char driver[64];
    w.flags = SPR_SRIOV_MANAGED;
    struct spr_sriov_vf v = take(c, &w);
    assert_string_equal(v.driver, "");
    assert_int_equal(c->f->vf[0][0].vlan, 100);
    fake_text(c->f, v.address, "driver_override", "vfio-pci"); /* libvirt starts the guest */
    fake_bind_to(c->f, v.address, "vfio-pci");
    reopen(c);
    assert_int_equal(spr_sriov_find(c->s, 1, 0, &v), SPR_OK);
    fake_text(c->f, v.address, "driver_override", "(null)"); /* and ends it: the host's driver is back */
    fake_unbind(c->f, v.address);
    fake_bind_to(c->f, v.address, "igbvf");
    reopen(c);
    assert_int_equal(spr_sriov_release(c->s, 1, 0), SPR_OK);
    assert_int_equal(c->f->vf[0][0].vlan, 0);
    fake_driver(c->f, v.address, driver);
    assert_string_equal(driver, "igbvf");
}

/* After a restart of the machine the journal says "held", the VF is the host's: what the host does with it is left
 * alone. */
static void test_sriov_hold__forgets_what_a_restart_undid(void **state) {
    struct scene *c = *state;
    struct spr_sriov_want w = want(1);
    struct spr_sriov_vf v = take(c, &w);
    fake_unbind(c->f, v.address);
    fake_text(c->f, v.address, "driver_override", "(null)");
    fake_bind_to(c->f, v.address, "igbvf");
    fake_interface(c->f, v.address, "up0", "0x1003");
    int sets = c->f->sets;
    reopen(c);
    assert_int_equal(spr_sriov_find(c->s, 1, 0, &v), SPR_E_NOT_FOUND);
    assert_int_equal(spr_sriov_vf(c->s, 0, 0, &v), SPR_OK);
    assert_int_equal(v.state, SPR_SRIOV_TAKEN);
    assert_int_equal(c->f->sets, sets);
    w.shard = 2;
    take(c, &w);
    assert_int_equal(fake_count(c->f, "0000:01:00.0", 0), 0); /* the card has none any more */
    reopen(c);
    assert_int_equal(spr_sriov_find(c->s, 2, 0, &v), SPR_E_NOT_FOUND);
}

static void test_sriov_hold__changes_the_number_of_functions(void **state) {
    struct scene *c = *state;
    struct spr_sriov_facts f = {.size = sizeof f};
    struct spr_sriov_want w = want(1);
    assert_int_equal(spr_sriov_set_vfs(c->s, 0, 7), SPR_OK);
    assert_int_equal(spr_sriov_facts(c->s, &f), SPR_OK);
    assert_int_equal(f.vfs, 10);
    assert_int_equal(spr_sriov_set_vfs(c->s, 0, 8), SPR_E_CAPACITY);
    assert_non_null(strstr(said(c), "can have 7 virtual functions, not 8"));
    assert_int_equal(spr_sriov_set_vfs(c->s, 2, 1), SPR_E_NOT_FOUND);
    assert_int_equal(spr_sriov_set_vfs(c->s, 0, -1), SPR_E_ARG);
    take(c, &w);
    int step = c->f->step;
    assert_int_equal(spr_sriov_set_vfs(c->s, 0, 2), SPR_E_BUSY);
    assert_non_null(strstr(said(c), "a shard has it"));
    fake_interface(c->f, "0000:02:10.0", "eth5", "0x1003");
    assert_int_equal(spr_sriov_set_vfs(c->s, 1, 0), SPR_E_BUSY);
    assert_int_equal(c->f->step, step);
    assert_int_equal(spr_sriov_release(c->s, 1, 0), SPR_OK);
    assert_int_equal(spr_sriov_set_vfs(c->s, 0, 0), SPR_OK);
    assert_int_equal(spr_sriov_set_vfs(c->s, 0, 0), SPR_OK);
    assert_int_equal(spr_sriov_facts(c->s, &f), SPR_OK);
    assert_int_equal(f.vfs, 3);
    struct spr_sriov_vf v = {.size = sizeof v};
    assert_int_equal(spr_sriov_allocate(c->s, &w, &v), SPR_E_CAPACITY);
    assert_non_null(strstr(said(c), "eth0 has no virtual functions"));
}

static void test_sriov_hold__refuses_bad_wishes(void **state) {
    struct scene *c = *state;
    struct spr_sriov_vf v = {.size = sizeof v};
    struct spr_sriov_want good = want(1), bad[12];
    for (size_t i = 0; i < 12; i++)
        bad[i] = good;
    bad[0].shard = 0;
    bad[1].nic = -1;
    bad[2].flags = 16;
    bad[3].flags = SPR_SRIOV_HOST_DRIVER | SPR_SRIOV_MANAGED;
    bad[4].vlan = 4095;
    bad[5].vlan_qos = 8;
    bad[6].vlan_proto = 0x800;
    bad[7].min_mbps = 300;
    bad[8].spoofchk = 2;
    bad[9].trust = -2;
    bad[10].mac[0] = 1;
    bad[11].reserved = 1;
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(spr_sriov_allocate(c->s, &bad[i], &v), SPR_E_ARG);
        assert_non_null(strstr(said(c), "spr_sriov_want:"));
    }
    assert_int_equal(spr_sriov_allocate(c->s, NULL, &v), SPR_E_ARG);
    assert_int_equal(spr_sriov_allocate(c->s, &good, NULL), SPR_E_ARG);
    v.size = 3; /* an answer that cannot be given is refused before anything is taken */
    assert_int_equal(spr_sriov_allocate(c->s, &good, &v), SPR_E_ARG);
    v.size = sizeof v;
    assert_int_equal(spr_sriov_release(c->s, 0, 0), SPR_E_ARG);
    good.pf = "eth7";
    assert_int_equal(spr_sriov_allocate(c->s, &good, &v), SPR_E_CAPACITY);
    assert_int_equal(c->f->step, 0);
}

/* Every allocation of the whole road fails once: nothing leaks, and nothing stays taken without an owner. */
static int road(spr_context *ctx, void *arg) {
    struct fake_vfs *f = arg;
    spr_sriov *s = NULL;
    struct spr_sriov_want w = want(3);
    struct spr_sriov_vf v = {.size = sizeof v};
    int rc = fake_vfs_open(ctx, f, &s);
    if (rc >= 0)
        rc = spr_sriov_allocate(s, &w, &v);
    if (rc >= 0)
        rc = spr_sriov_release(s, 3, 0);
    spr_sriov_close(s);
    return rc;
}

static void test_sriov_hold__survives_every_failed_allocation(void **state) {
    struct scene *c = *state;
    struct spr_sriov_settings before[8];
    struct spr_sriov_facts f = {.size = sizeof f};
    memcpy(before, c->f->vf[0], sizeof before);
    spr_sriov_close(c->s);
    c->s = NULL;
    assert_true(failing_sweep(road, c->f) > 5);
    reopen(c);
    assert_memory_equal(c->f->vf[0], before, sizeof before);
    assert_int_equal(spr_sriov_facts(c->s, &f), SPR_OK);
    assert_int_equal(f.vfs_free, 6);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_sriov_hold__sets_binds_and_puts_back),
        T(test_sriov_hold__leaves_what_is_not_wished),
        T(test_sriov_hold__chooses_by_node_then_by_room),
        T(test_sriov_hold__refuses_groups_shared_with_others),
        T(test_sriov_hold__gives_a_shard_all_of_a_group),
        T(test_sriov_hold__undoes_what_a_card_refuses),
        T(test_sriov_hold__waits_for_guests_and_containers),
        T(test_sriov_hold__leaves_binding_to_libvirt),
        T(test_sriov_hold__forgets_what_a_restart_undid),
        T(test_sriov_hold__changes_the_number_of_functions),
        T(test_sriov_hold__refuses_bad_wishes),
        T(test_sriov_hold__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
