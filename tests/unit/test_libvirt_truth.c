/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The host's truth wins over what was said, meant or remembered: guests that were killed, renamed and copied, acts that
 * were cut off, reservations that nobody came back for. On libvirt's own test driver.
 */
#include <pthread.h>

#include "libvirt_bench.h"
#include "source.h"

static virDomainPtr domain_of(struct bench *b, const char *name) {
    virConnectPtr conn = conn_of(b);
    virDomainPtr dom = virDomainLookupByName(conn, name);
    virConnectClose(conn);
    return dom;
}

/* Past the driver, as somebody with virsh does it. */
static void kill_guest(struct bench *b, const char *name) {
    virDomainPtr dom = domain_of(b, name);
    assert_non_null(dom);
    assert_int_equal(virDomainDestroy(dom), 0);
    virDomainFree(dom);
    assert_int_equal(state_of(b, name), VIR_DOMAIN_SHUTOFF);
}

static void rename_guest(struct bench *b, const char *name, const char *to) {
    virDomainPtr dom = domain_of(b, name);
    assert_non_null(dom);
    assert_int_equal(virDomainRename(dom, to, 0), 0);
    virDomainFree(dom);
}

static char *xml_of(struct bench *b, const char *name) {
    virDomainPtr dom = domain_of(b, name);
    assert_non_null(dom);
    char *xml = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE);
    assert_non_null(xml);
    virDomainFree(dom);
    return xml;
}

/* Between the definition and the start somebody died: what was asked for stands there, but no guest. */
static void an_allocation_that_was_cut_off_is_made_once_more(void **state) {
    struct bench *b = *state;
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESIZE, 1, 2, 1)), SPR_OK);
    kill_guest(b, OURS);
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_OK);
    assert_true(b->c.amounts.of[SPR_CPU] == 0.5);
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_PAUSED);
    struct lv_shard_meta m = meta_of(b, 1);
    assert_int_equal(m.piece_count, 2);
    assert_int_equal(m.phase, LV_PHASE_ALLOCATED);
    lv_meta_clear(&m);
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 1)), SPR_OK);
    kill_guest(b, OURS); /* what was warm once is not made anew by a late question */
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_OK);
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_SHUTOFF);
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK);
    assert_int_equal(domains(b), 1);
}

/* ---- names and copies ---- */

static void a_renamed_shard_is_found_and_gets_its_name_back(void **state) {
    struct bench *b = *state;
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    rename_guest(b, OURS, "mine");
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 1);
    assert_int_equal(b->c.observed[0].id, 1);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    assert_int_equal(domains(b), 2);
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_OK);
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_PAUSED);
    assert_int_equal(domains(b), 2);
    kill_guest(b, OURS);
    rename_guest(b, OURS, "mine");
    define(b, OURS, ""); /* another's, under its name */
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 1)), SPR_OK);
    assert_int_equal(state_of(b, "mine"), VIR_DOMAIN_PAUSED);
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK);
    assert_int_equal(state_of(b, "mine"), -1);
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_SHUTOFF);
    assert_int_equal(domains(b), 2);
}

/* What virt-clone makes: all of it the same, but name and UUID. */
static void copy_guest(struct bench *b, const char *name) {
    char *xml = xml_of(b, OURS), made[8192], *uuid = strstr(xml, "<uuid>"), *end = strstr(xml, "</uuid>");
    assert_true(uuid && end && strlen(xml) < 4096);
    char *title = strstr(xml, "<name>"), *over = strstr(xml, "</name>");
    assert_true(title && over && title < uuid);
    snprintf(made, sizeof made, "%.*s<name>%s</name>%.*s<uuid>11111111-2222-4333-8444-555555555555</uuid>%s",
             (int)(title - xml), xml, name, (int)(uuid - over - 7), over + 7, end + 7);
    virConnectPtr conn = conn_of(b);
    virDomainPtr dom = virDomainDefineXML(conn, made);
    assert_non_null(dom);
    virDomainFree(dom);
    virConnectClose(conn);
    free(xml);
}

