/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "router_contract.h"

static struct router_stand *S;

spr_routes *contract_routes(spr_context *ctx, double spill) {
    struct spr_route_target targets[] = {{.size = sizeof targets[0], .shard = 1, .host = 1, .weight = spill / 2},
                                         {.size = sizeof targets[0], .shard = 2, .host = 2, .weight = spill / 2}};
    struct spr_route_service service = {
        .size = sizeof service,
        .route = {.size = sizeof service.route, .target_count = 2, .spill = spill, .spill_at_most = spill, .id = "web"},
        .targets = targets};
    spr_routes *out = NULL;
    assert_int_equal(spr_routes_from(ctx, &service, spill > 0, NULL, &out), SPR_OK);
    return out;
}

static void *open_router(void) {
    void *state = NULL;
    struct spr_env env = {sizeof env, S->ctx, NULL, 1};
    assert_int_equal(S->ops->open(&env, S->config, &state), SPR_OK);
    return state;
}

static spr_ticket publish(void *state, double spill, double patience_s) {
    spr_routes *r = contract_routes(S->ctx, spill);
    spr_ticket ticket = 0;
    int64_t deadline = S->now(S).mono_ns + (int64_t)(patience_s * 1e9);
    assert_int_equal(S->ops->publish(state, r, S->now(S), deadline, &ticket), SPR_OK);
    assert_true(ticket != 0);
    spr_routes_unref(r); /* the router has its own */
    return ticket;
}

static bool is_late(int64_t since) { return (double)(S->now(S).mono_ns - since) * 1e-9 > 2 * S->patience_s; }

/* The end of one ticket, when nothing else is open. */
static struct spr_router_completion end_of(void *state, spr_ticket ticket) {
    struct spr_router_completion c = {.size = sizeof c};
    size_t n = 0;
    for (int64_t since = S->now(S).mono_ns; !n && !is_late(since); S->pass(S, state)) {
        c = (struct spr_router_completion){.size = sizeof c};
        assert_int_equal(S->ops->collect(state, S->now(S), &c, 1, &n), SPR_OK);
    }
    assert_int_equal(n, 1);
    assert_true(c.ticket == ticket);
    return c;
}

static void table_says_who_it_is(void **unused) {
    (void)unused;
    assert_true(S->ops->size >= offsetof(struct spr_router_ops, collect) + sizeof S->ops->collect);
    assert_true(S->ops->name && *S->ops->name && S->ops->license && *S->ops->license);
    assert_true(S->ops->async && S->ops->async->cancel && S->ops->open && S->ops->close && S->ops->publish &&
                S->ops->collect);
}

static void what_is_missing_is_refused(void **unused) {
    (void)unused;
    struct spr_env env = {sizeof env, S->ctx, NULL, 1};
    void *state = S;
    assert_int_equal(S->ops->open(&env, NULL, &state), SPR_E_ARG);
    assert_int_equal(S->ops->open(NULL, S->config, &state), SPR_E_ARG);
    assert_ptr_equal(state, S);
}

static void published_routes_are_in_force(void **unused) {
    (void)unused;
    void *state = open_router();
    spr_routes *r = contract_routes(S->ctx, 0.5);
    spr_ticket ticket = 0;
    assert_int_equal(S->ops->publish(state, r, S->now(S), INT64_MAX, &ticket), SPR_OK);
    struct spr_router_completion c = end_of(state, ticket);
    assert_int_equal(c.outcome, SPR_DONE);
    assert_int_equal(c.code, SPR_OK);
    assert_true(c.routes == spr_routes_id(r));
    assert_null(c.text);
    spr_routes_unref(r);
    assert_int_equal(end_of(state, publish(state, 0, S->patience_s)).outcome, SPR_DONE); /* nothing spills any more */
    S->ops->close(state);
}

static void every_ticket_ends_once(void **unused) {
    (void)unused;
    enum { MANY = 4 }; /* as many as a router must take at once */
    void *state = open_router();
    spr_ticket asked[MANY];
    int ended[MANY] = {0}, all = 0;
    for (int i = 0; i < MANY; i++) {
        asked[i] = publish(state, i % 2 ? 0.25 : 0.5, S->patience_s);
        for (int k = 0; k < i; k++)
            assert_true(asked[k] != asked[i]);
    }
    int more = 3; /* rounds after the last */
    for (int64_t since = S->now(S).mono_ns; more && !is_late(since); S->pass(S, state)) {
        struct spr_router_completion c[2] = {{.size = sizeof c[0]}, {.size = sizeof c[0]}};
        size_t n = 0;
        assert_int_equal(S->ops->collect(state, S->now(S), c, 2, &n), SPR_OK);
        for (size_t i = 0; i < n; i++)
            for (int k = 0; k < MANY; k++)
                if (c[i].ticket == asked[k]) {
                    assert_int_equal(c[i].outcome, SPR_DONE);
                    ended[k]++, all++;
                }
        more -= all >= MANY;
    }
    for (int k = 0; k < MANY; k++)
        assert_int_equal(ended[k], 1);
    S->ops->close(state);
}

static void no_room_loses_nothing(void **unused) {
    (void)unused;
    void *state = open_router();
    spr_ticket ticket = publish(state, 0.5, 2 * S->patience_s);
    for (int i = 0; i < 10; i++) {
        struct spr_router_completion none = {.size = sizeof none};
        size_t n = 7;
        assert_int_equal(S->ops->collect(state, S->now(S), &none, 0, &n), SPR_OK);
        assert_int_equal(n, 0);
        S->pass(S, state);
    }
    assert_int_equal(end_of(state, ticket).outcome, SPR_DONE);
    S->ops->close(state);
}

