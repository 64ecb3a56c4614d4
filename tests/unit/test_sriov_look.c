/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the sriov library sees of a recorded guest with two igb cards, and whom it leaves alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

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

static struct spr_sriov_vf vf(struct scene *c, int pf, int i) {
    struct spr_sriov_vf v = {.size = sizeof v};
    assert_int_equal(spr_sriov_look(c->s), SPR_OK);
    assert_int_equal(spr_sriov_vf(c->s, pf, i, &v), SPR_OK);
    return v;
}

static void test_sriov_look__sees_cards_and_their_functions(void **state) {
    struct scene *c = *state;
    struct spr_sriov_facts f = {.size = sizeof f};
    struct spr_sriov_pf p = {.size = sizeof p};
    assert_int_equal(spr_sriov_facts(c->s, &f), SPR_OK);
    assert_int_equal(f.pfs, 2);
    assert_int_equal(f.vfs, 6);
    assert_int_equal(f.vfs_most, 14);
    assert_int_equal(f.vfs_free, 6);
    assert_int_equal(f.vfs_ours, 0);
    assert_int_equal(f.iommu_groups, 16);
    assert_int_equal(f.vfio_pci, 1);
    assert_int_equal(spr_sriov_pf(c->s, 1, &p), SPR_OK);
    assert_string_equal(p.address, "0000:02:00.0");
    assert_string_equal(p.netdev, "eth1");
    assert_string_equal(p.driver, "igb");
    assert_int_equal(p.numa_node, -1);
    assert_int_equal(p.iommu_group, 9);
    assert_int_equal(p.up, 1);
    assert_int_equal(p.vfs, 3);
    assert_int_equal(p.vfs_most, 7);
    struct spr_sriov_vf v = vf(c, 0, 1);
    assert_string_equal(v.address, "0000:01:10.2");
    assert_string_equal(v.pf_address, "0000:01:00.0");
    assert_string_equal(v.pf_netdev, "eth0");
    assert_string_equal(v.netdev, "eth3");
    assert_string_equal(v.driver, "igbvf");
    assert_int_equal(v.index, 1);
    assert_int_equal(v.iommu_group, 11);
    assert_int_equal(v.state, SPR_SRIOV_FREE);
    assert_string_equal(v.why, "");
    assert_int_equal(v.settings.vlan, 7);
    assert_int_equal(v.settings.max_mbps, 500);
    assert_int_equal(spr_sriov_pf(c->s, 2, &p), SPR_E_NOT_FOUND);
    assert_int_equal(spr_sriov_vf(c->s, 0, 3, &v), SPR_E_NOT_FOUND);
    assert_int_equal(spr_sriov_vf(c->s, -1, 0, &v), SPR_E_ARG);
    assert_int_equal(spr_sriov_facts(NULL, &f), SPR_E_ARG);
}

/* Each of them is left alone, and why. */
static void test_sriov_look__leaves_others_alone(void **state) {
    struct scene *c = *state;
    char path[TREE_PATH];
    struct fake_vfs *f = c->f;
    fake_interface(f, "0000:01:10.0", "eth2", "0x1003");
    struct spr_sriov_vf v = vf(c, 0, 0);
    assert_int_equal(v.state, SPR_SRIOV_TAKEN);
    assert_string_equal(v.why, "the host uses it: its interface eth2 is up");
    fake_interface(f, "0000:01:10.0", "eth2", "0x1002");

    mkdir(fake_path(f, path, "bus/pci/devices/0000:01:10.0/net/eth2/upper_macvlan0"), 0700);
    assert_string_equal(vf(c, 0, 0).why, "macvlan0 is on top of its interface");
    rmdir(path);
    mkdir(fake_path(f, path, "bus/pci/devices/0000:01:10.0/net/eth2/master"), 0700);
    assert_string_equal(vf(c, 0, 0).why, "its interface is part of a bridge or bond");
    rmdir(path);

    f->addresses = 1;
    assert_string_equal(vf(c, 0, 0).why, "the host uses it: its interface eth2 has addresses");
    f->addresses = -EPERM;
    assert_non_null(strstr(vf(c, 0, 0).why, "cannot be read: Operation not permitted"));
    f->addresses = 0;
    assert_int_equal(vf(c, 0, 0).state, SPR_SRIOV_FREE);

    fake_no_interfaces(f, "0000:01:10.0");
    assert_string_equal(vf(c, 0, 0).why, "its interface is in another namespace");

    fake_unbind(f, "0000:01:10.0");
    assert_int_equal(vf(c, 0, 0).state, SPR_SRIOV_FREE);
    fake_bind_to(f, "0000:01:10.0", "vfio-pci");
    assert_string_equal(vf(c, 0, 0).why, "somebody else has bound it to vfio-pci");
    fake_unbind(f, "0000:01:10.0");
    fake_text(f, "0000:01:10.0", "driver_override", "vfio-pci");
    assert_string_equal(vf(c, 0, 0).why, "somebody else has reserved it for the driver vfio-pci");
    fake_text(f, "0000:01:10.0", "driver_override", "(null)");

    fake_no_interfaces(f, "0000:01:00.0");
    assert_string_equal(vf(c, 0, 0).why, "its card 0000:01:00.0 has no interface here to set it through");
    assert_int_equal(f->step, 0); /* all that without a single write */
}

