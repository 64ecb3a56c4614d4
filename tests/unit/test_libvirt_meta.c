/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What stands on a host about a shard, what an owner writes about a VM, and the names and numbers in both. */
#include <locale.h>
#include <math.h>

#include "libvirt_texts.h"

static char why[LV_WHY];

static struct lv_shard_meta parsed(const char *xml) {
    struct lv_shard_meta m = {0};
    int rc = lv_meta_parse(xml, &m, why);
    if (rc < 0)
        fail_msg("%s in %s", why, xml);
    return m;
}
static char *formatted(const struct lv_shard_meta *m) {
    char *text = NULL;
    if (lv_meta_format(m, &text, why) < 0)
        fail_msg("%s", why);
    return text;
}
static void refused(const char *xml, int code, const char *word) {
    struct lv_shard_meta m = {.id = 42};
    assert_int_equal(lv_meta_parse(xml, &m, why), code);
    assert_has(why, word);
    assert_int_equal(m.id, 42);
}

static void a_shard_comes_back_as_it_was_written(void **state) {
    (void)state;
    struct lv_shard_meta m = full_shard();
    char *text = formatted(&m), *again;
    struct lv_shard_meta r = parsed(text);
    assert_int_equal(r.id, m.id);
    assert_int_equal(r.fence, m.fence);
    assert_int_equal(r.last_drain, m.last_drain);
    assert_int_equal(r.kind, m.kind);
    assert_int_equal(r.phase, m.phase);
    assert_int_equal(r.warm, m.warm);
    assert_int_equal(r.expires_wall_ns, m.expires_wall_ns);
    assert_string_equal(r.vm, m.vm);
    assert_string_equal(r.vm_uuid, m.vm_uuid);
    assert_string_equal(r.own_uuid, m.own_uuid);
    assert_int_equal(r.holds_memory, 1);
    assert_string_equal(r.probe, m.probe);
    assert_string_equal(r.owner, m.owner);
    assert_memory_equal(&r.ready, &m.ready, sizeof r.ready);
    assert_memory_equal(&r.draining, &m.draining, sizeof r.draining);
    assert_int_equal(r.piece_count, 2);
    assert_memory_equal(r.piece, m.piece, sizeof r.piece);
    assert_memory_equal(&r.ended, &m.ended, sizeof r.ended);
    assert_true(r.warmness == m.warmness && r.boot_s == m.boot_s && r.resume_s == m.resume_s && r.save_s == 0);
    assert_int_equal(r.artefact_count, 2);
    assert_int_equal(r.artefact[0].kind, LV_ARTEFACT_OVERLAY);
    assert_string_equal(r.artefact[0].what, "/var/lib/libvirt/images/spr <1>.qcow2");
    assert_has(text, "ended=\"1-5,7-8\"");
    again = formatted(&r);
    assert_string_equal(text, again);
    lv_free(text);
    lv_free(again);
    lv_meta_clear(&m);
    lv_meta_clear(&r);
}

static void a_copy_shares_nothing(void **state) {
    (void)state;
    struct lv_shard_meta m = full_shard(), c = {0};
    assert_int_equal(lv_meta_copy(&m, &c), SPR_OK);
    char *a = formatted(&m), *b;
    lv_meta_clear(&m);
    b = formatted(&c);
    assert_string_equal(a, b);
    lv_free(a);
    lv_free(b);
    lv_meta_drop_artefact(&c, LV_ARTEFACT_VF, "0000:01:10.0");
    assert_int_equal(c.artefact_count, 1);
    assert_int_equal(lv_meta_add_artefact(&c, LV_ARTEFACT_OVERLAY, "/var/lib/libvirt/images/spr <1>.qcow2"), SPR_OK);
    assert_int_equal(c.artefact_count, 1); /* noted once */
    lv_meta_end_piece(&c, 9);
    assert_int_equal(c.piece_count, 1);
    assert_int_equal(c.piece[0].number, 12);
    assert_true(lv_window_has(&c.ended, 9) && !lv_window_has(&c.ended, 6));
    lv_meta_clear(&c);
}

