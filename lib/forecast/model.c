/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The container of trained models: a header, a table of sections, payloads on multiples of 64 bytes. The form has no
 * freedom (order, offsets and padding follow from the sizes), so the same sections are the same bytes, and a byte that
 * is not covered by a sum must be zero.
 */
#include "forecast/member.h"

static const char magic[8] = {'S', 'P', 'R', 'M', 'O', 'D', 'E', 'L'};

/* The first 64 bytes of every version; `crc` covers what stands before it. */
struct header {
    char magic[8];
    uint32_t version, sections;
    uint64_t bytes; /* of the whole model */
    uint32_t table_crc;
    uint32_t zero[8];
    uint32_t crc;
};
struct entry {
    char tag[4];
    uint32_t index;
    uint64_t offset, bytes;
    uint32_t crc, zero;
};
/* Payload of INFO; the levels and the text with its closing zero follow. */
struct info {
    int32_t kind, horizon, level_count, members;
    int64_t step_ns, context, weights;
    double loss, naive_loss, coverage95;
    int64_t newest_step;
};
_Static_assert(sizeof(struct header) == 64 && sizeof(struct entry) == 32 && sizeof(struct info) == 72,
               "the file's structs have no padding");

struct spr_model {
    spr_refcount refs;
    spr_context *ctx;
    const unsigned char *image;
    size_t bytes;
    unsigned char *block; /* what was allocated around `image`, or NULL */
};

static bool big_endian(void) {
    const uint16_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return !first;
}

static size_t aligned(size_t n) { return (n + SPR__MODEL_ALIGN - 1) / SPR__MODEL_ALIGN * SPR__MODEL_ALIGN; }
static size_t payloads_at(size_t sections) { return aligned(sizeof(struct header) + sections * sizeof(struct entry)); }

/* ---- what may stand inside ---- */

static int check_info(const spr_context *ctx, const char *name, uint32_t index, const void *payload, size_t size) {
    struct info i;
    if (index || size < sizeof i + sizeof(double) + 1)
        return spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "the model's description is damaged");
    memcpy(&i, payload, sizeof i);
    const double *levels = (const double *)((const char *)payload + sizeof i);
    bool good = i.kind >= SPR_MODEL_AUTO && i.kind <= SPR_MODEL_HYBRID && i.horizon >= 1 && i.level_count >= 1 &&
                i.members >= 0 && i.step_ns >= 1 && i.context >= 0 && i.weights >= 0 && i.newest_step >= 0 &&
                (size_t)i.level_count < (size - sizeof i) / sizeof *levels + 1;
    size_t text = good ? sizeof i + (size_t)i.level_count * sizeof *levels : size;
    good =
        good && text < size && memchr((const char *)payload + text, 0, size - text) == (const char *)payload + size - 1;
    for (int32_t k = 0; good && k < i.level_count; k++)
        good = levels[k] > 0 && levels[k] < 1 && (!k || levels[k] > levels[k - 1]);
    for (size_t k = text; good && k + 1 < size; k++) /* it is shown to people: nothing that steers a terminal */
        good = ((const unsigned char *)payload)[k] >= 0x20 && ((const unsigned char *)payload)[k] != 0x7f;
    return good ? SPR_OK : spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "the model's description is damaged");
}

static const struct {
    char tag[5];
    spr__model_check *check;
} checkers[] = {
    {"INFO", check_info},      {"GLOB", spr__global_check}, {"QNET", spr__qnet_check},
    {"LSTM", spr__lstm_check}, {"HYBR", spr__hybrid_check}, {"EVNT", spr__event_channel_check},
};

static int check_payload(const spr_context *ctx, const char *name, const struct entry *e, const void *payload) {
    for (size_t k = 0; k < SPR_ARRAY_LEN(checkers); k++)
        if (!memcmp(checkers[k].tag, e->tag, 4))
            return checkers[k].check(ctx, name, e->index, payload, (size_t)e->bytes);
    if (e->tag[0] >= 'a' && e->tag[0] <= 'z') /* may be skipped by who does not know it */
        return SPR_OK;
    return spr__fail_at(ctx, SPR_E_TOO_NEW, name, 0, 0, "section '%.4s' is not known to this library (%s)", e->tag,
                        spr_version_string());
}

/* ---- reading ---- */

