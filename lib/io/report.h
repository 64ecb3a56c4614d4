/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the files of the HTML report share: report_*.c. */
#ifndef SPR_LIB_IO_REPORT_H
#define SPR_LIB_IO_REPORT_H

#include "inside.h"

/* ---- the verdict in plain arrays ---- */

struct spr__view {
    struct spr_verdict_summary sum;
    int32_t count;
    struct spr_policy_score score[SPR_POLICY_COUNT];
};
int spr__view_make(const spr_verdict *v, struct spr__view *out);
const struct spr_policy_score *spr__view_find(const struct spr__view *w, int policy); /* NULL: did not run */
/* The policy the sentence and the pictures are about: predictive, else the cheapest one asked for that is not the
 * rival. */
int spr__view_hero(const struct spr__view *w);
int spr__view_sentence(const struct spr__view *w, char *text, size_t room);

/* ---- what is collected while the replay runs ---- */

enum {
    SPR__REPORT_COLUMNS = 360, /* most columns of a time chart */
    SPR__REPORT_HOSTS = 40,    /* most hosts shown as rows */
    SPR__REPORT_SERIES = 4,    /* hottest hosts and VMs looked at one by one */
    SPR__REPORT_NAMES = 12     /* rows of the table of VMs */
};

/* Of one policy: priced host-hours per column and per VM. */
struct spr__report_sums {
    double *unserved, *held;       /* [columns] */
    double *vm_unserved, *vm_held; /* [vms] */
};
/* One change of a shard; the amounts are shares of the reference host, resource by resource, in `amounts`. */
struct spr__report_event {
    double time_s;
    uint64_t shard;
    int32_t vm, host, to, because;
};
struct spr_report {
    spr_context *ctx;
    spr_scenario_file *file;
    struct spr_scenario *sc;
    const spr_fleet *fleet;
    int32_t vms, hosts;
    int32_t resource_count;
    int32_t resource[SPR_RESOURCES_MAX];
    double reference[SPR_RESOURCES_MAX]; /* capacity of the reference host, the first one */
    struct spr_price price[SPR_RESOURCES_MAX];
    double step_s;
    int64_t first, end; /* scored steps */
    int64_t columns, column_steps;
    struct spr__report_sums sums[SPR_POLICY_COUNT];
    int kept; /* policy whose events are kept, -1 = none */
    struct spr__report_event *events;
    size_t event_count, event_cap;
    float *amounts; /* [event][resource_count][ready, held] */
    size_t amount_cap;
    int64_t because[SPR_BECAUSE_COUNT_]; /* of the kept policy */
};

/* A scenario's number as the replay takes it: SPR_NONE is 0, 0 is the usual value. */
static inline double spr__standard(double given, double usual) {
    return given == SPR_NONE ? 0 : given == 0 ? usual : given;
}

/* ---- what is worked out when the page is written ---- */

/* One picked host or VM whose demand is looked at step by step, in the unit of the scenario's host capacity. */
struct spr__hot {
    int32_t vm, host; /* vm < 0: the host's total */
    int32_t resource;
    char unit[24];   /* with its prefix ("GB"); all numbers here are in it */
    double capacity; /* NaN = unknown */
    double *demand;  /* [steps of the series] */
};
/* Loads below are shares of the reference host. */
struct spr__gather {
    const spr_report *r;
    spr_series *series;
    int64_t steps, rows;   /* of the grid */
    int32_t *row_vm;       /* [rows] VM of a row, -1 = none of the fleet's */
    int32_t *row_resource; /* [rows] index into resource[] */
    double *row_factor;    /* [rows] from the trace's unit to shares */
    int32_t *vm_host;      /* [vms] */
    double *vm_spillable;  /* [vms], 0 where it may not be replicated */
    double *vm_peak;       /* [vms] largest share in the scored part */
    double *capacity;      /* [hosts][resource_count] */
    double *excess;        /* [hosts][resource_count] priced share-steps above capacity in the scored part */
    double *peak;          /* [hosts] largest load of the scored part, share of its own capacity */
    float *before, *after; /* [hosts][columns] largest load of the column, share of the host's capacity */
    float *away, *here;    /* [hosts][columns] mean share held elsewhere for its VMs, held on it for others */
    double over[2];        /* host-hours above capacity before and after */
    int32_t *order;        /* [hosts] hottest first */
    struct spr__hot hot[SPR__REPORT_SERIES];
    int32_t hot_count;
};
/* `policy`: whose shards decide `after`, `away` and `here`. */
int spr__gather_make(const spr_report *r, int policy, struct spr__gather *g);
void spr__gather_finish(struct spr__gather *g);
const char *spr__vm_name(const spr_report *r, int32_t vm);
const char *spr__host_name(const spr_report *r, int32_t host);
const char *spr__resource_name(int32_t resource);
/* Unit in which a number of about this size reads well, and the factor to it from the scenario's unit of the resource.
 */