/* What keeps it from a guest is told of a free one too. */
static void test_sriov_look__says_what_keeps_it_from_vfio(void **state) {
    struct scene *c = *state;
    char path[TREE_PATH];
    assert_int_equal(mkdir(fake_path(c->f, path, "kernel/iommu_groups/11/devices/0000:00:1f.2"), 0700), 0);
    struct spr_sriov_vf v = vf(c, 0, 1);
    assert_int_equal(v.state, SPR_SRIOV_FREE);
    assert_string_equal(v.why, "its IOMMU group 11 is shared with 0000:00:1f.2 (driver none), which is not ours");
    rmdir(path);
    mkdir(fake_path(c->f, path, "kernel/iommu_groups/11/devices/0000:00:01.0"), 0700); /* a bridge does no harm */
    assert_string_equal(vf(c, 0, 1).why, "");
    rmdir(path);
    tree_remove(fake_path(c->f, path, "kernel/iommu_groups/11"));
    assert_string_equal(vf(c, 0, 1).why, "its IOMMU group 11 cannot be looked at");
    unlink(fake_path(c->f, path, "bus/pci/devices/0000:01:10.2/iommu_group"));
    assert_string_equal(vf(c, 0, 1).why, "it has no IOMMU group: no IOMMU stands before it");
    tree_remove(fake_path(c->f, path, "kernel/iommu_groups"));
    assert_string_equal(vf(c, 0, 1).why, "it has no IOMMU group: switch the IOMMU on (intel_iommu=on or amd_iommu=on)");
    tree_remove(fake_path(c->f, path, "bus/pci/drivers/vfio-pci"));
    assert_string_equal(vf(c, 0, 1).why, "the driver vfio-pci is not there: modprobe vfio-pci");
}

static void test_sriov_look__needs_no_cards_and_no_journal(void **state) {
    struct scene *c = *state;
    spr_sriov *s = NULL;
    struct spr_sriov_facts f = {.size = sizeof f};
    struct spr_sriov_vf v = {.size = sizeof v};
    struct spr_sriov_want w = {.size = sizeof w, .shard = 1};
    struct spr_error e = {.size = sizeof e};
    struct spr_sriov_opts o = {.size = sizeof o, .sysfs = c->f->root, .kernel = &fake_kernel, .kernel_config = c->f};
    assert_int_equal(spr_sriov_open(c->ctx, &o, &s), SPR_OK);
    assert_int_equal(spr_sriov_allocate(s, &w, &v), SPR_E_STATE);
    assert_int_equal(spr_sriov_release(s, 1, 0), SPR_E_STATE);
    assert_int_equal(spr_sriov_set_vfs(s, 0, 1), SPR_E_STATE);
    assert_int_equal(spr_context_error(c->ctx, &e), SPR_OK);
    assert_non_null(strstr(e.text, "without a journal"));
    spr_sriov_close(s);
    char bare[64] = "/tmp/spr-sysfs-XXXXXX", path[TREE_PATH];
    assert_non_null(mkdtemp(bare));
    o.sysfs = bare;
    assert_int_equal(spr_sriov_open(c->ctx, &o, &s), SPR_E_IO);
    snprintf(path, sizeof path, "%s/bus", bare);
    mkdir(path, 0700);
    assert_int_equal(spr_sriov_open(c->ctx, &o, &s), SPR_OK);
    assert_int_equal(spr_sriov_facts(s, &f), SPR_OK);
    assert_int_equal(f.pfs + f.vfs + f.iommu_groups + f.vfio_pci, 0);
    spr_sriov_close(s);
    tree_remove(bare);
}

static void test_sriov_look__refuses_bad_options(void **state) {
    struct scene *c = *state;
    spr_sriov *s = (spr_sriov *)c;
    struct {
        struct spr_sriov_opts o;
        uint64_t later;
    } newer = {.o = {.size = sizeof newer, .sysfs = c->f->root, .kernel = &fake_kernel}, .later = 1};
    struct spr_sriov_kernel_ops k = fake_kernel;
    struct spr_sriov_opts o = {.size = sizeof o, .sysfs = c->f->root, .kernel = &k, .kernel_config = c->f};
    assert_int_equal(spr_sriov_open(NULL, &o, &s), SPR_E_ARG);
    assert_int_equal(spr_sriov_open(c->ctx, &newer.o, &s), SPR_E_TOO_NEW);
    k.vf_set = NULL;
    assert_int_equal(spr_sriov_open(c->ctx, &o, &s), SPR_E_ARG);
    k = fake_kernel;
    k.size++;
    assert_int_equal(spr_sriov_open(c->ctx, &o, &s), SPR_E_TOO_NEW);
    k = fake_kernel;
    o.reserved = 1;
    assert_int_equal(spr_sriov_open(c->ctx, &o, &s), SPR_E_ARG);
    o.reserved = 0;
    o.size = 3;
    assert_int_equal(spr_sriov_open(c->ctx, &o, &s), SPR_E_ARG);
    o.size = sizeof o;
    o.store = &fake_store;
    o.store_config = c->f;
    assert_int_equal(spr_sriov_open(c->ctx, &o, &s), SPR_E_BUSY); /* the scene has the journal open */
    o.journal = "both";
    assert_int_equal(spr_sriov_open(c->ctx, &o, &s), SPR_E_ARG);
    assert_ptr_equal(s, c); /* untouched */
}

