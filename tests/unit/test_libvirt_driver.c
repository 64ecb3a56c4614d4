/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The driver against libvirt's own test driver: a host in memory that can neither pause a start nor keep secrets. */
#include "libvirt_bench.h"

static void what_cannot_be_opened_is_refused(void **state) {
    struct bench *b = *state;
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    void *out = NULL;
    struct spr_libvirt_driver_opts o = b->opts;
    o.hosts = NULL;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    o = b->opts, o.warm = 7;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    o = b->opts, o.lease_s = 0.1;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    o = b->opts, o.boot_s = -1;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    assert_null(out);
    struct spr_libvirt_host h = {.size = sizeof h, .uri = b->uri};
    struct spr_libvirt_opts ro = {.size = sizeof ro, .hosts = &h, .host_count = 1, .read_only = 1};
    spr_libvirt *reads = NULL;
    assert_int_equal(spr_libvirt_open(b->ctx, &ro, &reads), SPR_OK);
    o = b->opts, o.hosts = reads;
    assert_int_equal(ops()->open(&env, &o, &out), SPR_E_ARG);
    spr_libvirt_close(reads, 1);
}

static void what_cannot_be_done_is_answered_with_host_and_reason(void **state) {
    struct bench *b = *state;
    struct spr_driver_request q = about(SPR_DRIVER_ALLOCATE, 1, 1, 1);
    q.host = "elsewhere";
    assert_int_equal(ask(b, q), SPR_E_NOT_FOUND);
    assert_string_equal(b->c.text, "elsewhere: no host of that name is open");
    assert_int_equal(ask(b, about(SPR_DRIVER_PROMOTE, 1, 1, 1)), SPR_E_NOT_FOUND);
    struct spr_libvirt_migration m = {.size = sizeof m};
    q = about(SPR_DRIVER_MIGRATE, 1, 1, 1);
    q.vm = "nobody";
    assert_int_equal(ask(b, q), SPR_E_NOT_FOUND);
    assert_string_equal(b->c.text, "h: VM 'nobody' is on none of the hosts");
    assert_int_equal(spr_libvirt_migration(b->opts.hosts, "nobody", &m), SPR_E_NOT_FOUND);
    assert_int_equal(spr_libvirt_migration(b->opts.hosts, NULL, &m), SPR_E_ARG);
    m.size = 1;
    assert_int_equal(spr_libvirt_migration(b->opts.hosts, "nobody", &m), SPR_E_ARG);
    q = about(SPR_DRIVER_RESERVE, 1, 1, 1);
    q.vm = "nobody";
    assert_int_equal(ask(b, q), SPR_E_NOT_FOUND);
    assert_string_equal(b->c.text, "h: VM 'nobody' is on none of the hosts");
    q = about(SPR_DRIVER_RESERVE, 1, 1, 1);
    q.amounts.of[SPR_CPU] = -1;
    assert_int_equal(ask(b, q), SPR_E_ARG);
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 1)), SPR_E_NOT_FOUND);
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK); /* gone already */
    q = about(77, 1, 1, 1);
    assert_int_equal(ask(b, q), SPR_E_ARG);
}

static void a_host_says_what_it_lacks_once_it_was_looked_at(void **state) {
    struct bench *b = *state;
    struct spr_driver_capabilities c = {.size = sizeof c};
    assert_int_equal(ops()->capabilities(b->state, "elsewhere", &c), SPR_E_NOT_FOUND);
    assert_int_equal(ops()->capabilities(b->state, "h", &c), SPR_OK);
    assert_non_null(strstr(c.missing, "observed"));
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 0);
    assert_int_equal(ops()->capabilities(b->state, "h", &c), SPR_OK);
    assert_non_null(strstr(c.missing, "no secrets"));
    assert_non_null(strstr(c.missing, "no overlays"));
    assert_true(c.verbs >> SPR_DRIVER_WARM & 1);
    assert_true(c.verbs >> SPR_DRIVER_MIGRATE & 1);
    assert_true(c.verbs >> SPR_DRIVER_PROMOTE & 1);
    /* Its one guest runs, and tells: libvirt's test driver knows weights only. */
    assert_int_equal(c.unkept, 1u << SPR_CPU);
    assert_non_null(strstr(c.unkept_why, "no cpu control group"));
    assert_non_null(strstr(c.missing, c.unkept_why));
}

