/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conformance.h"
#include "conformance_run.h"

/* ---- tickets ---- */

static void every_accepted_ticket_ends_once(void **state) {
    struct run *r = *state;
    open_driver(r);
    asks(r, SPR_DRIVER_OBSERVE, 0, 0);
    asks(r, SPR_DRIVER_RESERVE, 1, LOW);
    asks(r, SPR_DRIVER_RESERVE, 1, LOW);
    asks(r, SPR_DRIVER_ALLOCATE, 1, LOW);
    asks(r, SPR_DRIVER_OBSERVE, 0, 0);
    asks(r, SPR_DRIVER_RELEASE, 0, 0);
    asks(r, SPR_DRIVER_OBSERVE, 0, 0);
    until_all(r); /* `collect` fails the test when one ends twice, or one comes that nobody asked for */
    for (int i = 0; i < 5; i++)
        S->pass(S, r->state), collect(r, 4);
    assert_true(S->ops->async->next_deadline(r->state) == INT64_MAX); /* nothing is open */
    give_back(r);
}

static void no_room_loses_nothing(void **state) {
    struct run *r = *state;
    open_driver(r);
    size_t first = asks(r, SPR_DRIVER_RESERVE, 1, LOW), second = asks(r, SPR_DRIVER_RELEASE, 0, 0);
    for (int i = 0; i < 20; i++)
        S->pass(S, r->state);
    collect(r, 0);
    assert_int_equal(r->asked[first].ended + r->asked[second].ended, 0);
    int64_t limit = S->now(S).mono_ns + (int64_t)(S->patience_s * 1e9);
    while (!(r->asked[first].ended && r->asked[second].ended) && S->now(S).mono_ns < limit) {
        S->pass(S, r->state);
        collect(r, 1);
    }
    assert_true(r->asked[first].ended && r->asked[second].ended);
    give_back(r);
}

/* An older library has a shorter struct: that is the stride, and what lies past it is not written. */
static void completions_are_as_long_as_the_library_says(void **state) {
    struct run *r = *state;
    enum { SHORT = offsetof(struct spr_driver_completion, observed) };
    unsigned char room[3 * SHORT + 64];
    size_t n = 0, got = 0, size = SHORT;
    spr_ticket found[2] = {0, 0};
    open_driver(r);
    asks(r, SPR_DRIVER_RELEASE, 0, 0);
    asks(r, SPR_DRIVER_RELEASE, 0, 0);
    int64_t limit = S->now(S).mono_ns + (int64_t)(S->patience_s * 1e9);
    while (got < 2 && S->now(S).mono_ns < limit) {
        memset(room, 0xA5, sizeof room);
        memset(room, 0, 2 * SHORT);
        memcpy(room, &size, sizeof size);
        memcpy(room + SHORT, &size, sizeof size);
        assert_int_equal(S->ops->collect(r->state, S->now(S), (void *)room, 2, &n), SPR_OK);
        for (size_t i = 0; i < sizeof room - 2 * SHORT; i++)
            assert_int_equal(room[2 * SHORT + i], 0xA5);
        for (size_t i = 0; i < n && got < 2; i++)
            memcpy(&found[got++], room + i * SHORT + offsetof(struct spr_driver_completion, ticket), sizeof *found);
        S->pass(S, r->state);
    }
    assert_int_equal(got, 2);
    assert_true((found[0] == r->asked[0].ticket && found[1] == r->asked[1].ticket) ||
                (found[1] == r->asked[0].ticket && found[0] == r->asked[1].ticket));
    close_driver(r);
}

