/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Plans as JSON: doc/schema/plan.json. */
#include "json.h"

/* Keys by which the formats name amounts: those of the fleet's hosts. */
static const char *const amount_keys[] = {
    [SPR_CPU] = "cpu_cores",     [SPR_MEMORY] = "memory_bytes",     [SPR_NET_RX] = "net_rx_bps",
    [SPR_NET_TX] = "net_tx_bps", [SPR_DISK_READ] = "disk_read_Bps", [SPR_DISK_WRITE] = "disk_write_Bps",
};

static const char *resource_name(int resource) {
    struct spr_resource_info info = {.size = sizeof info};
    return spr_resource_describe(resource, &info) < 0 ? NULL : info.name;
}

static const char *host_name(const spr_fleet *f, int32_t host, struct spr_host *h) {
    *h = (struct spr_host){.size = sizeof *h};
    return spr_fleet_host(f, host, h) < 0 ? NULL : h->id;
}

static const char *vm_name(const spr_fleet *f, int32_t vm, struct spr_vm *v) {
    *v = (struct spr_vm){.size = sizeof *v};
    return spr_fleet_vm(f, vm, v) < 0 ? NULL : v->id;
}

static void write_amounts(struct spr__json *j, const spr_fleet *f, const struct spr_amounts *a) {
    char key[24];
    spr__json_open(j, "resources", '{');
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        if (!(spr_fleet_resources(f) >> r & 1))
            continue;
        snprintf(key, sizeof key, "countable_%d", r - SPR_RESOURCE_COUNTABLE);
        spr__json_number(j, r < SPR_RESOURCE_COUNTABLE ? amount_keys[r] : key, a->of[r]);
    }
    if (spr_fleet_resources(f) & (1u << SPR_NET_RX | 1u << SPR_NET_TX)) /* both ways, as the ledger's net */
        spr__json_number(j, "net_bps", a->of[SPR_NET_RX] + a->of[SPR_NET_TX]);
    spr__json_close(j, '}');
}

static void write_shard_id(struct spr__json *j, const char *key, uint64_t id) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    spr__json_text(j, key, id ? text : NULL);
}

/* What would break without the action: host, resource, its limit and what is expected there. */
static void write_constraint(struct spr__json *j, const spr_fleet *f, const struct spr_action *a) {
    struct spr_host h;
    if (a->constraint_host < 0) {
        spr__json_null(j, "constraint");
        return;
    }
    spr__json_open(j, "constraint", '{');
    spr__json_text(j, "host", host_name(f, a->constraint_host, &h));
    spr__json_text(j, "resource", resource_name(a->resource));
    spr__json_number(j, "limit", a->threshold);
    spr__json_number(j, "forecast", a->forecast);
    spr__json_number(j, "quantile", a->quantile);
    spr__json_close(j, '}');
}

/* How it waits warm; absent where the action says nothing of it. */
static void write_wait(struct spr__json *j, const spr_plan *plan, int32_t index, const struct spr_action *a) {
    char text[160] = "";
    if (spr_plan_wait_text(plan, index, text, sizeof text) < 0 || !text[0])
        return;
    spr__json_open(j, "wait", '{');
    spr__json_text(j, "state", spr_warm_state_name(a->warm));
    if (a->warm != SPR_WARM_ANY) {
        spr__json_integer(j, "wake_ns", a->wake_mono_ns);
        spr__json_integer(j, "need_ns", a->need_mono_ns);
        if (a->resume_s > 0)
            spr__json_number(j, "resume_s", a->resume_s);
        else
            spr__json_null(j, "resume_s");
    }
    spr__json_text(j, "text", text);
    spr__json_close(j, '}');
}