static void any_name_survives(void **state) {
    (void)state;
    static const char *const names[] = {"a<b>&\"c\"'d'", "line\none\ttab\r", "Bücherei 書", " blanks ", "]]>&amp;<!--"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct lv_shard_meta m = full_shard();
        assert_int_equal(lv_meta_text(&m.vm, names[i]), SPR_OK);
        assert_int_equal(lv_meta_add_artefact(&m, LV_ARTEFACT_RULE, names[i]), SPR_OK);
        char *text = formatted(&m);
        struct lv_shard_meta r = parsed(text);
        assert_string_equal(r.vm, names[i]);
        assert_string_equal(r.artefact[2].what, names[i]);
        lv_free(text);
        lv_meta_clear(&m);
        lv_meta_clear(&r);
    }
}

static void what_cannot_be_written_is_refused(void **state) {
    (void)state;
    static const char *const names[] = {"bell\a", "\xff\xfe", "cut\xc3", "\xef\xbf\xbf"};
    char *text = (char *)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct lv_shard_meta m = full_shard();
        assert_int_equal(lv_meta_text(&m.vm, names[i]), SPR_OK);
        assert_int_equal(lv_meta_format(&m, &text, why), SPR_E_ARG);
        assert_has(why, "'vm'");
        lv_meta_clear(&m);
    }
    struct lv_shard_meta m = full_shard();
    m.ready.of[SPR_CPU] = NAN;
    assert_int_equal(lv_meta_format(&m, &text, why), SPR_E_ARG);
    assert_has(why, "ready");
    m.ready.of[SPR_CPU] = 1;
    m.phase = 99;
    assert_int_equal(lv_meta_format(&m, &text, why), SPR_E_ARG);
    assert_has(why, "'state'");
    m.phase = LV_PHASE_WARM;
    m.id = 0;
    assert_int_equal(lv_meta_format(&m, &text, why), SPR_E_ARG);
    assert_ptr_equal(text, state);
    lv_meta_clear(&m);
}

static void ignore(void *user, virErrorPtr error) { (void)user, (void)error; }

static void libvirt_keeps_it_as_it_is(void **state) {
    (void)state;
    virSetErrorFunc(NULL, ignore);
    virConnectPtr conn = virConnectOpen("test:///default");
    assert_non_null(conn);
    virDomainPtr dom = virDomainLookupByName(conn, "test");
    assert_non_null(dom);
    struct lv_shard_meta m = full_shard();
    assert_int_equal(lv_meta_text(&m.vm, "a<b>&\"c\"'d'\nBücher"), SPR_OK);
    char *text = formatted(&m), *back;
    for (int twice = 0; twice < 2; twice++)
        assert_int_equal(virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, text, "spr", LV_SHARD_URN, 0), 0);
    assert_int_equal(
        virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, "<vm replica='image'/>", "own", LV_VM_URN, 0), 0);
    /* by its namespace, and as a part of the whole definition */
    char *alone = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, LV_SHARD_URN, 0);
    char *whole = virDomainGetXMLDesc(dom, 0);
    struct lv_domain d;
    if (lv_domain_read(whole, &d, why) < 0)
        fail_msg("%s", why);
    const char *const got[] = {alone, d.shard_xml};
    for (int i = 0; i < 2; i++) {
        struct lv_shard_meta r = parsed(got[i]);
        back = formatted(&r);
        assert_string_equal(back, text);
        lv_free(back);
        lv_meta_clear(&r);
    }
    struct lv_vm_meta wishes = {0};
    assert_int_equal(lv_vm_meta_parse(d.vm_xml, &wishes, why), SPR_OK);
    assert_int_equal(wishes.replica, SPR_REPLICA_IMAGE);
    lv_vm_meta_clear(&wishes);
    lv_domain_clear(&d);
    free(alone);
    free(whole);
    lv_free(text);
    lv_meta_clear(&m);
    virDomainFree(dom);
    virConnectClose(conn);
}

#define GOOD "id='1' vm='web' kind='replica' state='warm' warm='paused'"

static void the_element_is_read_as_libvirt_gives_it(void **state) {
    (void)state;
    static const char *const forms[] = {"<shard " GOOD "><ready cpu='1'/></shard>",
                                        "<spr:shard xmlns:spr='urn:libshardpredict:shard:1' " GOOD
                                        "><spr:ready cpu='1'/></spr:shard>",
                                        "<shard xmlns='urn:libshardpredict:shard:1' version='1' " GOOD
                                        ">\n <!-- note -->\n <ready cpu='1'/>\n</shard>\n"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct lv_shard_meta m = parsed(forms[i]);
        assert_true(m.id == 1 && m.ready.of[SPR_CPU] == 1 && m.warm == SPR_LIBVIRT_WARM_PAUSED);
        lv_meta_clear(&m);
    }
}

