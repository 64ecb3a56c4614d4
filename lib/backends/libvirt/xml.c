/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* XML of strangers: reading it without surprises, changing it without looking at every return value. */
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlsave.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "xml.h"

int lv_why(char why[LV_WHY], int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(why, LV_WHY, format, args);
    va_end(args);
    if (n >= LV_WHY)
        memcpy(why + LV_WHY - 4, "...", 4);
    for (char *c = why; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' '; /* names may hold line ends, and a log line may not */
    return code;
}

/* ---- reading ---- */

/* What the parser met: the first complaint is the one that helps. */
struct trouble {
    bool has_type, nomem;
    int line;
    char text[160];
};

/* Entities can be declared in a document type only, so one that has none cannot grow while it is read. */
static void refuse_type(void *ctx, const xmlChar *name, const xmlChar *public_id, const xmlChar *system_id) {
    (void)name, (void)public_id, (void)system_id;
    xmlParserCtxt *parser = ctx;
    ((struct trouble *)parser->_private)->has_type = true;
    xmlStopParser(parser);
}

static void note_any(void *ctx, const xmlError *e) {
    struct trouble *t = ((xmlParserCtxt *)ctx)->_private;
    t->nomem |= e->code == XML_ERR_NO_MEMORY;
    if (t->text[0] || !e->message || e->level < XML_ERR_ERROR)
        return;
    t->line = e->line;
    snprintf(t->text, sizeof t->text, "%.*s", (int)strcspn(e->message, "\n"), e->message);
}
#if LIBXML_VERSION < 21200
static void note(void *ctx, xmlError *e) { note_any(ctx, e); }
#else
static void note(void *ctx, const xmlError *e) { note_any(ctx, e); }
#endif

int lv_xml_open(const char *text, const char *root, xmlDoc **out, char why[LV_WHY]) {
    size_t bytes = text ? strnlen(text, LV_XML_MOST + 1) : 0;
    if (!bytes)
        return lv_why(why, SPR_E_FORMAT, "XML of <%s>: there is none", root);
    if (bytes > LV_XML_MOST)
        return lv_why(why, SPR_E_FORMAT, "XML of <%s>: longer than %d bytes", root, LV_XML_MOST);
    xmlInitParser(); /* does nothing when it was called before, whoever did */
    xmlParserCtxt *parser = xmlNewParserCtxt();
    if (!parser)
        return lv_why(why, SPR_E_NOMEM, "out of memory");
    struct trouble trouble = {0};
    parser->_private = &trouble;
    parser->sax->serror = note;
    parser->sax->internalSubset = refuse_type;
    parser->sax->comment = NULL;
    parser->sax->processingInstruction = NULL;
    xmlDoc *doc = xmlCtxtReadMemory(parser, text, (int)bytes, NULL, NULL,
                                    XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS |
                                        XML_PARSE_NOCDATA | XML_PARSE_NOENT);
    int code = SPR_OK;
    if (trouble.has_type)
        code = lv_why(why, SPR_E_FORMAT, "XML of <%s>: a document type is not taken", root);
    else if (trouble.nomem || (!doc && !trouble.text[0])) /* a tree that lacks something is no error to libxml2 */
        code = lv_why(why, SPR_E_NOMEM, "out of memory");
    else if (!doc)
        code = lv_why(why, SPR_E_FORMAT, "XML of <%s>, line %d: %s", root, trouble.line, trouble.text);
    else if (!xmlDocGetRootElement(doc) || strcmp((const char *)xmlDocGetRootElement(doc)->name, root))
        code = lv_why(why, SPR_E_FORMAT, "XML of <%s>: the outermost element is <%s>", root,
                      xmlDocGetRootElement(doc) ? (const char *)xmlDocGetRootElement(doc)->name : "");
    xmlFreeParserCtxt(parser);
    if (code < 0) {
        xmlFreeDoc(doc);
        return code;
    }
    *out = doc;
    return SPR_OK;
}

static xmlNode *matching(xmlNode *n, const char *name) {
    while (n && (n->type != XML_ELEMENT_NODE || (name && (n->ns || strcmp((const char *)n->name, name)))))
        n = n->next;
    return n;
}
xmlNode *lv_xml_first(const xmlNode *parent, const char *name) {
    return parent ? matching(parent->children, name) : NULL;
}
xmlNode *lv_xml_next(const xmlNode *element, const char *name) {
    return element ? matching(element->next, name) : NULL;
}
xmlNode *lv_xml_at(const xmlNode *parent, const char *a, const char *b) {
    xmlNode *n = lv_xml_first(parent, a);
    return b ? lv_xml_first(n, b) : n;
}
size_t lv_xml_count(const xmlNode *parent, const char *name) {
    size_t n = 0;
    for (xmlNode *c = lv_xml_first(parent, name); c; c = lv_xml_next(c, name))
        n++;
    return n;
}
bool lv_xml_named(const xmlNode *element, const char *name) {
    return element && !element->ns && !strcmp((const char *)element->name, name);
}

static const char *only_text(const xmlNode *n) {
    if (!n)
        return "";
    return n->type == XML_TEXT_NODE && !n->next && n->content ? (const char *)n->content : NULL;
}
const char *lv_xml_attr(const xmlNode *element, const char *name) {
    const xmlAttr *a = element ? xmlHasNsProp((xmlNode *)element, (const xmlChar *)name, NULL) : NULL;
    return a ? only_text(a->children) : NULL;
}
const char *lv_xml_text(const xmlNode *element) {
    const char *t = element ? only_text(element->children) : NULL;
    return t ? t : "";
}
bool lv_xml_is(const xmlNode *element, const char *attribute, const char *value) {
    const char *v = lv_xml_attr(element, attribute);
    return v && !strcmp(v, value);
}

bool lv_xml_fits(const char *text) {
    if (!text)
        return true;
    if (!xmlCheckUTF8((const unsigned char *)text))
        return false;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < ' ' && *c != '\t' && *c != '\n' && *c != '\r') || (*c == 0xEF && c[1] == 0xBF && c[2] >= 0xBE) ||
            (*c == 0xED && c[1] >= 0xA0))
            return false; /* control characters, U+FFFE and U+FFFF, surrogates */
    return true;
}

