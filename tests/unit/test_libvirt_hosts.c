/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Hosts, lanes and the desk: against libvirt's own test driver, and against hosts that are not there. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "libvirt.h"

static spr_context *context(void) {
    spr_context *ctx = NULL;
    assert_int_equal(spr_context_create(NULL, &ctx), SPR_OK);
    return ctx;
}

static spr_libvirt *open_at(spr_context *ctx, const char *uri) {
    struct spr_libvirt_host h = {.size = sizeof h, .uri = uri, .id = "h"};
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = &h, .host_count = 1};
    spr_libvirt *v = NULL;
    assert_int_equal(spr_libvirt_open(ctx, &o, &v), SPR_OK);
    return v;
}

static struct spr_time now(void) { return (struct spr_time){0, lv_clock_ns()}; }

/* Waits for the fd as a host program does; 20 s are for machines that have other work. */
static struct lv_job *collect(struct lv_desk *d, spr_ticket *late) {
    struct pollfd p = {.fd = d->fd, .events = POLLIN};
    for (int i = 0; i < 400; i++) {
        struct lv_job *j = lv_desk_take(d, now(), late);
        if (j || *late)
            return j;
        poll(&p, 1, 50);
    }
    return NULL;
}

static void ask_name(struct lv_job *j, virConnectPtr conn) {
    char *name = virConnectGetHostname(conn);
    if (!name)
        lv_job_fail_libvirt(j, "asking for the name", NULL);
    else
        j->outcome = SPR_DONE;
    free(name);
}

static int turns;
static void three_turns(struct lv_job *j, virConnectPtr conn) {
    (void)conn;
    if (++turns < 3)
        lv_job_again(j, 0.01);
}

static atomic_int go;
static void until_told(struct lv_job *j, virConnectPtr conn) {
    (void)conn;
    while (!atomic_load(&go) && !atomic_load(&j->cancelled))
        usleep(1000);
}

static struct lv_job *put(spr_libvirt *v, struct lv_desk *d, enum lv_lane_kind lane, double patience_s,
                          void (*run)(struct lv_job *, virConnectPtr)) {
    struct lv_job *j = lv_alloc(sizeof *j);
    j->run = run;
    lv_desk_accept(d, j, now(), now().mono_ns + (int64_t)(patience_s * 1e9));
    assert_int_equal(lv_lane_put(&v->hosts[0], lane, j), SPR_OK);
    return j;
}

static void what_is_no_host_is_refused_with_its_uri(void **state) {
    spr_context *ctx = context();
    struct spr_libvirt_host h[2] = {{.size = sizeof h[0], .uri = "test:///default"},
                                    {.size = sizeof h[0], .uri = "test:///default"}};
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = h, .host_count = 2};
    struct spr_error e = {.size = sizeof e};
    spr_libvirt *v = (spr_libvirt *)state;
    assert_int_equal(spr_libvirt_open(ctx, &o, &v), SPR_E_ARG); /* two of one name */
    assert_ptr_equal(v, state);
    h[1].uri = "nothing";
    assert_int_equal(spr_libvirt_open(ctx, &o, &v), SPR_E_ARG);
    assert_int_equal(spr_context_error(ctx, &e), SPR_OK);
    assert_string_equal(e.file, "nothing");
    o.host_count = 0;
    assert_int_equal(spr_libvirt_open(ctx, &o, &v), SPR_E_ARG);
    o.host_count = 1, o.size = 4;
    assert_int_equal(spr_libvirt_open(ctx, &o, &v), SPR_E_ARG);
    struct {
        struct spr_libvirt_opts o;
        uint64_t more;
    } newer = {.o = {.size = sizeof newer, .hosts = h, .host_count = 1}, .more = 1};
    assert_int_equal(spr_libvirt_open(ctx, &newer.o, &v), SPR_E_TOO_NEW);
    newer.more = 0;
    assert_int_equal(spr_libvirt_open(ctx, &newer.o, &v), SPR_OK);
    spr_libvirt_close(v, 1);
    spr_context_unref(ctx);
}