static void the_fd_is_readable_while_completions_wait(void **state) {
    struct run *r = *state;
    open_driver(r);
    if (lacks(RULE_FD)) {
        assert_true(!S->ops->async->fd || S->ops->async->fd(r->state) < 0);
        asks(r, SPR_DRIVER_RELEASE, 0, 0);
        assert_true(S->ops->async->next_deadline(r->state) < INT64_MAX); /* then this says when to come */
        until_all(r);
        close_driver(r);
        return;
    }
    struct pollfd p = {.fd = S->ops->async->fd(r->state), .events = POLLIN};
    assert_true(p.fd >= 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    size_t at = asks(r, SPR_DRIVER_RELEASE, 0, 0);
    assert_int_equal(poll(&p, 1, (int)(S->patience_s * 1e3)), 1);
    assert_int_equal(poll(&p, 1, 0), 1); /* level, not edge */
    assert_true(S->ops->async->next_deadline(r->state) <= S->now(S).mono_ns);
    until(r, at);
    collect(r, 4);
    assert_int_equal(poll(&p, 1, 0), 0);
    close_driver(r);
}

static void what_has_ended_cannot_be_cancelled(void **state) {
    struct run *r = *state;
    open_driver(r);
    assert_int_equal(S->ops->async->cancel(r->state, 987654321), SPR_E_NOT_FOUND);
    size_t at = asks(r, SPR_DRIVER_RELEASE, 0, 0);
    until(r, at);
    assert_int_equal(S->ops->async->cancel(r->state, r->asked[at].ticket), SPR_E_NOT_FOUND);
    close_driver(r);
}

/* Cancel is a request: it ends once, as cancelled or as done, and the truth can be observed. */
static void a_cancelled_ticket_ends_once(void **state) {
    struct run *r = *state;
    open_driver(r);
    size_t first = asks(r, SPR_DRIVER_ALLOCATE, 1, LOW), second = asks(r, SPR_DRIVER_WARM, 1, LOW);
    int rc = S->ops->async->cancel(r->state, r->asked[second].ticket);
    assert_true(rc == SPR_OK || rc == SPR_E_NOT_FOUND);
    until_all(r);
    assert_int_equal(r->asked[first].c.outcome, SPR_DONE);
    if (rc == SPR_OK)
        assert_true(r->asked[second].c.outcome == SPR_CANCELLED || r->asked[second].c.outcome == SPR_DONE);
    assert_int_equal(does(r, SPR_DRIVER_WARM, 1, LOW), SPR_OK); /* asked again it happens */
    sees(r, LOW, 0);
    give_back(r);
}

static void a_deadline_ends_a_ticket_once_and_the_verb_can_be_asked_again(void **state) {
    struct run *r = *state;
    size_t at = 0;
    open_driver(r);
    assert_int_equal(submit(r, request(r, SPR_DRIVER_ALLOCATE, 1, LOW), 1e-9, &at), SPR_OK);
    assert_true(S->ops->async->next_deadline(r->state) <= S->now(S).mono_ns + (int64_t)(S->patience_s * 1e9));
    S->pass(S, r->state);
    until(r, at);
    assert_true(r->asked[at].c.outcome == SPR_TIMED_OUT || r->asked[at].c.outcome == SPR_DONE);
    assert_int_equal(does(r, SPR_DRIVER_ALLOCATE, 1, LOW), SPR_OK);
    sees(r, 0, LOW); /* once, whether the first one happened or not */
    give_back(r);
}

static void what_never_ends_by_itself_times_out(void **state) {
    struct run *r = *state;
    size_t at = 0;
    open_driver(r);
    assert_int_equal(submit(r, request(r, SPR_DRIVER_OBSERVE, 0, 0), -1, &at), SPR_OK); /* late from the beginning */
    until(r, at);
    assert_true(r->asked[at].c.outcome == SPR_TIMED_OUT || r->asked[at].c.outcome == SPR_DONE);
    if (r->asked[at].c.outcome == SPR_TIMED_OUT)
        assert_true(r->asked[at].c.observed_count == 0);
    for (int i = 0; i < 10; i++)
        S->pass(S, r->state), collect(r, 4);
    close_driver(r);
}

static void closing_under_way_leaves_what_can_be_found(void **state) {
    struct run *r = *state;
    for (int i = 0; i < 3; i++) {
        open_driver(r);
        asks(r, SPR_DRIVER_ALLOCATE, 1, LOW);
        asks(r, SPR_DRIVER_WARM, 1, LOW);
        asks(r, SPR_DRIVER_OBSERVE, 0, 0);
        if (i > 0)
            S->pass(S, r->state);
        close_driver(r); /* no answer comes any more */
    }
    open_driver(r);
    const struct spr_observed_shard *o = see(r); /* all of it, or nothing */
    if (o)
        assert_true(o->ready.of[SPR_CPU] + o->pending.of[SPR_CPU] < LOW + 1e-9);
    give_back(r);
}

/* ---- asked twice ---- */

static void asked_twice_the_second_answer_is_the_first_ones(void **state) {
    static const int verbs[] = {SPR_DRIVER_RESERVE, SPR_DRIVER_ALLOCATE, SPR_DRIVER_WARM, SPR_DRIVER_ACTIVATE};
    struct run *r = *state;
    open_driver(r);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        uint64_t piece = verbs[i] == SPR_DRIVER_ACTIVATE ? 0 : 1;
        size_t first = asks(r, verbs[i], piece, LOW), second = asks(r, verbs[i], piece, LOW); /* at once */
        until_all(r);
        assert_int_equal(r->asked[first].c.outcome, SPR_DONE);
        assert_int_equal(r->asked[second].c.outcome, SPR_DONE);
        assert_int_equal(does(r, verbs[i], piece, LOW), SPR_OK); /* and once more */
        bool ready = verbs[i] >= SPR_DRIVER_WARM;
        sees(r, ready ? LOW : 0, ready ? 0 : LOW);
    }
    assert_int_equal(does(r, SPR_DRIVER_RELEASE, 0, 0), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_RELEASE, 0, 0), SPR_OK);
    give_back(r);
}

