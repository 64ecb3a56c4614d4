/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the driver says its hosts lack, before a plan counts on them. Asked anew every round: modules are loaded. */
#include "control/control.h"
#include "lifecycle/lifecycle.h"

void spr__means_finish(spr_controller *c) {
    for (int32_t h = 0; c->unkept_why && h < c->unkept_hosts; h++)
        spr__strfree(c->ctx, c->unkept_why[h]);
    spr__free(c->ctx, c->unkept, (size_t)c->unkept_hosts, sizeof *c->unkept);
    spr__free(c->ctx, c->unkept_why, (size_t)c->unkept_hosts, sizeof *c->unkept_why);
    c->unkept = NULL, c->unkept_why = NULL, c->unkept_hosts = 0;
}

static int make_room(spr_controller *c) {
    if (c->unkept_hosts == c->hosts)
        return SPR_OK;
    spr__means_finish(c);
    c->unkept_hosts = c->hosts;
    c->unkept = spr__alloc(c->ctx, (size_t)c->hosts, sizeof *c->unkept);
    c->unkept_why = spr__alloc(c->ctx, (size_t)c->hosts, sizeof *c->unkept_why);
    if (c->unkept && c->unkept_why)
        return SPR_OK;
    spr__means_finish(c);
    return spr__nomem(c->ctx);
}

int spr__means_ask(spr_controller *c) {
    if (!c->lifecycle || !c->hosts)
        return SPR_OK;
    int rc = make_room(c);
    for (int32_t h = 0; h < c->hosts && rc == SPR_OK; h++) {
        const char *why = NULL, *host = c->inventory->inventory->hosts[h].id;
        c->unkept[h] = spr__lifecycle_unkept(c->lifecycle, host, &why);
        if (why && c->unkept_why[h] && !strcmp(why, c->unkept_why[h]))
            continue;
        spr__strfree(c->ctx, c->unkept_why[h]);
        c->unkept_why[h] = NULL;
        if (why && !(c->unkept_why[h] = spr__strdup(c->ctx, why)))
            rc = spr__nomem(c->ctx);
        else if (why)
            spr__log(c->ctx, SPR_LOG_WARN, "control", host, "left out of plans: %s", why);
    }
    return rc;
}