/* ---- changing ---- */

/* Where memory ends, libxml2 makes a node without its text and says nothing. */
static bool holds(const xmlNode *n, const char *text) { return !text || !*text || (n && n->content); }

xmlNode *lv_xml_add(struct lv_edit *e, xmlNode *parent, const char *name, const char *text) {
    xmlNode *n = parent ? xmlNewTextChild(parent, NULL, (const xmlChar *)name, (const xmlChar *)text) : NULL;
    if (n)
        xmlSetNs(n, NULL); /* a child takes its parent's namespace otherwise */
    if (!n || !n->name || !holds(n->children, text))
        e->nomem = true;
    return n;
}
xmlNode *lv_xml_need(struct lv_edit *e, xmlNode *parent, const char *name) {
    xmlNode *n = lv_xml_first(parent, name);
    return n ? n : lv_xml_add(e, parent, name, NULL);
}
void lv_xml_set(struct lv_edit *e, xmlNode *element, const char *attribute, const char *value) {
    xmlAttr *a = element ? xmlSetProp(element, (const xmlChar *)attribute, (const xmlChar *)value) : NULL;
    if (!a || !a->name || !holds(a->children, value))
        e->nomem = true;
}
void lv_xml_setf(struct lv_edit *e, xmlNode *element, const char *attribute, const char *format, ...) {
    char text[64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lv_xml_set(e, element, attribute, text);
}
void lv_xml_set_text(struct lv_edit *e, xmlNode *element, const char *text) {
    xmlNode *content = element ? xmlNewDocText(e->doc, (const xmlChar *)text) : NULL;
    if (!holds(content, text)) {
        xmlFreeNode(content);
        e->nomem = true;
        return;
    }
    while (element->children)
        lv_xml_drop(element->children);
    xmlAddChild(element, content);
}
void lv_xml_unset(xmlNode *element, const char *attribute) {
    if (element)
        xmlUnsetProp(element, (const xmlChar *)attribute);
}
void lv_xml_drop(xmlNode *element) {
    if (!element)
        return;
    xmlUnlinkNode(element);
    xmlFreeNode(element);
}
void lv_xml_drop_all(xmlNode *parent, const char *name) {
    for (xmlNode *n = lv_xml_first(parent, name), *next; n; n = next) {
        next = lv_xml_next(n, name);
        lv_xml_drop(n);
    }
}

struct lv_sink {
    char *text;
    size_t used, cap;
    bool nomem;
};
static int sink_write(void *ctx, const char *bytes, int count) {
    struct lv_sink *s = ctx;
    void *block = s->text;
    if (count <= 0)
        return 0; /* a flush of nothing, from nowhere when memory has ended */
    s->nomem = s->nomem || !bytes || lv_grow(&block, &s->cap, s->used + (size_t)count + 1, 1) < 0;
    s->text = block;
    if (!s->nomem) {
        memcpy(s->text + s->used, bytes, (size_t)count);
        s->used += (size_t)count;
    }
    return count; /* libxml2 would print about anything else */
}

/* Through a sink of our own: libxml2's own buffers (2.9) are freed twice where one of them cannot grow. */
int lv_xml_print(struct lv_edit *e, xmlNode *element, char **out) {
    struct lv_sink sink = {.nomem = e->nomem};
    xmlSaveCtxt *save =
        sink.nomem ? NULL : xmlSaveToIO(sink_write, NULL, &sink, "UTF-8", XML_SAVE_FORMAT | XML_SAVE_NO_DECL);
    bool done = save && xmlSaveTree(save, element) >= 0;
    done = save && xmlSaveClose(save) >= 0 && done;
    if (!done || sink.nomem || !sink.used) {
        lv_free(sink.text);
        return SPR_E_NOMEM;
    }
    sink.text[sink.used] = 0;
    *out = sink.text;
    return SPR_OK;
}

/* ---- a bag ---- */

struct lv_bag_item {
    struct lv_bag_item *older;
    max_align_t room[];
};
void *lv_bag_alloc(struct lv_bag *bag, size_t bytes) {
    struct lv_bag_item *item = lv_alloc(sizeof *item + bytes);
    if (!item)
        return NULL;
    item->older = bag->newest;
    bag->newest = item;
    return item->room;
}
char *lv_bag_text(struct lv_bag *bag, const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = lv_bag_alloc(bag, n);
    return copy ? memcpy(copy, text, n) : NULL;
}
void lv_bag_clear(struct lv_bag *bag) {
    while (bag->newest) {
        struct lv_bag_item *item = bag->newest;
        bag->newest = item->older;
        lv_free(item);
    }
}