static void what_fails_names_the_part_of_the_kernel(void **state) {
    (void)state;
    static const struct {
        const char *said, *module;
    } of[] = {
        {"'/sbin/tc qdisc add dev vnet0 parent 1:1 handle 2: sfq perturb 10' failed", "load sch_sfq there"},
        {"'tc filter add dev v parent ffff: protocol all u32 match u32 0 0 police rate 9kbps'", "load act_police "},
        {"'tc filter add dev v parent 1:0 protocol all prio 1 handle 1 fw flowid 1'", "load cls_fw there"},
        {"'tc qdisc add dev v root handle 1: htb default 1'", "load sch_htb there"},
        {"'tc qdisc add dev v ingress'", "load sch_ingress there"},
        {"something new", "load sch_htb, sch_sfq,"}};
    struct lv_driver d = {0};
    char why[3 * LV_TEXT];
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        struct lv_facts f = {.no_bandwidth = true};
        snprintf(f.bandwidth_why, sizeof f.bandwidth_why, "%s", of[i].said);
        d.o.limit_net = 0;
        assert_int_equal(lv_means_lack(&d, &f, why, sizeof why), 1u << SPR_NET_RX | 1u << SPR_NET_TX);
        assert_non_null(strstr(why, of[i].module));
        assert_non_null(strstr(why, of[i].said));
        d.o.limit_net = SPR_NONE;
        assert_int_equal(lv_means_lack(&d, &f, why, sizeof why), 0);
        assert_string_equal(why, "");
        d.o.limit_net = 0;
        f.no_quota = true;
        assert_int_equal(lv_means_lack(&d, &f, why, 40), 1u << SPR_CPU | 1u << SPR_NET_RX | 1u << SPR_NET_TX);
        assert_true(strlen(why) < 40); /* cut off, not written past */
    }
}

/* A start that cannot be paused: the trial cannot tell, says so, and leaves nothing. */
static void a_trial_that_cannot_be_made_is_told(void **state) {
    struct bench *b = *state;
    struct spr_driver_capabilities c = {.size = sizeof c};
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    ops()->close(b->state);
    b->state = NULL;
    b->opts.trial = 2;
    assert_int_equal(ops()->open(&env, &b->opts, &b->state), SPR_E_ARG);
    b->opts.trial = 1, b->opts.limit_net = 7;
    assert_int_equal(ops()->open(&env, &b->opts, &b->state), SPR_E_ARG);
    b->opts.limit_net = 0;
    assert_int_equal(ops()->open(&env, &b->opts, &b->state), SPR_OK);
    assert_int_equal(observe(b), SPR_OK);
    for (int i = 0; i < 400 && !(c.missing && strstr(c.missing, "is not known:")); i++) {
        poll(NULL, 0, 25);
        assert_int_equal(ops()->capabilities(b->state, "h", &c), SPR_OK);
    }
    assert_non_null(strstr(c.missing, "what can be limited there is not known: "));
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 0);
}

static int agent_asked(void *user, uint64_t shard, const char *vm, const char *host, struct spr_libvirt_identity *out) {
    (void)user, (void)shard, (void)vm, (void)host;
    out->probe = "agent";
    return 0;
}

static void a_probe_that_could_never_answer_is_refused_before_anything_is_made(void **state) {
    struct bench *b = *state;
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    ops()->close(b->state);
    b->state = NULL;
    b->opts.identity = agent_asked;
    assert_int_equal(ops()->open(&env, &b->opts, &b->state), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_E_UNSUPPORTED);
    assert_non_null(strstr(b->c.text, "VM 'web' has no channel for a guest agent"));
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 0);
}

/* ---- lives ---- */

