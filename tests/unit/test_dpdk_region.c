/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory that outlives the router: found again, locked, refused with a reason; and kill -9 at any moment. */
#include "dpdk_flows.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "head.h"
#include "region.h"

static char folder[64], path[96];
static char why[DP_REGION_WHY];

static int make_folder(void **unused) {
    (void)unused;
    struct stat st;
    snprintf(folder, sizeof folder, "%s/spr-region-XXXXXX", stat("/dev/shm", &st) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/flows", folder);
    return 0;
}
static int remove_folder(void **unused) {
    (void)unused;
    unlink(path);
    return rmdir(folder);
}

static struct dp_region_spec spec_of(size_t bytes) {
    return (struct dp_region_spec){.directory = folder, .name = "flows", .bytes = bytes, .layout = 77};
}
static void opens(const struct dp_region_spec *spec, struct dp_region *r) {
    if (dp_region_open(spec, r, why) < 0)
        fail_msg("%s", why);
}
static void refuses(const struct dp_region_spec *spec, const char *what) {
    struct dp_region r, before;
    memset(&r, 0x5a, sizeof r);
    before = r;
    why[0] = 0;
    assert_int_equal(dp_region_open(spec, &r, why), -1);
    assert_memory_equal(&r, &before, sizeof r);
    if (!strstr(why, what))
        fail_msg("'%s' where '%s' was expected", why, what);
}

static void test_dpdk_region__is_found_again(void **unused) {
    (void)unused;
    struct dp_region_spec spec = spec_of(100000);
    struct dp_region r;
    opens(&spec, &r);
    assert_false(r.found);
    assert_int_equal((uintptr_t)r.memory % 4096, 0);
    assert_int_equal(r.bytes, 100000);
    for (size_t i = 0; i < r.bytes; i++)
        assert_int_equal(((char *)r.memory)[i], 0);
    strcpy(r.memory, "flows");
    dp_region_close(&r);
    opens(&spec, &r); /* its maker never said that it was ready */
    assert_false(r.found);
    strcpy(r.memory, "flows");
    dp_region_ready(&r);
    dp_region_close(&r);
    opens(&spec, &r);
    assert_true(r.found);
    assert_string_equal(r.memory, "flows");
    dp_region_close(&r);
    spec.fresh = true;
    opens(&spec, &r);
    assert_false(r.found);
    assert_int_equal(*(char *)r.memory, 0);
    dp_region_close(&r);
    assert_int_equal(dp_region_remove(folder, "flows"), 0);
    assert_int_equal(dp_region_remove(folder, "flows"), -1);
    assert_int_equal(errno, ENOENT);
}

static void test_dpdk_region__is_refused_with_a_reason(void **unused) {
    (void)unused;
    struct dp_region_spec spec = spec_of(100000), other = spec;
    struct dp_region r;
    struct stat st;
    opens(&spec, &r);
    strcpy(r.memory, "flows");
    dp_region_ready(&r);
    refuses(&spec, "in use by another process");
    dp_region_close(&r);
    other.bytes = 200000;
    refuses(&other, "are wanted");
    other = spec, other.layout++;
    refuses(&other, "laid out otherwise");
    other = spec, other.name = "../flows";
    refuses(&other, "is no name");
    other.name = NULL;
    refuses(&other, "is no name");
    other = spec, other.directory = "/nonexistent";
    refuses(&other, "No such file");
    other = spec, other.bytes = 0;
    refuses(&other, "cannot be");
    other = spec, other.bytes = SIZE_MAX;
    refuses(&other, "cannot be");
    other = spec, other.bytes = (size_t)1 << 60, other.fresh = true, other.name = "huge";
    refuses(&other, "no room");
    char huge[128];
    snprintf(huge, sizeof huge, "%s/huge", folder);
    assert_int_equal(stat(huge, &st), -1); /* and nothing is left of it */
    assert_int_equal(chmod(path, 0640), 0);
    refuses(&spec, "open to other users");
    assert_int_equal(chmod(path, 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 65534, 65534), 0);
        refuses(&spec, "open to other users");
        assert_int_equal(chown(path, 0, 0), 0);
    }
    char link_path[128];
    snprintf(link_path, sizeof link_path, "%s/link", folder);
    assert_int_equal(symlink(path, link_path), 0);
    other = spec, other.name = "link";
    refuses(&other, "symbolic links");
    assert_int_equal(unlink(link_path), 0);
    assert_int_equal(link(path, link_path), 0);
    refuses(&spec, "not a file of its own");
    assert_int_equal(unlink(link_path), 0);
    int fd = open(path, O_RDWR);
    uint8_t byte;
    for (unsigned at = 0; at < DP_HEAD_BYTES; at++) { /* any damage to the head; none at all once it is mended */
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        refuses(&spec, at < 8 ? "no header of ours" : "header is damaged");
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
    opens(&spec, &r);
    assert_true(r.found);
    assert_string_equal(r.memory, "flows");
    dp_region_close(&r);
    dp_region_remove(folder, "flows");
}

static void test_dpdk_region__without_a_file_it_is_ours_alone(void **unused) {
    (void)unused;
    struct dp_region_spec spec = {.bytes = 5000000};
    struct dp_region r;
    opens(&spec, &r);
    assert_false(r.found);
    assert_int_equal((uintptr_t)r.memory % 4096, 0);
    memset(r.memory, 1, r.bytes);
    dp_region_ready(&r);
    print_message("pages: %s\n", r.pages == DP_PAGES_HUGE          ? "huge"
                                 : r.pages == DP_PAGES_TRANSPARENT ? "transparent"
                                                                   : "small");
    dp_region_close(&r);
    assert_null(r.memory);
    dp_region_close(&r);
}

/* ---- kill -9 ---- */

/*
 * A child fills and empties a table in a region and says before and after each step what it does (in memory shared with
 * us). We kill it at any moment and look: every flow that it had finished to enter is there with its value, once; none
 * that it had finished to take out; the one under way may be both.
 */
enum { LOG2 = 5, CAPACITY = 5 << LOG2, UNIVERSE = CAPACITY + 40 };
struct diary {
    volatile uint32_t value[UNIVERSE]; /* what the table holds; 0 = not there */
    volatile uint32_t at, next;        /* flow under way + 1, 0 = none; the value it will have */
    volatile uint32_t steps;
};

static struct dp_region_spec table_spec(enum dp_flow_family family) {
    struct dp_region_spec spec = spec_of(dp_flow_bytes(family, LOG2));
    spec.layout = (uint64_t)family;
    return spec;
}

static void live(enum dp_flow_family family, struct diary *d, uint64_t state) {
    struct dp_region_spec spec = table_spec(family);
    struct dp_region r;
    struct flows f = {.family = family};
    const char *reason;
    char text[DP_REGION_WHY];
    if (dp_region_open(&spec, &r, text) < 0 ||
        dp_flow_open(r.memory, r.bytes, family, LOG2, !r.found, state, &f.table, &reason) < 0)
        _exit(3);
    dp_region_ready(&r);
    for (;;) {
        uint32_t k = (uint32_t)(flows_random(&state) % UNIVERSE), value, slot;
        uint64_t hash;
        flows_find(&f, &k, 1, &hash, &value, &slot);
        if (value != d->value[k])
            _exit(4);
        uint32_t next = !value || flows_random(&state) % 16 == 0 ? 1 + (uint32_t)(flows_random(&state) >> 40) : 0;
        if (value && !next && flows_random(&state) % 8) /* nearly full: flows have to move for others */
            continue;
        d->next = next;
        d->at = k + 1;
        if (!value)
            next = flows_insert(&f, k, hash, next) == UINT32_MAX ? 0 : next;
        else if (next)
            dp_flow_set(f.table, slot, next);
        else
            dp_flow_erase(f.table, slot);
        d->value[k] = next;
        d->at = 0;
        d->steps++;
    }
}

static void look(enum dp_flow_family family, struct diary *d) {
    struct dp_region_spec spec = table_spec(family);
    struct dp_region r;
    struct flows f = {.family = family};
    const char *reason = "";
    opens(&spec, &r);
    if (!r.found) { /* killed before it was ready */
        assert_int_equal(d->steps, 0);
        dp_region_close(&r);
        return;
    }
    if (dp_flow_open(r.memory, r.bytes, family, LOG2, false, 0, &f.table, &reason) < 0)
        fail_msg("%s", reason);
    uint32_t count = 0, slot;
    for (uint32_t k = 0; k < UNIVERSE; k++) {
        uint32_t value = flows_value(&f, k, &slot);
        if (d->at == k + 1)
            assert_true(value == d->value[k] || value == d->next);
        else
            assert_int_equal(value, d->value[k]);
        d->value[k] = value;
        count += value != 0;
    }
    assert_int_equal(dp_flow_count(f.table), count);
    d->at = 0;
    dp_flow_close(f.table);
    dp_region_close(&r);
}

static void kills(enum dp_flow_family family, unsigned times) {
    struct diary *d = mmap(NULL, sizeof *d, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(d != MAP_FAILED);
    uint64_t state = 99 + (uint64_t)family;
    unsigned under_way = 0;
    time_t end = time(NULL) + 8;
    unsigned i = 0;
    for (; i < times && (i < 50 || time(NULL) < end); i++) {
        if (i % 500 == 0) { /* the beginning is killed too */
            dp_region_remove(folder, "flows");
            memset(d, 0, sizeof *d);
        }
        uint32_t before = d->steps, some = (uint32_t)(flows_random(&state) % 2000);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            live(family, d, state | 1);
        int status = 0;
        bool gone = false;
        if (some % 8) /* else at once */
            for (struct timespec t = {0, 20000}; d->steps - before < some && !gone;) {
                gone = waitpid(child, &status, WNOHANG) != 0;
                nanosleep(&t, NULL);
            }
        if (!gone) {
            kill(child, SIGKILL);
            assert_int_equal(waitpid(child, &status, 0), child);
        }
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            fail_msg("the child ended by itself: status %x", (unsigned)status);
        under_way += d->at != 0;
        look(family, d);
    }
    print_message("%u kills, %u of them in the middle of a change\n", i, under_way);
    assert_true(under_way > 0);
    dp_region_remove(folder, "flows");
    munmap(d, sizeof *d);
}

static void test_dpdk_region__kill_9_leaves_flows_of_ip4_whole(void **unused) {
    (void)unused, kills(DP_FLOW_IP4, 2000);
}
static void test_dpdk_region__kill_9_leaves_flows_of_ip6_whole(void **unused) {
    (void)unused, kills(DP_FLOW_IP6, 2000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dpdk_region__is_found_again),
        cmocka_unit_test(test_dpdk_region__is_refused_with_a_reason),
        cmocka_unit_test(test_dpdk_region__without_a_file_it_is_ours_alone),
        cmocka_unit_test(test_dpdk_region__kill_9_leaves_flows_of_ip4_whole),
        cmocka_unit_test(test_dpdk_region__kill_9_leaves_flows_of_ip6_whole),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
