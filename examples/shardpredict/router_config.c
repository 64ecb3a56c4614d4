/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The router's configuration: YAML with places, to the same JSON that the control socket speaks. */
#include "doc.h"
#include "router.h"

enum { KEYS_MOST = 24 };

static json_t *read_weights(struct spr__doc *d, spr__node *n) {
    json_t *out = json_object();
    void *at = NULL;
    const char *key;
    size_t length;
    if (spr__doc_kind(n) != SPR__MAPPING)
        spr__doc_fail(d, n, "weights must map backends to shares");
    for (spr__node *v; (v = spr__doc_next_pair(d, n, &at, &key, &length));) {
        double share = 0;
        char *name = spr__io_strndup(d->ctx, key, length);
        spr__doc_number(d, v, 0, 1, &share);
        bool text = name && *name && strlen(name) == length;
        json_t *number = text ? json_real(share) : NULL;
        if (!number || json_object_set_new(out, name, number))
            spr__doc_fail(d, v, "the name of a backend is no text");
        spr__io_strfree(d->ctx, name);
    }
    return out;
}

static json_t *read_list(struct spr__doc *d, spr__node *n, const struct router_field *f) {
    json_t *out = json_array();
    void *at = NULL;
    if (spr__doc_kind(n) != SPR__LIST || !spr__doc_count(n))
        spr__doc_fail(d, n, "%s must be a list of numbers", f->name);
    for (spr__node *v; d->rc >= 0 && (v = spr__doc_next(n, &at));) {
        int64_t number = 0;
        spr__doc_integer(d, v, (int64_t)f->least, (int64_t)f->most, &number);
        json_array_append_new(out, json_integer(number));
    }
    return out;
}

static json_t *read_text(struct spr__doc *d, spr__node *n, const struct router_field *f) {
    char *text = spr__doc_text(d, n);
    json_t *out = text ? json_string(text) : NULL;
    if (text && (strlen(text) < (size_t)f->least || strlen(text) > (size_t)f->most))
        spr__doc_fail(d, n, "%s: %zu bytes; %g to %g may be there", f->name, strlen(text), f->least, f->most);
    spr__io_strfree(d->ctx, text);
    return out;
}

static json_t *read_word(struct spr__doc *d, spr__node *n, const struct router_field *f) {
    const char *words[16];
    size_t count = 0;
    int chosen = 0;
    while (f->words[count].word && count < SPR_ARRAY_LEN(words)) {
        words[count] = f->words[count].word;
        count++;
    }
    spr__doc_choice(d, n, words, count, &chosen);
    return json_string(words[chosen]);
}

static json_t *read_value(struct spr__doc *d, spr__node *n, const struct router_field *f) {
    int64_t whole = 0;
    double number = 0;
    bool flag = false;
    switch (f->kind) {
    case ROUTER_TEXT:
        return read_text(d, n, f);
    case ROUTER_WHOLE:
    case ROUTER_COUNT:
        spr__doc_integer(d, n, (int64_t)f->least, (int64_t)f->most, &whole);
        return json_integer(whole);
    case ROUTER_NUMBER:
        spr__doc_number(d, n, f->least, f->most, &number);
        return json_real(number);
    case ROUTER_FLAG:
        spr__doc_bool(d, n, &flag);
        return json_boolean(flag);
    case ROUTER_WORD:
        return read_word(d, n, f);
    case ROUTER_WEIGHTS:
        return read_weights(d, n);
    default:
        return read_list(d, n, f);
    }
}

/* The fields that a mapping has; which keys it may have is the caller's. */
static json_t *read_fields(struct spr__doc *d, spr__node *map, const struct router_fields *fields) {
    json_t *out = json_object();
    for (size_t i = 0; i < fields->count && d->rc >= 0; i++) {
        const struct router_field *f = &fields->field[i];
        spr__node *n = f->needed ? spr__doc_need(d, map, f->name) : spr__doc_get(d, map, f->name);
        json_t *v = n && d->rc >= 0 ? read_value(d, n, f) : NULL;
        if (v && json_object_set_new(out, f->name, v))
            d->rc = spr__io_nomem(d->ctx);
        else if (n && !v)
            spr__doc_fail(d, n, "%s: this is no text", f->name);
    }
    return out;
}

static void check_keys(struct spr__doc *d, spr__node *map, const struct router_fields *fields, const char *const *more,
                       size_t more_count) {
    const char *keys[KEYS_MOST];
    size_t n = 0;
    for (size_t i = 0; i < fields->count && n < KEYS_MOST; i++)
        keys[n++] = fields->field[i].name;
    for (size_t i = 0; i < more_count && n < KEYS_MOST; i++)
        keys[n++] = more[i];
    spr__doc_keys(d, map, fields->what, keys, n);
}

/* Names are unique in their list. */
static bool is_again(const json_t *list, const json_t *item, const char *key) {
    const char *name = json_string_value(json_object_get(item, key));
    for (size_t i = 0; name && i < json_array_size(list); i++)
        if (!strcmp(json_string_value(json_object_get(json_array_get(list, i), key)), name))
            return true;
    return false;
}

static json_t *read_items(struct spr__doc *d, spr__node *root, const char *key, const struct router_fields *fields,
                          const char *unique) {
    json_t *out = json_array();
    spr__node *list = spr__doc_get(d, root, key);
    void *at = NULL;
    if (list && spr__doc_kind(list) != SPR__LIST)
        spr__doc_fail(d, list, "%s must be a list", key);
    for (spr__node *n; list && d->rc >= 0 && (n = spr__doc_next(list, &at));) {
        check_keys(d, n, fields, NULL, 0);
        json_t *item = read_fields(d, n, fields);
        if (d->rc >= 0 && unique && is_again(out, item, unique))
            spr__doc_fail(d, n, "%s: '%s' is there twice", key, json_string_value(json_object_get(item, unique)));
        json_array_append_new(out, item);
    }
    return out;
}

static json_t *read_all(struct spr__doc *d, spr__node *root) {
    static const char *const more[] = {"schema", "about", "ports", "backends", "services", "spills", "spikes"};
    check_keys(d, root, &router_settings_fields, more, SPR_ARRAY_LEN(more));
    spr__doc_schema(d, root);
    json_t *out = json_object();
    json_object_set_new(out, "settings", read_fields(d, root, &router_settings_fields));
    json_object_set_new(out, "ports", read_items(d, root, "ports", &router_port_fields, NULL));
    json_object_set_new(out, "backends", read_items(d, root, "backends", &router_backend_fields, "name"));
    json_object_set_new(out, "services", read_items(d, root, "services", &router_service_fields, "name"));
    json_object_set_new(out, "spills", read_items(d, root, "spills", &router_spill_fields, "service"));
    json_object_set_new(out, "spikes", read_items(d, root, "spikes", &router_spike_fields, "service"));
    if (d->rc >= 0 && json_array_size(json_object_get(out, "ports")) > ROUTER_PORTS_MOST)
        spr__doc_fail(d, spr__doc_get(d, root, "ports"), "ports: at most %d", ROUTER_PORTS_MOST);
    return out;
}

json_t *router_config_read(spr_context *ctx, const char *path) {
    struct spr__doc d;
    spr__node *root;
    if (spr__doc_open(ctx, path, &d, &root) < 0)
        return NULL;
    json_t *out = read_all(&d, root);
    int rc = d.rc;
    spr__doc_close(&d);
    if (rc >= 0)
        return out;
    json_decref(out);
    return NULL;
}
