/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Definitions of real guests: what is read in them, and the replicas that are made of them. */
#include "libvirt_texts.h"

static char why[LV_WHY];

static void refused(const char *xml, const struct lv_derive *how, int code, const char *word) {
    char *out = (char *)why;
    assert_int_equal(lv_domain_derive(xml, how, &out, why), code);
    assert_has(why, word);
    assert_ptr_equal(out, why);
}
static struct lv_domain domain(const char *xml) {
    struct lv_domain d = {0};
    if (lv_domain_read(xml, &d, why) < 0)
        fail_msg("%s", why);
    return d;
}
/* A small domain around what a test is about. */
static char *around(const char *top, const char *devices) {
    static char xml[8192];
    snprintf(
        xml, sizeof xml,
        "<domain type='qemu'><name>web</name><uuid>7eb22306-9a3e-4d3f-a15d-afc3969a988e</uuid><memory>98304</memory>"
        "<os><type arch='x86_64'>hvm</type></os>%s<devices>%s</devices></domain>",
        top, devices);
    return xml;
}

/* ---- reading ---- */

static void a_live_guest_is_read(void **state) {
    (void)state;
    char *xml = fixture("web-live.xml");
    struct lv_domain d = domain(xml);
    free(xml); /* nothing points into it */
    assert_string_equal(d.name, "web");
    assert_string_equal(d.uuid, "7eb22306-9a3e-4d3f-a15d-afc3969a988e");
    assert_string_equal(d.type, "qemu");
    assert_string_equal(d.arch, "x86_64");
    assert_string_equal(d.machine, "pc-i440fx-7.2");
    assert_string_equal(d.emulator, "/usr/bin/qemu-system-x86_64");
    assert_string_equal(d.cpu_mode, "maximum");
    assert_has(d.cmdline, "lab.ip=10.77.1.1/16");
    assert_true(d.id == 1 && d.vcpus == 1 && d.vcpus_most == 2 && d.memory == 96 << 20 && d.memory_now == d.memory);
    assert_int_equal(d.disk_count, 1);
    assert_string_equal(d.disk[0].target, "vda");
    assert_string_equal(d.disk[0].bus, "virtio");
    assert_string_equal(d.disk[0].device, "disk");
    assert_string_equal(d.disk[0].format, "qcow2");
    assert_string_equal(d.disk[0].source, "/var/lib/libvirt/shared/web2.qcow2");
    assert_int_equal(d.disk[0].backing_count, 2);
    assert_string_equal(d.disk[0].backing[1], "/var/lib/libvirt/shared/base.img");
    assert_string_equal(d.disk[0].backing_format[1], "raw");
    assert_false(d.disk[0].readonly || d.agent || d.tpm || d.uefi);
    assert_int_equal(d.nic_count, 1);
    assert_string_equal(d.nic[0].mac, "52:54:00:4d:01:01");
    assert_string_equal(d.nic[0].target, "vnet0");
    assert_string_equal(d.nic[0].source, "br0");
    assert_null(d.shard_xml);
    assert_null(d.vm_xml);
    lv_domain_clear(&d);
}

