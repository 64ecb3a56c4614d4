/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Reading and changing XML that somebody else wrote, on libxml2. No network, no document type (so no entities to blow
 * up and no files to pull in), at most LV_XML_MOST bytes and 256 levels. Comments and processing instructions are
 * dropped while reading, so an element's text is one node. Nothing here is kept between calls, and nothing is printed.
 */
#ifndef SPR_LIBVIRT_XML_H
#define SPR_LIBVIRT_XML_H

#include <libxml/tree.h>
#include <stdbool.h>

#include "domain.h"

#define LV_XML_MOST (4 << 20) /* bytes of a document; libvirt itself carries no longer texts */

/* A document whose root element has this name. SPR_OK, SPR_E_FORMAT (text says where), SPR_E_NOMEM. */
int lv_xml_open(const char *text, const char *root, xmlDoc **out, char why[LV_WHY]);
/* First child element of this name and no namespace; NULL name = any element, whatever its namespace. */
xmlNode *lv_xml_first(const xmlNode *parent, const char *name);
xmlNode *lv_xml_next(const xmlNode *element, const char *name);
/* parent/a/b, the first of each; b may be NULL. NULL when one is not there; a NULL parent is fine everywhere. */
xmlNode *lv_xml_at(const xmlNode *parent, const char *a, const char *b);
size_t lv_xml_count(const xmlNode *parent, const char *name);
bool lv_xml_named(const xmlNode *element, const char *name);
/* Value of an attribute, NULL when it is not there; the text of an element, "" when it has none. They live until that
 * is changed. */
const char *lv_xml_attr(const xmlNode *element, const char *name);
const char *lv_xml_text(const xmlNode *element);
/* The attribute is there and has this value. */
bool lv_xml_is(const xmlNode *element, const char *attribute, const char *value);
/* Can this text stand in XML at all? (UTF-8 without control characters.) NULL can. */
bool lv_xml_fits(const char *text);

/* Changes to a tree; what could not be done for want of memory is remembered and asked for once, at the end. */
struct lv_edit {
    xmlDoc *doc;
    bool nomem;
};
/* The new element, or NULL, which every function here takes as a parent. */
xmlNode *lv_xml_add(struct lv_edit *e, xmlNode *parent, const char *name, const char *text);
/* The first child of that name, made when it is not there. */
xmlNode *lv_xml_need(struct lv_edit *e, xmlNode *parent, const char *name);
void lv_xml_set(struct lv_edit *e, xmlNode *element, const char *attribute, const char *value);
void lv_xml_setf(struct lv_edit *e, xmlNode *element, const char *attribute, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void lv_xml_set_text(struct lv_edit *e, xmlNode *element, const char *text);
void lv_xml_unset(xmlNode *element, const char *attribute);
void lv_xml_drop(xmlNode *element);
/* Every child of that name (NULL = all elements). */
void lv_xml_drop_all(xmlNode *parent, const char *name);
/* The element as text, indented; *out comes from lv_alloc. SPR_OK or SPR_E_NOMEM. */
int lv_xml_print(struct lv_edit *e, xmlNode *element, char **out);

/* "0000:02:00.0" from an address element, "" when it is none (domain_read.c). */
void lv_pci_text(const xmlNode *address, char out[32]);

/* Memory that goes all at once. */
struct lv_bag {
    struct lv_bag_item *newest;
};
void *lv_bag_alloc(struct lv_bag *bag, size_t bytes); /* zeroed, NULL when there is none */
char *lv_bag_text(struct lv_bag *bag, const char *text);
void lv_bag_clear(struct lv_bag *bag);

#endif