static struct entry entry_of(const unsigned char *image, size_t i) {
    struct entry e;
    memcpy(&e, image + sizeof(struct header) + i * sizeof e, sizeof e);
    return e;
}

static int check_header(const spr_context *ctx, const char *name, const unsigned char *image, size_t bytes,
                        struct header *h) {
    if (!bytes)
        return spr__fail_at(ctx, SPR_E_FORMAT, name, 0, 0, "the file is empty, no model");
    if (memcmp(image, magic, SPR_MIN(bytes, sizeof magic)) != 0)
        return spr__fail_at(ctx, SPR_E_FORMAT, name, 0, 0, "this is no model of libshardpredict");
    if (bytes < sizeof *h)
        return spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "the model is cut off after %zu bytes", bytes);
    memcpy(h, image, sizeof *h);
    bool intact = h->crc == spr__crc32c(0, image, offsetof(struct header, crc));
    if (intact && h->version > SPR__MODEL_VERSION)
        return spr__fail_at(ctx, SPR_E_TOO_NEW, name, 0, 0,
                            "the model has version %u of its format; this library (%s) reads up to version %d",
                            (unsigned)h->version, spr_version_string(), SPR__MODEL_VERSION);
    if (!intact || h->version != SPR__MODEL_VERSION || !h->sections || h->sections > SPR__MODEL_SECTIONS ||
        h->bytes < payloads_at(h->sections))
        return spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0,
                            "the model's header is damaged (or of version %u; this library reads version %d)",
                            (unsigned)h->version, SPR__MODEL_VERSION);
    if (h->bytes > bytes)
        return spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "the model is cut off after %zu of %llu bytes", bytes,
                            (unsigned long long)h->bytes);
    if (h->bytes < bytes)
        return spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "%llu bytes stand behind the end of the model",
                            (unsigned long long)(bytes - h->bytes));
    return SPR_OK;
}

static bool all_zero(const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static int order_of(const struct entry *a, const struct entry *b) {
    int tag = memcmp(a->tag, b->tag, 4);
    return tag ? tag : a->index < b->index ? -1 : a->index > b->index;
}

/* Sections follow each other without holes and rise by tag and number; what lies between them is zero. */
static int check_sections(const spr_context *ctx, const char *name, const unsigned char *image,
                          const struct header *h) {
    size_t table = h->sections * sizeof(struct entry), at = payloads_at(h->sections), end = sizeof *h + table;
    if (h->table_crc != spr__crc32c(0, image + sizeof *h, table) || !all_zero(image + end, at - end))
        return spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "the table of the model's sections is damaged");
    bool described = false;
    for (size_t i = 0; i < h->sections; i++) {
        struct entry e = entry_of(image, i), before = i ? entry_of(image, i - 1) : e;
        if (e.zero || e.offset != at || e.bytes > h->bytes - at || (i && order_of(&before, &e) >= 0))
            return spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "section %zu of the model lies where it cannot", i);
        end = at + (size_t)e.bytes, at = aligned(end);
        if (at > h->bytes || e.crc != spr__crc32c(0, image + e.offset, (size_t)e.bytes) ||
            !all_zero(image + end, at - end))
            return spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "section '%.4s' %u of the model is damaged", e.tag,
                                (unsigned)e.index);
        described = described || !memcmp(e.tag, "INFO", 4);
    }
    if (at != h->bytes || !described)
        return spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, "the model %s",
                            described ? "is longer than its sections" : "does not say what it is");
    for (size_t i = 0; i < h->sections; i++) {
        struct entry e = entry_of(image, i);
        int rc = check_payload(ctx, name, &e, image + e.offset);
        if (rc < 0)
            return rc;
    }
    return SPR_OK;
}

/* Room for an image on a multiple of 64. */
static int new_model(spr_context *ctx, size_t bytes, bool room, spr_model **out) {
    spr_model *m = spr__alloc(ctx, 1, sizeof *m);
    if (!m)
        return spr__nomem(ctx);
    spr__ref_init(&m->refs);
    m->ctx = spr_context_ref(ctx);
    m->bytes = bytes;
    if (room) {
        m->block = bytes < SIZE_MAX / 4 ? spr__alloc(ctx, bytes + SPR__MODEL_ALIGN, 1) : NULL;
        if (!m->block) {
            spr_model_unref(m);
            return spr__nomem(ctx);
        }
        m->image = m->block + (SPR__MODEL_ALIGN - (uintptr_t)m->block % SPR__MODEL_ALIGN) % SPR__MODEL_ALIGN;
    }
    *out = m;
    return SPR_OK;
}

