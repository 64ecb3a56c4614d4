/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Units that maps and side files may name. One core counts as 1000 MHz or 1000 MIPS, one KB as 1024 bytes. */
#include "map.h"

#define BIT(unit) (1u << (unit))
enum {
    ANY = BIT(SPR__UNIT_NONE) | BIT(SPR__UNIT_PERCENT) | BIT(SPR__UNIT_FRACTION),
    CPU = ANY | BIT(SPR__UNIT_CORES) | BIT(SPR__UNIT_MHZ) | BIT(SPR__UNIT_MIPS),
    MEMORY = ANY | BIT(SPR__UNIT_BYTES) | BIT(SPR__UNIT_KB) | BIT(SPR__UNIT_MB),
    RATE = ANY | BIT(SPR__UNIT_BIT_S) | BIT(SPR__UNIT_KB_S) | BIT(SPR__UNIT_BYTE_S),
};

static const char *const names[] = {
    [SPR__UNIT_NONE] = "none", [SPR__UNIT_CORES] = "cores",   [SPR__UNIT_PERCENT] = "percent_of_capacity",
    [SPR__UNIT_MHZ] = "MHz",   [SPR__UNIT_MIPS] = "MIPS",     [SPR__UNIT_BYTES] = "bytes",
    [SPR__UNIT_KB] = "KB",     [SPR__UNIT_MB] = "MB",         [SPR__UNIT_BIT_S] = "bit/s",
    [SPR__UNIT_KB_S] = "KB/s", [SPR__UNIT_BYTE_S] = "byte/s", [SPR__UNIT_FRACTION] = "fraction",
};

int spr__unit_find(const char *name) {
    for (size_t i = 0; i < SPR_ARRAY_LEN(names); i++)
        if (!strcmp(name, names[i]))
            return (int)i;
    return -1;
}

const char *spr__unit_name(int unit) { return names[unit]; }

const char *const *spr__unit_names(size_t *count) {
    *count = SPR_ARRAY_LEN(names);
    return names;
}

bool spr__unit_fits(int unit, int resource) {
    unsigned fits = resource == SPR_CPU          ? CPU
                    : resource == SPR_MEMORY     ? MEMORY
                    : resource <= SPR_DISK_WRITE ? RATE
                                                 : ~0u;
    return fits & BIT(unit);
}

double spr__unit_factor(int unit, int resource, double capacity) {
    double whole = capacity > 0 ? capacity : 1;
    bool bits = resource == SPR_NET_RX || resource == SPR_NET_TX; /* their unit is bit/s, the others' byte/s */
    switch (unit) {
    case SPR__UNIT_PERCENT:
        return whole / 100;
    case SPR__UNIT_FRACTION:
        return whole;
    case SPR__UNIT_MHZ:
    case SPR__UNIT_MIPS:
        return 1e-3;
    case SPR__UNIT_KB:
        return 1024;
    case SPR__UNIT_MB:
        return 1024 * 1024;
    case SPR__UNIT_BIT_S:
        return bits ? 1 : 1.0 / 8;
    case SPR__UNIT_BYTE_S:
        return bits ? 8 : 1;
    case SPR__UNIT_KB_S:
        return bits ? 8 * 1024 : 1024;
    default:
        return 1;
    }
}
