/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the tests of conformance.c ask a driver with: every ticket is watched, and what ends twice or unasked fails. */
#ifndef TESTS_UNIT_CONFORMANCE_RUN_H
#define TESTS_UNIT_CONFORMANCE_RUN_H

#define TICKETS 64
#define SHARDS  8
#define LOW     0.25 /* cores of one growth */

static struct stand *S;

/* One driver that is open, and everything that it was asked. */
struct run {
    void *state;
    struct {
        spr_ticket ticket;
        int ended; /* times it was completed */
        struct spr_driver_completion c;
        char text[512];
    } asked[TICKETS];
    size_t asked_count;
    struct spr_observed_shard seen[SHARDS];
    size_t seen_count;
    char seen_vm[SHARDS][64], seen_host[SHARDS][128];
    spr_ticket highest;
    uint64_t fence;
};

/* Each test has shards of its own, so that one that fails does not spoil the next. */
static uint64_t shard;
static uint64_t fence = 10; /* rises from test to test: hosts remember it */

/* ---- opening, asking, waiting ---- */

static void open_driver(struct run *r) {
    memset(r, 0, sizeof *r);
    r->fence = fence;
    assert_int_equal(S->open(S, "conformance", &r->state), SPR_OK);
}

static void collect(struct run *r, size_t room);

static void close_driver(struct run *r) {
    S->ops->close(r->state);
    r->state = NULL;
}

static struct spr_driver_request request(const struct run *r, int verb, uint64_t piece, double cores) {
    struct spr_driver_request q = {.size = sizeof q,
                                   .verb = verb,
                                   .shard = verb == SPR_DRIVER_OBSERVE ? 0 : shard,
                                   .piece = piece,
                                   .fence = r->fence,
                                   .vm = S->vm,
                                   .host = S->host};
    q.amounts.of[SPR_CPU] = cores;
    q.amounts.of[SPR_MEMORY] = cores * 256 * 1048576;
    return q;
}

/* Texts are read inside submit only: what they stood in is overwritten at once. */
static int submit(struct run *r, struct spr_driver_request q, double within_s, size_t *at) {
    char vm[64] = "", host[128] = "";
    struct spr_time now = S->now(S);
    spr_ticket ticket = 0;
    snprintf(vm, sizeof vm, "%s", q.vm ? q.vm : "");
    snprintf(host, sizeof host, "%s", q.host ? q.host : "");
    q.vm = q.vm ? vm : NULL;
    q.host = q.host ? host : NULL;
    int rc = S->ops->submit(r->state, &q, now, now.mono_ns + (int64_t)(within_s * 1e9), &ticket);
    memset(vm, '#', sizeof vm - 1);
    memset(host, '#', sizeof host - 1);
    if (rc < 0) {
        assert_true(ticket == 0); /* outputs untouched */
        return rc;
    }
    assert_true(ticket > 0);
    for (size_t i = 0; i < r->asked_count; i++)
        assert_true(r->asked[i].ticket != ticket); /* never used twice */
    assert_true(r->asked_count < TICKETS);
    *at = r->asked_count++;
    r->asked[*at].ticket = ticket;
    return SPR_OK;
}

static size_t asks(struct run *r, int verb, uint64_t piece, double cores) {
    size_t at = 0;
    assert_int_equal(submit(r, request(r, verb, piece, cores), S->patience_s, &at), SPR_OK);
    return at;
}

/* What is observed lives until the next collect only. */
static void keep_seen(struct run *r, const struct spr_driver_completion *c) {
    r->seen_count = 0;
    for (size_t i = 0; i < c->observed_count; i++) {
        const struct spr_observed_shard *o = &c->observed[i];
        assert_int_equal(o->size, sizeof *o);
        assert_non_null(o->vm);
        assert_non_null(o->host);
        if (r->seen_count == SHARDS)
            continue;
        size_t n = r->seen_count++;
        r->seen[n] = *o;
        snprintf(r->seen_vm[n], sizeof r->seen_vm[n], "%s", o->vm);
        snprintf(r->seen_host[n], sizeof r->seen_host[n], "%s", o->host);
    }
}

static void collect(struct run *r, size_t room) {
    struct spr_driver_completion c[4];
    size_t n = 99;
    memset(c, 0, sizeof c);
    for (size_t i = 0; i < 4; i++)
        c[i].size = sizeof c[i];
    assert_int_equal(S->ops->collect(r->state, S->now(S), c, room, &n), SPR_OK);
    assert_true(n <= room);
    for (size_t k = 0; k < n; k++) {
        size_t i = 0;
        while (i < r->asked_count && r->asked[i].ticket != c[k].ticket)
            i++;
        assert_true(i < r->asked_count); /* nothing that was not asked */
        assert_int_equal(++r->asked[i].ended, 1);
        assert_in_range(c[k].outcome, SPR_DONE, SPR_UNKNOWN);
        if (c[k].outcome == SPR_FAILED)
            assert_true(c[k].code < 0 && c[k].text && *c[k].text);
        r->asked[i].c = c[k];
        snprintf(r->asked[i].text, sizeof r->asked[i].text, "%s", c[k].text ? c[k].text : "");
        if (c[k].outcome == SPR_DONE && c[k].observed_count)
            keep_seen(r, &c[k]);
    }
}