int spr_model_open(spr_context *ctx, const char *name, const void *image, size_t bytes, int copy, spr_model **out) {
    struct header h;
    spr_model *m = NULL;
    if (!ctx)
        return SPR_E_ARG;
    if ((!image && bytes) || !out)
        return spr__fail(ctx, SPR_E_ARG, "spr_model_open: bytes and a model are required");
    if (big_endian())
        return spr__fail(ctx, SPR_E_UNSUPPORTED, "models are little-endian and used as they lie; this machine is not");
    name = name ? name : "model";
    if (!copy && (uintptr_t)image % SPR__MODEL_ALIGN)
        return spr__fail_at(ctx, SPR_E_ARG, name, 0, 0, "the model must lie at a multiple of %d, or be copied",
                            SPR__MODEL_ALIGN);
    int rc = check_header(ctx, name, image, bytes, &h);
    if (rc < 0 || (rc = new_model(ctx, bytes, copy != 0, &m)) < 0)
        return rc;
    if (copy)
        memcpy(m->block + (m->image - m->block), image, bytes);
    else
        m->image = image;
    if ((rc = check_sections(ctx, name, m->image, &h)) < 0) {
        spr_model_unref(m);
        return rc;
    }
    *out = m;
    return SPR_OK;
}

/* ---- making ---- */

static int pack_info(const spr_context *ctx, const struct spr_model_info *given, unsigned char **out, size_t *bytes) {
    size_t levels = (size_t)SPR_MAX(given->level_count, 0) * sizeof *given->levels;
    size_t text = given->text ? strlen(given->text) : 0;
    struct info i = {given->kind,       given->horizon,    given->level_count, given->members,
                     given->step_ns,    given->context,    given->weights,     given->loss,
                     given->naive_loss, given->coverage95, given->newest_step};
    unsigned char *p = given->levels ? spr__alloc(ctx, sizeof i + levels + text + 1, 1) : NULL;
    if (!p)
        return given->levels ? spr__nomem(ctx) : spr__fail(ctx, SPR_E_ARG, "a model needs quantile levels");
    memcpy(p, &i, sizeof i);
    memcpy(p + sizeof i, given->levels, levels);
    memcpy(p + sizeof i + levels, given->text ? given->text : "", text);
    *out = p, *bytes = sizeof i + levels + text + 1;
    return SPR_OK;
}

static void write_image(unsigned char *image, size_t bytes, const struct spr__section *s, size_t count) {
    struct header h = {.version = SPR__MODEL_VERSION, .sections = (uint32_t)count, .bytes = bytes};
    size_t at = payloads_at(count);
    for (size_t i = 0; i < count; i++) {
        struct entry e = {.index = s[i].index, .offset = at, .bytes = s[i].size};
        memcpy(e.tag, s[i].tag, 4);
        e.crc = spr__crc32c(0, s[i].data, s[i].size);
        memcpy(image + sizeof h + i * sizeof e, &e, sizeof e);
        if (s[i].size)
            memcpy(image + at, s[i].data, s[i].size);
        at = aligned(at + s[i].size);
    }
    memcpy(h.magic, magic, sizeof magic);
    h.table_crc = spr__crc32c(0, image + sizeof h, count * sizeof(struct entry));
    h.crc = spr__crc32c(0, &h, offsetof(struct header, crc));
    memcpy(image, &h, sizeof h);
}

/* Sections in the order of the file: rising by tag and number. They are few. */
static void sort_sections(struct spr__section *s, size_t n) {
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0; k--) {
            struct entry a = {.index = s[k - 1].index}, b = {.index = s[k].index};
            memcpy(a.tag, s[k - 1].tag, 4), memcpy(b.tag, s[k].tag, 4);
            if (order_of(&a, &b) <= 0)
                break;
            struct spr__section swap = s[k];
            s[k] = s[k - 1], s[k - 1] = swap;
        }
}