/* An older library has a shorter struct: that is the stride, and what lies past it is not written. */
static void completions_are_as_long_as_the_library_says(void **unused) {
    (void)unused;
    enum { SHORT = offsetof(struct spr_router_completion, routes) };
    unsigned char room[2 * SHORT + 64];
    void *state = open_router();
    spr_ticket ticket = publish(state, 0.5, S->patience_s), got = 0;
    size_t n = 0, size = SHORT;
    for (int64_t since = S->now(S).mono_ns; !n && !is_late(since); S->pass(S, state)) {
        memset(room, 0xA5, sizeof room);
        memset(room, 0, 2 * SHORT);
        memcpy(room, &size, sizeof size);
        memcpy(room + SHORT, &size, sizeof size);
        assert_int_equal(S->ops->collect(state, S->now(S), (void *)room, 2, &n), SPR_OK);
        for (size_t i = 2 * SHORT; i < sizeof room; i++)
            assert_int_equal(room[i], 0xA5);
    }
    memcpy(&got, room + offsetof(struct spr_router_completion, ticket), sizeof got);
    assert_int_equal(n, 1);
    assert_true(got == ticket);
    S->ops->close(state);
}

static void what_ended_cannot_be_cancelled(void **unused) {
    (void)unused;
    void *state = open_router();
    assert_int_equal(S->ops->async->cancel(state, 123456789), SPR_E_NOT_FOUND);
    spr_ticket ticket = publish(state, 0.5, S->patience_s);
    assert_int_equal(end_of(state, ticket).outcome, SPR_DONE);
    assert_int_equal(S->ops->async->cancel(state, ticket), SPR_E_NOT_FOUND);
    S->ops->close(state);
}

static void waiting_completions_are_told(void **unused) {
    (void)unused;
    void *state = open_router();
    const struct spr_async_ops *a = S->ops->async;
    if (!a->fd || a->fd(state) < 0) { /* then they are there at one of the next steps */
        assert_int_equal(end_of(state, publish(state, 0.5, S->patience_s)).outcome, SPR_DONE);
        S->ops->close(state);
        return;
    }
    struct pollfd p = {.fd = a->fd(state), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    spr_ticket ticket = publish(state, 0.5, S->patience_s);
    assert_true(a->next_deadline(state) < INT64_MAX);
    size_t n = 0;
    struct spr_router_completion c = {.size = sizeof c};
    for (int64_t since = S->now(S).mono_ns; !is_late(since); S->pass(S, state)) {
        assert_int_equal(S->ops->collect(state, S->now(S), &c, 0, &n), SPR_OK);
        if (poll(&p, 1, 0) == 1 && a->next_deadline(state) <= S->now(S).mono_ns)
            break;
    }
    assert_int_equal(poll(&p, 1, 0), 1); /* level, not edge */
    assert_int_equal(end_of(state, ticket).outcome, SPR_DONE);
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_true(a->next_deadline(state) == INT64_MAX);
    S->ops->close(state);
}

static void counters_keep_to_their_room(void **unused) {
    (void)unused;
    void *state = open_router();
    struct spr_route_counters c[3];
    size_t n = 0;
    assert_int_equal(end_of(state, publish(state, 0.5, S->patience_s)).outcome, SPR_DONE);
    for (int64_t since = S->now(S).mono_ns; !n && !is_late(since); S->pass(S, state)) {
        memset(c, 0, sizeof c);
        c[0].size = c[1].size = c[2].size = sizeof c[0];
        assert_int_equal(S->ops->counters(state, S->now(S), c, 2, &n), SPR_OK);
    }
    assert_int_equal(n, 1);
    assert_int_equal(c[0].vm, 0);
    assert_true(c[0].size == sizeof c[0] && c[1].packets == 0 && c[1].vm == 0);
    memset(c, 0xA5, sizeof c);
    assert_int_equal(S->ops->counters(state, S->now(S), c, 0, &n), SPR_OK);
    assert_int_equal(n, 1); /* how many there are, whatever the room */
    for (size_t i = 0; i < sizeof c; i++)
        assert_int_equal(((unsigned char *)c)[i], 0xA5);
    S->ops->close(state);
}

static void closing_with_open_tickets_is_fine(void **unused) {
    (void)unused;
    void *state = open_router();
    for (int i = 0; i < 3; i++)
        publish(state, 0.5, S->patience_s);
    S->ops->close(state); /* leaks are the sanitizers' */
}

int router_contract(struct router_stand *stand, const struct CMUnitTest *more, size_t count) {
    struct CMUnitTest tests[64] = {
        cmocka_unit_test(table_says_who_it_is),           cmocka_unit_test(what_is_missing_is_refused),
        cmocka_unit_test(published_routes_are_in_force),  cmocka_unit_test(every_ticket_ends_once),
        cmocka_unit_test(no_room_loses_nothing),          cmocka_unit_test(completions_are_as_long_as_the_library_says),
        cmocka_unit_test(what_ended_cannot_be_cancelled), cmocka_unit_test(waiting_completions_are_told),
    };
    const struct CMUnitTest counters = cmocka_unit_test(counters_keep_to_their_room);
    const struct CMUnitTest last = cmocka_unit_test(closing_with_open_tickets_is_fine);
    size_t n = 0;
    while (tests[n].name)
        n++;
    if (stand->ops->counters) /* optional in the table */
        tests[n++] = counters;
    tests[n++] = last;
    assert_true(n + count <= sizeof tests / sizeof tests[0]);
    if (count)
        memcpy(tests + n, more, count * sizeof *more);
    S = stand;
    return _cmocka_run_group_tests(stand->name, tests, n + count, NULL, NULL);
}