static void what_is_not_known_is_refused_by_name(void **state) {
    (void)state;
    refused("<shard " GOOD " colour='blue'/>", SPR_E_FORMAT, "'colour'");
    refused("<shard " GOOD " xml:lang='en'/>", SPR_E_FORMAT, "'lang'");
    refused("<shard " GOOD "><sauce/></shard>", SPR_E_FORMAT, "<sauce>");
    refused("<shard " GOOD "><ready gpu='1'/></shard>", SPR_E_FORMAT, "'gpu'");
    refused("<shard " GOOD "><ready cpu='1'>x</ready></shard>", SPR_E_FORMAT, "<ready>");
    refused("<shard " GOOD "><x:ready xmlns:x='urn:x' cpu='1'/></shard>", SPR_E_FORMAT, "foreign");
    refused("<shard " GOOD ">words</shard>", SPR_E_FORMAT, "text");
    refused("<shard xmlns='urn:other' " GOOD "/>", SPR_E_FORMAT, "urn:other");
    refused("<vm/>", SPR_E_FORMAT, "<vm>");
    refused("<shard id='1' kind='replica' state='warm' warm='paused'/>", SPR_E_FORMAT, "'vm'");
    refused("<shard version='2' " GOOD " colour='blue'/>", SPR_E_TOO_NEW, "newer");
    refused("<shard version='0' " GOOD "/>", SPR_E_FORMAT, "version");
    refused("<shard version='new' " GOOD "/>", SPR_E_FORMAT, "version");
}

static void what_has_no_sense_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *name, *value;
    } bad[] = {{"fence", "-1"},
               {"fence", "1e3"},
               {"fence", "99999999999999999999"},
               {"fence", ""},
               {"fence", " 1"},
               {"expires-ns", "9223372036854775808"},
               {"vm-uuid", "not-one"},
               {"warmness", "1.5"},
               {"warmness", "nan"},
               {"boot-s", "-1"},
               {"boot-s", "0x1p3"},
               {"boot-s", "1e999"},
               {"ended", "5-4"},
               {"ended", "1,1"},
               {"ended", "3,2"},
               {"ended", "1-"},
               {"ended", ","},
               {"ended", "1,"},
               {"ended", "1-9999999999"}};
    char xml[400];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(xml, sizeof xml, "<shard " GOOD " %s='%s'/>", bad[i].name, bad[i].value);
        refused(xml, SPR_E_FORMAT, bad[i].name);
    }
    refused("<shard id='0' vm='w' kind='replica' state='warm' warm='paused'/>", SPR_E_FORMAT, "id");
    refused("<shard id='1' vm='w' kind='clone' state='warm' warm='paused'/>", SPR_E_FORMAT, "'clone'");
    refused("<shard id='1' vm='w' kind='replica' state='asleep' warm='paused'/>", SPR_E_FORMAT, "'asleep'");
    refused("<shard " GOOD "><ready cpu='-1'/></shard>", SPR_E_FORMAT, "cpu");
    refused("<shard " GOOD "><piece number='0' phase='reserved'/></shard>", SPR_E_FORMAT, "piece");
    refused("<shard " GOOD "><piece number='1' phase='serving'/></shard>", SPR_E_FORMAT, "piece");
    refused("<shard " GOOD "><piece number='1' phase='reserved'/><piece number='1' phase='reserved'/></shard>",
            SPR_E_FORMAT, "piece");
    refused("<shard " GOOD "><artefact kind='overlay'/></shard>", SPR_E_FORMAT, "'what'");
}

