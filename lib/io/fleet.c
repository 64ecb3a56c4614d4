/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Fleet files around the VMs of a trace. */
#include "spec.h"

/* Resources that hosts offer and the trace measures. */
static uint32_t common_resources(const struct spr__spec *s, int64_t *rows) {
    uint32_t bits = 0;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        bool offered = false;
        for (size_t i = 0; i < s->host_count; i++)
            offered = offered || s->hosts[i].host.capacity.of[r] > 0;
        if (offered && spr__demand_rows(s->trace, r, rows) > 0)
            bits |= 1u << r;
    }
    return bits;
}

static int build(spr_context *ctx, struct spr__spec *s, spr_fleet **out) {
    size_t n = (size_t)spr_trace_vm_count(s->trace);
    int64_t *rows = spr_context_alloc(ctx, n * sizeof *rows);
    const spr_series *series = spr_trace_series(s->trace);
    struct spr_time now = {spr_series_origin_ns(series) + s->last * spr_series_step_ns(series),
                           s->last * spr_series_step_ns(series)};
    if (!rows)
        return spr__io_nomem(ctx);
    s->resources = common_resources(s, rows);
    spr_context_free(ctx, rows, n * sizeof *rows);
    if (!s->resources)
        return spr__io_fail(ctx, SPR_E_FORMAT, NULL, 0, 0, "the hosts offer nothing that the trace measures");
    return spr__spec_build(s, now, out);
}

int spr_fleet_read(spr_context *ctx, const char *path, const spr_trace *trace, int64_t first, int64_t last,
                   spr_fleet **out) {
    struct spr__doc d;
    struct spr__spec s;
    spr__node *root;
    if (!ctx)
        return SPR_E_ARG;
    if (!path || !*path || !trace || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_fleet_read: path, trace and output are required");
    if (first < 0 || last <= first || last > spr_series_steps(spr_trace_series(trace)))
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_fleet_read: steps [%lld, %lld) are not in the trace",
                            (long long)first, (long long)last);
    int rc = spr__doc_open(ctx, path, &d, &root);
    if (rc < 0)
        return rc;
    spr__spec_init(ctx, trace, &s);
    s.first = first;
    s.last = last;
    s.observe = true;
    s.seed = spr_context_seed(ctx);
    spr__doc_schema(&d, root);
    spr__spec_read(&d, root, &s);
    rc = d.rc < 0 ? d.rc : build(ctx, &s, out);
    spr__spec_finish(&s);
    spr__doc_close(&d);
    return rc;
}