static void test_sriov_look__answers_old_and_new_callers(void **state) {
    struct scene *c = *state;
    struct {
        struct spr_sriov_facts f;
        uint64_t later;
    } newer = {.f = {.size = sizeof newer}, .later = 77};
    struct spr_sriov_facts old = {.size = 12, .vfs = -5};
    assert_int_equal(spr_sriov_facts(c->s, &newer.f), SPR_OK);
    assert_int_equal(newer.later, 0);
    assert_int_equal(newer.f.size, sizeof newer);
    assert_int_equal(spr_sriov_facts(c->s, &old), SPR_OK);
    assert_int_equal(old.pfs, 2);
    assert_int_equal(old.vfs, -5);
}

static void test_sriov_look__writes_libvirts_interface(void **state) {
    struct scene *c = *state;
    struct spr_sriov_vf v = vf(c, 0, 1);
    char xml[400];
    memcpy(v.settings.mac, "\x52\x54\x00\xaa\x00\x0f", 6);
    v.settings.vlan = 100;
    int n = spr_sriov_interface_xml(&v, 1, xml, sizeof xml);
    assert_int_equal(n, strlen(xml));
    assert_string_equal(xml, "<interface type='hostdev' managed='yes'>\n"
                             "  <mac address='52:54:00:aa:00:0f'/>\n"
                             "  <source>\n"
                             "    <address type='pci' domain='0x0000' bus='0x01' slot='0x10' function='0x2'/>\n"
                             "  </source>\n"
                             "  <vlan>\n"
                             "    <tag id='100'/>\n"
                             "  </vlan>\n"
                             "</interface>\n");
    char small[40] = "as it was";
    assert_int_equal(spr_sriov_interface_xml(&v, 1, small, sizeof small), SPR_E_CAPACITY);
    assert_string_equal(small, "as it was");
    v.settings = (struct spr_sriov_settings){.size = sizeof v.settings};
    assert_true(spr_sriov_interface_xml(&v, 0, xml, sizeof xml) > 0);
    assert_non_null(strstr(xml, "managed='no'"));
    assert_null(strstr(xml, "mac"));
    assert_null(strstr(xml, "vlan"));
    strcpy(v.address, "'/><evil/>");
    assert_int_equal(spr_sriov_interface_xml(&v, 0, xml, sizeof xml), SPR_E_ARG);
}

/* The real table on a machine without cards: it opens, looks, and finds what there is. */
static void test_sriov_look__asks_the_real_kernel(void **state) {
    struct scene *c = *state;
    spr_sriov *s = NULL;
    struct spr_sriov_facts f = {.size = sizeof f};
    struct spr_sriov_settings settings = {.size = sizeof settings};
    struct spr_env env = {.size = sizeof env, .context = c->ctx};
    const struct spr_sriov_kernel_ops *k = spr_sriov_kernel();
    void *kernel = NULL;
    if (access("/sys/bus", F_OK)) {
        print_message("no sysfs is mounted\n");
        skip();
    }
    assert_int_equal(spr_sriov_open(c->ctx, NULL, &s), SPR_OK);
    assert_int_equal(spr_sriov_facts(s, &f), SPR_OK);
    assert_true(f.pfs >= 0);
    spr_sriov_close(s);
    assert_int_equal(k->open(&env, NULL, &kernel), 0);
    assert_int_equal(k->vf_get(kernel, "no-such-card", 0, &settings), -ENODEV);
    assert_int_equal(k->vf_get(kernel, "lo", 0, &settings), -ENODEV);
    settings.known = SPR_SRIOV_ALL;
    assert_int_equal(k->vf_set(kernel, "no-such-card", 0, &settings), -ENODEV);
    assert_true(k->vf_set(kernel, "lo", 0, &settings) < 0);
    assert_true(k->addresses(kernel, "lo") >= 0);
    assert_int_equal(k->addresses(kernel, "no-such-card"), -ENODEV);
    assert_int_equal(k->write(kernel, c->f->root, "no/such/file", "1"), -ENOENT);
    assert_int_equal(k->write(kernel, c->f->root, "bus/pci/drivers_probe", "0000:01:10.0"), 0);
    assert_int_equal(k->group_free(kernel, 999999), 0);
    k->close(kernel);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_sriov_look__sees_cards_and_their_functions),
        T(test_sriov_look__leaves_others_alone),
        T(test_sriov_look__says_what_keeps_it_from_vfio),
        T(test_sriov_look__needs_no_cards_and_no_journal),
        T(test_sriov_look__refuses_bad_options),
        T(test_sriov_look__answers_old_and_new_callers),
        T(test_sriov_look__writes_libvirts_interface),
        T(test_sriov_look__asks_the_real_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