static void a_text_that_attacks_the_parser_is_refused(void **state) {
    (void)state;
    refused("", SPR_E_FORMAT, "none");
    refused("<shard", SPR_E_FORMAT, "line 1");
    refused("<shard>\n<a></b></shard>", SPR_E_FORMAT, "line 2");
    refused("<!DOCTYPE shard [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]><shard vm='&b;'/>",
            SPR_E_FORMAT, "document type");
    refused("<!DOCTYPE shard SYSTEM 'file:///etc/passwd'><shard " GOOD "/>", SPR_E_FORMAT, "document type");
    refused("<shard " GOOD " probe='&undefined;'/>", SPR_E_FORMAT, "undefined");
    size_t room = (size_t)5 << 20;
    char *huge = malloc(room + 64);
    strcpy(huge, "<shard " GOOD "/>");
    memset(huge + strlen(huge), ' ', room - strlen(huge));
    huge[room] = 0;
    refused(huge, SPR_E_FORMAT, "longer");
    char *at = huge;
    for (int i = 0; i < 100000; i++)
        at += sprintf(at, "<a>");
    refused(huge, SPR_E_FORMAT, "depth");
    free(huge);
}

static int format_job(void *arg) {
    char *text = NULL;
    int rc = lv_meta_format(arg, &text, why);
    lv_free(text);
    return rc;
}
static int parse_job(void *arg) {
    struct lv_shard_meta m;
    int rc = lv_meta_parse(arg, &m, why);
    if (rc == SPR_OK)
        lv_meta_clear(&m);
    return rc;
}
static int copy_job(void *arg) {
    struct lv_shard_meta m;
    int rc = lv_meta_copy(arg, &m);
    if (rc == SPR_OK)
        lv_meta_clear(&m);
    return rc;
}
static int vm_job(void *arg) {
    struct lv_vm_meta m;
    int rc = lv_vm_meta_parse(arg, &m, why);
    if (rc == SPR_OK)
        lv_vm_meta_clear(&m);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct lv_shard_meta m = full_shard();
    char *text = formatted(&m);
    assert_int_equal(failing_lv_sweep(format_job, &m), 1);
    assert_true(failing_lv_sweep(parse_job, text) >= 8);
    assert_true(failing_lv_sweep(copy_job, &m) >= 6);
    char vm[] = "<vm group='g' affinity='a' anti-affinity='b' hosts='hv*' template='t'/>";
    assert_int_equal(failing_lv_sweep(vm_job, vm), 5);
    lv_free(text);
    lv_meta_clear(&m);
}

/* ---- the owner's element ---- */

static void an_owners_wishes_reach_the_fleet(void **state) {
    (void)state;
    struct lv_vm_meta m = {0};
    const char *xml = "<spr:vm xmlns:spr='urn:libshardpredict:vm:1' replica='image' spillable='0.6' flow-lifetime='5m' "
                      "group='shop' affinity='db' anti-affinity='shop' hosts='hv*' template='golden' priority='-3' "
                      "shards-at-most='4' min-cpu='0.5' min-memory='128M' min-net-tx='10M' max-cpu='4' "
                      "max-memory='2GiB' max-net-rx='1G'/>";
    if (lv_vm_meta_parse(xml, &m, why) < 0)
        fail_msg("%s", why);
    struct spr_vm vm = {.size = sizeof vm, .host = 5};
    lv_vm_meta_apply(&m, &vm);
    assert_int_equal(vm.host, 5);
    assert_int_equal(vm.replica, SPR_REPLICA_IMAGE);
    assert_true(vm.spillable == 0.6 && vm.flow_lifetime_s == 300);
    assert_string_equal(vm.group, "shop");
    assert_string_equal(vm.affinity, "db");
    assert_string_equal(vm.anti_affinity, "shop");
    assert_string_equal(vm.hosts_allowed, "hv*");
    assert_string_equal(m.template_name, "golden");
    assert_int_equal(vm.priority, -3);
    assert_int_equal(vm.shards_at_most, 4);
    assert_true(vm.min.of[SPR_CPU] == 0.5 && vm.min.of[SPR_MEMORY] == 128.0 * 1048576 && vm.min.of[SPR_NET_TX] == 1e7);
    assert_true(vm.max.of[SPR_CPU] == 4 && vm.max.of[SPR_MEMORY] == 0x1p31 && vm.max.of[SPR_NET_RX] == 1e9);
    lv_vm_meta_clear(&m);
    assert_int_equal(lv_vm_meta_parse("<vm/>", &m, why), SPR_OK);
    assert_int_equal(m.replica, SPR_REPLICA_NEVER);
    lv_vm_meta_clear(&m);
}

