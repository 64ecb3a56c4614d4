/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Pick tables: weighted Maglev (Eisenbud et al., NSDI 2016) that stops when the spilled share is handed out.
 *
 * Shards take turns; at its turn a shard takes the next row of its own permutation that nobody has. Whose turn it is
 * follows Tijdeman's rule for the chairman assignment problem (Discrete Mathematics 32, 1980): after every turn each
 * shard has had its part of the turns to less than one. The turns do not depend on how many there are, so a larger
 * spill is the same table with more turns: rows only pass from the primary to shards. Nothing depends on the table
 * before, nor on the order in which shards are named, so two routers that know the same weights pick the same shard.
 *
 * A dead shard keeps its turns: its rows go to the primary, or to the others by weighted rendezvous, and no other
 * row moves, however many die and in whatever order.
 */
#include <stdlib.h>

#include "route/route.h"

#define ROWS   SPR_ROUTE_SLOTS
#define SHARDS SPR_ROUTE_TARGETS_MOST
#define TRIES  8 /* rows of its own permutation that a shard looks at before it takes the next free one of all */
#define FEW    8 /* shards: so many are looked at one by one */
#define NOBODY UINT16_MAX
#define WORDS  (ROWS / 64 + 1)

struct claimant {
    uint64_t id;
    double pace;     /* turns of all from one of its own to the next */
    uint32_t turns;  /* had so far */
    uint16_t row;    /* next row of its permutation */
    uint16_t stride; /* to the one after it */
    uint16_t next;   /* in the list it waits in */
    uint16_t target; /* as the caller numbers it */
};

/* Who may have a turn from a turn on (`from`), and who must have had one by a turn (`until`). */
struct turns {
    struct claimant *who;
    double slack; /* 1 / (2 n - 2) of Tijdeman's rule */
    uint16_t from[ROWS + 2], until[ROWS + 2];
    uint64_t due[WORDS + 1]; /* bit h: until[h] is not empty */
};

