/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The flow table alone: bench_flow [SECONDS]. One thread; lines that begin with "flow" are for programs. With DPDK:
 * its rte_hash beside ours.
 */
#include <stdio.h>
#include <stdlib.h>

#include "router_flow.h"

#ifdef HAVE_DPDK
#include <rte_eal.h>

static int start(void) {
    static char *huge[] = {
        "bench_flow", "--in-memory", "--no-pci", "--no-telemetry", "--log-level=error", "--file-prefix=bench_flow",
        "-l0"};
    static char *small[] = {"bench_flow",
                            "--no-huge",
                            "-m",
                            "1600",
                            "--no-pci",
                            "--no-telemetry",
                            "--log-level=error",
                            "--file-prefix=bench_flow",
                            "-l0"};
    FILE *f = fopen("/proc/sys/vm/nr_hugepages", "r");
    int pages = 0;
    if (f && fscanf(f, "%d", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages >= 512 ? rte_eal_init(sizeof huge / sizeof *huge, huge)
                        : rte_eal_init(sizeof small / sizeof *small, small);
}
#endif

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    static const uint32_t sizes[] = {4096, 65536, 1 << 20, 8 << 20};
    static const int ips[] = {4, 6};
    struct router_flow_figures f;
    printf("     ip    flows  load B/flow | floor stream    hit   miss  insert  erase ns | hit / floor\n");
    for (int i = 0; i < 2; i++)
        for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            if (router_flow_measure(ips[i], sizes[s], seconds, &f) < 0)
                return fprintf(stderr, "no memory for %u flows\n", sizes[s]), 1;
            printf("flow %2d %8u  %.2f  %5.1f | %5.1f  %5.1f  %5.1f  %5.1f   %5.1f  %5.1f    | %.2f\n", ips[i],
                   sizes[s], f.load, f.bytes_per_flow, f.floor_ns, f.stream_ns, f.hit_ns, f.miss_ns, f.insert_ns,
                   f.erase_ns, f.over_floor);
            fflush(stdout);
        }
#ifdef HAVE_DPDK
    if (start() < 0)
        return printf("rte_hash: EAL does not start here\n"), 0;
    for (unsigned s = 2; s < sizeof sizes / sizeof *sizes; s++) {
        double theirs, ours;
        if (router_rte_hash_measure(sizes[s], seconds, &theirs, &ours) < 0)
            printf("rte_hash: no memory for %u flows\n", sizes[s]);
        else
            printf("rte_hash %8u: %.1f ns, ours %.1f: %.2f times faster\n", sizes[s], theirs, ours, theirs / ours);
    }
    rte_eal_cleanup();
#endif
    return 0;
}