double spr__readable_unit(const spr_report *r, int resource, double size, char *name, size_t room);
/* Value of a row at a step, gaps filled as the replay fills them: the last value, before the first one the first. */
double spr__gather_value(const struct spr__gather *g, const struct spr_panel *mean, int64_t row, int64_t step,
                         double last);
double spr__gather_start(const struct spr_panel *mean, int64_t row, int64_t step);

/* A forecast from one origin; what came stands in the hot series. */
struct spr__fan {
    int64_t origin;
    int32_t horizon, level_count;
    const double *levels, *points, *quantiles; /* of `product` */
    spr_forecast *product;
};
/* How good one-step forecasts of a hot series were over the scored part. */
struct spr__accuracy {
    int32_t level_count;
    double level[8], share[8]; /* nominal level; share of the truth at or below that quantile */
    double pinball, naive; /* mean loss over levels and origins, share of the mean demand; the same of the last value */
    int64_t origins;
};
/* Both: 0, SPR_E_NOMEM, or another error when there is no forecast to show. */
int spr__fan_make(const struct spr__gather *g, const struct spr__hot *hot, struct spr__fan *out);
int spr__accuracy_make(const struct spr__gather *g, struct spr__accuracy out[SPR__REPORT_SERIES]);
int64_t spr__fan_ahead(const spr_report *r); /* steps from the fan's origin to the onset of the overload */
const char *spr__report_method(void);        /* name of the forecaster both use */

/* ---- the page ---- */

/*
 * Append by a format of its own, whatever the locale: %s text as it is, %e text escaped for HTML, %j text as a JSON
 * string that is safe inside <script>, %d int, %l int64_t, %0 %1 %2 %3 %4 a double with so many decimals, %c a
 * coordinate (one decimal, none where it is 0), %g a double with four significant digits, %% a per cent sign. NaN is
 * printed as an en dash (in %c and %g as null).
 */
void spr__put(spr_output *o, const char *format, ...);

struct spr__page {
    spr_output *out;
    const spr_report *r;
    const struct spr__view *view;
    const struct spr__gather *g;
    int hero;
    int charts; /* numbers ids */
};
/* Where the data of a chart stands in its picture. */
struct spr__frame {
    double left, right, top, bottom, low, high;
};
/* Open a chart up to its description (close it with "</desc>"), and end it. */
void spr__chart_begin(struct spr__page *p, const char *class_name, double width, double height, const char *title);
void spr__chart_end(struct spr__page *p);
void spr__axis_y(struct spr__page *p, const struct spr__frame *f, const char *unit);
void spr__axis_x(struct spr__page *p, const struct spr__frame *f, double from_s, double to_s);
double spr__y(const struct spr__frame *f, double value);
double spr__nice(double range, int most); /* a round step that cuts the range into at most so many */
double spr__time_unit(const spr_report *r, const char **name);
void spr__legend_item(struct spr__page *p, const char *class_name, const char *text);
void spr__legend_box(struct spr__page *p, const char *class_name, const char *text);
const char *spr__policy_class(int policy); /* "p0" ... of the style sheet */

/* The sections, in the order of the page. */
void spr__page_policies(struct spr__page *p);
void spr__page_cost(struct spr__page *p);
void spr__page_hot(struct spr__page *p);
int spr__page_fans(struct spr__page *p);
void spr__page_lanes(struct spr__page *p);
void spr__page_heat(struct spr__page *p);
int spr__page_vms(struct spr__page *p);
int spr__page_accuracy(struct spr__page *p);
void spr__page_reasons(struct spr__page *p);
void spr__page_settings(struct spr__page *p);

/* Made from the files in report/ at build time. */
extern const char spr__report_css[], spr__report_js[], spr__report_uplot_css[], spr__report_uplot_js[];

#endif