static void a_copy_of_a_shard_is_foreign(void **state) {
    struct bench *b = *state;
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    copy_guest(b, "copied");
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 1);
    char *xml = xml_of(b, "copied");
    struct lv_detail *d = lv_detail_read("copied", xml, false); /* to the source it is a guest like any other */
    assert_non_null(d);
    assert_false(d->shard);
    lv_detail_unref(d);
    free(xml);
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK);
    assert_int_equal(state_of(b, OURS), -1);
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_WARM, 1, 1, 1)), SPR_E_NOT_FOUND);
    assert_int_equal(state_of(b, "copied"), VIR_DOMAIN_SHUTOFF);
    rename_guest(b, "copied", OURS); /* and were it called as the shard was */
    assert_int_equal(ask(b, about(SPR_DRIVER_RELEASE, 1, 0, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_E_EXISTS);
    assert_int_equal(state_of(b, OURS), VIR_DOMAIN_SHUTOFF);
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 0);
}

/* ---- headroom ---- */

static struct spr_driver_request headroom(int verb, uint64_t piece) {
    struct spr_driver_request q = about(verb, 1, piece, 1);
    q.kind = SPR_SHARD_HEADROOM;
    q.vm = "app";
    return q;
}

#define HOLD "spr-0000000000000001-app"

static void reopen(struct bench *b, const struct spr_libvirt_driver_opts *o) {
    struct spr_env env = {.size = sizeof env, .context = b->ctx};
    ops()->close(b->state);
    b->state = NULL;
    assert_int_equal(ops()->open(&env, o, &b->state), SPR_OK);
}

static void hold_on_host(struct bench *b) {
    struct spr_libvirt_driver_opts o = b->opts;
    o.hold_on_host = 1;
    reopen(b, &o);
    assert_int_equal(ask(b, headroom(SPR_DRIVER_RESERVE, 1)), SPR_OK);
    assert_int_equal(ask(b, headroom(SPR_DRIVER_ALLOCATE, 1)), SPR_OK);
    assert_int_equal(state_of(b, HOLD), VIR_DOMAIN_PAUSED);
}

static double ready_memory(struct bench *b) {
    assert_int_equal(observe(b), SPR_OK);
    assert_int_equal(b->c.observed_count, 1);
    return b->c.observed[0].ready.of[SPR_MEMORY];
}

static void a_placeholder_that_was_killed_holds_nothing_until_it_is_asked_for_again(void **state) {
    static const int verbs[] = {SPR_DRIVER_ALLOCATE, SPR_DRIVER_RESIZE, SPR_DRIVER_RESERVE};
    struct bench *b = *state;
    hold_on_host(b);
    assert_true(ready_memory(b) == 64 << 20);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        kill_guest(b, HOLD);
        assert_true(ready_memory(b) == 0);
        assert_int_equal(b->c.observed[0].state, SPR_SHARD_DRAINING);
        assert_true(b->c.observed[0].warmness == 0);
        assert_int_equal(ask(b, headroom(verbs[i], 1)), SPR_OK);
        assert_int_equal(state_of(b, HOLD), VIR_DOMAIN_PAUSED);
        assert_true(ready_memory(b) == 64 << 20);
        assert_int_equal(b->c.observed[0].state, SPR_SHARD_WARM);
    }
}

static void start_it_first(struct lv_act *a, bool late) {
    struct lv_shard_meta m = {0};
    char why[LV_WHY];
    if (!late && a->dom && !lv_runs(a->dom) && lv_meta_read(a->dom, &m, why) == SPR_OK && m.piece_count)
        assert_int_equal(virDomainCreate(a->dom), 0); /* the driver's own start fails then */
    lv_meta_clear(&m);
}

static void a_larger_hold_that_cannot_be_leaves_the_smaller_one(void **state) {
    struct bench *b = *state;
    hold_on_host(b);
    atomic_store(&lv_between, start_it_first);
    int code = ask(b, headroom(SPR_DRIVER_RESIZE, 2));
    atomic_store(&lv_between, (void (*)(struct lv_act *, bool))NULL);
    assert_int_not_equal(code, SPR_OK);
    assert_non_null(strstr(b->c.text, "is held again"));
    char *xml = xml_of(b, HOLD);
    assert_non_null(strstr(xml, "<memory unit='KiB'>65536</memory>"));
    assert_null(strstr(xml, "piece"));
    free(xml);
    assert_true(ready_memory(b) == 64 << 20);
    assert_int_equal(ask(b, headroom(SPR_DRIVER_RESIZE, 2)), SPR_OK); /* asked again, with room: it is done */
    assert_true(ready_memory(b) == 128 << 20);
}