static void a_shard_is_reserved_allocated_warmed_serves_and_goes(void **state) {
    struct bench *b = *state;
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    assert_true(b->c.amounts.of[SPR_CPU] == 0.5);
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_SHUTOFF);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    assert_int_equal(domains(b), 2);
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 1);
    assert_int_equal(b->c.observed[0].state, SPR_SHARD_RESERVED);
    assert_true(b->c.observed[0].pending.of[SPR_CPU] == 0.5);
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 1)), SPR_E_STATE); /* not allocated yet */
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_OK);
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_PAUSED);
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_ACTIVATE, 1, 0, 1)), SPR_E_STATE); /* nothing is ready */
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 1)), SPR_OK);
    assert_true(b->c.warmness >= 0.99);
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_PAUSED);
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed[0].state, SPR_SHARD_WARM);
    assert_true(b->c.observed[0].ready.of[SPR_CPU] == 0.5 && b->c.observed[0].pending.of[SPR_CPU] == 0);
    assert_int_equal(ask(b, about(SPR_DRIVER_ACTIVATE, 1, 0, 1)), SPR_OK);
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_RUNNING);
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 1)), SPR_OK); /* over long ago */
    struct spr_driver_request q = about(SPR_DRIVER_DRAIN, 1, 2, 1);
    q.amounts = about(SPR_DRIVER_RESERVE, 1, 1, 1).amounts;
    assert_int_equal(ask(b, q), SPR_OK);
    assert_int_equal(ask(b, q), SPR_OK);
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed[0].state, SPR_SHARD_DRAINING);
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK);
    assert_int_equal(domains(b), 1);
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 0);
}

static void growths_are_held_at_once_and_counted_once(void **state) {
    struct bench *b = *state;
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_OK); /* without a reservation */
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESIZE, 1, 2, 1)), SPR_OK);
    struct spr_driver_request q = about(SPR_DRIVER_RESIZE, 1, 2, 1);
    q.amounts.of[SPR_CPU] = 0.25;
    assert_int_equal(ask(b, q), SPR_OK); /* smaller while it is pending */
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 3, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESIZE, 1, 3, 1)), SPR_OK); /* forbidden before it was heard of */
    struct lv_shard_meta m = meta_of(b, 1);
    assert_int_equal(m.piece_count, 1);
    assert_true(m.piece[0].amounts.of[SPR_CPU] == 0.25 && m.ready.of[SPR_CPU] == 0.5);
    lv_meta_clear(&m);
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 2, 1)), SPR_OK);
    assert_int_equal(ask(b, q), SPR_OK); /* ready: nothing changes any more */
    q = about(SPR_DRIVER_DRAIN, 1, 4, 1);
    q.amounts.of[SPR_CPU] = 0.25;
    assert_int_equal(ask(b, q), SPR_OK);
    assert_int_equal(ask(b, q), SPR_OK); /* asked twice: taken once */
    m = meta_of(b, 1);
    assert_int_equal(m.piece_count, 0);
    assert_true(m.ready.of[SPR_CPU] == 0.5 && m.draining.of[SPR_CPU] == 0);
    lv_meta_clear(&m);
    for (uint64_t p = 10; p < 10 + LV_PIECES; p++)
        assert_int_equal(ask(b, about(SPR_DRIVER_RESIZE, 1, p, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESIZE, 1, 99, 1)), SPR_E_BUSY);
}

