/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The inside of the controller. */
#ifndef SPR_LIB_CONTROL_H
#define SPR_LIB_CONTROL_H

#include <shardpredict/control.h>
#include <shardpredict/ops/driver.h>
#include <shardpredict/ops/forecaster.h>
#include <shardpredict/ops/planner.h>
#include <shardpredict/ops/router.h>
#include <shardpredict/ops/source.h>
#include <shardpredict/ops/store.h>

#include "base/base.h"
#include "fleet/fleet.h"
#include "route/route.h"

struct spr_notifier {
    int fd[2]; /* a pipe that never blocks; written by spr_notify, emptied by a step */
};

/* What is known of demand, [vm][r] in the order of the fleet's resources. */
struct demand {
    double *now;            /* of the last control interval */
    double *served;         /* of now, what shards carried */
    double *sum, *weight_s; /* running step: demand * seconds, seconds seen */
    double *mean_hour;      /* mean of the last hour, the running step included */
    double *uncensored;     /* last value that was no lower bound */
    double *hour;           /* closed steps of the last hour: [slot][vm][r] */
    int32_t hour_slots, hour_count, hour_next;
    uint32_t *censored;    /* [vm] bit resource */
    int64_t *seen_mono_ns; /* [vm] */
};

/* Totals of hosts on the step grid: rows [host * R + i], oldest first, in a window that slides through its buffer. */
struct totals {
    double *data;
    int32_t *resource;                /* [rows] ::spr_resource */
    int64_t rows, room, first, count; /* columns: room allocated, first in use, how many */
    int64_t first_step;               /* grid index of column `first` */
};

struct spr_controller {
    spr_context *ctx;
    struct spr_controller_opts opts;
    struct spr_plan_opts plan_opts; /* defaults filled in */
    struct spr_steer_opts steer_opts;
    struct spr_source_ops source;
    struct spr_router_ops router;
    struct spr_forecaster_ops forecaster_ops;
    void *source_state, *router_state;
    bool has_source, has_router, paused, changed, forecaster_fresh, history_given;
    bool acts;       /* was ever allowed more than advice: only then the router hears of routes */
    bool told;       /* the router took the newest routes, or is about to */
    bool lead_given; /* the operator said how long allocate and warm take */
    int32_t automation;
    spr_notifier notifier;
    spr_lifecycle *lifecycle;
    spr_planner *planner;
    spr_steer *steer;                   /* of the VMs' services; NULL before there are any */
    spr_health *health;                 /* who answers probes */
    spr_spike *spike;                   /* of what the router counts; NULL where it does not */
    struct spr_route_counters *counted; /* [vm] */
    int32_t counted_vms, raised;
    spr_forecaster *forecaster;
    spr_event_effects *effects; /* of the events of opts.calendar on the hosts' totals, or NULL */
    spr_fleet *inventory, *fleet;
    spr_plan *plan;
    spr_routes *routes;
    spr_forecast *forecast;
    spr_ticket asked_inventory, asked_samples, published;
    int64_t next_tick, next_inventory; /* monotonic ns; INT64_MIN = at once */
    int64_t look_again;                /* the source owes an answer: look for it then, whatever it says */
    int64_t step_ns, control_ns;
    int64_t running;     /* index of the running step, -1 = none yet */
    int64_t fitted_step; /* running step at the last full fit */
    struct demand demand;
    struct totals totals;
    double *column;             /* scratch [host][r] */
    struct spr_warm_host *warm; /* [host] how shards wait there, by the driver's word */
    size_t warm_room;
    int32_t hosts, vms, r;
    int32_t *classes;         /* [vm] spr_class, learnt; -1 = unknown */
    struct spr__gate *gate;   /* coverage of the hosts' quantiles; NULL = nothing is forecast */
    struct spr__joint *joint; /* second opinion on the hosts' totals; NULL = none */
    uint32_t *unkept;         /* [unkept_hosts] bit r: shards there could not be held to their share of resource r */
    char **unkept_why;        /* what is missing there, NULL = nothing */
    int32_t unkept_hosts;
    int32_t forecast_steps, forecast_level_count;
    const double *forecast_levels;
};

/* demand.c */
int spr__demand_init(spr_controller *c, const spr_fleet *inventory);
void spr__demand_finish(spr_controller *c);
int spr__demand_take(spr_controller *c, const struct spr_source_completion *samples);

/* inventory.c: takes the reference when it succeeds */
int spr__inventory_changed(spr_controller *c, spr_fleet *inventory);
/* tick.c */
int spr__tick(spr_controller *c, struct spr_time now);
int spr__publish(spr_controller *c, struct spr_time now);
int spr__tell_router(spr_controller *c, struct spr_time now);
int spr__snapshot(spr_controller *c, struct spr_time now);
int spr__forecaster_start(spr_controller *c);
int spr__step_closed(spr_controller *c, const double *column, const double *vm_column);
/* durations.c: what the driver can do and how long it takes, into the plan's options */
int spr__durations_learn(spr_controller *c);
/* steer.c */
int spr__steer_start(spr_controller *c, const spr_fleet *was);
void spr__steer_finish(spr_controller *c);
int spr__steer(spr_controller *c, struct spr_time now);
int spr__count(spr_controller *c, struct spr_time now);
/* classes.c */
int spr__classes_start(spr_controller *c);
void spr__classes_finish(spr_controller *c);
void spr__classes_carry(spr_controller *c, const spr_controller *was);
int spr__classes_learn(spr_controller *c, const spr_series *series, int64_t first, int64_t last);
int spr__class_of(const spr_controller *c, int32_t vm);
bool spr__class_predicts(const spr_controller *c, int32_t vm);
/* means.c */
int spr__means_ask(spr_controller *c); /* the driver, of every host: what the plan must know of it */
void spr__means_finish(spr_controller *c);
/* gate.c */
int spr__gate_start(spr_controller *c);
void spr__gate_destroy(spr_controller *c);
void spr__gate_carry(spr_controller *c, spr_controller *was);
void spr__gate_said(spr_controller *c, const spr_forecast *f);
void spr__gate_unseen(spr_controller *c, int64_t row);
int spr__gate_closed(spr_controller *c, int64_t step, const double *column);
const uint8_t *spr__gate_under(const spr_controller *c); /* [host][r], or NULL */
/* joint.c */
int spr__joint_start(spr_controller *c, const struct spr_panel *past, const double *host_totals, int64_t stride,
                     int64_t first_step);
void spr__joint_closed(spr_controller *c, int64_t step, const double *vm_column, const double *host_column);
int spr__joint_mix(spr_controller *c, spr_forecast **forecast);
void spr__joint_destroy(spr_controller *c);

#endif
