/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Who is there changed: what is known of VMs and hosts is carried over by name. */
#include "control/control.h"

/* Where each new VM or host stood before; -1 = it is new. */
static int32_t old_vm(const spr_fleet *old, const spr_fleet *now, int32_t v) {
    return old ? spr_fleet_find_vm(old, now->inventory->vms[v].id) : -1;
}
static int32_t old_host(const spr_fleet *old, const spr_fleet *now, int32_t h) {
    return old ? spr_fleet_find_host(old, now->inventory->hosts[h].id) : -1;
}

static void carry_vms(spr_controller *c, const spr_controller *was, const spr_fleet *now) {
    struct demand *to = &c->demand;
    const struct demand *from = &was->demand;
    for (int32_t v = 0; v < c->vms; v++) {
        int32_t o = old_vm(was->inventory, now, v);
        if (o < 0)
            continue;
        to->censored[v] = from->censored[o];
        to->seen_mono_ns[v] = from->seen_mono_ns[o];
        for (int32_t i = 0; i < c->r; i++) {
            int32_t j = was->inventory->inventory->slot[now->inventory->resource[i]];
            if (j < 0)
                continue;
            size_t a = (size_t)v * (size_t)c->r + (size_t)i, b = (size_t)o * (size_t)was->r + (size_t)j;
            size_t n = (size_t)c->vms * (size_t)c->r, m = (size_t)was->vms * (size_t)was->r;
            to->now[a] = from->now[b];
            to->served[a] = from->served[b];
            to->sum[a] = from->sum[b];
            to->weight_s[a] = from->weight_s[b];
            to->uncensored[a] = from->uncensored[b];
            to->mean_hour[a] = from->mean_hour[b];
            for (int32_t s = 0; s < to->hour_slots; s++)
                to->hour[(size_t)s * n + a] = from->hour[(size_t)s * m + b];
        }
    }
    to->hour_count = from->hour_count;
    to->hour_next = from->hour_next;
}

static void lower(struct totals *t, int64_t row, double level) {
    double *y = &t->data[row * t->room];
    for (int64_t k = 0; k < t->count; k++)
        y[k] = fmax(0, y[k] - level);
}

/* A host's past stays its own; VMs that moved or are gone shift its level by what they used in the last hour. */
static void carry_totals(spr_controller *c, const spr_controller *was, const spr_fleet *now) {
    struct totals *to = &c->totals;
    const struct totals *from = &was->totals;
    to->count = from->count;
    to->first_step = from->first_step;
    for (int32_t h = 0; h < c->hosts; h++) {
        int32_t o = old_host(was->inventory, now, h);
        for (int32_t i = 0; i < c->r; i++) {
            int32_t j = was->inventory->inventory->slot[now->inventory->resource[i]];
            if (o < 0 || j < 0)
                continue;
            memcpy(&to->data[(h * c->r + i) * to->room], &from->data[(o * was->r + j) * from->room + from->first],
                   (size_t)from->count * sizeof(double));
        }
    }
    for (int32_t o = 0; o < was->vms; o++) { /* those that are gone */
        int32_t left = spr__fleet_vm_host(was->inventory, o);
        int32_t h = spr_fleet_find_host(now, was->inventory->inventory->hosts[left].id);
        if (h < 0 || spr_fleet_find_vm(now, was->inventory->inventory->vms[o].id) >= 0)
            continue;
        for (int32_t i = 0; i < c->r; i++) {
            int32_t j = was->inventory->inventory->slot[now->inventory->resource[i]];
            if (j >= 0)
                lower(to, (int64_t)h * c->r + i, was->demand.mean_hour[(size_t)o * (size_t)was->r + (size_t)j]);
        }
    }
    for (int32_t v = 0; v < c->vms; v++) {
        int32_t o = old_vm(was->inventory, now, v), h = spr__fleet_vm_host(now, v);
        int32_t left = o < 0 ? -1 : spr__fleet_vm_host(was->inventory, o);
        int32_t came_from = left < 0 ? -1 : spr_fleet_find_host(now, was->inventory->inventory->hosts[left].id);
        if (o < 0 || came_from == h)
            continue;
        for (int32_t i = 0; i < c->r; i++) {
            double level = c->demand.mean_hour[(size_t)v * (size_t)c->r + (size_t)i];
            for (int64_t t = 0; t < to->count; t++)
                to->data[(h * c->r + i) * to->room + t] += level;
            if (came_from >= 0)
                lower(to, (int64_t)came_from * c->r + i, level);
        }
    }
}

int spr__inventory_changed(spr_controller *c, spr_fleet *inventory) {
    spr_controller was = *c; /* the old arrays, until everything is carried over */
    memset(&c->demand, 0, sizeof c->demand);
    memset(&c->totals, 0, sizeof c->totals);
    c->column = NULL;
    c->gate = NULL;
    c->classes = NULL;
    int rc = spr__demand_init(c, inventory);
    if (rc < 0) { /* keep what was there */
        spr__demand_finish(c);
        c->demand = was.demand, c->totals = was.totals, c->column = was.column, c->gate = was.gate;
        c->classes = was.classes;
        c->hosts = was.hosts, c->vms = was.vms, c->r = was.r, c->running = was.running;
        return rc;
    }
    if (was.inventory) {
        carry_vms(c, &was, inventory);
        carry_totals(c, &was, inventory);
        c->running = was.running;
        spr__log(c->ctx, SPR_LOG_NOTE, "control", NULL, "the inventory changed: %d hosts, %d VMs", c->hosts, c->vms);
    }
    spr__joint_destroy(c); /* it knew the VMs by their old places */
    c->inventory = inventory;
    if (was.inventory)
        spr__classes_carry(c, &was);
    if (was.gate && (rc = spr__gate_start(c)) == SPR_OK)
        spr__gate_carry(c, &was);
    int steers = spr__steer_start(c, was.inventory);
    rc = rc < 0 ? rc : steers;
    spr__gate_destroy(&was);
    spr__demand_finish(&was);
    spr_fleet_unref(was.inventory);
    spr_fleet_unref(was.fleet);
    c->fleet = spr_fleet_ref(inventory);
    c->changed = true;
    spr_forecast_unref(c->forecast); /* its rows are the hosts of before */
    c->forecast = NULL;
    int started = spr__forecaster_start(c);
    return rc < 0 ? rc : started;
}