static void firmware_agent_and_wishes_are_seen(void **state) {
    (void)state;
    char *xml = fixture("shop-live.xml");
    struct lv_domain d = domain(xml);
    struct lv_vm_meta m = {0};
    assert_true(d.uefi && d.agent && d.vcpus == 2 && d.vcpus_most == 4);
    assert_string_equal(d.nvram, "/var/lib/libvirt/qemu/nvram/shop_VARS.fd");
    assert_int_equal(d.disk_count, 3);
    assert_true(d.disk[2].readonly && !strcmp(d.disk[2].device, "cdrom"));
    assert_string_equal(d.disk[0].serial, "SHOPSYS");
    assert_int_equal(lv_vm_meta_parse(d.vm_xml, &m, why), SPR_OK);
    assert_true(m.replica == SPR_REPLICA_IMAGE && m.spillable == 0.6);
    lv_vm_meta_clear(&m);
    lv_domain_clear(&d);
    free(xml);
    xml = fixture("heavy-inactive.xml");
    d = domain(xml);
    assert_true(d.hugepages && d.tpm && d.id == -1 && d.memory == 0x1p31);
    assert_true(d.disk[0].shareable && !strcmp(d.disk[0].source, "/dev/mapper/san-lun7"));
    assert_string_equal(d.disk[1].source, "pool/heavy");
    assert_int_equal(d.hostdev_count, 1);
    assert_string_equal(d.hostdev[0].address, "0000:02:00.0");
    assert_string_equal(d.nic[0].source, "0000:01:10.0");
    assert_string_equal(d.nic[1].source, "default");
    lv_domain_clear(&d);
    free(xml);
    xml = fixture("cloud-inactive.xml");
    d = domain(xml);
    assert_string_equal(d.disk[0].source, "cloud.qcow2");
    assert_string_equal(d.disk[0].pool, "default");
    lv_domain_clear(&d);
    free(xml);
}

static void what_is_no_domain_is_refused(void **state) {
    (void)state;
    struct lv_domain d = {.id = 42};
    assert_int_equal(lv_domain_read("<network/>", &d, why), SPR_E_FORMAT);
    assert_int_equal(lv_domain_read("<domain/>", &d, why), SPR_E_FORMAT);
    assert_has(why, "name");
    assert_int_equal(lv_domain_read("<domain><name>a</name><vcpu>many</vcpu></domain>", &d, why), SPR_E_FORMAT);
    assert_has(why, "vcpu");
    assert_int_equal(lv_domain_read("<domain><name>a</name><memory unit='pages'>1</memory></domain>", &d, why),
                     SPR_E_FORMAT);
    assert_has(why, "memory");
    assert_int_equal(lv_domain_read("<domain id='-5'><name>a</name></domain>", &d, why), SPR_E_FORMAT);
    assert_int_equal(d.id, 42);
}

/* By libvirt's own schema, where its tool is installed. */
static void valid(const char *xml) {
    char name[] = "/tmp/spr-domain-XXXXXX", command[200];
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    fputs(xml, f);
    fclose(f);
    snprintf(command, sizeof command,
             "! command -v virt-xml-validate >/dev/null || virt-xml-validate %s domain >/dev/null 2>&1", name);
    int rc = system(command);
    remove(name);
    if (rc)
        fail_msg("libvirt's schema does not take: %s", xml);
}

/* ---- a replica ---- */

static void a_replica_has_nothing_of_the_primarys_own(void **state) {
    (void)state;
    static const char *const from[] = {"web-live.xml", "web-inactive.xml"};
    for (int i = 0; i < 2; i++) {
        char *xml = fixture(from[i]);
        struct made m;
        prepare(&m, "web");
        const char *const args[] = {"lab.ip=10.77.1.50/16", "lab.name=web-s1", "debug"};
        m.how.disk_count = 1;
        m.how.kernel_args = args;
        m.how.kernel_arg_count = 3;
        char *made = derived(xml, &m.how);
        struct lv_domain d = domain(made);
        assert_string_equal(d.name, "spr-00000000000000ab-web");
        assert_string_equal(d.uuid, UUID);
        assert_int_equal(d.id, -1);
        assert_string_equal(d.type, "qemu");
        assert_true(d.vcpus == 1 && d.vcpus_most == 1 && d.memory == 96 << 20);
        assert_string_equal(d.disk[0].source, "/pool/spr-ab-vda.qcow2");
        assert_string_equal(d.cmdline, "console=ttyS0 quiet no_timer_check tsc=reliable panic=-1 lab.ip=10.77.1.50/16 "
                                       "lab.name=web-s1 debug");
        assert_has(made, "<quota>50000</quota>");
        assert_has(made, "<period>100000</period>");
        assert_has(made, "web.console.spr-00000000000000ab-web");
        assert_has(made, "<stats period=\"2\"/>");
        assert_has(made, "pc-i440fx"); /* the machine that the guest knows */
        static const char *const gone[] = {"web.console\"", "52:54:00:4d:01:01", "7eb22306",  "vnet0",      "alias",
                                           "seclabel",      "backingStore",      "index='1'", "web2.qcow2", "/machine"};
        for (size_t g = 0; g < sizeof gone / sizeof *gone; g++)
            assert_lacks(made, gone[g]);
        struct lv_shard_meta back = {0};
        assert_int_equal(lv_meta_parse(d.shard_xml, &back, why), SPR_OK);
        assert_true(back.id == 0xab && back.fence == 3);
        lv_meta_clear(&back);
        lv_meta_clear(&m.meta);
        lv_domain_clear(&d);
        lv_free(made);
        free(xml);
    }
}