static void a_wrong_wish_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
    } bad[] = {{"replica='always'", "always"},
               {"spilable='0.5'", "'spilable'"},
               {"spillable='60%'", "spillable"},
               {"flow-lifetime='soon'", "flow-lifetime"},
               {"flow-lifetime='5 m'", "flow-lifetime"},
               {"min-memory='128Q'", "min-memory"},
               {"min-memory='M'", "min-memory"},
               {"max-cpu='-1'", "max-cpu"},
               {"priority='high'", "priority"},
               {"priority='1.5'", "priority"},
               {"shards-at-most='-1'", "shards-at-most"},
               {"min-cpu='2' max-cpu='1'", "min-"},
               {"version='2'", "newer"}};
    struct lv_vm_meta m = {.priority = 42};
    char xml[200];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(xml, sizeof xml, "<vm %s/>", bad[i].text);
        assert_int_equal(lv_vm_meta_parse(xml, &m, why), strstr(xml, "version") ? SPR_E_TOO_NEW : SPR_E_FORMAT);
        assert_has(why, bad[i].word);
        assert_int_equal(m.priority, 42);
    }
    assert_int_equal(lv_vm_meta_parse("<vm><more/></vm>", &m, why), SPR_E_FORMAT);
    assert_int_equal(lv_vm_meta_parse("<vm xmlns='urn:libshardpredict:shard:1'/>", &m, why), SPR_E_FORMAT);
}

/* ---- names and numbers ---- */

static void a_name_says_whose_it_is(void **state) {
    (void)state;
    char name[LV_NAME], longer[400], uuid[LV_UUID], other[LV_UUID];
    lv_domain_name(0xAB, "web", name);
    assert_string_equal(name, "spr-00000000000000ab-web");
    assert_int_equal(lv_domain_name_id(name), 0xAB);
    lv_domain_name(UINT64_MAX, "a/b\nc", name);
    assert_string_equal(name, "spr-ffffffffffffffff-a_b_c");
    assert_true(lv_domain_name_id(name) == UINT64_MAX);
    for (size_t i = 0; i < 398; i += 2)
        memcpy(longer + i, "\xc3\xbc", 3);
    lv_domain_name(1, longer, name);
    assert_true(strlen(name) < LV_NAME && strlen(name) > LV_NAME - 4);
    assert_true((unsigned char)name[strlen(name) - 1] == 0xbc); /* no character is cut */
    static const char *const foreign[] = {"spr-",
                                          "spr-1-web",
                                          "spr-00000000000000AB-web",
                                          "spr-00000000000000ab",
                                          "busy-shard-1",
                                          "spr-00000000000000abc-web",
                                          ""};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        assert_int_equal(lv_domain_name_id(foreign[i]), 0);
    lv_uuid_derive(1, "7eb22306-9a3e-4d3f-a15d-afc3969a988e", uuid);
    assert_true(lv_uuid_valid(uuid) && uuid[14] == '8' && strchr("89ab", uuid[19]));
    lv_uuid_derive(1, "7eb22306-9a3e-4d3f-a15d-afc3969a988e", other);
    assert_string_equal(uuid, other);
    lv_uuid_derive(2, "7eb22306-9a3e-4d3f-a15d-afc3969a988e", other);
    assert_string_not_equal(uuid, other);
    lv_uuid_derive(1, "7eb22306-9a3e-4d3f-a15d-afc3969a988f", other);
    assert_string_not_equal(uuid, other);
}

static void addresses_differ_by_shard_interface_and_attempt(void **state) {
    (void)state;
    char seen[64][LV_MAC];
    int n = 0;
    for (uint64_t shard = 1; shard <= 4; shard++)
        for (uint32_t nic = 0; nic < 4; nic++)
            for (uint32_t attempt = 0; attempt < 4; attempt++) {
                lv_mac_derive(shard, nic, attempt, seen[n]);
                assert_true(lv_mac_valid(seen[n]) && !strncmp(seen[n], "52:54:00:", 9));
                for (int i = 0; i < n; i++)
                    assert_string_not_equal(seen[i], seen[n]);
                n++;
            }
    assert_false(lv_mac_valid("53:54:00:00:00:01")); /* multicast */
    assert_false(lv_mac_valid("52:54:00:00:00"));
    assert_false(lv_mac_valid("52-54-00-00-00-01"));
    assert_false(lv_mac_valid("00:00:00:00:00:00"));
}

