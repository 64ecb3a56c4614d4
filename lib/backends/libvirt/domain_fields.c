/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Our own elements: attributes by table, read strictly, written without a word too much. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"

/* ---- numbers with a scale ---- */

static bool scale_of(const char *unit, bool bytes, double *scale) {
    static const char prefix[] = "kMGTP";
    if (!*unit || !strcmp(unit, bytes ? "B" : "bit/s"))
        return *scale = 1, true;
    const char *p = strchr(prefix, *unit == 'K' ? 'k' : *unit);
    if (!p)
        return false;
    bool binary = bytes && (!unit[1] || !strcmp(unit + 1, "iB"));
    if (unit[1] && strcmp(unit + 1, bytes ? "iB" : "bit/s") && !(bytes && !strcmp(unit + 1, "B")))
        return false;
    *scale = pow(binary ? 1024 : 1000, (double)(p - prefix + 1));
    return true;
}

/* The number that `text` begins with; what follows it goes to *rest. */
static bool number_before(const char *text, const char **rest, double *out) {
    char digits[40];
    size_t n = strspn(text, "0123456789.");
    if (!n || n >= sizeof digits)
        return false;
    memcpy(digits, text, n);
    digits[n] = 0;
    *rest = text + n;
    return lv_number_read(digits, out);
}

bool lv_scaled_read(const char *text, bool bytes, double *out) {
    const char *unit;
    double v, scale;
    if (lv_number_read(text, &v) && v >= 0)
        return *out = v, true; /* also 1e9 */
    if (!number_before(text, &unit, &v) || !scale_of(unit, bytes, &scale))
        return false;
    *out = v * scale;
    return true;
}

static bool seconds_read(const char *text, double *out) {
    const char *unit;
    double v;
    if (!number_before(text, &unit, &v))
        return false;
    double scale = !*unit || !strcmp(unit, "s") ? 1
                   : !strcmp(unit, "ms")        ? 1e-3
                   : !strcmp(unit, "m")         ? 60
                   : !strcmp(unit, "h")         ? 3600
                                                : 0;
    *out = v * scale;
    return scale > 0;
}

/* ---- numbers of ended pieces: "1-5,7" ---- */

static bool window_read(const char *text, struct lv_window *w) {
    struct lv_window made = {0};
    for (char part[44]; *text;) {
        size_t n = strcspn(text, ",");
        if (!n || n >= sizeof part)
            return false;
        memcpy(part, text, n);
        part[n] = 0;
        char *dash = strchr(part, '-');
        uint64_t first, last;
        if (dash)
            *dash = 0;
        if (!lv_u64_read(part, 10, &first) || !lv_u64_read(dash ? dash + 1 : part, 10, &last) ||
            first <= made.highest || last < first || last - first >= LV_WINDOW || last == UINT64_MAX)
            return false;
        for (uint64_t i = first; i <= last; i++)
            lv_window_add(&made, i);
        text += n;
        if (*text == ',' && !*++text)
            return false;
    }
    *w = made;
    return true;
}

static void window_text(const struct lv_window *w, char *out, size_t room) {
    size_t at = 0;
    uint64_t n = w->highest >= LV_WINDOW ? w->highest - LV_WINDOW + 1 : 1;
    for (; n <= w->highest; n++) {
        if (!lv_window_has(w, n))
            continue;
        uint64_t last = n;
        while (last < w->highest && lv_window_has(w, last + 1))
            last++;
        int k =
            snprintf(out + at, room - at, last > n ? "%s%" PRIu64 "-%" PRIu64 : "%s%" PRIu64, at ? "," : "", n, last);
        at += (size_t)k;
        n = last;
    }
    out[at] = 0;
}

/* ---- reading ---- */

static const struct lv_field *row_of(const struct lv_field *field, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (!strcmp(field[i].name, name))
            return &field[i];
    return NULL;
}

static bool named_read(const struct lv_name *names, const char *text, int32_t *out) {
    for (; names->text; names++)
        if (!strcmp(names->text, text))
            return *out = names->value, true;
    return false;
}

