/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Early stopping (Prechelt 1998): while a net learns that does not see the tail, the tail is looked at now and then;
 * where its loss has clearly left its lowest for good, the net goes back there and ends from there.
 */
#include "forecast/train.h"

/*
 * Looks in a whole schedule, and minibatches between two of them at least; how many in a row above the lowest, and by
 * how much besides the usual wobble from look to look, say that more of it does harm; what is left of the schedule to
 * end in. In the first quarter, where the steps are longest, the loss may still come back.
 */
enum { LOOKS = 40, EVERY = 10, PATIENCE = 6, QUARTER = 4 };
static const double rise = 1.03, rest_share = .1;

int spr__train_stop_open(spr_context *ctx, const struct spr__train_data *data, const struct spr__train_plan *plan,
                         const struct spr__train_pool *pool, const struct spr__train_net *net, uint64_t seed,
                         struct spr__train_stop *s) {
    *s = (struct spr__train_stop){.setting = *pool->setting, .resumed = plan->resumed};
    s->setting.windows = SPR__TRAIN_WATCHED, s->setting.mixed = 0;
    int rc = spr__train_pool_tail(ctx, data, plan, &s->setting, pool, spr__mix64(seed), &s->pool);
    if (rc < 0)
        return rc == SPR_E_HISTORY ? SPR_OK : rc;
    s->floats = 3 * (size_t)net->count;
    s->best = spr__alloc(ctx, s->floats, sizeof *s->best);
    if (!s->best) {
        spr__train_stop_drop(ctx, s);
        return spr__nomem(ctx);
    }
    s->every = SPR_MAX(EVERY, net->schedule.whole / LOOKS);
    s->next = s->resumed ? 0 : spr__train_warm_up(net->schedule.whole);
    s->best_loss = INFINITY;
    return SPR_OK;
}

void spr__train_stop_drop(spr_context *ctx, struct spr__train_stop *s) {
    spr__train_pool_drop(ctx, &s->pool);
    spr__free(ctx, s->best, s->floats, sizeof *s->best);
    memset(s, 0, sizeof *s);
}

void spr__train_stop_at(struct spr__train_schedule *s, double share) {
    s->leave = share > 0 ? SPR_MAX(1, (int64_t)llround(share * (double)s->whole)) : 0;
    s->rest = s->leave ? SPR_MAX(1, SPR_MIN((int64_t)(rest_share * (double)s->whole), s->whole - s->leave)) : 0;
}

static void keep(struct spr__train_stop *s, const struct spr__train_net *net, double loss) {
    size_t bytes = (size_t)net->count * sizeof *s->best;
    memcpy(s->best, net->weights, bytes);
    memcpy(s->best + net->count, net->m, bytes);
    memcpy(s->best + 2 * net->count, net->v, bytes);
    s->best_loss = loss, s->best_at = net->iteration, s->above = 0;
}

static void go_back(struct spr__train_stop *s, struct spr__train_net *net) {
    size_t bytes = (size_t)net->count * sizeof *s->best;
    memcpy(net->weights, s->best, bytes);
    memcpy(net->m, s->best + net->count, bytes);
    memcpy(net->v, s->best + 2 * net->count, bytes);
    net->iteration = s->best_at;
    s->stopped = true;
    spr__train_stop_at(&net->schedule, (double)s->best_at / (double)net->schedule.whole);
}

bool spr__train_stop_look(spr_context *ctx, const double *levels, struct spr__train_net *net,
                          struct spr__train_stop *s) {
    bool end = net->iteration == net->schedule.whole;
    if (!s->best || s->stopped || (net->iteration < s->next && !end))
        return false;
    s->next = net->iteration + s->every;
    double loss = spr__train_net_watch(ctx, &s->pool, levels, net);
    s->wobble += s->looks++ ? fabs(loss - s->last) : 0, s->last = loss;
    if (loss < s->best_loss)
        keep(s, net, loss);
    else
        s->above = loss > rise * s->best_loss + s->wobble / s->looks ? s->above + 1 : 0;
    bool enough = s->above >= PATIENCE && net->iteration >= net->schedule.whole / QUARTER;
    if (!enough && !(end && s->above))
        return false;
    go_back(s, net);
    return true;
}