static void until(struct run *r, size_t at) {
    int64_t limit = S->now(S).mono_ns + (int64_t)(2 * S->patience_s * 1e9);
    for (collect(r, 4); !r->asked[at].ended; collect(r, 4)) {
        if (S->now(S).mono_ns > limit)
            fail_msg("%s: a ticket does not end", S->name);
        S->pass(S, r->state);
    }
}

static void until_all(struct run *r) {
    for (size_t i = 0; i < r->asked_count; i++)
        until(r, i);
}

/* The code of what came: SPR_OK, or why not. */
static int does_as(struct run *r, struct spr_driver_request q) {
    size_t at = 0;
    int rc = submit(r, q, S->patience_s, &at);
    if (rc < 0)
        return rc;
    until(r, at);
    const struct spr_driver_completion *c = &r->asked[at].c;
    if (c->outcome == SPR_FAILED && r->asked_count)
        print_message("# %s: %s\n", spr_driver_verb_name(q.verb), r->asked[at].text);
    return c->outcome == SPR_DONE ? SPR_OK : c->code ? c->code : SPR_E_STATE;
}

static int does(struct run *r, int verb, uint64_t piece, double cores) {
    return does_as(r, request(r, verb, piece, cores));
}

static const struct spr_driver_completion *last(const struct run *r) { return &r->asked[r->asked_count - 1].c; }

/* The shard as it is observed now; NULL = it is not there. */
static const struct spr_observed_shard *see_one(struct run *r, uint64_t id) {
    const struct spr_observed_shard *found = NULL;
    r->seen_count = 0;
    assert_int_equal(does(r, SPR_DRIVER_OBSERVE, 0, 0), SPR_OK);
    for (size_t i = 0; i < r->seen_count; i++)
        if (r->seen[i].id == id) {
            assert_null(found); /* one shard, one place */
            found = &r->seen[i];
            assert_string_equal(r->seen_vm[i], S->vm);
            assert_string_equal(r->seen_host[i], S->host);
        }
    return found;
}

static const struct spr_observed_shard *see(struct run *r) { return see_one(r, shard); }

static void sees(struct run *r, double ready, double pending) {
    const struct spr_observed_shard *o = see(r);
    assert_non_null(o);
    print_message("# ready %g, pending %g; expected %g and %g\n", o->ready.of[SPR_CPU], o->pending.of[SPR_CPU], ready,
                  pending);
    assert_true(o->ready.of[SPR_CPU] > ready - 1e-9 && o->ready.of[SPR_CPU] < ready + 1e-9);
    assert_true(o->pending.of[SPR_CPU] > pending - 1e-9 && o->pending.of[SPR_CPU] < pending + 1e-9);
}

static void make_warm(struct run *r) {
    assert_int_equal(does(r, SPR_DRIVER_ALLOCATE, 1, LOW), SPR_OK);
    assert_int_equal(does(r, SPR_DRIVER_WARM, 1, LOW), SPR_OK);
}

static void give_back(struct run *r) {
    assert_int_equal(does(r, SPR_DRIVER_RELEASE, 0, 0), SPR_OK);
    assert_null(see(r));
    close_driver(r);
}

static int begin(void **state) {
    struct run *r = calloc(1, sizeof *r);
    shard++;
    fence += 10;
    *state = r;
    return r ? 0 : -1;
}

/* After a test that failed half way: nothing of it may stand in the way of the next. */
static int end(void **state) {
    struct run *r = *state;
    if (r->state) {
        size_t at;
        struct spr_driver_request q = request(r, SPR_DRIVER_RELEASE, 0, 0);
        q.fence = fence + 9;
        r->asked_count = 0;
        if (submit(r, q, S->patience_s, &at) == SPR_OK)
            for (int i = 0; i < 200; i++) {
                struct spr_driver_completion c = {.size = sizeof c};
                size_t n = 0;
                S->ops->collect(r->state, S->now(S), &c, 1, &n);
                if (n && c.ticket == r->asked[0].ticket)
                    break;
                S->pass(S, r->state);
            }
        S->ops->close(r->state);
    }
    free(r);
    return 0;
}

static bool lacks(int rule) { return S->without[rule] != NULL; }

#endif