static void headroom_is_a_hold_that_is_ready_when_it_is_committed(void **state) {
    struct bench *b = *state;
    struct spr_driver_request q = about(SPR_DRIVER_RESERVE, 1, 1, 1);
    q.kind = SPR_SHARD_HEADROOM;
    q.vm = "app";
    assert_int_equal(ask(b, q), SPR_OK);
    q.verb = SPR_DRIVER_ALLOCATE;
    assert_int_equal(ask(b, q), SPR_OK);
    assert_int_equal(ask(b, q), SPR_OK);
    q.verb = SPR_DRIVER_RESIZE, q.piece = 2;
    assert_int_equal(ask(b, q), SPR_OK);
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed[0].kind, SPR_SHARD_HEADROOM);
    assert_int_equal(b->c.observed[0].state, SPR_SHARD_WARM);
    assert_true(b->c.observed[0].ready.of[SPR_CPU] == 1 && b->c.observed[0].used.of[SPR_CPU] == 0);
    assert_int_equal(state_of(b, "spr-0000000000000001-app"), VIR_DOMAIN_SHUTOFF);
    q = about(SPR_DRIVER_MIGRATE, 1, 0, 1);
    q.kind = SPR_SHARD_HEADROOM;
    q.vm = "web"; /* it is here already: there is nothing to do, and nothing that is done */
    assert_int_equal(ask(b, q), SPR_OK);
    q.vm = "app", q.host = "beside", q.verb = SPR_DRIVER_ALLOCATE, q.shard = 2, q.piece = 1;
    q.amounts.of[SPR_CPU] = 0.5;
    assert_int_equal(ask(b, q), SPR_E_STATE);
    assert_non_null(strstr(b->c.text, "is on this host"));
    q = about(SPR_DRIVER_RELEASE, 1, 0, 1);
    q.vm = "app";
    q.kind = SPR_SHARD_HEADROOM;
    assert_int_equal(ask(b, q), SPR_OK);
    assert_int_equal(domains(b), 1);
}

/* ---- whose it is ---- */

static void a_lower_fence_changes_nothing(void **state) {
    struct bench *b = *state, second = {.ctx = b->ctx, .v = b->v};
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 5)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 4)), SPR_E_FENCED); /* by what it was asked itself */
    assert_int_equal(ops()->open(&env, &b->opts, &second.state), SPR_OK);
    assert_int_equal(ask(&second, about(SPR_DRIVER_RELEASE, 1, 0, 4)), SPR_E_FENCED); /* by what stands on the host */
    assert_non_null(strstr(second.c.text, "unit"));
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_PAUSED);
    assert_int_equal(ask(&second, about(SPR_DRIVER_ADOPT, 1, 0, 6)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 5)), SPR_E_FENCED);
    assert_int_equal(ask(&second, about(SPR_DRIVER_RELEASE, 1, 0, 6)), SPR_OK);
    ops()->close(second.state);
    assert_int_equal(domains(b), 1);
}

static void what_is_foreign_is_never_touched(void **state) {
    static const char *const names[] = {OURS, "spr-0000000000000002", "web-shard-1", "spr-web"};
    static const int verbs[] = {SPR_DRIVER_WARM, SPR_DRIVER_ACTIVATE, SPR_DRIVER_DRAIN, SPR_DRIVER_RESIZE,
                                SPR_DRIVER_ADOPT};
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        define(b, names[i], i == 1 ? "<metadata><x:y xmlns:x='urn:other'/></metadata>" : "");
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_E_EXISTS);
    assert_non_null(strstr(b->c.text, "left alone"));
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_E_EXISTS);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        assert_int_equal(ask(b, about(verbs[i], 1, 1, 1)), SPR_E_NOT_FOUND);
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_ABORT, 1, 1, 1)), SPR_OK);
    assert_int_equal(domains(b), 5);
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 0); /* none of them runs, so none takes anything */
}

/* Metadata that a newer version wrote: it is ours, but who cannot read it must not change it. */
static void what_cannot_be_understood_is_left_alone(void **state) {
    struct bench *b = *state;
    define(b, OURS, "<metadata><spr:shard xmlns:spr='" LV_SHARD_URN "' id='0000000000000001' strange='1'/></metadata>");
    assert_int_not_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK);
    assert_int_equal(domains(b), 2);
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 1);
    assert_int_equal(b->c.observed[0].id, 1);
    assert_int_equal(b->c.observed[0].state, SPR_SHARD_UNKNOWN);
}

/* ---- disks ---- */

static const char *const volume =
    "<volume><name>%s</name><capacity>1048576</capacity><target><format type='%s'/></target></volume>";