static void the_answer_says_what_is_held(void **state) {
    static const int verbs[] = {SPR_DRIVER_RESERVE, SPR_DRIVER_ALLOCATE, SPR_DRIVER_ALLOCATE, SPR_DRIVER_WARM};
    struct run *r = *state;
    open_driver(r);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        assert_int_equal(does(r, verbs[i], 1, LOW), SPR_OK);
        assert_true(last(r)->amounts.of[SPR_CPU] == LOW);
    }
    assert_true(last(r)->warmness > 0.98 && last(r)->warmness <= 1);
    give_back(r);
}

/* ---- growths and their numbers ---- */

static void a_growth_that_is_ready_is_done_at_once(void **state) {
    static const int verbs[] = {SPR_DRIVER_RESIZE, SPR_DRIVER_ALLOCATE, SPR_DRIVER_RESERVE, SPR_DRIVER_WARM};
    struct run *r = *state;
    open_driver(r);
    make_warm(r);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        assert_int_equal(does(r, verbs[i], 1, 2 * LOW), SPR_OK);
    sees(r, LOW, 0);
    give_back(r);
}

static void a_second_growth_adds_to_the_first(void **state) {
    struct run *r = *state;
    open_driver(r);
    make_warm(r);
    assert_int_equal(does(r, SPR_DRIVER_ACTIVATE, 0, 0), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 2, LOW / 2), SPR_OK);
    sees(r, LOW, LOW / 2);
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 2, LOW / 2), SPR_OK);
    sees(r, LOW, LOW / 2);
    assert_int_equal(does(r, SPR_DRIVER_WARM, 2, LOW / 2), SPR_OK);
    sees(r, 1.5 * LOW, 0);
    assert_int_equal(see(r)->state, SPR_SHARD_SERVING);
    give_back(r);
}

static void a_pending_growth_only_becomes_smaller(void **state) {
    struct run *r = *state;
    open_driver(r);
    assert_int_equal(does(r, SPR_DRIVER_ALLOCATE, 1, 2 * LOW), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 1, LOW), SPR_OK);
    sees(r, 0, LOW);
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 1, 2 * LOW), SPR_OK);
    sees(r, 0, LOW);
    assert_int_equal(does(r, SPR_DRIVER_WARM, 1, LOW), SPR_OK);
    sees(r, LOW, 0);
    give_back(r);
}