static void a_replica_of_a_uefi_guest(void **state) {
    (void)state;
    char *xml = fixture("shop-live.xml");
    struct made m;
    prepare(&m, "shop");
    refused(xml, &m.how, SPR_E_UNSUPPORTED, "vda");
    assert_has(why, "vdb"); /* all reasons at once */
    m.how.disk_count = 2;
    m.disk[0].backing = "/var/lib/libvirt/shared/shop.qcow2";
    m.disk[0].backing_format = "qcow2";
    refused(xml, &m.how, SPR_E_ARG, "which the primary writes to");
    m.disk[0].backing = "/pool/golden.qcow2";
    m.how.nvram = "/nvram/ab.fd";
    m.how.partition = "/machine/spr";
    m.how.seed_url = "http://10.0.0.1/seed/ab/";
    m.how.flags = LV_BANDWIDTH;
    m.how.amounts.of[SPR_CPU] = 1.5;
    m.how.amounts.of[SPR_NET_TX] = 16e6;
    m.how.vcpus_most = 4;
    m.how.memory_most = 0x1p28;
    char *made = derived(xml, &m.how);
    struct lv_domain d = domain(made);
    assert_true(d.vcpus == 2 && d.vcpus_most == 4 && d.memory == 0x1p28 && d.memory_now == 96 << 20);
    assert_true(d.uefi && !strcmp(d.nvram, "/nvram/ab.fd") && d.agent);
    assert_has(made, "template=\"/usr/share/OVMF/OVMF_VARS_4M.fd\"");
    assert_has(made, "<quota>75000</quota>");
    assert_has(made, "<partition>/machine/spr</partition>");
    assert_has(made, "<entry name=\"serial\">ds=nocloud;s=http://10.0.0.1/seed/ab/</entry>");
    assert_has(made, "<entry name=\"manufacturer\">Example</entry>");
    assert_int_equal(times(made, "<outbound average=\"1000\"/>"), 2); /* shared by two interfaces */
    assert_int_equal(times(made, "<inbound"), 0);
    assert_has(made, "<source file=\"/pool/golden.qcow2\"/>"); /* what lies under the overlay */
    assert_has(made, "seed.iso");
    assert_has(made, "cache=\"writeback\"");
    assert_has(made, "<on_crash>destroy</on_crash>");
    assert_has(made, "shop-console.log.spr-00000000000000ab-shop");
    static const char *const gone[] = {
        "vcpupin",         "shop.qcow2",    "secure-boot", "emulatorpin", "numatune",
        "cpuset",          "<topology",     "shop-0001",   "libosinfo",   "urn:libshardpredict:vm:1",
        "Shop &amp; till", "shop_VARS",     "/dev/pts",    "5900",        "domain-2-shop",
        "connected",       "shop-data.img", "52:54:00:4d"};
    for (size_t g = 0; g < sizeof gone / sizeof *gone; g++)
        assert_lacks(made, gone[g]);
    assert_string_not_equal(d.nic[0].mac, d.nic[1].mac);
    lv_domain_clear(&d);
    char *again = derived(xml, &m.how);
    assert_string_equal(made, again);
    lv_free(again);
    lv_free(made);
    m.how.flags = LV_KEEP_NUMA;
    m.how.nvram = NULL;
    made = derived(xml, &m.how);
    assert_has(made, "<numatune>");
    assert_has(made,
               "<nvram template=\"/usr/share/OVMF/OVMF_VARS_4M.fd\"/>"); /* libvirt makes a copy by the new name */
    assert_lacks(made, "_VARS.fd");
    lv_free(made);
    lv_meta_clear(&m.meta);
    free(xml);
}

