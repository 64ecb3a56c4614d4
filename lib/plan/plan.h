/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The inside of planning: the board a plan is worked out on, and the rules of need. */
#ifndef SPR_LIB_PLAN_H
#define SPR_LIB_PLAN_H

#include <shardpredict/ops/planner.h>

#include "fleet/fleet.h"

/* A shard on the board; amounts change while the plan is made. */
struct board_shard {
    uint64_t id; /* 0: made by this plan */
    int32_t vm, host, state;
    int32_t next;       /* next shard of the VM, -1 = last */
    int32_t next_there; /* next shard on its host, -1 = last */
    int32_t action;     /* action of this plan that makes or grows it, -1 = none */
    bool gone;          /* this plan gives all of it back */
    bool counted;       /* what goes back of it in this round is counted as an action */
    bool touched;       /* this plan changes it */
    double ready[SPR_RESOURCES_MAX], pending[SPR_RESOURCES_MAX], less[SPR_RESOURCES_MAX];
    double used[SPR_RESOURCES_MAX]; /* of the ready part, what serves now */
    int32_t warm;                   /* spr_warm_state that it waits in, ANY = it does not wait */
    int64_t wake_ns;                /* until then */
};

/*
 * The board: what of a fleet changes while a plan is worked out, in columns [..][i] of the i-th resource in use.
 * Rebuilt for every plan; its memory is kept between plans.
 */
struct board {
    const spr_context *ctx;
    const spr_fleet *fleet;
    struct spr_plan_opts opts;
    int64_t now_ns;
    int32_t hosts, vms, r;
    double *capacity, *held, *load, *peak; /* [host][r]; load: its VMs' demand; peak: what it must keep for itself */
    bool *stale;                           /* [host]: metrics of one of its VMs are old */
    double *size_for, *holds;              /* [vm][r]: what shards are sized for; ready + pending anywhere */
    int32_t *first;                        /* [vm]: its first shard */
    bool *done;                            /* [vm]: had its turn */
    int32_t *first_there, *last_there;     /* [host]: shards that it holds */
    int32_t *own_shards;                   /* [host]: how many shards its VMs have, anywhere */
    double *left_out;                      /* [host][r]: a shard that was not put there, as none could be held to it */
    struct board_places *places;           /* where shards can go; built when the first one looks for a host */
    struct board_shard *shards;
    size_t shard_count, shard_cap;
    size_t host_room, vm_room; /* allocated sizes */
    int32_t r_room;
};

int spr__board_load(struct board *b, const spr_context *ctx, const struct spr_plan_input *in);
void spr__board_finish(struct board *b);
/* Capacity of host h that no shard holds, at least a twentieth of it. */
double spr__board_left(const struct board *b, int32_t h, int32_t i);
/* What target h could still take of resource i under the room rule. */
double spr__board_room(const struct board *b, int32_t h, int32_t i);
/* Share of VM v's demand that its shards could serve now, 0..1. */
double spr__board_share(const struct board *b, int32_t v);
int spr__board_add_shard(struct board *b, int32_t vm, int32_t host, int32_t *index);
/* Shards hold `more` (or, below zero, less) of resource i on host q from now on. */
void spr__board_hold(struct board *b, int32_t q, int32_t i, double more);

/* Host for a new shard of VM v that wants `more` of each resource; -1 = none, below: an error. */
int spr__place_find(struct board *b, int32_t v, const double *more, int32_t *host);
/* Share of `more` that host q has room for, all resources together, at most 1. */
double spr__place_fits(const struct board *b, int32_t q, const double *more);
/* Has host q more room than this share of itself, in every resource that `more` asks for? */
bool spr__place_roomy(const struct board *b, int32_t q, const double *more, double least);
/* Could a shard with `more` on host q be held to it? Where not *i, unless NULL, is the first resource that is not. */
bool spr__place_keeps(const struct board *b, int32_t q, const double *more, int32_t *i);
void spr__place_forget(struct board *b); /* the next plan looks at another fleet */
void spr__place_finish(struct board *b);
void spr__place_touch(struct board *b, int32_t q);

/* What a host's VMs should hold elsewhere of one resource: request up to `up`, give back down to `down`. */
struct need {
    double up, down;
    double evict; /* how much of what others hold on this host must go back for its own sake */
    int32_t because_up, because_down;
    double quantile, worth, cost, threshold, forecast;
    double hold_h; /* hours for which the first level would be held once it is ready */
    double left;   /* what `evict` was worked out for */
};