static void a_growth_that_was_given_back_never_comes(void **state) {
    struct run *r = *state;
    open_driver(r);
    make_warm(r);
    assert_int_equal(does(r, SPR_DRIVER_RELEASE, 2, 0), SPR_OK); /* not heard of yet: forbidden */
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 2, LOW), SPR_OK);
    sees(r, LOW, 0);
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 3, LOW), SPR_OK); /* heard of, then given back */
    assert_int_equal(does(r, SPR_DRIVER_RELEASE, 3, 0), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_RELEASE, 3, 0), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 3, LOW), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_WARM, 3, LOW), SPR_OK);
    sees(r, LOW, 0);
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 4, LOW), SPR_OK); /* the next number is a new one */
    assert_int_equal(does(r, SPR_DRIVER_ABORT, 4, 0), SPR_OK);    /* and abort gives back as release does */
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 4, LOW), SPR_OK);
    sees(r, LOW, 0);
    give_back(r);
}

/* What the driver remembers of numbers it remembers on the hosts. */
static void numbers_are_remembered_over_a_restart(void **state) {
    struct run *r = *state;
    open_driver(r);
    make_warm(r);
    assert_int_equal(does(r, SPR_DRIVER_RELEASE, 2, 0), SPR_OK);
    close_driver(r);
    open_driver(r);
    assert_int_equal(does(r, SPR_DRIVER_RESIZE, 2, LOW), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_ALLOCATE, 1, LOW), SPR_OK);
    sees(r, LOW, 0);
    give_back(r);
}

static void a_part_drains_and_the_rest_serves(void **state) {
    struct run *r = *state;
    open_driver(r);
    make_warm(r);
    assert_int_equal(does(r, SPR_DRIVER_ACTIVATE, 0, 0), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_DRAIN, 7, LOW / 2), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_DRAIN, 7, LOW / 2), SPR_OK); /* its number was used: nothing more goes */
    sees(r, LOW / 2, 0);
    assert_true(see(r)->draining.of[SPR_CPU] == 0);
    assert_int_equal(see(r)->state, SPR_SHARD_SERVING);
    assert_int_equal(does(r, SPR_DRIVER_DRAIN, 8, LOW), SPR_OK);
    assert_true(see(r)->ready.of[SPR_CPU] == 0 && see(r)->draining.of[SPR_CPU] == 0);
    assert_int_equal(see(r)->state, SPR_SHARD_DRAINING);
    give_back(r);
}

/* ---- what is there ---- */

static void observe_tells_what_is_there(void **state) {
    struct run *r = *state;
    open_driver(r);
    assert_null(see(r));
    assert_int_equal(does(r, SPR_DRIVER_RESERVE, 1, LOW), SPR_OK);
    const struct spr_observed_shard *o = see(r);
    assert_non_null(o);
    assert_int_equal(o->state, lacks(RULE_RESERVED_SEEN) ? SPR_SHARD_ALLOCATING : SPR_SHARD_RESERVED);
    assert_int_equal(o->kind, SPR_SHARD_REPLICA);
    assert_true(o->fence == r->fence);
    assert_true(o->pending.of[SPR_CPU] == LOW && o->ready.of[SPR_CPU] == 0);
    assert_true(o->pending.of[SPR_MEMORY] == LOW * 256 * 1048576 || lacks(RULE_MEMORY));
    assert_int_equal(does(r, SPR_DRIVER_ALLOCATE, 1, LOW), SPR_OK);
    assert_int_equal(see(r)->state, SPR_SHARD_ALLOCATING);
    assert_int_equal(does(r, SPR_DRIVER_WARM, 1, LOW), SPR_OK);
    assert_int_equal(see(r)->state, SPR_SHARD_WARM);
    assert_true(see(r)->warmness > 0.98);
    assert_int_equal(does(r, SPR_DRIVER_ACTIVATE, 0, 0), SPR_OK);
    assert_int_equal(see(r)->state, SPR_SHARD_SERVING);
    give_back(r);
}