static void put_volume(virStoragePoolPtr pool, const char *name, const char *format) {
    char xml[256];
    snprintf(xml, sizeof xml, volume, name, format);
    virStorageVolPtr vol = virStorageVolCreateXML(pool, xml, 0);
    assert_non_null(vol);
    virStorageVolFree(vol);
}

static bool has_volume(struct bench *b, const char *path) {
    virConnectPtr conn = conn_of(b);
    virStorageVolPtr vol = virStorageVolLookupByPath(conn, path);
    if (vol)
        virStorageVolFree(vol);
    virConnectClose(conn);
    return vol != NULL;
}

/* A pool with a base image, template `golden` on it, and VM `disky` whose replicas are made from that. */
static void add_disks(struct bench *b) {
    virConnectPtr conn = conn_of(b);
    virStoragePoolPtr pool = virStoragePoolDefineXML(
        conn, "<pool type='dir'><name>default</name><target><path>/sprpool</path></target></pool>", 0);
    assert_non_null(pool);
    assert_int_equal(virStoragePoolCreate(pool, 0), 0);
    put_volume(pool, "base.qcow2", "qcow2");
    virStoragePoolFree(pool);
    virDomainPtr dom = virDomainDefineXML(
        conn, "<domain type='test'><name>golden</name><memory>65536</memory><vcpu>1</vcpu><os><type arch='i686'>hvm"
              "</type></os><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source "
              "file='/sprpool/base.qcow2'/><target dev='vda' bus='virtio'/></disk></devices></domain>");
    assert_non_null(dom);
    virDomainFree(dom);
    virConnectClose(conn);
    define(b, "disky", "<metadata><v:vm xmlns:v='" LV_VM_URN "' replica='template' template='golden'/></metadata>");
}

#define OVERLAY "spr-0000000000000001-disky-vda.qcow2"

static void a_volume_in_an_overlays_place_is_left_alone(void **state) {
    struct bench *b = *state;
    struct spr_driver_request q = about(SPR_DRIVER_RESERVE, 1, 1, 1);
    add_disks(b);
    q.vm = "disky";
    virConnectPtr conn = conn_of(b);
    virStoragePoolPtr pool = virStoragePoolLookupByName(conn, "default");
    put_volume(pool, OVERLAY, "raw");
    virStoragePoolFree(pool);
    virConnectClose(conn);
    q.verb = SPR_DRIVER_RESERVE, q.piece = 1;
    for (int reserved = 0; reserved < 2; reserved++) {
        if (reserved)
            assert_int_equal(ask(b, q), SPR_OK);
        q.verb = SPR_DRIVER_ALLOCATE;
        assert_int_equal(ask(b, q), SPR_E_EXISTS);
        assert_non_null(strstr(b->c.text, "left alone"));
        assert_true(has_volume(b, "/sprpool/" OVERLAY));
        q.verb = SPR_DRIVER_RESERVE;
    }
    q.verb = SPR_DRIVER_RELEASE, q.piece = 0;
    assert_int_equal(ask(b, q), SPR_OK);
    assert_int_equal(domains(b), 3);
    assert_true(has_volume(b, "/sprpool/" OVERLAY));
}

static void metadata_cannot_name_a_file_that_is_not_the_shards(void **state) {
    struct bench *b = *state;
    add_disks(b);
    define(b, OURS,
           "<metadata><spr:shard xmlns:spr='" LV_SHARD_URN "' version='1' id='0000000000000001' vm='web' "
           "kind='replica' state='allocated' warm='paused'><spr:artefact kind='overlay' "
           "what='/sprpool/base.qcow2'/></spr:shard></metadata>");
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_E_STATE);
    assert_non_null(strstr(b->c.text, "left alone"));
    assert_true(has_volume(b, "/sprpool/base.qcow2"));
    assert_int_equal(domains(b), 4);
}

/* ---- templates ---- */