static void a_replica_of_a_cloud_image(void **state) {
    (void)state;
    char *xml = fixture("cloud-inactive.xml");
    struct made m;
    prepare(&m, "cloud");
    m.how.disk_count = 1;
    char *made = derived(xml, &m.how);
    struct lv_domain d = domain(made);
    assert_string_equal(d.type, "kvm"); /* as the primary's */
    assert_string_equal(d.disk[0].type, "file");
    assert_string_equal(d.disk[0].format, "qcow2");
    static const char *const gone[] = {
        "volume=",  "pool=",    "floor",      "interfaceid",       "4555", "cloud.sock\"", "0.0.0.0",
        "tpm",      "5930",     "192.0.2.10", "maxMemory",         "dimm", "<numa>",       "address=\"77\"",
        "7b:11:2f", "7b:11:30", "libosinfo",  "restart</on_crash>"};
    for (size_t g = 0; g < sizeof gone / sizeof *gone; g++)
        assert_lacks(made, gone[g]);
    assert_has(made, "/run/consoles/cloud.sock.spr-00000000000000ab\"");
    assert_has(made, "virtualport");
    assert_has(made, "average=\"2000\""); /* the owner's own limit stays where none is asked for */
    char genid[64] = "";
    assert_int_equal(sscanf(strstr(xml, "<genid>"), "%50[^/]", genid), 1);
    assert_lacks(made, genid);
    assert_int_equal(times(made, "<genid>"), 1);
    assert_has(made, "autoport=\"yes\"");
    assert_has(made, "/srv/cloud/static");
    assert_has(made, "discard=\"unmap\"");
    assert_true(d.agent);
    lv_domain_clear(&d);
    lv_free(made);
    m.how.seed_image = "/srv/seeds/ab.img";
    made = derived(xml, &m.how);
    d = domain(made);
    const struct lv_disk *seed = &d.disk[d.disk_count - 1];
    assert_true(!strcmp(seed->source, "/srv/seeds/ab.img") && seed->readonly && !strcmp(seed->format, "raw"));
    for (size_t i = 0; i + 1 < d.disk_count; i++) { /* nothing of the primary's seed, no name taken twice */
        assert_true(!strcmp(d.disk[i].device, "disk") || !d.disk[i].source);
        assert_string_not_equal(d.disk[i].target, seed->target);
    }
    lv_domain_clear(&d);
    lv_free(made);
    m.how.seed_image = "seed.img";
    refused(xml, &m.how, SPR_E_ARG, "seed image");
    m.how.seed_image = NULL;
    const char *const args[] = {"a=b"};
    m.how.kernel_args = args;
    m.how.kernel_arg_count = 1;
    refused(xml, &m.how, SPR_E_UNSUPPORTED, "boots from its disk");
    lv_meta_clear(&m.meta);
    free(xml);
}

