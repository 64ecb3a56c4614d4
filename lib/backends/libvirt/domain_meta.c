/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What stands on the host about a shard: enough for a controller that has lost its memory. */
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "fields.h"

#define VERSION 1

static const struct lv_name kinds[] = {{"replica", SPR_SHARD_REPLICA}, {"headroom", SPR_SHARD_HEADROOM}, {NULL, 0}};
static const struct lv_name warms[] = {{"paused", SPR_LIBVIRT_WARM_PAUSED},
                                       {"saved", SPR_LIBVIRT_WARM_SAVED},
                                       {"running", SPR_LIBVIRT_WARM_RUNNING},
                                       {NULL, 0}};
#define SPR_X(name, number, text) {text, number},
static const struct lv_name phases[] = {LV_PHASES(SPR_X){NULL, 0}};
static const struct lv_name artefacts[] = {LV_ARTEFACTS(SPR_X){NULL, 0}};
#undef SPR_X

#define AT(member) offsetof(struct lv_shard_meta, member)
static const struct lv_field shard_fields[] = {
    {"id", LV_F_ID, true, AT(id), NULL},
    {"fence", LV_F_U64, false, AT(fence), NULL},
    {"vm", LV_F_TEXT, true, AT(vm), NULL},
    {"vm-uuid", LV_F_UUID, false, AT(vm_uuid), NULL},
    {"uuid", LV_F_UUID, false, AT(own_uuid), NULL},
    {"kind", LV_F_NAMED, true, AT(kind), kinds},
    {"state", LV_F_NAMED, true, AT(phase), phases},
    {"warm", LV_F_NAMED, true, AT(warm), warms},
    {"holds-memory", LV_F_I32, false, AT(holds_memory), NULL},
    {"expires-ns", LV_F_I64, false, AT(expires_wall_ns), NULL},
    {"last-drain", LV_F_U64, false, AT(last_drain), NULL},
    {"ended", LV_F_WINDOW, false, AT(ended), NULL},
    {"owner", LV_F_TEXT, false, AT(owner), NULL},
    {"probe", LV_F_TEXT, false, AT(probe), NULL},
    {"warmness", LV_F_SHARE, false, AT(warmness), NULL},
    {"allocate-s", LV_F_NUMBER, false, AT(allocate_s), NULL},
    {"boot-s", LV_F_NUMBER, false, AT(boot_s), NULL},
    {"save-s", LV_F_NUMBER, false, AT(save_s), NULL},
    {"resume-s", LV_F_NUMBER, false, AT(resume_s), NULL},
    {"restore-s", LV_F_NUMBER, false, AT(restore_s), NULL},
};
static const struct lv_field piece_fields[] = {
    {"number", LV_F_U64, true, offsetof(struct lv_piece, number), NULL},
    {"phase", LV_F_NAMED, true, offsetof(struct lv_piece, phase), phases},
};
static const struct lv_field artefact_fields[] = {
    {"kind", LV_F_NAMED, true, offsetof(struct lv_artefact, kind), artefacts},
    {"what", LV_F_TEXT, true, offsetof(struct lv_artefact, what), NULL},
};
#define COUNT(table) (sizeof(table) / sizeof *(table))

/* ---- the struct ---- */

static const char *name_of(const struct lv_name *names, int32_t value) {
    while (names->text && names->value != value)
        names++;
    return names->text ? names->text : "invalid";
}
const char *lv_phase_name(int32_t phase) { return name_of(phases, phase); }
const char *lv_artefact_name(int32_t kind) { return name_of(artefacts, kind); }

void lv_meta_clear(struct lv_shard_meta *m) {
    lv_free(m->vm);
    lv_free(m->probe);
    lv_free(m->owner);
    for (size_t i = 0; i < m->artefact_count; i++)
        lv_free(m->artefact[i].what);
    lv_free(m->artefact);
    memset(m, 0, sizeof *m);
}

int lv_meta_text(char **member, const char *text) {
    char *copy = text ? lv_strdup(text) : NULL;
    if (text && !copy)
        return SPR_E_NOMEM;
    lv_free(*member);
    *member = copy;
    return SPR_OK;
}

int lv_meta_copy(const struct lv_shard_meta *m, struct lv_shard_meta *out) {
    struct lv_shard_meta made = *m;
    made.vm = made.probe = made.owner = NULL;
    made.artefact = NULL;
    made.artefact_count = made.artefact_cap = 0;
    int rc = lv_meta_text(&made.vm, m->vm);
    if (rc == SPR_OK)
        rc = lv_meta_text(&made.probe, m->probe);
    if (rc == SPR_OK)
        rc = lv_meta_text(&made.owner, m->owner);
    for (size_t i = 0; rc == SPR_OK && i < m->artefact_count; i++)
        rc = lv_meta_add_artefact(&made, m->artefact[i].kind, m->artefact[i].what);
    if (rc == SPR_OK)
        *out = made;
    else
        lv_meta_clear(&made);
    return rc;
}

