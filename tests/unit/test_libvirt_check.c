/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What stands in the way of a live migration is found beforehand, all of it. */
#include "libvirt_texts.h"

static char why[LV_WHY];

static struct lv_obstacles check(const char *xml, const struct lv_headroom_target *t) {
    struct lv_obstacles o = {0};
    int rc = lv_headroom_check(xml, t, &o, why);
    if (rc < 0)
        fail_msg("%d: %s", rc, why);
    return o;
}
static int blocking(const struct lv_obstacles *o) {
    int n = 0;
    for (size_t i = 0; i < o->count; i++)
        n += o->of[i].blocks;
    return n;
}
/* There is one such obstacle, and it is as grave as said. */
static void names(const struct lv_obstacles *o, bool blocks, const char *word) {
    int n = 0;
    for (size_t i = 0; i < o->count; i++)
        n += strstr(o->of[i].text, word) && o->of[i].blocks == blocks;
    if (n != 1) {
        for (size_t i = 0; i < o->count; i++)
            fprintf(stderr, "# %d %s\n", o->of[i].blocks, o->of[i].text);
        fail_msg("'%s' stands %d times in the list", word, n);
    }
}
static const char *const shared[] = {"/var/lib/libvirt/shared/", "/var/lib/libvirt/boot"};
static const char *const links[] = {"br0", "default"};

static void a_guest_on_shared_storage_can_move(void **state) {
    (void)state;
    char *xml = fixture("web-live.xml"), *caps = fixture("capabilities.xml");
    struct lv_headroom_target t = {.host = "hv2",
                                   .capabilities = caps,
                                   .shared = shared,
                                   .shared_count = 2,
                                   .links = links,
                                   .link_count = 2,
                                   .cache_is_safe = true,
                                   .memory_free = 0x1p30,
                                   .cpu_free = 2};
    struct lv_obstacles o = check(xml, &t);
    names(&o, false, "web.console"); /* a new file is begun there */
    assert_int_equal(o.count, 1);
    lv_obstacles_clear(&o);
    t.cache_is_safe = false;
    o = check(xml, &t);
    names(&o, true, "cache mode 'default'");
    lv_obstacles_clear(&o);
    free(xml);
    free(caps);
}

static void what_the_target_lacks_is_named(void **state) {
    (void)state;
    char *xml = fixture("web-live.xml"), *caps = fixture("capabilities.xml");
    const char *const other[] = {"br1"}, *const there[] = {"db", "web"};
    const char *const uuids[] = {"7eb22306-9a3e-4d3f-a15d-afc3969a988e", "00000000-0000-0000-0000-000000000001"};
    struct lv_headroom_target t = {.host = "hv2",
                                   .links = other,
                                   .link_count = 1,
                                   .names = there,
                                   .uuids = uuids,
                                   .domain_count = 2,
                                   .memory_free = 1e7,
                                   .cpu_free = 0.5,
                                   .cpu = LV_CPU_LACKS};
    struct lv_obstacles o = check(xml, &t);
    names(&o, true, "hv2 has no active network or bridge br0");
    names(&o, true, "web2.qcow2): not on storage");
    names(&o, true, "name web");
    names(&o, true, "uuid 7eb22306");
    names(&o, true, "memory: it has 96 MiB");
    names(&o, true, "lacks features");
    names(&o, false, "cores free");
    names(&o, false, "kernel /var/lib/libvirt/boot/kernel");
    lv_obstacles_clear(&o);
    t = (struct lv_headroom_target){.copies_disks = true, .cpu = LV_CPU_FAILED};
    o = check(xml, &t);
    names(&o, false, "backing file /var/lib/libvirt/shared/base.img");
    names(&o, true, "could not compare");
    assert_int_equal(blocking(&o), 1);
    lv_obstacles_clear(&o);
    /* A host of another make. */
    t = (struct lv_headroom_target){.host = "hv9", .shared = shared, .shared_count = 2, .cache_is_safe = true};
    t.capabilities =
        "<capabilities><host><cpu/></host><guest><os_type>hvm</os_type><arch name='x86_64'><domain type='kvm'/>"
        "</arch></guest></capabilities>";
    o = check(xml, &t);
    names(&o, true, "hv9 runs no guests of type qemu");
    names(&o, true, "live migration");
    lv_obstacles_clear(&o);
    t.capabilities = "<capabilities><guest><os_type>hvm</os_type><arch name='aarch64'/></guest></capabilities>";
    o = check(xml, &t);
    names(&o, true, "no x86_64 guests");
    lv_obstacles_clear(&o);
    t.capabilities = "<capabilities><guest><os_type>hvm</os_type><arch name='x86_64'><machine>pc-i440fx-3.0</machine>"
                     "<domain type='qemu'/></arch></guest></capabilities>";
    o = check(xml, &t);
    names(&o, true, "machine pc-i440fx-7.2");
    lv_obstacles_clear(&o);
    free(xml);
    free(caps);
}