/* A share of CPU is nothing that a start would have to take. */
static void a_hold_that_changes_its_cpu_only_is_never_down(void **state) {
    struct bench *b = *state;
    hold_on_host(b);
    virDomainPtr dom = domain_of(b, HOLD);
    struct spr_driver_request q = headroom(SPR_DRIVER_RESIZE, 2);
    q.amounts.of[SPR_MEMORY] = 0;
    unsigned int id = virDomainGetID(dom); /* another start is another id */
    virDomainFree(dom);
    assert_int_equal(ask(b, q), SPR_OK);
    dom = domain_of(b, HOLD);
    assert_int_equal(virDomainGetID(dom), id);
    virDomainFree(dom);
    assert_true(ready_memory(b) == 64 << 20);
    assert_true(b->c.observed[0].ready.of[SPR_CPU] == 1);
}

/* ---- reservations ---- */

static bool stands(struct bench *b, uint64_t id) {
    assert_int_equal(observe(b), SPR_OK);
    for (size_t i = 0; i < b->c.observed_count; i++)
        if (b->c.observed[i].id == id)
            return true;
    return false;
}

static void a_reservation_that_nobody_comes_back_for_ends_with_its_time(void **state) {
    struct bench *b = *state;
    struct spr_libvirt_driver_opts o = b->opts;
    o.reserve_ttl_s = 4, o.lease_s = 1, o.owner = "gone"; /* longer than three requests take under valgrind */
    reopen(b, &o);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 2, 1, 1)), SPR_OK);
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 2, 1, 1)), SPR_OK);
    assert_true(stands(b, 1)); /* for a lease longer: clocks differ */
    o.reserve_ttl_s = 900, o.owner = "next";
    reopen(b, &o);
    usleep(5400000);
    for (int i = 0; i < 3; i++)
        assert_true(stands(b, 1)); /* who only looks changes nothing */
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 3, 1, 1)), SPR_OK);
    bool there = true;
    for (int i = 0; there && i < 200; i++) {
        there = stands(b, 1);
        usleep(10000);
    }
    assert_false(there);
    assert_true(stands(b, 2)); /* it was allocated */
    assert_true(stands(b, 3)); /* its time is not up */
    assert_int_equal(domains(b), 3);
}

/* ---- lanes ---- */

static int nobody_answers(void *user, uint64_t shard, const char *vm, const char *host,
                          struct spr_libvirt_identity *out) {
    (void)user, (void)shard, (void)vm, (void)host;
    out->probe = "tcp://127.0.0.1:1";
    return SPR_OK;
}

/* The next probe is a quarter of an hour away: whoever cancels, or is told that its time is up, does not wait for it.
 */
static void a_cancelled_job_ends_at_once_however_long_it_meant_to_sleep(void **state) {
    struct bench *b = *state;
    struct spr_libvirt_driver_opts o = b->opts;
    struct spr_libvirt_status s = {.size = sizeof s};
    o.identity = nobody_answers, o.probe_s = 900, o.boot_s = 9000;
    reopen(b, &o);
    assert_int_equal(ask(b, about(SPR_DRIVER_ALLOCATE, 1, 1, 1)), SPR_OK);
    assert_int_equal(spr_libvirt_status(b->v, 0, &s), SPR_OK);
    int64_t calls = s.calls;
    spr_ticket t = 0;
    struct spr_driver_request q = about(SPR_DRIVER_WARM, 1, 1, 1);
    assert_int_equal(ops()->submit(b->state, &q, now(), INT64_MAX, &t), SPR_OK);
    for (int i = 0; s.calls == calls && i < 2000; i++) { /* until its first turn is over */
        usleep(5000);
        assert_int_equal(spr_libvirt_status(b->v, 0, &s), SPR_OK);
    }
    assert_int_equal(ops()->async->cancel(b->state, t), SPR_OK);
    assert_int_equal(wait(b, t), SPR_E_CANCELLED);
}

