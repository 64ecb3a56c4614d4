/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Calibration gates automation (promise 5). What was said of each host's total at the step in which a shard asked for
 * then would be ready is kept until that step has passed, and compared with what came. A host whose upper quantiles
 * cover too little, by a sequential test, gets advice only for new requests until they cover again; nothing is given
 * back because of it. doc/algorithms/calibration.md.
 */
#include "control/control.h"
#include "forecast/calibration.h"

struct spr__gate {
    spr_coverage *coverage;
    int64_t rows;
    int32_t ahead, levels; /* steps from the running one to the one that is judged */
    int64_t *said_step;    /* [slot] which step was spoken of, -1 = none */
    double *said;          /* [slot][row][level] */
    double *came;          /* [row] */
    bool *unseen;          /* [row] the running step misses a VM, or has a lower bound only */
    int64_t *since;        /* [row] step of the last change, -1 = never */
    uint8_t *under;        /* [row] gated */
};

static size_t said_each(const struct spr__gate *g) { return (size_t)g->rows * (size_t)g->levels; }

void spr__gate_destroy(spr_controller *c) {
    struct spr__gate *g = c->gate;
    if (!g)
        return;
    size_t n = (size_t)g->rows, slots = (size_t)g->ahead + 1;
    spr_coverage_destroy(g->coverage);
    spr__free(c->ctx, g->said_step, slots, sizeof *g->said_step);
    spr__free(c->ctx, g->said, slots * said_each(g), sizeof *g->said);
    spr__free(c->ctx, g->came, n, sizeof *g->came);
    spr__free(c->ctx, g->unseen, n, sizeof *g->unseen);
    spr__free(c->ctx, g->since, n, sizeof *g->since);
    spr__free(c->ctx, g->under, n, sizeof *g->under);
    spr__free(c->ctx, g, 1, sizeof *g);
    c->gate = NULL;
}

int spr__gate_start(spr_controller *c) {
    double reach = (c->plan_opts.lead_s + c->plan_opts.pre_s) / ((double)c->step_ns * 1e-9);
    if (c->gate || c->forecast_steps < 2)
        return SPR_OK;
    struct spr__gate *g = c->gate = spr__alloc(c->ctx, 1, sizeof *g);
    if (!g)
        return spr__nomem(c->ctx);
    g->rows = (int64_t)c->hosts * c->r;
    g->levels = c->forecast_level_count;
    g->ahead = (int32_t)SPR_MAX(1, SPR_MIN(ceil(reach), c->forecast_steps - 1));
    struct spr_coverage_opts o = {
        .size = sizeof o, .series = g->rows, .levels = c->forecast_levels, .level_count = g->levels, .lag = g->ahead};
    size_t n = (size_t)g->rows, slots = (size_t)g->ahead + 1;
    int rc = spr_coverage_create(c->ctx, &o, &g->coverage);
    if (rc == SPR_OK && (!(g->said_step = spr__alloc(c->ctx, slots, sizeof *g->said_step)) ||
                         !(g->said = spr__alloc(c->ctx, slots * said_each(g), sizeof *g->said)) ||
                         !(g->came = spr__alloc(c->ctx, n, sizeof *g->came)) ||
                         !(g->unseen = spr__alloc(c->ctx, n, sizeof *g->unseen)) ||
                         !(g->since = spr__alloc(c->ctx, n, sizeof *g->since)) ||
                         !(g->under = spr__alloc(c->ctx, n, sizeof *g->under))))
        rc = spr__nomem(c->ctx);
    if (rc < 0) {
        spr__gate_destroy(c);
        return rc;
    }
    for (size_t k = 0; k < slots; k++)
        g->said_step[k] = -1;
    for (size_t k = 0; k < n; k++)
        g->since[k] = -1;
    return SPR_OK;
}

/* Hosts keep their record by name; `was` still holds the old gate. */
void spr__gate_carry(spr_controller *c, spr_controller *was) {
    struct spr__gate *to = c->gate, *from = was->gate;
    for (int32_t h = 0; to && from && to->ahead == from->ahead && h < c->hosts; h++) {
        int32_t o = spr_fleet_find_host(was->inventory, c->inventory->inventory->hosts[h].id);
        for (int32_t i = 0; o >= 0 && i < c->r; i++) {
            int32_t j = was->inventory->inventory->slot[c->inventory->inventory->resource[i]];
            if (j < 0)
                continue;
            int64_t a = (int64_t)h * c->r + i, b = (int64_t)o * was->r + j;
            spr__coverage_carry(to->coverage, a, from->coverage, b);
            to->since[a] = from->since[b];
            to->under[a] = from->under[b];
        }
    }
}