static void what_cannot_be_copied_is_named(void **state) {
    (void)state;
    char *xml = fixture("heavy-inactive.xml");
    struct made m;
    prepare(&m, "heavy");
    m.how.disk_count = 2;
    refused(xml, &m.how, SPR_E_UNSUPPORTED, "vda (/dev/mapper/san-lun7): it is shared");
    assert_has(why, "interface 0");
    assert_has(why, "hostdev pci 0000:02:00.0");
    assert_has(why, "/srv/heavy");
    assert_has(why, "VM heavy");
    static const struct {
        const char *top, *devices, *word;
    } bad[] = {
        {"", "<disk type='file'><source file='/a'/></disk>", "no target"},
        {"", "<disk type='file' device='lun'><target dev='vda'/></disk>", "SCSI"},
        {"", "<disk type='nvme'><target dev='vda'/></disk>", "type"},
        {"", "<disk type='file'><source file='/a'><encryption format='luks'/></source><target dev='vda'/></disk>",
         "encrypted"},
        {"", "<interface type='vhostuser'/>", "vhostuser"},
        {"", "<interface type='direct'><source dev='eth0' mode='passthrough'/></interface>", "passthrough"},
        {"", "<interface type='ethernet'><target dev='tap7' managed='no'/></interface>", "prepared"},
        {"", "<hostdev mode='subsystem' type='usb'/>", "usb"},
        {"", "<shmem name='ring'/>", "ring"},
        {"", "<memory model='nvdimm'/>", "file"},
        {"<launchSecurity type='sev'/>", "", "launchSecurity"},
        {"<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/>", "", "qemu:commandline"},
    };
    m.how.disk_count = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct lv_derive_disk vda = {.target = "vda", .path = "/pool/x.qcow2"};
        m.how.disks = &vda;
        m.how.disk_count = !!strstr(bad[i].devices, "'vda'");
        refused(around(bad[i].top, bad[i].devices), &m.how, SPR_E_UNSUPPORTED, bad[i].word);
    }
    m.how.disk_count = 0;
    refused("<domain type='xen'><name>x</name><os/><devices/></domain>", &m.how, SPR_E_UNSUPPORTED, "xen");
    refused("<domain type='qemu'><name>x</name></domain>", &m.how, SPR_E_UNSUPPORTED, "<os>");
    refused("<!DOCTYPE x><domain/>", &m.how, SPR_E_FORMAT, "document type");
    lv_meta_clear(&m.meta);
    free(xml);
}

static void virtual_functions_are_taken_in_order(void **state) {
    (void)state;
    struct made m;
    prepare(&m, "web");
    const char *const vfs[] = {"0000:03:10.1", "0000:03:10.3"};
    m.how.vfs = vfs;
    m.how.vf_count = 2;
    char *xml = around("", "<interface type='hostdev'><mac address='52:54:00:00:00:01'/><source><address type='pci' "
                           "domain='0' bus='1' slot='2' function='0'/></source></interface><hostdev mode='subsystem' "
                           "type='pci'><source><address domain='0' bus='1' slot='3' function='0'/></source></hostdev>");
    char *made = derived(xml, &m.how);
    struct lv_domain d = domain(made);
    assert_string_equal(d.nic[0].source, "0000:03:10.1");
    assert_string_equal(d.hostdev[0].address, "0000:03:10.3");
    lv_domain_clear(&d);
    lv_free(made);
    m.how.vf_count = 1;
    refused(xml, &m.how, SPR_E_UNSUPPORTED, "0000:01:03.0");
    const char *const wrong[] = {"eth0vf1"};
    m.how.vfs = wrong;
    refused(xml, &m.how, SPR_E_ARG, "eth0vf1");
    lv_meta_clear(&m.meta);
}

static void addresses_are_never_the_primarys(void **state) {
    (void)state;
    struct made m;
    char mac[2][LV_MAC], devices[512];
    prepare(&m, "web");
    lv_mac_derive(0xab, 0, 0, mac[0]);
    lv_mac_derive(0xab, 1, 0, mac[1]);
    snprintf(devices, sizeof devices,
             "<interface type='bridge'><mac address='%s'/><source bridge='b'/></interface>"
             "<interface type='bridge'><mac address='%s'/><source bridge='b'/></interface><interface type='bridge'/>",
             mac[1], mac[0]);
    char *made = derived(around("", devices), &m.how);
    assert_lacks(made, mac[0]);
    assert_lacks(made, mac[1]);
    assert_int_equal(times(made, "<mac address=\"52:54:00:"), 3);
    assert_lacks(made, "primary");
    lv_free(made);
    const char *given[] = {NULL, "02:00:00:00:00:07"};
    m.how.macs = given;
    m.how.mac_count = 2;
    made = derived(around("", devices), &m.how);
    assert_has(made, "02:00:00:00:00:07");
    lv_free(made);
    const char *const wrong[] = {"01:00:00:00:00:07", "x", mac[0]};
    for (int i = 0; i < 3; i++) {
        given[1] = wrong[i];
        refused(around("", devices), &m.how, SPR_E_ARG, wrong[i]);
    }
    lv_meta_clear(&m.meta);
}