int lv_meta_add_artefact(struct lv_shard_meta *m, int32_t kind, const char *what) {
    for (size_t i = 0; i < m->artefact_count; i++)
        if (m->artefact[i].kind == kind && !strcmp(m->artefact[i].what, what))
            return SPR_OK;
    void *block = m->artefact;
    int rc = lv_grow(&block, &m->artefact_cap, m->artefact_count + 1, sizeof *m->artefact);
    m->artefact = block;
    char *copy = rc == SPR_OK ? lv_strdup(what) : NULL;
    if (!copy)
        return SPR_E_NOMEM;
    m->artefact[m->artefact_count++] = (struct lv_artefact){kind, copy};
    return SPR_OK;
}

void lv_meta_drop_artefact(struct lv_shard_meta *m, int32_t kind, const char *what) {
    size_t kept = 0;
    for (size_t i = 0; i < m->artefact_count; i++)
        if (m->artefact[i].kind == kind && !strcmp(m->artefact[i].what, what))
            lv_free(m->artefact[i].what);
        else
            m->artefact[kept++] = m->artefact[i];
    m->artefact_count = kept;
}

bool lv_meta_is_copy(const struct lv_shard_meta *m, const char *uuid) {
    return m->own_uuid[0] && strcasecmp(m->own_uuid, uuid) != 0;
}

struct lv_piece *lv_meta_piece(struct lv_shard_meta *m, uint64_t number) {
    for (int32_t i = 0; i < m->piece_count; i++)
        if (m->piece[i].number == number)
            return &m->piece[i];
    return NULL;
}

void lv_meta_end_piece(struct lv_shard_meta *m, uint64_t number) {
    struct lv_piece *p = lv_meta_piece(m, number);
    if (p)
        memmove(p, p + 1, (size_t)(m->piece + --m->piece_count - p) * sizeof *p);
    lv_window_add(&m->ended, number);
}

void lv_amounts_add(struct spr_amounts *a, const struct spr_amounts *b, double sign) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        a->of[r] = fmax(0, a->of[r] + sign * b->of[r]);
}

/* ---- writing ---- */

static int amounts_fit(const struct spr_amounts *a, const char *what, char why[LV_WHY]) {
    for (int r = 0; r < SPR_RESOURCES_MAX; r++)
        if (!(a->of[r] >= 0) || !isfinite(a->of[r]))
            return lv_why(why, SPR_E_ARG, "shard: %s: an amount is not a number from 0", what);
    return SPR_OK;
}

static int write_parts(struct lv_edit *e, xmlNode *root, const struct lv_shard_meta *m, char why[LV_WHY]) {
    const struct spr_amounts *part[] = {&m->ready, &m->draining};
    static const char *const name[] = {"ready", "draining"};
    int rc = SPR_OK;
    for (int i = 0; i < 2 && rc == SPR_OK; i++) {
        rc = amounts_fit(part[i], name[i], why);
        xmlNode *n = rc == SPR_OK ? lv_xml_add(e, root, name[i], NULL) : NULL;
        if (n && !lv_amounts_write(e, n, part[i]))
            lv_xml_drop(n);
    }
    for (int32_t i = 0; i < m->piece_count && rc == SPR_OK; i++) {
        rc = amounts_fit(&m->piece[i].amounts, "piece", why);
        xmlNode *n = rc == SPR_OK ? lv_xml_add(e, root, "piece", NULL) : NULL;
        if (n && (rc = lv_fields_write(e, n, "piece", piece_fields, COUNT(piece_fields), &m->piece[i], why)) == SPR_OK)
            lv_amounts_write(e, n, &m->piece[i].amounts);
    }
    for (size_t i = 0; i < m->artefact_count && rc == SPR_OK; i++) {
        xmlNode *n = lv_xml_add(e, root, "artefact", NULL);
        if (n)
            rc = lv_fields_write(e, n, "artefact", artefact_fields, COUNT(artefact_fields), &m->artefact[i], why);
    }
    return rc;
}

