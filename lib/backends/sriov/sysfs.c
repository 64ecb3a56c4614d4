/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Small files and links below the folder of sysfs. Nothing here trusts what it reads: a recorded tree may be anything.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sriov.h"

static bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

static bool hex_digits(const char **at, int least, int most) {
    int n = 0;
    while (n < most && is_hex(**at))
        n++, (*at)++;
    return n >= least;
}

/* Domains of some controllers have more than four digits. */
bool sv_address_ok(const char *text) {
    const char *at = text;
    return hex_digits(&at, 4, 8) && *at++ == ':' && hex_digits(&at, 2, 2) && *at++ == ':' && hex_digits(&at, 2, 2) &&
           *at++ == '.' && *at >= '0' && *at <= '7' && !at[1] && strlen(text) < SPR_SRIOV_ADDRESS;
}

bool sv_name_ok(const char *text) {
    size_t n = strlen(text);
    if (!n || n >= SPR_SRIOV_NAME || text[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] > '~' || text[i] == '/' || text[i] == '=')
            return false;
    return true;
}

static bool path_of(const struct spr_sriov *s, char path[SV_PATH], const char *format, va_list args) {
    int n = snprintf(path, SV_PATH, "%s/", s->sysfs);
    if (n < 0 || n >= SV_PATH)
        return false;
    int k = vsnprintf(path + n, (size_t)(SV_PATH - n), format, args);
    return k >= 0 && k < SV_PATH - n;
}

static bool read_path(const char *path, char *out, size_t room) {
    char text[256];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return false;
    text[n] = 0;
    size_t length = strcspn(text, "\n");
    text[length] = 0;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~')
            return false;
    if (length >= room)
        return false;
    memcpy(out, text, length + 1);
    return true;
}

bool sv_read(const struct spr_sriov *s, char *out, size_t room, const char *format, ...) {
    char path[SV_PATH];
    va_list args;
    va_start(args, format);
    bool fits = path_of(s, path, format, args);
    va_end(args);
    return fits && read_path(path, out, room);
}

bool sv_number(const struct spr_sriov *s, int64_t *out, const char *format, ...) {
    char path[SV_PATH], text[32], *end;
    va_list args;
    va_start(args, format);
    bool fits = path_of(s, path, format, args);
    va_end(args);
    if (!fits || !read_path(path, text, sizeof text) || strlen(text) > 18)
        return false;
    bool hex = text[0] == '0' && text[1] == 'x';
    if (!hex && !(text[0] >= '0' && text[0] <= '9') && !(text[0] == '-' && text[1] >= '0' && text[1] <= '9'))
        return false;
    long long x = strtoll(hex ? text + 2 : text, &end, hex ? 16 : 10);
    if (*end)
        return false;
    *out = x;
    return true;
}

bool sv_link(const struct spr_sriov *s, char *out, size_t room, const char *format, ...) {
    char path[SV_PATH], target[SV_PATH];
    va_list args;
    va_start(args, format);
    bool fits = path_of(s, path, format, args);
    va_end(args);
    ssize_t n = fits ? readlink(path, target, sizeof target - 1) : -1;
    if (n <= 0)
        return false;
    target[n] = 0;
    const char *slash = strrchr(target, '/'), *last = slash ? slash + 1 : target;
    if (!*last || strlen(last) >= room)
        return false;
    memcpy(out, last, strlen(last) + 1);
    return true;
}

bool sv_exists(const struct spr_sriov *s, const char *format, ...) {
    char path[SV_PATH];
    va_list args;
    va_start(args, format);
    bool fits = path_of(s, path, format, args);
    va_end(args);
    return fits && !access(path, F_OK);
}

int sv_folder(const struct spr_sriov *s, int (*each)(void *user, const char *name), void *user, const char *format,
              ...) {
    char path[SV_PATH];
    va_list args;
    va_start(args, format);
    bool fits = path_of(s, path, format, args);
    va_end(args);
    DIR *folder = fits ? opendir(path) : NULL;
    if (!folder)
        return -1;
    int rc = 0;
    for (struct dirent *e; !rc && (e = readdir(folder));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            rc = each(user, e->d_name);
    closedir(folder);
    return rc;
}