static void write_action(struct spr__json *j, const spr_plan *plan, int32_t index, const struct spr_action *a) {
    const spr_fleet *f = spr_plan_fleet(plan);
    struct spr_host h;
    struct spr_vm v;
    spr__json_open(j, NULL, '{');
    spr__json_integer(j, "id", (int64_t)a->id);
    spr__json_text(j, "kind", spr_action_kind_name(a->kind));
    spr__json_text(j, "vm", vm_name(f, a->vm, &v));
    write_shard_id(j, "shard", a->shard);
    spr__json_text(j, "host", host_name(f, a->host, &h));
    if (a->into)
        write_shard_id(j, "into", a->into);
    write_amounts(j, f, &a->amounts);
    spr__json_integer(j, "due_ns", a->due_mono_ns);
    spr__json_integer(j, "deadline_ns", a->deadline_mono_ns);
    spr__json_number(j, "quantile", a->quantile);
    spr__json_open(j, "because", '{');
    spr__json_text(j, "code", spr_because_code(a->because));
    spr__json_text(j, "text", spr_because_text(a->because));
    write_constraint(j, f, a);
    spr__json_close(j, '}');
    if (a->held_back) {
        spr__json_open(j, "held_back", '{');
        spr__json_text(j, "code", spr_because_code(a->held_back));
        spr__json_text(j, "text", spr_because_text(a->held_back));
        spr__json_close(j, '}');
    }
    write_wait(j, plan, index, a);
    spr__json_number(j, "cost", a->cost);
    spr__json_number(j, "worth", a->worth);
    spr__json_text(j, "precondition", a->precondition < 0 ? "none" : spr_shard_state_name(a->precondition));
    spr__json_text(j, "inverse", a->inverse ? spr_action_kind_name(a->inverse) : NULL);
    spr__json_close(j, '}');
}

static void write_infeasible(struct spr__json *j, const spr_fleet *f, const struct spr_infeasible *x) {
    struct spr_host h;
    struct spr_vm v;
    spr__json_open(j, NULL, '{');
    spr__json_text(j, "vm", x->vm < 0 ? NULL : vm_name(f, x->vm, &v));
    spr__json_text(j, "host", x->host < 0 ? NULL : host_name(f, x->host, &h));
    spr__json_open(j, "window", '{');
    spr__json_integer(j, "from_ns", x->from_mono_ns);
    spr__json_integer(j, "to_ns", x->to_mono_ns);
    spr__json_close(j, '}');
    spr__json_text(j, "resource", resource_name(x->resource));
    spr__json_number(j, "amount", x->amount);
    spr__json_open(j, "because", '{');
    spr__json_text(j, "code", spr_because_code(x->because));
    spr__json_text(j, "text", x->text ? x->text : spr_because_text(x->because));
    spr__json_close(j, '}');
    spr__json_close(j, '}');
}

int spr_plan_write(spr_context *ctx, const spr_plan *plan, uint64_t fence, spr_output *out) {
    struct spr__json j = {.out = out};
    if (!ctx)
        return SPR_E_ARG;
    if (!plan || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_plan_write: a plan and an output are required");
    const spr_fleet *f = spr_plan_fleet(plan);
    spr__json_open(&j, NULL, '{');
    spr__json_integer(&j, "schema", 1);
    spr__json_integer(&j, "fence", (int64_t)fence);
    spr__json_integer(&j, "fleet_id", (int64_t)spr_fleet_id(f));
    spr__json_integer(&j, "made_at_ns", spr_fleet_time(f).wall_ns);
    spr__json_open(&j, "actions", '[');
    for (int32_t i = 0; i < spr_plan_action_count(plan); i++) {
        struct spr_action a = {.size = sizeof a};
        if (spr_plan_action(plan, i, &a) >= 0)
            write_action(&j, plan, i, &a);
    }
    spr__json_close(&j, ']');
    spr__json_open(&j, "infeasible", '[');
    for (int32_t i = 0; i < spr_plan_infeasible_count(plan); i++) {
        struct spr_infeasible x = {.size = sizeof x};
        if (spr_plan_infeasible(plan, i, &x) >= 0)
            write_infeasible(&j, f, &x);
    }
    spr__json_close(&j, ']');
    spr__json_close(&j, '}');
    spr__json_end(&j);
    return SPR_OK;
}