static void what_is_not_there_is_said_so(void **state) {
    static const int verbs[] = {SPR_DRIVER_WARM, SPR_DRIVER_ACTIVATE, SPR_DRIVER_DRAIN, SPR_DRIVER_RESIZE,
                                SPR_DRIVER_ADOPT};
    struct run *r = *state;
    open_driver(r);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        assert_int_equal(does(r, verbs[i], 1, LOW), SPR_E_NOT_FOUND);
    assert_int_equal(does(r, SPR_DRIVER_RELEASE, 0, 0), SPR_OK); /* gone already */
    assert_int_equal(does(r, SPR_DRIVER_RELEASE, 1, 0), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_ABORT, 1, 0), SPR_OK);
    give_back(r);
}

static void what_cannot_be_is_refused_with_a_reason(void **state) {
    struct run *r = *state;
    open_driver(r);
    struct spr_driver_request q = request(r, SPR_DRIVER_ALLOCATE, 1, LOW);
    q.host = "no-such-host";
    assert_int_equal(does_as(r, q), SPR_E_NOT_FOUND);
    assert_non_null(strstr(r->asked[r->asked_count - 1].text, "host"));
    q = request(r, SPR_DRIVER_ALLOCATE, 1, LOW);
    q.vm = "no-such-vm";
    assert_int_equal(does_as(r, q), SPR_E_NOT_FOUND);
    assert_non_null(strstr(r->asked[r->asked_count - 1].text, "VM"));
    assert_int_equal(does(r, SPR_DRIVER_ALLOCATE, 1, 1e6), SPR_E_CAPACITY);
    assert_true(does_as(r, request(r, 77, 1, LOW)) < 0);
    assert_null(see(r)); /* and nothing of it is left */
    give_back(r);
}

static void capabilities_are_what_works(void **state) {
    struct run *r = *state;
    struct spr_driver_capabilities c = {.size = sizeof c};
    open_driver(r);
    make_warm(r);
    see(r);
    assert_int_equal(S->ops->capabilities(r->state, "no-such-host", &c), SPR_E_NOT_FOUND);
    assert_int_equal(S->ops->capabilities(r->state, S->host, &c), SPR_OK);
    assert_true(c.replica == 1);
    for (int v = SPR_DRIVER_OBSERVE; v < SPR_DRIVER_VERB_END_; v++)
        if (!(c.verbs >> v & 1)) {
            print_message("# %s says that %s does not work: %s\n", S->name, spr_driver_verb_name(v),
                          c.missing ? c.missing : "");
            assert_int_equal(does(r, v, 0, 0), SPR_E_UNSUPPORTED);
        }
    sees(r, LOW, 0);
    give_back(r);
}

/* Where it can be told how to wait; the same twice is the same once, and it serves from each. */
static void a_warm_shard_waits_as_it_is_told(void **state) {
    struct run *r = *state;
    struct spr_driver_capabilities c = {.size = sizeof c};
    size_t at = 0;
    open_driver(r);
    make_warm(r);
    assert_int_equal(S->ops->capabilities(r->state, S->host, &c), SPR_OK);
    assert_int_equal(c.warm_states & 1u << SPR_WARM_ANY, 0);
    for (int32_t warm = SPR_WARM_ANY; warm < SPR_WARM_STATE_END_; warm++) {
        struct spr_driver_request q = request(r, SPR_DRIVER_WARM, 0, 0);
        q.warm = warm;
        if (warm && !(c.warm_states >> warm & 1))
            continue;
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(submit(r, q, S->patience_s, &at), SPR_OK);
            until_all(r);
            assert_int_equal(r->asked[at].c.outcome, SPR_DONE);
        }
        sees(r, LOW, 0);
        assert_true(c.warm[warm].memory_held >= 0 && c.warm[warm].memory_held <= 1);
        assert_true(c.warm[warm].cpu_held >= 0 && c.warm[warm].cpu_held <= 1);
    }
    assert_int_equal(does(r, SPR_DRIVER_ACTIVATE, 0, 0), SPR_OK);
    sees(r, LOW, 0);
    give_back(r);
}

