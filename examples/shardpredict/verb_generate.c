/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* shardpredict generate: a seeded fleet trace. */
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static const char about[] =
    "shardpredict generate writes the trace of a made-up fleet: CPU, memory, network and disk of every VM, every\n"
    "five minutes. It mixes steady, diurnal, weekly, bursting and chaotic VMs, scheduled jobs and events that hit\n"
    "several VMs at once. The same seed gives the same bytes. The trace is the tool's own form and needs no map.";
static const char epilogue[] =
    "Beside a trace that is a file, FILE.vms.csv tells size, class and replica policy of each VM.\n\n"
    "Example: a fleet of 60 VMs over three weeks, then what it is worth to hold shards for it on 6 hosts\n"
    "  shardpredict generate --vms 60 --days 21 --seed 11 --out fleet.csv\n"
    "  shardpredict replay --trace fleet.csv --hosts 6";

/* What was written, for programs. */
static void say_json(const struct spr_generate_opts *o) {
    printf("{\n \"schema\": 1,\n ");
    tool_json_text("trace", o->out);
    printf(",\n ");
    tool_json_text("truth", o->truth);
    printf(",\n \"vms\": %d,\n \"days\": %d,\n \"step_s\": 300,\n \"seed\": %llu,\n \"stationary\": %s\n}\n", o->vms,
           o->days, (unsigned long long)o->seed, o->stationary ? "true" : "false");
}

int verb_generate(int argc, const char **argv) {
    int vms = 200, days = 28, stationary = 0, json = 0;
    long long seed = 0;
    char *out = NULL, *truth = NULL;
    struct poptOption table[] = {
        {"vms", 'n', POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &vms, 0, "number of VMs", "N"},
        {"days", 'd', POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &days, 0, "length of the trace, days of 288 steps",
         "D"},
        {"seed", 's', POPT_ARG_LONGLONG | POPT_ARGFLAG_SHOW_DEFAULT, &seed, 0, "seed: same seed, same bytes", "S"},
        {"stationary", '\0', POPT_ARG_NONE, &stationary, 0, "noise around constant levels: no seasons, no bursts",
         NULL},
        {"out", 'o', POPT_ARG_STRING, &out, 0, "trace to write (required); - is standard output", "FILE"},
        {"truth", '\0', POPT_ARG_STRING, &truth, 0, "also write vm,class,period_s: what each VM was made to be",
         "FILE"},
        {"json", 'j', POPT_ARG_NONE, &json, 0, "say what was written as JSON on standard output", NULL},
        POPT_TABLEEND,
    };
    int rc = tool_options("generate", about, epilogue, table, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    if (!out)
        return tool_usage("generate", "--out FILE is required");
    if (vms < 1 || vms > 1000000)
        return tool_usage("generate", "--vms: %d is not between 1 and 1000000", vms);
    if (days < 1 || days > 3650)
        return tool_usage("generate", "--days: %d is not between 1 and 3650", days);
    if (json && (!strcmp(out, "-") || (truth && !strcmp(truth, "-"))))
        return tool_usage("generate", "--json: standard output is taken by %s", strcmp(out, "-") ? "--truth" : "--out");
    spr_context *ctx = tool_context((uint64_t)seed, 1);
    if (!ctx)
        return EXIT_FAILED;
    struct spr_generate_opts opts = {.size = sizeof opts,
                                     .vms = vms,
                                     .days = days,
                                     .seed = (uint64_t)seed,
                                     .stationary = stationary,
                                     .out = out,
                                     .truth = truth};
    rc = spr_generate(ctx, &opts);
    int code = rc < 0 ? tool_error(ctx, out) : EXIT_DONE;
    if (code == EXIT_DONE && json)
        say_json(&opts);
    tool_context_free(ctx);
    free(out), free(truth);
    return code;
}