/* NULL: taken; else what it should have been. SPR_E_NOMEM through *code. */
static const char *take(const struct lv_field *f, const char *text, char *at, int *code) {
    uint64_t u;
    double v;
    switch (f->type) {
    case LV_F_ID:
    case LV_F_U64:
        if (!lv_u64_read(text, f->type == LV_F_ID ? 16 : 10, &u) || (f->type == LV_F_ID && !u))
            return f->type == LV_F_ID ? "a hexadecimal number above 0" : "a whole number";
        memcpy(at, &u, sizeof u);
        return NULL;
    case LV_F_I64:
        if (!lv_u64_read(text, 10, &u) || u > INT64_MAX)
            return "a whole number";
        memcpy(at, &u, sizeof u);
        return NULL;
    case LV_F_I32:
        if (!lv_number_read(text, &v) || v != floor(v) || fabs(v) > INT32_MAX)
            return "a whole number";
        *(int32_t *)(void *)at = (int32_t)v;
        return NULL;
    case LV_F_TEXT:
        lv_free(*(char **)(void *)at);
        if (!(*(char **)(void *)at = lv_strdup(text)))
            *code = SPR_E_NOMEM;
        return NULL;
    case LV_F_UUID:
        if (!lv_uuid_valid(text))
            return "a UUID";
        memcpy(at, text, LV_UUID);
        return NULL;
    case LV_F_NAMED:
        return named_read(f->names, text, (int32_t *)(void *)at) ? NULL : "one of its known words";
    case LV_F_WINDOW:
        return window_read(text, (struct lv_window *)(void *)at) ? NULL : "rising numbers and ranges";
    default:
        if (f->type == LV_F_SECONDS ? !seconds_read(text, &v) : !lv_number_read(text, &v) || v < 0)
            return f->type == LV_F_SECONDS ? "a time such as 30s or 5m" : "a number from 0";
        if (f->type == LV_F_SHARE && v > 1)
            return "a number from 0 to 1";
        memcpy(at, &v, sizeof v);
        return NULL;
    }
}

/* Name of a resource's attribute; countable ones by number. */
static void resource_name(int r, char out[32]) {
    struct spr_resource_info info = {.size = sizeof info};
    if (spr_resource_describe(r, &info) == SPR_OK)
        snprintf(out, 32, "%s", info.name);
    else
        snprintf(out, 32, "countable%d", r - SPR_RESOURCE_COUNTABLE);
}
static int resource_of(const char *name) {
    char known[32];
    for (int r = 0; r < SPR_RESOURCES_MAX; r++) {
        resource_name(r, known);
        if (!strcmp(known, name))
            return r;
    }
    return -1;
}

int lv_fields_read(const xmlNode *element, const char *what, const struct lv_field *field, size_t count, void *base,
                   struct spr_amounts *amounts, char why[LV_WHY]) {
    for (const xmlAttr *a = element->properties; a; a = a->next) {
        const char *name = (const char *)a->name, *text = a->ns ? NULL : lv_xml_attr(element, name), *wrong = NULL;
        const struct lv_field *f = row_of(field, count, name);
        int r = amounts ? resource_of(name) : -1, code = SPR_OK;
        double v;
        if (!f && r < 0)
            return lv_why(why, SPR_E_FORMAT, "%s: attribute '%s' is not known", what, name);
        if (!text)
            return lv_why(why, SPR_E_FORMAT, "%s: attribute '%s' cannot be read", what, name);
        if (f && f->type == LV_F_AMOUNT)
            wrong = lv_scaled_read(text, !!strstr(name, "memory"), (double *)(void *)((char *)base + f->at))
                        ? NULL
                        : "an amount such as 0.5, 96M or 10M";
        else if (f)
            wrong = take(f, text, (char *)base + f->at, &code);
        else if (!lv_number_read(text, &v) || v < 0)
            wrong = "a number from 0";
        else
            amounts->of[r] = v;
        if (code < 0)
            return lv_why(why, code, "%s: out of memory", what);
        if (wrong)
            return lv_why(why, SPR_E_FORMAT, "%s: attribute %s: '%.80s' is not %s", what, name, text, wrong);
    }
    for (size_t i = 0; i < count; i++)
        if (field[i].required && !lv_xml_attr(element, field[i].name))
            return lv_why(why, SPR_E_FORMAT, "%s: attribute '%s' is missing", what, field[i].name);
    return SPR_OK;
}