/* A caller that was built before shards could be told how to wait has a shorter struct. */
static void an_older_caller_gets_what_it_has_room_for(void **state) {
    struct run *r = *state;
    struct spr_driver_capabilities c;
    memset(&c, 0x5a, sizeof c);
    c.size = offsetof(struct spr_driver_capabilities, unkept);
    open_driver(r);
    assert_int_equal(S->ops->capabilities(r->state, S->host, &c), SPR_OK);
    assert_int_equal(c.size, offsetof(struct spr_driver_capabilities, unkept));
    assert_int_equal(c.replica, 1);
    assert_int_equal(c.warm_states, 0x5a5a5a5a);
    close_driver(r);
}

/* A hold is ready as soon as it is committed. */
static void headroom_needs_no_warming(void **state) {
    struct run *r = *state;
    struct spr_driver_capabilities c = {.size = sizeof c};
    open_driver(r);
    assert_int_equal(S->ops->capabilities(r->state, S->host, &c), SPR_OK);
    struct spr_driver_request q = request(r, SPR_DRIVER_RESERVE, 1, LOW);
    q.kind = SPR_SHARD_HEADROOM;
    if (lacks(RULE_HEADROOM)) { /* whoever plans is told, or whoever commits it */
        bool refused = false;
        if (c.headroom) {
            does_as(r, q);
            q.verb = SPR_DRIVER_ALLOCATE;
            refused = does_as(r, q) < 0;
        }
        assert_true(!c.headroom || refused);
        give_back(r);
        return;
    }
    assert_int_equal(does_as(r, q), SPR_OK);
    sees(r, 0, LOW);
    q.verb = SPR_DRIVER_ALLOCATE;
    assert_int_equal(does_as(r, q), SPR_OK);
    assert_int_equal(does_as(r, q), SPR_OK);
    sees(r, LOW, 0);
    assert_int_equal(see(r)->kind, SPR_SHARD_HEADROOM);
    assert_int_equal(see(r)->state, SPR_SHARD_WARM);
    q = request(r, SPR_DRIVER_RESIZE, 2, LOW);
    q.kind = SPR_SHARD_HEADROOM;
    assert_int_equal(does_as(r, q), SPR_OK);
    sees(r, 2 * LOW, 0);
    give_back(r);
}

/* ---- whose it is ---- */

static void a_lower_fence_is_refused(void **state) {
    struct run *r = *state;
    open_driver(r);
    make_warm(r);
    r->fence += 5;
    assert_int_equal(does(r, SPR_DRIVER_ACTIVATE, 0, 0), SPR_OK);
    assert_true(see(r)->fence == r->fence || see(r)->fence == r->fence - 5);
    for (int v = SPR_DRIVER_OBSERVE; v < SPR_DRIVER_VERB_END_; v++) {
        struct spr_driver_request q = request(r, v, 1, LOW);
        q.fence = r->fence - 1;
        assert_int_equal(does_as(r, q), SPR_E_FENCED);
    }
    sees(r, LOW, 0);
    give_back(r);
}

static void an_old_controller_is_fenced_by_what_is_on_the_host(void **state) {
    static const int verbs[] = {SPR_DRIVER_RESIZE, SPR_DRIVER_DRAIN, SPR_DRIVER_ADOPT, SPR_DRIVER_RELEASE};
    struct run *r = *state;
    open_driver(r);
    make_warm(r);
    r->fence += 5;
    assert_int_equal(does(r, SPR_DRIVER_ADOPT, 0, 0), SPR_OK);
    assert_true(see(r)->fence == r->fence);
    close_driver(r);
    open_driver(r); /* with the number of before */
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        assert_int_equal(does(r, verbs[i], i < 2 ? 5 : 0, LOW), SPR_E_FENCED);
    close_driver(r);
    open_driver(r);
    r->fence += 5;
    sees(r, LOW, 0);
    assert_int_equal(see(r)->state, SPR_SHARD_WARM);
    give_back(r);
}

