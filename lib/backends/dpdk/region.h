/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Memory for flow tables. Named: a file in a hugetlbfs or tmpfs directory that outlives the process, so that the next
 * one goes on with the flows; locked while somebody uses it, open to its owner only. Without a directory: memory of
 * this process alone, in huge pages where there are some, else in pages that the kernel may join.
 */
#ifndef SPR_DPDK_REGION_H
#define SPR_DPDK_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dp_region_pages {
    DP_PAGES_SMALL,       /* a file that is not on hugetlbfs, or a kernel that joins none */
    DP_PAGES_TRANSPARENT, /* asked for, given as there are */
    DP_PAGES_HUGE
};
struct dp_region_spec {
    const char *directory; /* NULL: no file */
    const char *name;      /* of the file in it: letters, digits, '-', '_', '.', not first; at most 63 */
    size_t bytes;          /* wanted, all tables together */
    uint64_t layout;       /* what the caller's arrangement is told from others by: lcores, sizes */
    bool fresh;            /* do not go on with what is there */
};
struct dp_region {
    void *memory; /* aligned to 4096; zero where it is new */
    size_t bytes;
    bool found;    /* holds what a process before left: dp_region_ready was called for it */
    int32_t pages; /* ::dp_region_pages */
    uint64_t layout;
    size_t mapped; /* of the mapping, which begins with a head */
    int fd;        /* holds the lock; -1: no file */
    int32_t pad;
};
enum { DP_REGION_WHY = 512 };

/*
 * @return 0, or -1 and why: in use, of another size, layout, version or owner, damaged, no memory. Nothing is changed
 * then: say `fresh` to overwrite what is there. One whose maker died before dp_region_ready counts as new.
 */
int dp_region_open(const struct dp_region_spec *spec, struct dp_region *out, char why[DP_REGION_WHY]);
/* The caller has made its tables in it: from now on it can be found. */
void dp_region_ready(struct dp_region *r);
/* Leaves a file and what is in it. */
void dp_region_close(struct dp_region *r);
/* Take the file away; processes that use it keep their memory. @return 0, or -1 with errno */
int dp_region_remove(const char *directory, const char *name);

#endif