static void a_kernel_argument_replaces_the_one_of_its_name(void **state) {
    (void)state;
    static const struct {
        const char *old, *args[3], *want;
    } rows[] = {
        {"a=1 b=2 c", {"b=3"}, "a=1 b=3 c"},
        {"a=1 ab=2 a=3", {"a=9"}, "a=9 ab=2"},
        {"console=tty0 x console=ttyS0", {"console=ttyS1", "console=ttyS2"}, "console=ttyS1 console=ttyS2 x"},
        {"no-timer", {"no_timer=2"}, "no_timer=2"},
        {"a=\"b a=c\" d", {"a=1"}, "a=1 d"},
        {"root=/dev/vda -- single", {"quiet", "single"}, "root=/dev/vda quiet single -- single"},
        {"", {"a=1"}, "a=1"},
        {" \n a=1  b ", {"c=\"x y\""}, "a=1 b c=\"x y\""},
        {"lab.ip=1 lab.ipx=2", {"lab.ip=<&>'"}, "lab.ip=<&>' lab.ipx=2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct made m;
        prepare(&m, "web");
        char xml[1024];
        snprintf(xml, sizeof xml,
                 "<domain type='qemu'><name>web</name><os><type arch='x86_64'>hvm</type><kernel>/k</kernel><cmdline>%s"
                 "</cmdline></os><devices/></domain>",
                 rows[i].old);
        m.how.kernel_args = rows[i].args;
        while (m.how.kernel_arg_count < 3 && rows[i].args[m.how.kernel_arg_count])
            m.how.kernel_arg_count++;
        char *made = derived(xml, &m.how);
        struct lv_domain d = domain(made);
        assert_string_equal(d.cmdline, rows[i].want);
        lv_domain_clear(&d);
        lv_free(made);
        static const char *const wrong[] = {"a b", "", "=1", "--", "a=\"x", "a\nb", "bell=\a"};
        for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++) {
            m.how.kernel_args = &wrong[w];
            m.how.kernel_arg_count = 1;
            if (strcmp(wrong[w], "a=\"x"))
                refused(xml, &m.how, SPR_E_ARG, "kernel argument");
        }
        lv_meta_clear(&m.meta);
    }
}

static void a_seed_can_be_changed_or_taken_out(void **state) {
    (void)state;
    char *xml = fixture("shop-live.xml");
    struct made m;
    prepare(&m, "shop");
    struct lv_derive_disk disks[] = {m.disk[0], m.disk[1], {.target = "sda", .path = "/pool/spr-ab-seed.iso"}};
    m.how.disks = disks;
    m.how.disk_count = 3;
    for (int empty = 0; empty < 2; empty++) {
        char *made = derived(xml, &m.how);
        struct lv_domain d = domain(made);
        assert_lacks(made, "shared/seed.iso");
        assert_string_equal(d.disk[2].device, "cdrom");
        assert_string_equal(d.disk[2].format, "raw");
        if (empty)
            assert_null(d.disk[2].source);
        else
            assert_string_equal(d.disk[2].source, "/pool/spr-ab-seed.iso");
        valid(made);
        lv_domain_clear(&d);
        lv_free(made);
        disks[2].path = NULL;
    }
    lv_meta_clear(&m.meta);
    free(xml);
}

