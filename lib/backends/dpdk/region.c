/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "region.h"

#include "head.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { START = 4096, REGION_VERSION = 1, PATH_ROOM = 320 };
#define HUGE_PAGE ((size_t)2 << 20)

__attribute__((format(printf, 2, 3))) static int say(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, DP_REGION_WHY, format, args);
    va_end(args);
    return -1;
}

static size_t up(size_t n, size_t page) { return (n + page - 1) / page * page; }

static bool good_name(const char *name) {
    size_t n = name ? strlen(name) : 0;
    return n && n < 64 && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

/* ---- without a file ---- */

static int open_anonymous(const struct dp_region_spec *spec, struct dp_region *r, char *why) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    r->mapped = up(START + spec->bytes, HUGE_PAGE);
    r->pages = DP_PAGES_HUGE;
    void *at = mmap(NULL, r->mapped, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
    if (at == MAP_FAILED) {
        size_t more = r->mapped + HUGE_PAGE; /* pages can be joined where they begin at a multiple of theirs */
        char *all = mmap(NULL, more, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (all == MAP_FAILED)
            return say(why, "no memory for %zu bytes: %s", r->mapped, strerror(errno));
        size_t before = up((size_t)(uintptr_t)all, HUGE_PAGE) - (size_t)(uintptr_t)all;
        if (before)
            munmap(all, before);
        if (HUGE_PAGE - before)
            munmap(all + before + r->mapped, HUGE_PAGE - before);
        at = all + before;
        r->pages = madvise(at, r->mapped, MADV_HUGEPAGE) == 0 ? DP_PAGES_TRANSPARENT : DP_PAGES_SMALL;
    }
    r->memory = (char *)at + START;
    return 0;
}

/* ---- with a file ---- */

/* Ours alone, or not at all: whoever can put a file there could otherwise read or steer flows. */
static int check_file(int fd, const char *path, struct stat *st, char *why) {
    if (fstat(fd, st) < 0)
        return say(why, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st->st_mode) || st->st_nlink > 1)
        return say(why, "%s is not a file of its own", path);
    if (st->st_uid != geteuid() || st->st_mode & 077)
        return say(why, "%s is open to other users: take it away or mend its owner and mode (0600)", path);
    return 0;
}

/* The lock is on the file, not on its name: one that was taken away meanwhile is let go of and opened anew. */
static int open_locked(const char *path, struct stat *st, bool *made, char *why) {
    for (int tries = 0; tries < 100; tries++) {
        struct stat now;
        int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        *made = fd < 0 && errno == ENOENT;
        if (*made)
            fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 && errno == EEXIST && *made)
            continue;
        if (fd < 0)
            return say(why, "%s: %s", path, strerror(errno));
        if (check_file(fd, path, st, why) < 0) {
            close(fd);
            return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            int code = errno;
            close(fd);
            return code == EWOULDBLOCK ? say(why, "%s is in use by another process", path)
                                       : say(why, "%s: %s", path, strerror(code));
        }
        if (fstat(fd, st) == 0 && stat(path, &now) == 0 && now.st_ino == st->st_ino && now.st_dev == st->st_dev)
            return fd;
        close(fd);
    }
    return say(why, "%s is taken away again and again", path);
}

static int page_of(int fd, size_t *page, int32_t *pages) {
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return -1;
    bool huge = fs.f_type == (__typeof__(fs.f_type))HUGETLBFS_MAGIC;
    *page = huge ? (size_t)fs.f_bsize : START;
    *pages = huge ? DP_PAGES_HUGE : DP_PAGES_SMALL;
    return 0;
}

/* Memory is set aside here: a store into it must not fail later. */
static int allocate(int fd, const char *path, size_t bytes, char *why) {
    int code = 0;
    if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)bytes) < 0 || (code = posix_fallocate(fd, 0, (off_t)bytes))) {
        code = code ? code : errno;
        int undone = ftruncate(fd, 0);
        (void)undone; /* the first reason is the one to tell */
        return say(why, "%s: no room for %zu bytes (%s): more huge pages, a larger file system or smaller tables", path,
                   bytes, strerror(code));
    }
    return 0;
}

static int map_file(const struct dp_region_spec *spec, const char *path, off_t size, struct dp_region *r, char *why) {
    size_t page;
    uint64_t seed;
    if (page_of(r->fd, &page, &r->pages) < 0)
        return say(why, "%s: %s", path, strerror(errno));
    r->mapped = up(START + spec->bytes, page);
    bool empty = size == 0 || spec->fresh;
    if (!empty && (size_t)size != r->mapped)
        return say(why, "%s has %lld bytes, %zu are wanted: start afresh, or with the sizes it was made for", path,
                   (long long)size, r->mapped);
    if (empty && allocate(r->fd, path, r->mapped, why) < 0)
        return -1;
    void *at = mmap(NULL, r->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
    if (at == MAP_FAILED)
        return say(why, "%s: %zu bytes cannot be mapped: %s", path, r->mapped, strerror(errno));
    static const char none[8];
    r->memory = (char *)at + START;
    r->found = memcmp(at, none, sizeof none) != 0; /* no first word: its maker did not get to the end */
    const char *wrong =
        r->found ? dp_head_check(at, DP_HEAD_REGION, REGION_VERSION, r->mapped, spec->layout, &seed) : NULL;
    if (wrong) {
        munmap(at, r->mapped);
        return say(why, "%s: %s; start afresh, or with the program and sizes it was made for", path, wrong);
    }
    return 0;
}

static int open_file(const struct dp_region_spec *spec, struct dp_region *r, char *why) {
    char path[PATH_ROOM];
    struct stat st = {0};
    bool made = false;
    if (!good_name(spec->name))
        return say(why, "'%.64s' is no name of a region: letters, digits, '-', '_', '.'", spec->name ? spec->name : "");
    if ((size_t)snprintf(path, sizeof path, "%s/%s", spec->directory, spec->name) >= sizeof path)
        return say(why, "the path of the region is too long");
    r->fd = open_locked(path, &st, &made, why);
    if (r->fd < 0)
        return -1;
    if (map_file(spec, path, st.st_size, r, why) < 0) {
        if (made)
            unlink(path);
        close(r->fd);
        return -1;
    }
    return 0;
}

/* ---- both ---- */

int dp_region_open(const struct dp_region_spec *spec, struct dp_region *out, char why[DP_REGION_WHY]) {
    struct dp_region r = {.fd = -1, .bytes = spec->bytes, .layout = spec->layout};
    if (!spec->bytes || spec->bytes > SIZE_MAX / 4)
        return say(why, "a region of %zu bytes cannot be", spec->bytes);
    if ((spec->directory ? open_file : open_anonymous)(spec, &r, why) < 0)
        return -1;
    *out = r;
    return 0;
}

void dp_region_ready(struct dp_region *r) {
    dp_head_write((char *)r->memory - START, DP_HEAD_REGION, REGION_VERSION, r->mapped, r->layout, 0);
}

void dp_region_close(struct dp_region *r) {
    if (r->memory)
        munmap((char *)r->memory - START, r->mapped);
    if (r->fd >= 0)
        close(r->fd);
    *r = (struct dp_region){.fd = -1};
}

int dp_region_remove(const char *directory, const char *name) {
    char path[PATH_ROOM];
    if (!good_name(name) || (size_t)snprintf(path, sizeof path, "%s/%s", directory, name) >= sizeof path) {
        errno = EINVAL;
        return -1;
    }
    return unlink(path);
}