/* The first forecast of a running step is the one that counts: what comes later knows more of it. */
void spr__gate_said(spr_controller *c, const spr_forecast *f) {
    struct spr__gate *g = c->gate;
    if (!g || spr_forecast_horizon(f) <= g->ahead || spr_forecast_count(f) != g->rows ||
        spr_forecast_level_count(f) != g->levels || spr_forecast_first_step(f) != c->running)
        return;
    size_t slot = (size_t)((c->running + g->ahead) % (g->ahead + 1)), K = (size_t)g->levels;
    size_t H = (size_t)spr_forecast_horizon(f);
    if (g->said_step[slot] == c->running + g->ahead)
        return;
    for (size_t k = 0; k < (size_t)g->rows; k++)
        memcpy(&g->said[slot * said_each(g) + k * K], spr_forecast_quantiles(f) + (k * H + (size_t)g->ahead) * K,
               K * sizeof(double));
    g->said_step[slot] = c->running + g->ahead;
}

/* A VM of this host was not seen, or only as a lower bound: what came is not known. */
void spr__gate_unseen(spr_controller *c, int64_t row) {
    if (c->gate)
        c->gate->unseen[row] = true;
}

static void note(spr_controller *c, int64_t row, int64_t step) {
    struct spr__gate *g = c->gate;
    bool under = spr__coverage_gated(g->coverage, row);
    if (under == (g->under[row] != 0))
        return;
    g->under[row] = under;
    g->since[row] = step;
    spr__log(c->ctx, SPR_LOG_WARN, "control", c->inventory->inventory->hosts[row / c->r].id,
             under ? "quantiles of its demand cover too little: new requests are advice until they cover again"
                   : "quantiles of its demand cover again: new requests are acted on");
}

int spr__gate_closed(spr_controller *c, int64_t step, const double *column) {
    struct spr__gate *g = c->gate;
    if (!g) /* memory was short, or nothing is forecast */
        return spr__gate_start(c);
    size_t slot = (size_t)(step % (g->ahead + 1));
    bool known = g->said_step[slot] == step;
    for (int64_t k = 0; k < g->rows; k++) {
        g->came[k] = known && !g->unseen[k] ? column[k] : NAN;
        g->unseen[k] = false;
    }
    int rc = spr_coverage_observe(g->coverage, g->came, &g->said[slot * said_each(g)]);
    for (int64_t k = 0; k < g->rows && rc == SPR_OK; k++)
        note(c, k, step);
    return rc;
}

const uint8_t *spr__gate_under(const spr_controller *c) { return c->gate ? c->gate->under : NULL; }

int spr_controller_calibration(const spr_controller *c, int32_t vm, int resource, double level,
                               struct spr_calibration *out) {
    if (!c)
        return SPR_E_ARG;
    int32_t i =
        c->inventory && resource >= 0 && resource < SPR_RESOURCES_MAX ? c->inventory->inventory->slot[resource] : -1;
    if (!out || !c->inventory || vm < 0 || vm >= c->vms || i < 0 || !(level > 0 && level < 1))
        return spr__fail(c->ctx, SPR_E_ARG, "spr_controller_calibration: VM, resource or level is not there");
    const struct spr__gate *g = c->gate;
    int32_t host = spr__fleet_vm_host(c->inventory, vm), best = 0;
    int64_t row = (int64_t)host * c->r + i;
    if (!g)
        return spr__fail(c->ctx, SPR_E_STATE, "nothing was forecast yet");
    for (int32_t k = 1; k < g->levels; k++)
        if (fabs(c->forecast_levels[k] - level) < fabs(c->forecast_levels[best] - level))
            best = k;
    struct spr_coverage_row r = {.size = sizeof r};
    int rc = spr_coverage_get(g->coverage, row, best, &r);
    if (rc < 0)
        return rc;
    struct spr_calibration all = {.size = sizeof all,
                                  .vm = vm,
                                  .host = host,
                                  .resource = resource,
                                  .gated = g->under[row],
                                  .level = r.level,
                                  .covered = r.covered,
                                  .recent = r.recent,
                                  .at_or_below = r.at_or_below,
                                  .evidence = r.evidence,
                                  .outcomes = r.outcomes,
                                  .since_wall_ns = g->since[row] < 0 ? -1 : (g->since[row] + 1) * c->step_ns};
    return spr__out_copy(out, &all, sizeof all);
}