static void what_is_asked_wrongly_is_refused(void **state) {
    (void)state;
    struct made m;
    prepare(&m, "web");
    char *xml = around("", "<disk type='file'><source file='/a'/><target dev='vda'/></disk>");
    m.how.disk_count = 1;
    struct lv_derive good = m.how;
#define WRONG(member, value, word)                                                                                     \
    do {                                                                                                               \
        m.how.member = value;                                                                                          \
        refused(xml, &m.how, SPR_E_ARG, word);                                                                         \
        m.how = good;                                                                                                  \
    } while (0)
    WRONG(uuid, "none", "UUID");
    WRONG(uuid, "7EB22306-9a3e-4d3f-a15d-afc3969a988e", "UUID");
    WRONG(name, "web", "name");
    WRONG(name, "bell\a", "written");
    WRONG(amounts.of[SPR_CPU], 0, "CPU");
    WRONG(amounts.of[SPR_MEMORY], 0, "memory");
    WRONG(memory_most, -1, "memory");
    WRONG(nvram, "/n", "UEFI");
    WRONG(seed_url, "http://a/;b", "seed");
    WRONG(meta, NULL, "shard");
    WRONG(disk_count, 2, "vdb");
    m.disk[0].path = "/a";
    refused(xml, &m.how, SPR_E_ARG, "primary's own");
    m.disk[0].path = NULL;
    refused(xml, &m.how, SPR_E_ARG, "vda");
    lv_meta_clear(&m.meta);
}

static int derive_job(void *arg) {
    void **both = arg;
    char *out = NULL;
    int rc = lv_domain_derive(both[0], both[1], &out, why);
    lv_free(out);
    return rc;
}
static int read_job(void *arg) {
    struct lv_domain d;
    int rc = lv_domain_read(arg, &d, why);
    if (rc == SPR_OK)
        lv_domain_clear(&d);
    return rc;
}
static int placeholder_job(void *arg) {
    char *out = NULL;
    int rc = lv_domain_placeholder(arg, &out, why);
    lv_free(out);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    char *xml = fixture("shop-live.xml");
    struct made m;
    prepare(&m, "shop");
    const char *const args[] = {"a=b"};
    m.how.disk_count = 2;
    m.how.seed_url = "http://a/";
    void *both[] = {xml, &m.how};
    assert_true(failing_lv_sweep(derive_job, both) >= 4);
    assert_true(failing_lv_sweep(read_job, xml) > 40);
    free(xml);
    both[0] = xml = fixture("web-live.xml");
    m.how.disk_count = 1;
    m.how.kernel_args = args;
    m.how.kernel_arg_count = 1;
    assert_true(failing_lv_sweep(derive_job, both) >= 4);
    struct lv_placeholder p = {
        .meta = &m.meta, .uuid = UUID, .type = "qemu", .arch = "x86_64", .amounts = m.how.amounts};
    assert_int_equal(failing_lv_sweep(placeholder_job, &p), 1);
    lv_meta_clear(&m.meta);
    free(xml);
}

/* ---- a placeholder ---- */

static void a_placeholder_holds_and_has_nothing_else(void **state) {
    (void)state;
    struct lv_shard_meta meta = {.id = 0xcd, .kind = SPR_SHARD_HEADROOM, .phase = LV_PHASE_RESERVED};
    assert_int_equal(lv_meta_text(&meta.vm, "a<b"), SPR_OK);
    struct lv_placeholder p = {.meta = &meta, .uuid = UUID, .type = "qemu", .arch = "x86_64", .machine = "pc"};
    char *out = (char *)why;
    assert_int_equal(lv_domain_placeholder(&p, &out, why), SPR_E_ARG); /* no amounts */
    p.amounts.of[SPR_CPU] = 2.5;
    p.amounts.of[SPR_MEMORY] = 1e8;
    p.type = "lxc";
    assert_int_equal(lv_domain_placeholder(&p, &out, why), SPR_E_ARG);
    p.type = "qemu";
    p.machine = "bell\a";
    assert_int_equal(lv_domain_placeholder(&p, &out, why), SPR_E_ARG);
    assert_ptr_equal(out, why);
    p.machine = "pc";
    for (int allocated = 0; allocated < 2; allocated++) {
        p.allocated = allocated;
        assert_int_equal(lv_domain_placeholder(&p, &out, why), SPR_OK);
        struct lv_domain d = domain(out);
        assert_string_equal(d.name, "spr-00000000000000cd-a<b");
        assert_true(d.vcpus == 3 && d.memory == 97657 * 1024.0 && !d.disk_count && !d.nic_count);
        assert_has(out, "<quota>83333</quota>");
        assert_int_equal(times(out, "immediate"), allocated);
        struct lv_shard_meta back = {0};
        assert_int_equal(lv_meta_parse(d.shard_xml, &back, why), SPR_OK);
        assert_true(back.id == 0xcd && back.kind == SPR_SHARD_HEADROOM);
        assert_string_equal(back.vm, "a<b");
        lv_meta_clear(&back);
        lv_domain_clear(&d);
        lv_free(out);
    }
    lv_meta_clear(&meta);
}