static void the_window_forgets_nothing_that_may_come_again(void **state) {
    (void)state;
    struct lv_window w = {0};
    assert_false(lv_window_has(&w, 0) || lv_window_has(&w, 1));
    lv_window_add(&w, 5);
    assert_true(lv_window_has(&w, 5) && !lv_window_has(&w, 4) && !lv_window_has(&w, 6));
    lv_window_add(&w, 5 + LV_WINDOW - 1);
    assert_true(lv_window_has(&w, 5));
    for (uint64_t n = 6; n < 5 + LV_WINDOW - 1; n++)
        assert_false(lv_window_has(&w, n));
    lv_window_add(&w, 5 + LV_WINDOW);
    assert_true(lv_window_has(&w, 5));  /* older than the window: over */
    assert_false(lv_window_has(&w, 6)); /* 512 behind, still pending */
    lv_window_add(&w, UINT64_C(1) << 40);
    assert_true(lv_window_has(&w, 1000) && !lv_window_has(&w, (UINT64_C(1) << 40) - 1));
    struct lv_shard_meta m = full_shard();
    m.ended = w;
    for (uint64_t n = (UINT64_C(1) << 40) - 511; n < UINT64_C(1) << 40; n += 2)
        lv_window_add(&m.ended, n); /* the longest text there is */
    char *text = formatted(&m);
    struct lv_shard_meta r = parsed(text);
    assert_memory_equal(&r.ended, &m.ended, sizeof r.ended);
    lv_free(text);
    lv_meta_clear(&m);
    lv_meta_clear(&r);
}

static void amounts_become_what_a_host_counts(void **state) {
    (void)state;
    static const struct {
        double cores;
        uint32_t vcpus;
        int64_t quota;
    } want[] = {{0.5, 1, 50000}, {1, 1, 100000},   {1.5, 2, 75000},
                {4, 4, 100000},  {0.001, 1, 1000}, {2 + 1e-12, 2, 100000}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct lv_cpu c;
        lv_cpu_split(want[i].cores, &c);
        assert_int_equal(c.vcpus, want[i].vcpus);
        assert_int_equal(c.quota_us, want[i].quota);
        assert_int_equal(c.period_us, 100000);
    }
    assert_int_equal(lv_bandwidth(8e6), 1000);
    assert_int_equal(lv_bandwidth(8e6 + 1), 1001);
    assert_int_equal(lv_bandwidth(1), 1);
}

static void numbers_do_not_follow_the_locale(void **state) {
    (void)state;
    static const char *const commas[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "C.UTF-8"};
    const char *set = NULL;
    for (size_t i = 0; !set && i < sizeof commas / sizeof *commas; i++)
        set = setlocale(LC_ALL, commas[i]);
    assert_non_null(set);
    char text[32];
    double back;
    static const double values[] = {0.5, 1e-300, 1.0 / 3, 100663296, 1e23, 0.1 + 0.2};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        lv_number_text(values[i], text);
        assert_null(strchr(text, ','));
        assert_true(lv_number_read(text, &back) && back == values[i]);
    }
    assert_false(lv_number_read("0,5", &back));
    assert_false(lv_number_read("1e", &back));
    setlocale(LC_ALL, "C");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_comes_back_as_it_was_written),
        cmocka_unit_test(a_copy_shares_nothing),
        cmocka_unit_test(any_name_survives),
        cmocka_unit_test(what_cannot_be_written_is_refused),
        cmocka_unit_test(libvirt_keeps_it_as_it_is),
        cmocka_unit_test(the_element_is_read_as_libvirt_gives_it),
        cmocka_unit_test(what_is_not_known_is_refused_by_name),
        cmocka_unit_test(what_has_no_sense_is_refused_by_name),
        cmocka_unit_test(a_text_that_attacks_the_parser_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(an_owners_wishes_reach_the_fleet),
        cmocka_unit_test(a_wrong_wish_is_refused_by_name),
        cmocka_unit_test(a_name_says_whose_it_is),
        cmocka_unit_test(addresses_differ_by_shard_interface_and_attempt),
        cmocka_unit_test(the_window_forgets_nothing_that_may_come_again),
        cmocka_unit_test(amounts_become_what_a_host_counts),
        cmocka_unit_test(numbers_do_not_follow_the_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