static void what_is_bound_to_its_host_is_named(void **state) {
    (void)state;
    char *xml = fixture("heavy-inactive.xml"), *caps = fixture("capabilities.xml");
    struct lv_headroom_target t = {.host = "hv2", .capabilities = caps};
    struct lv_obstacles o = check(xml, &t);
    names(&o, true, "hostdev pci 0000:02:00.0");
    names(&o, true, "interface 0: a virtual function");
    names(&o, true, "/srv/heavy");
    names(&o, true, "host-passthrough: nobody has asked");
    names(&o, true, "san-lun7");
    names(&o, true, "hugepages: hv2 has none");
    lv_obstacles_clear(&o);
    t.cpu = LV_CPU_SUPERSET;
    o = check(xml, &t);
    names(&o, true, "not the same");
    lv_obstacles_clear(&o);
    t.cpu = LV_CPU_SAME;
    o = check(xml, &t);
    for (size_t i = 0; i < o.count; i++)
        assert_lacks(o.of[i].text, "cpu");
    lv_obstacles_clear(&o);
    free(xml);
    static const struct {
        const char *device, *word;
        bool blocks;
    } rows[] = {
        {"<serial type='dev'><source path='/dev/ttyS0'/></serial>", "/dev/ttyS0", true},
        {"<serial type='tcp'><source mode='bind' host='::' service='4555'/></serial>", "port 4555", false},
        {"<channel type='unix'><source mode='bind' path='/run/x.sock'/></channel>", "/run/x.sock", false},
        {"<interface type='vdpa'/>", "vdpa", true},
        {"<interface type='user'/>", "connections end", false},
        {"<interface type='direct'><source dev='e' mode='passthrough'/></interface>", "direct", true},
        {"<shmem name='ring'/>", "ring", true},
        {"<tpm><backend type='passthrough'/></tpm>", "tpm", true},
        {"<smartcard mode='host'/>", "smartcard", true},
        {"<disk type='nvme'><source/><target dev='vda'/></disk>", "nvme", true},
        {"<disk type='volume'><source pool='p' volume='v'/><target dev='vda'/></disk>", "pool p", false},
        {"<disk type='file'><source file='/var/lib/libvirt/sharedx/a'/><target dev='vda'/></disk>", "not on storage",
         true},
        {"<disk type='file'><source file='/var/lib/libvirt/shared/../a'/><target dev='vda'/></disk>", "not on storage",
         true},
    };
    t = (struct lv_headroom_target){.shared = shared, .shared_count = 2};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[600];
        snprintf(text, sizeof text, "<domain><name>a</name><devices>%s</devices></domain>", rows[i].device);
        o = check(text, &t);
        names(&o, rows[i].blocks, rows[i].word);
        assert_int_equal(o.count, 1);
        lv_obstacles_clear(&o);
    }
    o = check("<domain><name>a</name><cpu><feature policy='require' name='invtsc'/></cpu><launchSecurity/></domain>",
              &t);
    names(&o, true, "invtsc");
    names(&o, true, "launchSecurity");
    lv_obstacles_clear(&o);
    free(caps);
}

static void an_empty_drive_and_network_storage_are_no_obstacles(void **state) {
    (void)state;
    struct lv_headroom_target t = {.host = "hv2"};
    struct lv_obstacles o =
        check("<domain><name>a</name><devices><disk type='file' device='cdrom'><target dev='sda'/></disk>"
              "<disk type='network'><source protocol='rbd' name='p/a'/><target dev='vda'/></disk>"
              "<serial type='pty'/><interface type='bridge'><source bridge='b'/></interface>"
              "</devices></domain>",
              &t);
    assert_int_equal(o.count, 0);
    lv_obstacles_clear(&o);
    o.cap = 42;
    t.capabilities = "<nonsense/>";
    assert_int_equal(lv_headroom_check("<domain><name>a</name></domain>", &t, &o, why), SPR_E_FORMAT);
    assert_has(why, "capabilities");
    assert_int_equal(lv_headroom_check("<domain/>", &t, &o, why), SPR_E_FORMAT);
    assert_int_equal(o.cap, 42);
}

static int job(void *arg) {
    struct lv_headroom_target t = {.host = "hv2"};
    struct lv_obstacles o;
    int rc = lv_headroom_check(arg, &t, &o, why);
    if (rc == SPR_OK)
        lv_obstacles_clear(&o);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    char *xml = fixture("heavy-inactive.xml");
    assert_true(failing_lv_sweep(job, xml) > 20);
    free(xml);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_on_shared_storage_can_move),
        cmocka_unit_test(what_the_target_lacks_is_named),
        cmocka_unit_test(what_is_bound_to_its_host_is_named),
        cmocka_unit_test(an_empty_drive_and_network_storage_are_no_obstacles),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