static void a_template_lies_under_its_replicas_while_it_rests(void **state) {
    struct bench *b = *state;
    struct spr_driver_request q = about(SPR_DRIVER_ALLOCATE, 1, 1, 1);
    add_disks(b);
    q.vm = "disky";
    virConnectPtr conn = conn_of(b);
    virDomainPtr golden = virDomainLookupByName(conn, "golden");
    assert_int_equal(virDomainCreate(golden), 0);
    assert_int_equal(ask(b, q), SPR_E_BUSY);
    assert_non_null(strstr(b->c.text, "'golden' is running"));
    q.verb = SPR_DRIVER_RESERVE;
    assert_int_equal(ask(b, q), SPR_E_BUSY);
    assert_int_equal(domains(b), 3);
    assert_int_equal(virDomainDestroy(golden), 0);
    q.verb = SPR_DRIVER_ALLOCATE;
    assert_int_equal(ask(b, q), SPR_OK);
    virDomainPtr dom = virDomainLookupByName(conn, "spr-0000000000000001-disky");
    char *xml = virDomainGetXMLDesc(dom, 0);
    assert_non_null(strstr(xml, "<source file='/sprpool/" OVERLAY "'"));
    assert_non_null(strstr(xml, "<source file='/sprpool/base.qcow2'/>"));
    free(xml);
    virDomainFree(dom);
    virDomainFree(golden);
    virConnectClose(conn);
    q.verb = SPR_DRIVER_RELEASE, q.piece = 0;
    assert_int_equal(ask(b, q), SPR_OK);
    assert_true(has_volume(b, "/sprpool/base.qcow2") && !has_volume(b, "/sprpool/" OVERLAY));
}

/* ---- virtual functions ---- */

#define VF_NIC(function)                                                                                               \
    "<interface type='hostdev' managed='yes'><mac address='52:54:00:00:00:0" function                                  \
    "'/><source><address type='pci' domain='0' bus='5' slot='16' function='" function                                  \
    "'/></source><vlan><tag id='42'/></vlan></interface>"

/* A pool of so many virtual functions, and VMs with one and with three of them. */
static void add_functions(struct bench *b, const char *count) {
    char xml[2048] = "<network><name>vfs</name><forward mode='hostdev' managed='yes'>";
    virConnectPtr conn = conn_of(b);
    for (; *count; count++)
        snprintf(xml + strlen(xml), sizeof xml - strlen(xml),
                 "<address type='pci' domain='0' bus='5' slot='16' function='%c'/>", *count);
    strcat(xml, "</forward></network>");
    virNetworkPtr net = virNetworkDefineXML(conn, xml);
    assert_non_null(net);
    assert_int_equal(virNetworkCreate(net), 0);
    virNetworkFree(net);
    for (int n = 1; n < 4; n += 2) {
        snprintf(xml, sizeof xml,
                 "<domain type='test'><name>fast%d</name><memory>65536</memory><vcpu>1</vcpu><os><type arch='i686'>hvm"
                 "</type></os><devices>%s%s</devices></domain>",
                 n, VF_NIC("1"), n > 1 ? VF_NIC("2") VF_NIC("3") : "");
        virDomainPtr dom = virDomainDefineXML(conn, xml);
        assert_non_null(dom);
        virDomainFree(dom);
    }
    virConnectClose(conn);
}

