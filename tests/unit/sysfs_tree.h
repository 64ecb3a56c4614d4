/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A recorded sysfs (tests/dpdk/sriov/record.sh) as a folder: lines "d PATH", "l PATH TARGET", "f PATH TEXT". The fuzz
 * target gives it any bytes, so a path may not leave the folder and a link may not lead out of it.
 */
#ifndef TESTS_UNIT_SYSFS_TREE_H
#define TESTS_UNIT_SYSFS_TREE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TREE_PATH 1024

static inline bool tree_inside(const char *path) {
    size_t n = strlen(path);
    return n && n < 400 && path[0] != '/' && !strstr(path, "..") && !strstr(path, "//");
}

/* Relative, and never above the folder of the tree. */
static inline bool tree_target_inside(const char *name, const char *target) {
    size_t depth = 0, up = 0;
    for (const char *at = name; *at; at++)
        depth += *at == '/';
    while (!strncmp(target, "../", 3))
        target += 3, up++;
    return up <= depth && tree_inside(target);
}

/* Folders above a path, made. A symbolic link on the way is not followed: nothing is made outside. */
static inline bool tree_parents(char *path, size_t from) {
    struct stat st;
    for (char *at = path + from; (at = strchr(at, '/')); at++) {
        *at = 0;
        bool made = !mkdir(path, 0700) || (!lstat(path, &st) && S_ISDIR(st.st_mode));
        *at = '/';
        if (!made)
            return false;
    }
    return true;
}

static inline void tree_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (write(fd, text, strlen(text)) < 0 || write(fd, "\n", 1) < 0)
        abort();
    close(fd);
}

static inline void tree_line(const char *root, char *line) {
    char path[TREE_PATH];
    char *name = line + 2, *rest;
    if (strlen(line) < 3 || line[1] != ' ')
        return;
    rest = strchr(name, ' ');
    if (rest)
        *rest++ = 0;
    if (!tree_inside(name))
        return;
    snprintf(path, sizeof path, "%s/%s", root, name);
    if (!tree_parents(path, strlen(root) + 1))
        return;
    if (line[0] == 'd')
        mkdir(path, 0700);
    else if (line[0] == 'f')
        tree_file(path, rest ? rest : "");
    else if (line[0] == 'l' && rest && tree_target_inside(name, rest) && symlink(rest, path) < 0)
        return; /* it is there already */
}

/* Folder made anew in /tmp with what the text says; `text` is cut up. */
static inline void tree_unfold(char *text, char root[64]) {
    strcpy(root, "/tmp/spr-sysfs-XXXXXX");
    if (!mkdtemp(root))
        abort();
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
        tree_line(root, line);
}

static inline int tree_remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}
static inline void tree_remove(const char *root) { nftw(root, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static inline char *tree_read(const char *path) {
    FILE *f = fopen(path, "re");
    char *text = calloc(1, 65536);
    if (!f || !text || !fread(text, 1, 65535, f))
        abort();
    fclose(f);
    return text;
}

/* The recorded guest: two cards (0000:01:00.0 eth0, 0000:02:00.0 eth1), three VFs each, an IOMMU, vfio-pci. */
static inline void tree_igb(char root[64]) {
    char path[TREE_PATH];
    const char *source = getenv("SPR_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/dpdk/sriov/igb.txt", source ? source : ".");
    char *text = tree_read(path);
    tree_unfold(text, root);
    free(text);
}

#endif
