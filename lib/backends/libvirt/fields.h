/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Attributes of our own elements as a table: one row is name, kind and member, and it serves reading and writing. A new
 * attribute is a new row (and, where older readers must not overlook it, a new version).
 */
#ifndef SPR_LIBVIRT_FIELDS_H
#define SPR_LIBVIRT_FIELDS_H

#include "xml.h"

enum lv_field_type {
    LV_F_ID,      /* uint64_t, 16 hexadecimal digits */
    LV_F_U64,     /* uint64_t, not written when 0 */
    LV_F_I64,     /* int64_t from 0, not written when 0 */
    LV_F_I32,     /* int32_t, any sign, not written when 0 */
    LV_F_NUMBER,  /* double from 0, not written when 0 */
    LV_F_SHARE,   /* double 0..1, not written when 0 */
    LV_F_SECONDS, /* double from 0; "30", "30s", "5m", "2h" */
    LV_F_AMOUNT,  /* double from 0; bytes and rates take a scale: "96M" */
    LV_F_TEXT,    /* char *, not written when NULL */
    LV_F_UUID,    /* char[LV_UUID], not written when "" */
    LV_F_NAMED,   /* int32_t, one of `names` */
    LV_F_WINDOW   /* struct lv_window */
};
struct lv_name {
    const char *text;
    int32_t value;
};
struct lv_field {
    const char *name;
    int32_t type;
    bool required;
    size_t at;                   /* offset in the struct */
    const struct lv_name *names; /* LV_F_NAMED: up to one whose text is NULL */
};

/*
 * Every attribute of `element` by its row; one without a row is refused, and so is a required one that is missing. With
 * `amounts`, attributes named after resources go there. `what` begins the texts.
 */
int lv_fields_read(const xmlNode *element, const char *what, const struct lv_field *field, size_t count, void *base,
                   struct spr_amounts *amounts, char why[LV_WHY]);
int lv_fields_write(struct lv_edit *e, xmlNode *element, const char *what, const struct lv_field *field, size_t count,
                    const void *base, char why[LV_WHY]);
/* Amounts as attributes named after the resources; those that are 0 are left out. Returns false when there are none. */
bool lv_amounts_write(struct lv_edit *e, xmlNode *element, const struct spr_amounts *a);
/* SPR_OK when it is `version` or older or says none, else SPR_E_TOO_NEW or SPR_E_FORMAT. */
int lv_version_check(const xmlNode *element, const char *what, uint64_t version, char why[LV_WHY]);
/* A shard's metadata into an element that is there already (domain_meta.c). */
int lv_meta_write(struct lv_edit *e, xmlNode *root, const struct lv_shard_meta *m, char why[LV_WHY]);
/* "96M" into a number: k M G T (binary for bytes, decimal for rates), KiB, MB and so on as libvirt reads them. */
bool lv_scaled_read(const char *text, bool bytes, double *out);

#endif