static void a_host_is_named_after_its_uri(void **state) {
    static const char *const named[][2] = {{"qemu+tls://root@hv1:16514/system?pkipath=/x", "hv1"},
                                           {"qemu+tcp://[fd00::1]:16509/system", "[fd00::1]"},
                                           {"qemu:///system", "qemu:///system"},
                                           {"test:///default", "test:///default"}};
    (void)state;
    spr_context *ctx = context();
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        struct spr_libvirt_host h = {.size = sizeof h, .uri = named[i][0]};
        struct spr_libvirt_opts o = {.size = sizeof o, .hosts = &h, .host_count = 1};
        struct spr_libvirt_status s = {.size = sizeof s};
        spr_libvirt *v = NULL;
        assert_int_equal(spr_libvirt_open(ctx, &o, &v), SPR_OK);
        assert_int_equal(spr_libvirt_status(v, 0, &s), SPR_OK);
        assert_string_equal(s.id, named[i][1]);
        assert_int_equal(s.connected, 0);
        assert_int_equal(spr_libvirt_status(v, 1, &s), SPR_E_ARG);
        spr_libvirt_close(v, 1);
    }
    spr_context_unref(ctx);
}

static void a_job_runs_on_its_lane_and_comes_back_through_the_desk(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_libvirt *v = open_at(ctx, "test:///default");
    struct lv_desk *d = lv_desk_open(NULL);
    struct spr_libvirt_status s = {.size = sizeof s};
    spr_ticket late = 0;
    put(v, d, LV_LOOK, 60, ask_name);
    struct lv_job *j = collect(d, &late);
    assert_non_null(j);
    assert_int_equal(j->outcome, SPR_DONE);
    assert_int_equal(j->ticket, 1);
    lv_job_destroy(j);
    assert_int_equal(lv_desk_next(d), INT64_MAX);
    put(v, d, LV_ACT, 60, three_turns);
    j = collect(d, &late);
    assert_non_null(j);
    assert_int_equal(turns, 3);
    lv_job_destroy(j);
    assert_int_equal(spr_libvirt_status(v, 0, &s), SPR_OK);
    assert_int_equal(s.connected, 1);
    assert_int_equal(s.calls, 4);
    lv_desk_close(d);
    spr_libvirt_close(v, 5);
    spr_context_unref(ctx);
}

static void a_host_that_is_not_there_says_why_and_is_tried_less_and_less_often(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_libvirt *v = open_at(ctx, "qemu+unix:///system?socket=/nowhere/libvirt-sock&mode=direct");
    struct lv_desk *d = lv_desk_open(NULL);
    struct spr_libvirt_status s = {.size = sizeof s};
    spr_ticket late = 0;
    for (int i = 0; i < 3; i++) {
        put(v, d, LV_LOOK, 60, ask_name);
        struct lv_job *j = collect(d, &late);
        assert_non_null(j);
        assert_int_equal(j->outcome, SPR_FAILED);
        assert_non_null(strstr(j->text, "h: cannot connect to qemu+unix:///system"));
        assert_non_null(strstr(j->text, "/nowhere/libvirt-sock"));
        lv_job_destroy(j);
    }
    assert_int_equal(spr_libvirt_status(v, 0, &s), SPR_OK);
    assert_int_equal(s.connected, 0);
    assert_int_equal(s.tries, 1); /* the pause is not over: the second and third were told at once */
    assert_non_null(strstr(s.text, "cannot connect"));
    lv_desk_close(d);
    spr_libvirt_close(v, 5);
    spr_context_unref(ctx);
}

/* What ssh says may begin with a frame of @ and be about anything: a program in its place answers with it. */
static void a_refusal_on_the_road_of_ssh_says_what_to_do(void **state) {
    (void)state;
    static const struct {
        const char *says, *means;
    } row[] = {
        {"@@@@@@@\n@ WARNING @\n@@@@@@@\nHost key verification failed.", "then mend known_hosts"},
        {"root@h: Permission denied (publickey).", "does not take this key"},
        {"Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied", "Failed to connect socket"},
    };
    char path[] = "/tmp/spr-not-ssh-XXXXXX", uri[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(uri, sizeof uri, "qemu+ssh://root@h.invalid/system?no_tty=1&proxy=netcat&command=%s", path);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "#!/bin/sh\nhead -c 28 >/dev/null\necho \"%s\" >&2\nexit 255\n", row[i].says);
        assert_int_equal(fchmod(fileno(f), 0700), 0);
        assert_int_equal(fclose(f), 0);
        spr_context *ctx = context();
        spr_libvirt *v = open_at(ctx, uri);
        struct lv_desk *d = lv_desk_open(NULL);
        spr_ticket late = 0;
        put(v, d, LV_LOOK, 60, ask_name);
        struct lv_job *j = collect(d, &late);
        assert_non_null(j);
        assert_int_equal(j->outcome, SPR_FAILED);
        assert_non_null(strstr(j->text, uri));
        assert_non_null(strstr(j->text, row[i].means));
        assert_null(strstr(j->text, "@@@"));
        lv_job_destroy(j);
        lv_desk_close(d);
        spr_libvirt_close(v, 5);
        spr_context_unref(ctx);
    }
    unlink(path);
}