static int make(spr_context *ctx, const struct spr__section *sections, size_t count, spr_model **out) {
    size_t bytes = payloads_at(count);
    struct header h;
    spr_model *m = NULL;
    for (size_t i = 0; i < count; i++) {
        if (sections[i].size > SIZE_MAX / 8 - bytes)
            return spr__nomem(ctx);
        bytes = aligned(bytes + sections[i].size);
    }
    int rc = new_model(ctx, bytes, true, &m);
    if (rc < 0)
        return rc;
    write_image(m->block + (m->image - m->block), bytes, sections, count);
    if ((rc = check_header(ctx, "new model", m->image, bytes, &h)) < 0 ||
        (rc = check_sections(ctx, "new model", m->image, &h)) < 0) {
        spr_model_unref(m);
        return rc;
    }
    *out = m;
    return SPR_OK;
}

int spr__model_make(spr_context *ctx, const struct spr_model_info *info, const struct spr__section *sections,
                    size_t count, spr_model **out) {
    struct spr_model_info newest;
    unsigned char *packed = NULL;
    size_t packed_bytes = 0;
    if (big_endian())
        return spr__fail(ctx, SPR_E_UNSUPPORTED, "models are little-endian and used as they lie; this machine is not");
    if (count >= SPR__MODEL_SECTIONS)
        return spr__fail(ctx, SPR_E_ARG, "a model has at most %d sections", SPR__MODEL_SECTIONS - 1);
    int rc = spr__opts_copy(ctx, "spr_model_info", info, &newest, sizeof newest);
    if (rc < 0 || (rc = pack_info(ctx, &newest, &packed, &packed_bytes)) < 0)
        return rc;
    struct spr__section *all = spr__alloc(ctx, count + 1, sizeof *all);
    rc = all ? SPR_OK : spr__nomem(ctx);
    if (all) {
        all[0] = (struct spr__section){{'I', 'N', 'F', 'O'}, 0, packed, packed_bytes};
        if (count)
            memcpy(all + 1, sections, count * sizeof *all);
        sort_sections(all, count + 1);
        rc = make(ctx, all, count + 1, out);
    }
    spr__free(ctx, all, count + 1, sizeof *all);
    spr__free(ctx, packed, packed_bytes, 1);
    return rc;
}

/* ---- asking ---- */

const void *spr__model_section(const spr_model *m, const char *tag, uint32_t index, size_t *size) {
    struct header h;
    memcpy(&h, m->image, sizeof h);
    for (size_t i = 0; i < h.sections; i++) {
        struct entry e = entry_of(m->image, i);
        if (memcmp(e.tag, tag, 4) != 0 || e.index != index)
            continue;
        if (size)
            *size = (size_t)e.bytes;
        return m->image + e.offset;
    }
    return NULL;
}

const void *spr_model_bytes(const spr_model *m, size_t *bytes) {
    if (bytes)
        *bytes = m ? m->bytes : 0;
    return m ? m->image : NULL;
}

int spr_model_describe(const spr_model *m, struct spr_model_info *out) {
    if (!m || !out)
        return SPR_E_ARG;
    const unsigned char *p = spr__model_section(m, "INFO", 0, NULL);
    struct info i;
    memcpy(&i, p, sizeof i);
    struct spr_model_info newest = {.size = sizeof newest,
                                    .kind = i.kind,
                                    .horizon = i.horizon,
                                    .level_count = i.level_count,
                                    .members = i.members,
                                    .levels = (const double *)(const void *)(p + sizeof i),
                                    .step_ns = i.step_ns,
                                    .context = i.context,
                                    .weights = i.weights,
                                    .loss = i.loss,
                                    .naive_loss = i.naive_loss,
                                    .coverage95 = i.coverage95,
                                    .text = (const char *)p + sizeof i + (size_t)i.level_count * sizeof(double),
                                    .newest_step = i.newest_step,
                                    .events =
                                        spr__model_section(m, "EVNT", 0, NULL) ? SPR_EVENTS_INSIDE : SPR_EVENTS_AROUND};
    return spr__out_copy(out, &newest, sizeof newest);
}

spr_model *spr_model_ref(spr_model *m) {
    if (m)
        spr__ref(&m->refs);
    return m;
}

void spr_model_unref(spr_model *m) {
    if (!m || !spr__unref(&m->refs))
        return;
    spr_context *ctx = m->ctx;
    spr__free(ctx, m->block, m->bytes + SPR__MODEL_ALIGN, 1);
    spr__free(ctx, m, 1, sizeof *m);
    spr_context_unref(ctx);
}