static void a_virtual_function_comes_from_the_hosts_pool(void **state) {
    struct bench *b = *state;
    struct spr_driver_request q = about(SPR_DRIVER_RESERVE, 1, 1, 1);
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    add_functions(b, "12");
    q.vm = "fast1";
    assert_int_equal(ask(b, q), SPR_E_UNSUPPORTED); /* nobody said from where */
    assert_non_null(strstr(b->c.text, "vf_network"));
    ops()->close(b->state);
    b->opts.vf_network = "nets";
    assert_int_equal(ops()->open(&env, &b->opts, &b->state), SPR_OK);
    assert_int_equal(ask(b, q), SPR_E_UNSUPPORTED);
    assert_non_null(strstr(b->c.text, "network 'nets'"));
    ops()->close(b->state);
    b->opts.vf_network = "vfs";
    assert_int_equal(ops()->open(&env, &b->opts, &b->state), SPR_OK);
    q.vm = "fast3";
    assert_int_equal(ask(b, q), SPR_E_CAPACITY);
    assert_non_null(strstr(b->c.text, "needs 3 virtual functions of network 'vfs', of whose 2 there are 2 free"));
    assert_int_equal(domains(b), 3);
    q.vm = "fast1", q.verb = SPR_DRIVER_ALLOCATE, q.amounts.of[SPR_NET_RX] = 8e6;
    assert_int_equal(ask(b, q), SPR_OK);
    virConnectPtr conn = conn_of(b);
    virDomainPtr dom = virDomainLookupByName(conn, "spr-0000000000000001-fast1");
    char *xml = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE);
    assert_non_null(strstr(xml, "<source network='vfs'/>"));
    assert_non_null(strstr(xml, "<tag id='42'/>"));
    assert_non_null(strstr(xml, "kind=\"vf\" what=\"vfs\""));
    assert_null(strstr(xml, "52:54:00:00:00:01"));
    assert_null(strstr(xml, "<bandwidth>")); /* libvirt starts no virtual function that is limited */
    free(xml);
    virDomainFree(dom);
    virConnectClose(conn);
    q.verb = SPR_DRIVER_RELEASE, q.piece = 0;
    assert_int_equal(ask(b, q), SPR_OK);
    assert_int_equal(domains(b), 3);
}

/* More of it than an answer has room for. */
static void all_that_stands_in_the_way_of_a_move_is_told_as_far_as_it_goes(void **state) {
    struct bench *b = *state;
    char xml[8192], folder[200];
    memset(folder, 'x', sizeof folder - 1);
    folder[sizeof folder - 1] = 0;
    int n = snprintf(xml, sizeof xml,
                     "<domain type='test'><name>wide</name><memory>65536</memory><vcpu>1</vcpu><os><type "
                     "arch='i686'>hvm</type></os><devices>");
    for (int i = 0; i < 8; i++)
        n += snprintf(xml + n, sizeof xml - (size_t)n,
                      "<disk type='file' device='disk'><source file='/%s/%d'/><target dev='vd%c' bus='virtio'/></disk>",
                      folder, i, 'a' + i);
    snprintf(xml + n, sizeof xml - (size_t)n, "</devices></domain>");
    int code = 0;
    char text[LV_TEXT];
    virConnectPtr conn = lv_host_connect(&b->v->hosts[1], &code, text);
    virDomainPtr dom = virDomainCreateXML(conn, xml, 0);
    assert_non_null(dom);
    virDomainFree(dom);
    virConnectClose(conn);
    struct spr_driver_request q = about(SPR_DRIVER_ALLOCATE, 1, 1, 1);
    q.kind = SPR_SHARD_HEADROOM;
    q.vm = "wide";
    assert_int_equal(ask(b, q), SPR_E_UNSUPPORTED);
    assert_non_null(strstr(b->c.text, "cannot come from beside (8)"));
}

/* ---- a controller that is stopped between check and act ---- */

static atomic_int hooked;
static void another_takes_over(struct lv_act *a, bool late) {
    if (late || atomic_fetch_add(&hooked, 1) || !a->dom)
        return;
    struct lv_shard_meta m = {0};
    char why[LV_WHY], *xml = NULL;
    assert_int_equal(lv_meta_read(a->dom, &m, why), SPR_OK);
    m.fence = 9;
    assert_int_equal(lv_meta_format(&m, &xml, why), SPR_OK);
    assert_int_equal(
        virDomainSetMetadata(a->dom, VIR_DOMAIN_METADATA_ELEMENT, xml, "spr", LV_SHARD_URN, lv_affect(a->dom)), 0);
    lv_free(xml);
    lv_meta_clear(&m);
    usleep(400000); /* longer than a third of the lease */
}