static void a_job_that_hangs_times_out_and_delays_no_other_lane(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_libvirt *v = open_at(ctx, "test:///default");
    struct lv_desk *d = lv_desk_open(NULL);
    spr_ticket late = 0;
    atomic_store(&go, 0);
    spr_ticket hangs = put(v, d, LV_ACT, 0.2, until_told)->ticket;
    put(v, d, LV_LOOK, 60, ask_name);
    struct lv_job *j = collect(d, &late);
    assert_non_null(j); /* the other lane's */
    assert_true(j->ticket != hangs);
    lv_job_destroy(j);
    assert_null(collect(d, &late));
    assert_int_equal(late, hangs);
    assert_int_equal(lv_desk_cancel(d, hangs), SPR_E_NOT_FOUND);
    late = 0;
    spr_ticket waits = put(v, d, LV_ACT, 60, three_turns)->ticket; /* the lane is free again */
    j = collect(d, &late);
    assert_non_null(j);
    assert_int_equal(j->ticket, waits);
    lv_job_destroy(j);
    lv_desk_close(d);
    spr_libvirt_close(v, 5);
    spr_context_unref(ctx);
}

static void cancel_and_close_leave_nothing_behind(void **state) {
    (void)state;
    spr_context *ctx = context();
    spr_libvirt *v = open_at(ctx, "test:///default");
    struct lv_desk *d = lv_desk_open(NULL);
    spr_ticket late = 0;
    atomic_store(&go, 0);
    put(v, d, LV_ACT, 60, until_told);
    spr_ticket second = put(v, d, LV_ACT, 60, ask_name)->ticket;
    assert_int_equal(lv_desk_cancel(d, second), SPR_OK);
    atomic_store(&go, 1);
    struct lv_job *j = collect(d, &late);
    assert_non_null(j);
    lv_job_destroy(j);
    j = collect(d, &late);
    assert_non_null(j);
    assert_int_equal(j->ticket, second);
    assert_int_equal(j->outcome, SPR_CANCELLED);
    lv_job_destroy(j);
    atomic_store(&go, 0);
    put(v, d, LV_ACT, 60, until_told); /* under way when all is closed */
    put(v, d, LV_ACT, 60, ask_name);   /* never begun */
    lv_desk_close(d);
    spr_libvirt_close(v, 5);
    spr_context_unref(ctx);
}

static void no_memory_is_told_and_leaks_nothing(void **state) {
    spr_context *ctx = context();
    struct spr_libvirt_host h = {.size = sizeof h, .uri = "test:///default", .rack = "r"};
    struct spr_libvirt_opts o = {.size = sizeof o, .hosts = &h, .host_count = 1};
    spr_libvirt *v = (spr_libvirt *)state;
    int rc = SPR_E_NOMEM, n = 0;
    for (; rc != SPR_OK && n < 100; n++) {
        atomic_store(&lv_alloc_fail_after, n);
        rc = spr_libvirt_open(ctx, &o, &v);
        assert_true(rc == SPR_OK || (rc == SPR_E_NOMEM && (void *)v == (void *)state));
    }
    atomic_store(&lv_alloc_fail_after, -1);
    assert_int_equal(rc, SPR_OK);
    assert_true(n > 4);
    spr_libvirt_close(v, 1);
    spr_context_unref(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_host_is_refused_with_its_uri),
        cmocka_unit_test(a_host_is_named_after_its_uri),
        cmocka_unit_test(a_job_runs_on_its_lane_and_comes_back_through_the_desk),
        cmocka_unit_test(a_host_that_is_not_there_says_why_and_is_tried_less_and_less_often),
        cmocka_unit_test(a_refusal_on_the_road_of_ssh_says_what_to_do),
        cmocka_unit_test(a_job_that_hangs_times_out_and_delays_no_other_lane),
        cmocka_unit_test(cancel_and_close_leave_nothing_behind),
        cmocka_unit_test(no_memory_is_told_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