/* ---- libvirt's own schema ---- */

static void libvirts_schema_takes_what_is_made(void **state) {
    (void)state;
    static const struct {
        const char *file, *vm;
        size_t disks;
        uint32_t flags;
    } rows[] = {{"web-live.xml", "web", 1, LV_BANDWIDTH},
                {"web-inactive.xml", "w<&>\"e'b", 1, 0},
                {"shop-live.xml", "shop", 2, LV_BANDWIDTH},
                {"shop-inactive.xml", "shop", 2, LV_KEEP_NUMA},
                {"cloud-inactive.xml", "cloud", 1, LV_BANDWIDTH}};
    if (system("virt-xml-validate --version >/dev/null 2>&1"))
        skip(); /* libvirt-clients is not installed */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *xml = fixture(rows[i].file);
        valid(xml);
        struct lv_shard_meta full = full_shard();
        struct made m;
        prepare(&m, rows[i].vm);
        full.id = 0xab;
        assert_int_equal(lv_meta_text(&full.vm, rows[i].vm), SPR_OK);
        m.how.meta = &full;
        m.how.disk_count = rows[i].disks;
        m.how.flags = rows[i].flags;
        m.how.amounts.of[SPR_NET_RX] = m.how.amounts.of[SPR_NET_TX] = 1e8;
        m.how.seed_url = "http://10.0.0.1/";
        m.how.partition = "/machine/spr";
        m.disk[0].backing = "/pool/base.qcow2";
        m.disk[0].backing_format = "qcow2";
        char *made = derived(xml, &m.how);
        valid(made);
        lv_free(made);
        lv_meta_clear(&full);
        lv_meta_clear(&m.meta);
        free(xml);
    }
    struct made m;
    prepare(&m, "web");
    struct lv_placeholder p = {.meta = &m.meta,
                               .uuid = UUID,
                               .type = "qemu",
                               .arch = "x86_64",
                               .amounts = m.how.amounts,
                               .allocated = true,
                               .partition = "/machine/spr"};
    char *made = NULL;
    assert_int_equal(lv_domain_placeholder(&p, &made, why), SPR_OK);
    valid(made);
    lv_free(made);
    lv_meta_clear(&m.meta);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_live_guest_is_read),
        cmocka_unit_test(firmware_agent_and_wishes_are_seen),
        cmocka_unit_test(what_is_no_domain_is_refused),
        cmocka_unit_test(a_replica_has_nothing_of_the_primarys_own),
        cmocka_unit_test(a_replica_of_a_uefi_guest),
        cmocka_unit_test(a_replica_of_a_cloud_image),
        cmocka_unit_test(what_cannot_be_copied_is_named),
        cmocka_unit_test(virtual_functions_are_taken_in_order),
        cmocka_unit_test(addresses_are_never_the_primarys),
        cmocka_unit_test(a_kernel_argument_replaces_the_one_of_its_name),
        cmocka_unit_test(a_seed_can_be_changed_or_taken_out),
        cmocka_unit_test(what_is_asked_wrongly_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_placeholder_holds_and_has_nothing_else),
        cmocka_unit_test(libvirts_schema_takes_what_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