int lv_version_check(const xmlNode *element, const char *what, uint64_t version, char why[LV_WHY]) {
    const char *text = lv_xml_attr(element, "version");
    uint64_t v = version;
    if (text && (!lv_u64_read(text, 10, &v) || !v))
        return lv_why(why, SPR_E_FORMAT, "%s: attribute version: '%.80s' is not a whole number above 0", what, text);
    if (v > version)
        return lv_why(why, SPR_E_TOO_NEW,
                      "%s: version %" PRIu64 " was written by a newer libshardpredict (this one reads up to %" PRIu64
                      "): update this one",
                      what, v, version);
    return SPR_OK;
}

/* ---- writing ---- */

static const char *named_text(const struct lv_name *names, int32_t value) {
    while (names->text && names->value != value)
        names++;
    return names->text;
}

/* 1: written into `out`, 0: nothing to write, -1: it cannot be written. */
static int value_text(const struct lv_field *f, const char *at, char *out, size_t room, const char **text) {
    uint64_t u;
    double v;
    *text = out;
    switch (f->type) {
    case LV_F_ID:
    case LV_F_U64:
    case LV_F_I64:
        memcpy(&u, at, sizeof u);
        snprintf(out, room, f->type == LV_F_ID ? "%016" PRIx64 : "%" PRIu64, u);
        return f->type == LV_F_I64 && u > INT64_MAX ? -1 : u != 0;
    case LV_F_I32:
        snprintf(out, room, "%" PRIi32, *(const int32_t *)(const void *)at);
        return *(const int32_t *)(const void *)at != 0;
    case LV_F_TEXT:
        *text = *(char *const *)(const void *)at;
        return !*text ? 0 : lv_xml_fits(*text) ? 1 : -1;
    case LV_F_UUID:
        *text = at;
        return !*at ? 0 : lv_uuid_valid(at) ? 1 : -1;
    case LV_F_NAMED:
        *text = named_text(f->names, *(const int32_t *)(const void *)at);
        return *text ? 1 : -1;
    case LV_F_WINDOW:
        window_text((const struct lv_window *)(const void *)at, out, room);
        return *out != 0;
    default:
        memcpy(&v, at, sizeof v);
        if (!(v >= 0) || !isfinite(v) || (f->type == LV_F_SHARE && v > 1))
            return -1;
        lv_number_text(v, out);
        return v > 0;
    }
}

int lv_fields_write(struct lv_edit *e, xmlNode *element, const char *what, const struct lv_field *field, size_t count,
                    const void *base, char why[LV_WHY]) {
    char room[LV_WINDOW / 2 * 44]; /* a window of single numbers, the longest value there is */
    for (size_t i = 0; i < count; i++) {
        const char *text;
        int has = value_text(&field[i], (const char *)base + field[i].at, room, sizeof room, &text);
        if (has < 0 || (!has && field[i].required))
            return lv_why(why, SPR_E_ARG, "%s: '%s' %s", what, field[i].name,
                          has ? "cannot be written" : "is required");
        if (has)
            lv_xml_set(e, element, field[i].name, text);
    }
    return SPR_OK;
}

bool lv_amounts_write(struct lv_edit *e, xmlNode *element, const struct spr_amounts *a) {
    char name[32], text[32];
    bool any = false;
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (a->of[r] > 0) {
            resource_name(r, name);
            lv_number_text(a->of[r], text);
            lv_xml_set(e, element, name, text);
            any = true;
        }
    return any;
}
