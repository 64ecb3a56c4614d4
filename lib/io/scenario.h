/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A scenario file while it is read and afterwards. */
#ifndef SPR_LIB_IO_SCENARIO_H
#define SPR_LIB_IO_SCENARIO_H

#include "spec.h"

enum { SPR__TUNED_MOST = 64 };

struct spr_scenario_file {
    spr_context *ctx;
    spr_trace *trace; /* NULL for a scenario around somebody else's */
    spr_series *series;
    spr_fleet *fleet;
    char *name;
    struct spr_scenario scenario;
    double thresholds[SPR__TUNED_MOST], holds_s[SPR__TUNED_MOST];
    double unit_factor[SPR_RESOURCES_MAX]; /* core's unit -> the unit of the file */
    char *unit_name[SPR_RESOURCES_MAX];
};

/* Split a lead time: 60 % allocate, 40 % warm, both whole sub-steps when the lead is one. */
void spr__scenario_lead(struct spr_scenario *s, double lead_s);
/* Publish fleet and units; the spec may be finished afterwards. */
int spr__scenario_close(spr_scenario_file *f, struct spr__spec *spec);
/* Where a path written in a scenario leads: $SPR_DATA, beside the file, absolute. NULL: the error stands in d. */
char *spr__scenario_path(struct spr__doc *d, spr__node *at, const char *written, const struct spr_scenario_opts *o);
char *spr__scenario_map(struct spr__doc *d, spr__node *at, const struct spr_scenario_opts *o);

#endif
