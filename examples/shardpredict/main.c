/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* shardpredict: profile, forecast, plan and replay fleets of virtual machines from the command line. */
#include <locale.h>
#include <string.h>

#include "tool.h"

const struct verb verbs[] = {
    {"generate", "write the trace of a made-up fleet", verb_generate},
    {"profile", "how each VM behaves: class, periods, bursts, peak windows", verb_profile},
    {"forecast", "quantiles of the steps after given origins", verb_forecast},
    {"train", "one model for all series of a trace, for --model of forecast and replay", verb_train},
    {"plan", "fleet and trace to a plan: what to hold where, and why", verb_plan},
    {"explain", "the why of one action of a plan", verb_explain},
    {"replay", "policies side by side over a trace, and the verdict", verb_replay},
    {"report", "the same as one HTML page", verb_report},
    {"router", "the data plane as a process, with a control socket", verb_router},
    {"doctor", "what this machine and this build can do", verb_doctor},
    {NULL, NULL, NULL},
};

static void help(FILE *to) {
    fprintf(to,
            "Usage: shardpredict VERB [OPTION...]\n\n"
            "Learns how each VM behaves, predicts when and how much it will outgrow its host, and shows what it is\n"
            "worth to hold slices of other hosts ready before that moment.\n\nVerbs:\n");
    for (const struct verb *v = verbs; v->name; v++)
        fprintf(to, "  %-10s %s\n", v->name, v->summary);
    fprintf(to,
            "\nshardpredict VERB --help tells more; shardpredict --version prints the version.\n"
            "Exit codes: 0 done, 1 failed, 2 usage, 3 done but limits broken, 4 nothing to do, 77 cannot run here.\n");
}

int main(int argc, const char **argv) {
    setlocale(LC_NUMERIC, "C"); /* numbers in files look the same everywhere */
    if (argc < 2) {
        help(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        help(stdout);
        return EXIT_DONE;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        printf("shardpredict %s\n", spr_version_string());
        return EXIT_DONE;
    }
    for (const struct verb *v = verbs; v->name; v++)
        if (!strcmp(argv[1], v->name))
            return v->run(argc - 1, argv + 1);
    fprintf(stderr, "shardpredict: no verb '%s'; shardpredict --help lists them\n", argv[1]);
    return EXIT_USAGE;
}