static void who_was_stopped_too_long_looks_again_before_it_acts(void **state) {
    static const int verbs[] = {SPR_DRIVER_RELEASE, SPR_DRIVER_WARM, SPR_DRIVER_RESIZE, SPR_DRIVER_ADOPT};
    struct bench *b = *state, quick = {.ctx = b->ctx, .v = b->v};
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    struct spr_libvirt_driver_opts o = b->opts;
    o.lease_s = 1;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        uint64_t shard = i + 1;
        assert_int_equal(ops()->open(&env, &o, &quick.state), SPR_OK);
        assert_int_equal(ask(&quick, about(SPR_DRIVER_ALLOCATE, shard, 1, 5)), SPR_OK);
        atomic_store(&hooked, 0);
        atomic_store(&lv_between, another_takes_over);
        int code = ask(&quick, about(verbs[i], shard,
                                     verbs[i] == SPR_DRIVER_RELEASE ? 0
                                     : verbs[i] == SPR_DRIVER_WARM  ? 1
                                                                    : 2,
                                     5));
        atomic_store(&lv_between, (void (*)(struct lv_act *, bool))NULL);
        assert_int_equal(code, SPR_E_FENCED);
        struct lv_shard_meta m = meta_of(b, shard);
        assert_int_equal(m.fence, 9);
        assert_int_equal(m.piece_count, 1);
        lv_meta_clear(&m);
        ops()->close(quick.state);
    }
}

/* ---- without memory ---- */

/* However far it comes: it says so, or it is done, and what it leaves can be released. */
static void any_allocation_may_fail(void **state) {
    struct bench *b = *state;
    int last = -1;
    for (long n = 0; n < 4000 && last < 0; n += n < 40 ? 1 : 3) {
        static const int verbs[] = {SPR_DRIVER_RESERVE, SPR_DRIVER_ALLOCATE, SPR_DRIVER_WARM, SPR_DRIVER_ACTIVATE,
                                    SPR_DRIVER_RELEASE};
        bool failed = false;
        atomic_store(&lv_alloc_fail_after, n);
        for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
            bool whole = verbs[i] == SPR_DRIVER_ACTIVATE || verbs[i] == SPR_DRIVER_RELEASE;
            failed |= ask(b, about(verbs[i], 1, whole ? 0 : 1, 1)) != SPR_OK;
        }
        failed |= observe(b) != SPR_OK;
        last = atomic_load(&lv_alloc_fail_after) >= 0 && !failed;
        last = last ? (int)n : -1;
        atomic_store(&lv_alloc_fail_after, -1);
        assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK);
        assert_int_equal(domains(b), 1);
    }
    assert_true(last > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_cannot_be_opened_is_refused),
        TEST(what_cannot_be_done_is_answered_with_host_and_reason),
        TEST(a_host_says_what_it_lacks_once_it_was_looked_at),
        cmocka_unit_test(what_fails_names_the_part_of_the_kernel),
        TEST(a_trial_that_cannot_be_made_is_told),
        TEST(a_probe_that_could_never_answer_is_refused_before_anything_is_made),
        TEST(a_shard_is_reserved_allocated_warmed_serves_and_goes),
        TEST(growths_are_held_at_once_and_counted_once),
        cmocka_unit_test_setup_teardown(headroom_is_a_hold_that_is_ready_when_it_is_committed, setup_two, teardown),
        TEST(a_lower_fence_changes_nothing),
        TEST(what_is_foreign_is_never_touched),
        TEST(what_cannot_be_understood_is_left_alone),
        TEST(a_volume_in_an_overlays_place_is_left_alone),
        TEST(metadata_cannot_name_a_file_that_is_not_the_shards),
        TEST(a_template_lies_under_its_replicas_while_it_rests),
        TEST(a_virtual_function_comes_from_the_hosts_pool),
        cmocka_unit_test_setup_teardown(all_that_stands_in_the_way_of_a_move_is_told_as_far_as_it_goes, setup_two,
                                        teardown),
        TEST(who_was_stopped_too_long_looks_again_before_it_acts),
        TEST(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
