/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where the files lie that a scenario names. */
#include "scenario.h"

static const char data_word[] = "$SPR_DATA";

char *spr__scenario_path(struct spr__doc *d, spr__node *at, const char *written, const struct spr_scenario_opts *o) {
    size_t n = sizeof data_word - 1;
    char *path = NULL;
    if (d->rc < 0 || !written)
        return NULL;
    if (spr__io_has_parent(written)) {
        spr__doc_fail(d, at, "'..' is not allowed in a path inside a scenario");
        return NULL;
    }
    if (!strncmp(written, data_word, n) && (written[n] == '/' || !written[n])) {
        if (!o->data_dir || !*o->data_dir) {
            spr__doc_fail(d, at, "SPR_DATA is not set: it must name the folder of '%s'", written);
            return NULL;
        }
        path = spr__io_printf(d->ctx, "%s%s", o->data_dir, written + n);
    } else {
        path = spr__io_beside(d->ctx, d->path, written);
    }
    if (!path)
        d->rc = SPR_E_NOMEM;
    return path;
}

/* FOLDER/NAME.yaml when it is there. */
static char *map_in(struct spr__doc *d, const char *folder, const char *between, const char *name) {
    if (!folder || d->rc < 0)
        return NULL;
    bool dot = strstr(name, ".yaml") || strstr(name, ".json");
    char *path = spr__io_printf(d->ctx, "%s%s%s%s", folder, between, name, dot ? "" : ".yaml");
    if (!path)
        d->rc = SPR_E_NOMEM;
    else if (spr__io_exists(path))
        return path;
    spr__io_strfree(d->ctx, path);
    return NULL;
}

char *spr__scenario_map(struct spr__doc *d, spr__node *at, const struct spr_scenario_opts *o) {
    char *name = spr__doc_text(d, at), *path = NULL;
    if (!name)
        return NULL;
    char *folder = spr__io_strndup(d->ctx, d->path, (size_t)(spr__io_base(d->path) - d->path));
    if (!folder)
        d->rc = SPR_E_NOMEM;
    if (d->rc >= 0 && spr__io_has_parent(name))
        spr__doc_fail(d, at, "'..' is not allowed in a path inside a scenario");
    else if (d->rc >= 0 && name[0] == '/')
        path = spr__io_strdup(d->ctx, name);
    else if (!(path = map_in(d, folder, "", name)) && !(path = map_in(d, o->maps_dir, "/", name)))
        path = map_in(d, o->installed_dir, "/maps/", name);
    if (!path && d->rc >= 0)
        spr__doc_fail(d, at, "there is no map '%.80s' beside the scenario, in SPR_MAPS or in the installed data folder",
                      name);
    spr__io_strfree(d->ctx, folder);
    spr__io_strfree(d->ctx, name);
    return path;
}
