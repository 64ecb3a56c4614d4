/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "json.h"

static void line(struct spr__json *j) {
    spr_output_text(j->out, "\n");
    for (int i = 0; i < j->depth; i++)
        spr_output_text(j->out, " ");
}

static void quoted(struct spr__json *j, const char *text) {
    spr_output_text(j->out, "\"");
    for (const char *p = text; *p;) {
        size_t n = 0;
        while ((unsigned char)p[n] >= 0x20 && p[n] != '"' && p[n] != '\\')
            n++;
        spr_output_write(j->out, p, n);
        p += n;
        if (!*p)
            break;
        char escape[8];
        if (*p == '"' || *p == '\\')
            snprintf(escape, sizeof escape, "\\%c", *p);
        else
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)(unsigned char)*p);
        spr_output_text(j->out, escape);
        p++;
    }
    spr_output_text(j->out, "\"");
}

/* What comes before every value: comma, line, key. */
static void before(struct spr__json *j, const char *key) {
    if (j->started)
        spr_output_text(j->out, ",");
    if (j->depth)
        line(j);
    if (key) {
        quoted(j, key);
        spr_output_text(j->out, ": ");
    }
    j->started = true;
}

void spr__json_open(struct spr__json *j, const char *key, char open) {
    before(j, key);
    spr_output_write(j->out, &open, 1);
    j->depth++;
    j->started = false;
}

void spr__json_close(struct spr__json *j, char close) {
    j->depth--;
    if (j->started)
        line(j);
    spr_output_write(j->out, &close, 1);
    j->started = true;
}

void spr__json_text(struct spr__json *j, const char *key, const char *text) {
    before(j, key);
    if (text)
        quoted(j, text);
    else
        spr_output_text(j->out, "null");
}

void spr__json_number(struct spr__json *j, const char *key, double value) {
    before(j, key);
    if (isfinite(value))
        spr_output_number(j->out, value, 12);
    else
        spr_output_text(j->out, "null");
}

void spr__json_integer(struct spr__json *j, const char *key, int64_t value) {
    char text[24];
    before(j, key);
    snprintf(text, sizeof text, "%lld", (long long)value);
    spr_output_text(j->out, text);
}

void spr__json_bool(struct spr__json *j, const char *key, bool value) {
    before(j, key);
    spr_output_text(j->out, value ? "true" : "false");
}

void spr__json_null(struct spr__json *j, const char *key) {
    before(j, key);
    spr_output_text(j->out, "null");
}

void spr__json_end(struct spr__json *j) { spr_output_text(j->out, "\n"); }