static int by_id(const void *a, const void *b) {
    const struct claimant *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* ---- whose turn it is ---- */

/* Of positive numbers; the library's own cost more than the rest of a turn. */
static int64_t floor_of(double x) { return (int64_t)x; }
static int64_t ceil_of(double x) { return (int64_t)x + (x > (double)(int64_t)x); }

static int64_t latest(const struct turns *t, const struct claimant *c) {
    return floor_of((c->turns + 1 - t->slack) * c->pace) + 1;
}
static int64_t earliest(const struct turns *t, const struct claimant *c) {
    return ceil_of((c->turns + t->slack) * c->pace);
}

static void may_have(struct turns *t, uint16_t k, int turn) {
    int64_t last = latest(t, &t->who[k]);
    int by = last >= ROWS ? ROWS : SPR_MAX((int)last, turn);
    t->who[k].next = t->until[by];
    t->until[by] = k;
    t->due[by / 64] |= UINT64_C(1) << (by % 64);
}

static void waits(struct turns *t, uint16_t k, int turn) {
    int64_t first = earliest(t, &t->who[k]);
    if (first <= turn) {
        may_have(t, k, turn);
    } else if (first <= ROWS) {
        t->who[k].next = t->from[first];
        t->from[first] = k;
    }
}

static void let_in(struct turns *t, int from, int turn) {
    for (uint16_t k = t->from[from], next; k != NOBODY; k = next) {
        next = t->who[k].next;
        may_have(t, k, turn);
    }
    t->from[from] = NOBODY;
}

/* Nobody's deadline is before `turn`, so the search begins there. */
static uint16_t whose(struct turns *t, int turn) {
    let_in(t, turn, turn);
    for (int ahead = turn;; let_in(t, ++ahead, turn)) { /* ahead: only where rounding leaves a turn to nobody */
        for (int w = turn / 64; w < WORDS; w++)
            if (t->due[w]) {
                int by = w * 64 + __builtin_ctzll(t->due[w]);
                uint16_t k = t->until[by];
                t->until[by] = t->who[k].next;
                if (t->until[by] == NOBODY)
                    t->due[w] &= t->due[w] - 1;
                return k;
            }
        if (ahead >= ROWS)
            return NOBODY;
    }
}

/* The same rule by looking at all of them: faster for a handful, which is what most services have. */
struct handful {
    int64_t first[FEW], last[FEW];
};

static void look(struct handful *f, const struct turns *t, int k) {
    f->first[k] = earliest(t, &t->who[k]);
    f->last[k] = latest(t, &t->who[k]);
}

static int whose_of_few(const struct handful *f, int n, int turn) {
    int64_t best = INT64_MAX;
    int who = 0;
    for (int k = 0; k < n; k++) { /* without branches: whose turn it is nobody can guess */
        bool sooner = (f->first[k] <= turn) & (f->last[k] < best);
        best = sooner ? f->last[k] : best;
        who = sooner ? k : who;
    }
    return who;
}

/* ---- which row ---- */

struct board {
    uint64_t taken[WORDS];
    uint16_t row, stride; /* the service's own order, for those who find no row of their own soon */
};

static bool take(struct board *b, uint16_t row) {
    uint64_t bit = UINT64_C(1) << (row % 64), was = b->taken[row / 64];
    b->taken[row / 64] = was | bit;
    return !(was & bit);
}

static uint16_t step(uint16_t *row, uint16_t stride) {
    uint16_t was = *row;
    *row = (uint16_t)(was + stride < ROWS ? was + stride : was + stride - ROWS);
    return was;
}

static uint16_t claim(struct board *b, struct claimant *c) {
    for (int i = 0; i < TRIES; i++) {
        uint16_t row = step(&c->row, c->stride);
        if (take(b, row))
            return row;
    }
    for (;;) {
        uint16_t row = step(&b->row, b->stride);
        if (take(b, row))
            return row;
    }
}

/* ---- the dead ---- */

/* Weighted rendezvous (Thaler & Ravishankar 1998; weights: Schindelhauer & Schomaker 2005). 0 when all are dead. */
static uint16_t heir(const struct claimant *who, int n, const uint8_t *dead, uint64_t key, int row) {
    double best = INFINITY;
    uint16_t heir = 0;
    for (int k = 0; k < n; k++) {
        if (dead[who[k].target])
            continue;
        double u = spr__rand(key ^ who[k].id, 3, (uint64_t)row) + 0x1p-54, far = -log(u) * who[k].pace;
        if (far < best) {
            best = far;
            heir = (uint16_t)(who[k].target + 1);
        }
    }
    return heir;
}

static void bury(const struct spr_route_shares *s, const struct claimant *who, int n, uint64_t key, uint16_t *rows) {
    bool others = s->on_dead == SPR_DEAD_REHASH;
    for (int i = 0; i < ROWS; i++)
        if (rows[i] && s->dead[rows[i] - 1])
            rows[i] = others ? heir(who, n, s->dead, key, i) : 0;
}

/* ---- the table ---- */

static int check(const struct spr_route_shares *s, double *sum) {
    if (!s->service || s->count > SHARDS || (s->count && (!s->shards || !s->weights)) ||
        !(s->spill >= 0 && s->spill <= 1) || s->on_dead < SPR_DEAD_PRIMARY || s->on_dead > SPR_DEAD_REHASH)
        return SPR_E_ARG;
    *sum = 0;
    for (size_t k = 0; k < s->count; k++) {
        if (!(s->weights[k] >= 0 && s->weights[k] <= DBL_MAX / SHARDS) || !s->shards[k])
            return SPR_E_ARG;
        *sum += s->weights[k];
    }
    return SPR_OK;
}

/* Those with a part, by id, so that the order in which they were named does not count. */
static int claimants(const struct spr_route_shares *s, double sum, uint64_t key, struct claimant *who) {
    double all = 0;
    int n = 0;
    for (size_t k = 0; k < s->count; k++) {
        double part = spr__route_part(s->weights[k], sum);
        if (!(part >= 1))
            continue;
        who[n] = (struct claimant){.id = s->shards[k], .pace = part, .target = (uint16_t)k};
        who[n].row = (uint16_t)(spr__rand64(key, s->shards[k], 1) % ROWS);
        who[n].stride = (uint16_t)(spr__rand64(key, s->shards[k], 2) % (ROWS - 1) + 1);
        all += part;
        n++;
    }
    for (int k = 0; k < n; k++)
        who[k].pace = all / who[k].pace;
    qsort(who, (size_t)n, sizeof *who, by_id);
    return n;
}

static void fill_by_few(struct turns *t, int n, int spilled, struct board *b, uint16_t *rows) {
    struct handful f;
    for (int k = 0; k < n; k++)
        look(&f, t, k);
    for (int turn = 1; turn <= spilled; turn++) {
        int k = whose_of_few(&f, n, turn);
        rows[claim(b, &t->who[k])] = (uint16_t)(t->who[k].target + 1);
        t->who[k].turns++;
        look(&f, t, k);
    }
}

static void fill_by_many(struct turns *t, int n, int spilled, struct board *b, uint16_t *rows) {
    memset(t->from, 0xff, sizeof t->from);
    memset(t->until, 0xff, sizeof t->until);
    memset(t->due, 0, sizeof t->due);
    for (int k = n - 1; k >= 0; k--)
        waits(t, (uint16_t)k, 0);
    for (int turn = 1; turn <= spilled; turn++) {
        uint16_t k = whose(t, turn);
        if (k == NOBODY)
            break;
        rows[claim(b, &t->who[k])] = (uint16_t)(t->who[k].target + 1);
        t->who[k].turns++;
        waits(t, k, turn + 1);
    }
}

static void fill(struct claimant *who, int n, int spilled, uint64_t key, uint16_t *rows) {
    struct turns t;
    struct board b = {.row = (uint16_t)(spr__rand64(key, 0, 1) % ROWS),
                      .stride = (uint16_t)(spr__rand64(key, 0, 2) % (ROWS - 1) + 1)};
    t.who = who;
    t.slack = n > 1 ? 1.0 / (2 * n - 2) : 0;
    (n <= FEW ? fill_by_few : fill_by_many)(&t, n, spilled, &b, rows);
}

int spr_route_table(const struct spr_route_shares *shares, uint16_t *rows) {
    struct spr_route_shares s;
    struct claimant who[SHARDS];
    double sum;
    if (!shares || !rows || spr__opts_copy(NULL, "spr_route_shares", shares, &s, sizeof s) < 0)
        return SPR_E_ARG;
    int rc = check(&s, &sum);
    if (rc < 0)
        return rc;
    uint64_t key = spr__hash_text(s.service);
    int n = sum > 0 ? claimants(&s, sum, key, who) : 0;
    for (int k = 1; k < n; k++)
        if (who[k].id == who[k - 1].id)
            return SPR_E_ARG;
    memset(rows, 0, ROWS * sizeof *rows);
    if (!n)
        return SPR_OK;
    fill(who, n, spr__route_rows(s.spill), key, rows);
    if (s.dead)
        bury(&s, who, n, key, rows);
    return SPR_OK;
}
