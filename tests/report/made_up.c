/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Writes the report of a made-up replay for the browser: made_up OUT [VMS HOSTS STEPS]. */
#include "../unit/report_fake.h"

static const char *name_of(int v) {
    static char text[64];
    snprintf(text, sizeof text,
             v % 7 == 0   ? "<script>alert(%d)</script>x"
             : v % 7 == 1 ? "</script><b>%d'\"&"
                          : "vm%d",
             v);
    return text;
}

int main(int argc, char **argv) {
    static const double cost[] = {1118, 1359, 503, 459.7, 455.8, 432.8};
    int vms = argc > 2 ? atoi(argv[2]) : 250, hosts = argc > 3 ? atoi(argv[3]) : 20;
    int64_t steps = argc > 4 ? atoll(argv[4]) : 8640;
    struct spr_verdict v = fake_verdict(cost, 0x3f);
    struct spr_scenario_file s;
    spr_context *ctx = NULL;
    spr_report *r = NULL;
    spr_output *out = NULL;
    if (argc < 2 || spr_context_create(NULL, &ctx) < 0)
        return 2;
    int rc = fake_scenario(ctx, vms, hosts, steps, name_of, &s);
    rc = rc < 0 ? rc : spr_report_create(ctx, &s, &r);
    rc = rc < 0 ? rc : fake_run(r, &s, vms, hosts);
    rc = rc < 0 ? rc : spr_output_create(ctx, argv[1], &out);
    rc = rc < 0 ? rc : spr_report_write(r, &v, out);
    if (rc >= 0)
        rc = spr_output_commit(out);
    else
        spr_output_discard(out);
    spr_report_destroy(r);
    fake_scenario_finish(&s);
    spr_context_unref(ctx);
    return rc < 0;
}