int lv_meta_write(struct lv_edit *e, xmlNode *root, const struct lv_shard_meta *m, char why[LV_WHY]) {
    lv_xml_setf(e, root, "version", "%d", VERSION);
    int rc = lv_fields_write(e, root, "shard", shard_fields, COUNT(shard_fields), m, why);
    if (rc == SPR_OK)
        rc = write_parts(e, root, m, why);
    return rc < 0 ? rc : e->nomem ? lv_why(why, SPR_E_NOMEM, "shard: out of memory") : SPR_OK;
}

int lv_meta_format(const struct lv_shard_meta *m, char **out, char why[LV_WHY]) {
    xmlInitParser();
    struct lv_edit e = {.doc = xmlNewDoc((const xmlChar *)"1.0")};
    xmlNode *root = e.doc ? xmlNewDocNode(e.doc, NULL, (const xmlChar *)"shard", NULL) : NULL;
    int rc = root ? SPR_OK : lv_why(why, SPR_E_NOMEM, "shard: out of memory");
    if (root) {
        xmlDocSetRootElement(e.doc, root);
        rc = lv_meta_write(&e, root, m, why);
    }
    if (rc == SPR_OK && (rc = lv_xml_print(&e, root, out)) < 0)
        lv_why(why, rc, "shard: out of memory");
    xmlFreeDoc(e.doc);
    return rc;
}

/* ---- reading ---- */

static int read_piece(const xmlNode *n, struct lv_shard_meta *m, char why[LV_WHY]) {
    if (m->piece_count == LV_PIECES)
        return lv_why(why, SPR_E_FORMAT, "shard: more than %d pieces", LV_PIECES);
    struct lv_piece p = {0};
    int rc = lv_fields_read(n, "shard: piece", piece_fields, COUNT(piece_fields), &p, &p.amounts, why);
    if (rc < 0)
        return rc;
    if (!p.number || lv_meta_piece(m, p.number) || p.phase > LV_PHASE_WARMING)
        return lv_why(why, SPR_E_FORMAT, "shard: piece: number or phase is not one of a pending piece's");
    m->piece[m->piece_count++] = p;
    return SPR_OK;
}

static int read_artefact(const xmlNode *n, struct lv_shard_meta *m, char why[LV_WHY]) {
    struct lv_artefact a = {0};
    int rc = lv_fields_read(n, "shard: artefact", artefact_fields, COUNT(artefact_fields), &a, NULL, why);
    if (rc == SPR_OK && (rc = lv_meta_add_artefact(m, a.kind, a.what)) < 0)
        lv_why(why, rc, "shard: out of memory");
    lv_free(a.what);
    return rc;
}

static int read_child(const xmlNode *n, struct lv_shard_meta *m, char why[LV_WHY]) {
    const char *name = (const char *)n->name;
    if (n->children)
        return lv_why(why, SPR_E_FORMAT, "shard: element <%s> holds something", name);
    if (n->ns != n->parent->ns)
        return lv_why(why, SPR_E_FORMAT, "shard: element <%s> is of a foreign namespace", name);
    if (!strcmp(name, "ready"))
        return lv_fields_read(n, "shard: ready", NULL, 0, NULL, &m->ready, why);
    if (!strcmp(name, "draining"))
        return lv_fields_read(n, "shard: draining", NULL, 0, NULL, &m->draining, why);
    if (!strcmp(name, "piece"))
        return read_piece(n, m, why);
    if (!strcmp(name, "artefact"))
        return read_artefact(n, m, why);
    return lv_why(why, SPR_E_FORMAT, "shard: element <%s> is not known", name);
}

int lv_meta_parse(const char *xml, struct lv_shard_meta *out, char why[LV_WHY]) {
    xmlDoc *doc;
    struct lv_shard_meta m = {0};
    int rc = lv_xml_open(xml, "shard", &doc, why);
    if (rc < 0)
        return rc;
    xmlNode *root = xmlDocGetRootElement(doc);
    if (root->ns && strcmp((const char *)root->ns->href, LV_SHARD_URN))
        rc = lv_why(why, SPR_E_FORMAT, "shard: namespace '%.80s' is not ours", (const char *)root->ns->href);
    if (rc == SPR_OK)
        rc = lv_version_check(root, "shard", VERSION, why);
    lv_xml_unset(root, "version");
    if (rc == SPR_OK)
        rc = lv_fields_read(root, "shard", shard_fields, COUNT(shard_fields), &m, NULL, why);
    for (xmlNode *n = root->children; n && rc == SPR_OK; n = n->next)
        rc = n->type == XML_ELEMENT_NODE ? read_child(n, &m, why)
                                         : lv_why(why, SPR_E_FORMAT, "shard: text where only elements are known");
    xmlFreeDoc(doc);
    if (rc == SPR_OK)
        *out = m;
    else
        lv_meta_clear(&m);
    return rc;
}