/* What the class of a VM changes. */
struct spr__class_policy {
    bool predict;  /* its own past tells what comes; else the present does, and the quantiles keep headroom */
    double dearer; /* times the price of what is unserved: moves the quantile that is planned for */
    double larger; /* times the amounts */
};
const struct spr__class_policy *spr__class_policy(int klass); /* -1 = unknown: as steady */
struct spr__class_policy spr__class_of_host(const struct board *b, int32_t h, int32_t i);

/* State of the built-in planner between plans. */
struct builtin {
    spr_context *ctx;
    struct spr_planner_config config;
    double *reserve;
    struct board board;
    int32_t start; /* host whose turn is first; moves by 7 every plan, so that no host is always last */
    double *ring;  /* REACTIVE: [host][r][slot] needs of the last ticks */
    size_t ring_size;
    int32_t ring_slots;
    int64_t ticks;
    struct need *needs; /* [host][r] */
    size_t need_size;
    double *given; /* GIVEN: [host][r] loads to plan for, then scratch */
    size_t given_size;
    struct spr_action *actions;
    size_t action_count, action_cap;
    int64_t day; /* limits count per day of monotonic time */
    int32_t *vm_actions, *host_actions, all_actions;
    size_t vm_action_size, host_action_size;
};

/* Once a plan, then host by host in turn: what earlier hosts put on a later one counts there. */
int spr__need_prepare(struct builtin *p, const struct spr_plan_input *in);
void spr__need_host(struct builtin *p, const struct spr_plan_input *in, int32_t h);
/* The value rule for resource i of host h. All of it but `evict` depends on the fleet and the forecast alone. */
void spr__need_value(const struct board *b, const spr_forecast *f, int32_t h, int32_t i, struct need *out);
/* What guests must give back, after earlier turns have put more of them here or taken some away. */
void spr__need_guests(const struct board *b, const spr_forecast *f, int32_t h, int32_t i, struct need *need);
/* For how long the value rule keeps a level from now on, s; and the most it expects to need above the capacity. */
void spr__need_outlook(const struct board *b, const spr_forecast *f, int32_t h, int32_t i, double level, double *keep_s,
                       double *most);

/* When a level above capacity x is needed, from `from_s` on (seconds from now). */
struct need_when {
    double onset_s; /* the first moment at which holding it pays by itself; the forecast's end where there is none */
    double chance;  /* that it is needed by then */
    double idle_s;  /* how long it is expected to be of no use before */
};
void spr__need_when(const struct board *b, const spr_forecast *f, int32_t h, int32_t i, double x, double from_s,
                    struct need_when *out);
/* How the shards of host h's VMs wait warm: the new ones, and those that wait already (plan_warm.c). */
int spr__warm_host(struct builtin *p, const spr_forecast *f, int32_t h);

/* ---- actions ---- */
#define NOTHING 1e-9 /* of a host */
static inline double spr__tiny(const struct board *b, int32_t h, int32_t i) {
    return NOTHING * b->capacity[h * b->r + i];
}
int spr__action_open(struct builtin *p, const struct spr_action *a, int32_t *index);
/* Fill in what decided: resource i of host `home`. */
void spr__action_explain(const struct board *b, struct spr_action *a, int32_t i, int32_t home, const struct need *n);
bool spr__action_allowed(const struct builtin *p, int32_t v, int32_t home);
void spr__action_count(struct builtin *p, int32_t v, int32_t home);
int spr__action_wish(const struct board *b, int32_t h, int32_t i, int because, double amount,
                     const struct spr_plan_output *out);

/* ---- one host's turn: ask, give back, send guests away, put two shards into one ---- */
int spr__fill_host(struct builtin *p, const struct spr_plan_input *in, int32_t h, const struct spr_plan_output *out);
int spr__request(struct builtin *p, int32_t h, int32_t i, double have, const struct spr_plan_output *out);
int spr__release(struct builtin *p, int32_t h, double *give);
int spr__evict(struct builtin *p, int32_t h);
int spr__merge(struct builtin *p, const spr_forecast *f, int32_t h);
/* What the host's VMs have that is of use: shards beyond the spillable demand are not. */
double spr__usable(const struct board *b, int32_t h, int32_t i);

#endif