static void a_new_controller_finds_and_adopts(void **state) {
    struct run *r = *state;
    open_driver(r);
    make_warm(r);
    assert_int_equal(does(r, SPR_DRIVER_ACTIVATE, 0, 0), SPR_OK);
    close_driver(r);
    open_driver(r);
    r->fence += 3;
    sees(r, LOW, 0);
    assert_int_equal(see(r)->state, SPR_SHARD_SERVING);
    assert_true(see(r)->fence == r->fence - 3);
    assert_int_equal(does(r, SPR_DRIVER_ADOPT, 0, 0), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_ADOPT, 0, 0), SPR_OK);
    assert_true(see(r)->fence == r->fence);
    sees(r, LOW, 0);
    give_back(r);
}

static void what_is_foreign_is_left_alone(void **state) {
    static const int verbs[] = {SPR_DRIVER_RELEASE,  SPR_DRIVER_ABORT,   SPR_DRIVER_WARM,
                                SPR_DRIVER_ACTIVATE, SPR_DRIVER_DRAIN,   SPR_DRIVER_ADOPT,
                                SPR_DRIVER_RESIZE,   SPR_DRIVER_RESERVE, SPR_DRIVER_ALLOCATE};
    struct run *r = *state;
    assert_int_equal(S->plant == NULL, lacks(RULE_FOREIGN));
    if (lacks(RULE_FOREIGN))
        return;
    open_driver(r);
    assert_int_equal(S->plant(S, shard), SPR_OK);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        int rc = does(r, verbs[i], i ? 1 : 0, LOW);
        if (i < 2)
            assert_int_equal(rc, SPR_OK); /* of ours there is nothing */
        else
            assert_true(rc < 0);
        assert_true(S->stands(S, shard));
    }
    assert_null(see(r));
    S->uproot(S, shard);
    give_back(r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int conform(struct stand *stand) {
    static const char *const rule[RULE_COUNT] = {"what is reserved is observed as reserved", "what is foreign",
                                                 "headroom", "an fd", "memory"};
    const struct CMUnitTest tests[] = {
        TEST(every_accepted_ticket_ends_once),
        TEST(no_room_loses_nothing),
        TEST(completions_are_as_long_as_the_library_says),
        TEST(the_fd_is_readable_while_completions_wait),
        TEST(what_has_ended_cannot_be_cancelled),
        TEST(a_cancelled_ticket_ends_once),
        TEST(a_deadline_ends_a_ticket_once_and_the_verb_can_be_asked_again),
        TEST(what_never_ends_by_itself_times_out),
        TEST(closing_under_way_leaves_what_can_be_found),
        TEST(asked_twice_the_second_answer_is_the_first_ones),
        TEST(the_answer_says_what_is_held),
        TEST(a_growth_that_is_ready_is_done_at_once),
        TEST(a_second_growth_adds_to_the_first),
        TEST(a_pending_growth_only_becomes_smaller),
        TEST(a_growth_that_was_given_back_never_comes),
        TEST(numbers_are_remembered_over_a_restart),
        TEST(a_part_drains_and_the_rest_serves),
        TEST(observe_tells_what_is_there),
        TEST(what_is_not_there_is_said_so),
        TEST(what_cannot_be_is_refused_with_a_reason),
        TEST(capabilities_are_what_works),
        TEST(a_warm_shard_waits_as_it_is_told),
        TEST(an_older_caller_gets_what_it_has_room_for),
        TEST(headroom_needs_no_warming),
        TEST(a_lower_fence_is_refused),
        TEST(an_old_controller_is_fenced_by_what_is_on_the_host),
        TEST(a_new_controller_finds_and_adopts),
        TEST(what_is_foreign_is_left_alone),
    };
    S = stand;
    for (int i = 0; i < RULE_COUNT; i++)
        if (stand->without[i])
            print_message("# %s: %s: %s\n", stand->name, rule[i], stand->without[i]);
    return cmocka_run_group_tests_name(stand->name, tests, NULL, NULL);
}