static struct {
    pthread_t thread;
    atomic_int left, destroyed;
} seen;
static void sleep_on(struct lv_job *job, virConnectPtr conn) {
    (void)conn;
    lv_job_again(job, 900);
}
static void leave(struct lv_job *job) {
    (void)job;
    seen.thread = pthread_self();
    atomic_fetch_add(&seen.left, 1);
}
static void destroy(struct lv_job *job) {
    lv_free(job);
    atomic_fetch_add(&seen.destroyed, 1);
}

/* What a job has of libvirt's may ask a daemon when it is given back: never on the caller's thread. */
static void a_job_lets_go_of_its_host_on_that_hosts_lane(void **state) {
    struct bench *b = *state;
    struct lv_desk *desk = lv_desk_open(NULL);
    struct lv_job *j = lv_alloc(sizeof *j);
    j->run = sleep_on, j->leave = leave, j->destroy = destroy;
    j->host = &b->v->hosts[0];
    lv_desk_accept(desk, j, now(), INT64_MAX);
    assert_int_equal(lv_lane_put(&b->v->hosts[0], LV_ACT, j), SPR_OK);
    assert_int_equal(lv_desk_cancel(desk, j->ticket), SPR_OK);
    spr_ticket late = 0;
    struct lv_job *over = NULL;
    for (int i = 0; !(over = lv_desk_take(desk, now(), &late)) && i < 2000; i++)
        usleep(5000);
    assert_ptr_equal(over, j);
    assert_int_equal(seen.left, 1);
    assert_false(pthread_equal(seen.thread, pthread_self()));
    assert_int_equal(seen.destroyed, 0);
    lv_job_destroy(over);
    lv_desk_close(desk);
}

/* ---- the seat ---- */

static struct lv_driver *driver_seen;
static void remember(struct lv_act *a, bool late) {
    (void)late;
    driver_seen = a->d;
}

static void a_host_without_secrets_is_asked_again_on_its_next_connection(void **state) {
    struct bench *b = *state;
    atomic_store(&lv_between, remember);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    atomic_store(&lv_between, (void (*)(struct lv_act *, bool))NULL);
    struct lv_seat *s = &driver_seen->host[0].seat;
    assert_true(s->none && driver_seen->host[0].facts.no_secrets);
    driver_seen->host[0].facts.no_secrets = false; /* only who asks the host can know */
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    assert_false(driver_seen->host[0].facts.no_secrets);
    pthread_mutex_lock(&b->v->lock);
    b->v->hosts[0].epoch++;
    pthread_mutex_unlock(&b->v->lock);
    assert_int_equal(ask(b, about(SPR_DRIVER_RESERVE, 1, 1, 1)), SPR_OK);
    assert_true(driver_seen->host[0].facts.no_secrets);
}

static void secrets_that_cannot_be_reached_are_not_missing(void **state) {
    struct bench *b = *state;
    virConnectPtr conn = virConnectOpen(b->uri);
    assert_non_null(conn);
    assert_null(virSecretLookupByUsage(conn, VIR_SECRET_USAGE_TYPE_CEPH, "x"));
    assert_true(lv_lacks_secrets());
    virConnectClose(conn);
    assert_null(virConnectOpen("qemu+unix:///system?socket=/nowhere/at/all&mode=direct"));
    assert_false(lv_lacks_secrets());
    assert_null(virConnectOpen("nobody:///system")); /* no driver, but not that of secrets */
    assert_false(lv_lacks_secrets());
}

#define TEST_TWO(name) cmocka_unit_test_setup_teardown(name, setup_two, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_allocation_that_was_cut_off_is_made_once_more),
        TEST(a_renamed_shard_is_found_and_gets_its_name_back),
        TEST(a_copy_of_a_shard_is_foreign),
        TEST_TWO(a_placeholder_that_was_killed_holds_nothing_until_it_is_asked_for_again),
        TEST_TWO(a_larger_hold_that_cannot_be_leaves_the_smaller_one),
        TEST_TWO(a_hold_that_changes_its_cpu_only_is_never_down),
        TEST(a_reservation_that_nobody_comes_back_for_ends_with_its_time),
        TEST(a_cancelled_job_ends_at_once_however_long_it_meant_to_sleep),
        TEST(a_job_lets_go_of_its_host_on_that_hosts_lane),
        TEST(a_host_without_secrets_is_asked_again_on_its_next_connection),
        TEST(secrets_that_cannot_be_reached_are_not_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
