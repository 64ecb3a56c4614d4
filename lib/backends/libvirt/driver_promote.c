/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * PROMOTE: a warm replica becomes the primary. Every host is asked first: where the old one runs and its host answers
 * there would be two. A host that does not answer counts as dead, and whoever asks has made sure that it is. The
 * element that makes the domain a shard goes last: until then asking again goes on where it was.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "xml.h"

enum { ASK, ACT };

/* ---- wishes ---- */

/* The owner's element, or an empty one, with attributes of ours. NULL: no memory, or it cannot be read. */
static char *wishes_with(const char *xml, const char *const of[][2], size_t count, char why[LV_WHY]) {
    xmlDoc *doc = NULL;
    char *out = NULL;
    if (lv_xml_open(xml ? xml : "<vm/>", "vm", &doc, why) < 0)
        return NULL;
    struct lv_edit e = {.doc = doc};
    xmlNode *root = xmlDocGetRootElement(doc);
    for (size_t i = 0; i < count; i++)
        if (of[i][1] && *of[i][1])
            lv_xml_set(&e, root, of[i][0], of[i][1]);
    xmlSetNs(root, NULL); /* libvirt puts its own in, and refuses one that is there */
    xmlFreeNsList(root->nsDef);
    root->nsDef = NULL;
    if (lv_xml_print(&e, root, &out) < 0)
        out = NULL;
    xmlFreeDoc(doc);
    return out;
}

static int wishes_put(struct lv_act *a, virConnectPtr conn, const char *xml, const char *const of[][2], size_t count) {
    char why[LV_WHY] = "out of memory", *text = wishes_with(xml, of, count, why);
    int rc = text ? lv_guard_ours(a, conn) : SPR_E_FORMAT;
    if (!text)
        lv_job_fail(&a->job, rc, "the owner's metadata of VM '%s': %s", a->vm, why);
    else if (rc == SPR_OK &&
             virDomainSetMetadata(a->dom, VIR_DOMAIN_METADATA_ELEMENT, text, "spr", LV_VM_URN, lv_affect(a->dom)) < 0) {
        lv_fail(a, "writing the owner's metadata into", virDomainGetName(a->dom));
        rc = a->job.code;
    }
    lv_free(text);
    return rc;
}

int lv_wishes_keep(struct lv_act *a, virConnectPtr conn) {
    const char *const of[][2] = {{"autostart", a->primary.autostart ? "yes" : ""}};
    if (!a->primary.wishes && !a->primary.autostart)
        return SPR_OK;
    return wishes_put(a, conn, a->primary.wishes, of, 1);
}

/* ---- what is gone ---- */

void lv_gone_free(struct lv_driver *d) {
    for (size_t i = 0; i < d->gone_count; i++)
        lv_free(d->gone[i].vm);
    lv_free(d->gone);
}

/* Without memory it is not told of before the next look. */
static void gone_learn(struct lv_driver *d, const char *uuid, const char *vm) {
    bool known = false;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->gone_count; i++)
        known |= !strcmp(d->gone[i].uuid, uuid);
    if (!known && lv_grow((void **)&d->gone, &d->gone_cap, d->gone_count + 1, sizeof *d->gone) == SPR_OK) {
        struct lv_gone *g = &d->gone[d->gone_count];
        snprintf(g->uuid, sizeof g->uuid, "%s", uuid);
        g->vm = lv_strdup(vm);
        d->gone_count += g->vm != NULL;
    }
    pthread_mutex_unlock(&d->lock);
}

static char *gone_find(struct lv_driver *d, const char *uuid) {
    char *vm = NULL;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->gone_count && !vm; i++)
        if (!strcmp(d->gone[i].uuid, uuid))
            vm = lv_strdup(d->gone[i].vm);
    pthread_mutex_unlock(&d->lock);
    return vm;
}

static bool wishes_read(virDomainPtr dom, struct lv_vm_meta *out) {
    char why[LV_WHY];
    char *xml = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, LV_VM_URN, VIR_DOMAIN_AFFECT_CONFIG);
    bool ok = xml && lv_vm_meta_parse(xml, out, why) == SPR_OK;
    free(xml);
    return ok;
}

int lv_promoted_look(struct lv_driver *d, virDomainPtr dom, char **vm) {
    char uuid[VIR_UUID_STRING_BUFLEN];
    struct lv_vm_meta m = {0};
    if (virDomainGetUUIDString(dom, uuid) == 0 && (*vm = gone_find(d, uuid)))
        return 2;
    if (!lv_domain_name_id(virDomainGetName(dom)) || !wishes_read(dom, &m))
        return 0;
    int is = m.promoted != 0;
    if (is && m.was[0] && m.name)
        gone_learn(d, m.was, m.name);
    lv_vm_meta_clear(&m);
    return is;
}

/* ---- where is the old one? ---- */

static void ask_run(struct lv_job *job, virConnectPtr conn);

/* A lane that has been busy for long: the host does not answer. */
static bool hangs(struct lv_host *h) {
    pthread_mutex_lock(&h->v->lock);
    const struct lv_lane *lane = &h->lane[LV_LOOK];
    bool is = lane->running && (double)(lv_clock_ns() - lane->running_since_ns) > h->v->opts.call_s * 1e9;
    pthread_mutex_unlock(&h->v->lock);
    return is;
}

static void ask_on(struct lv_act *a) {
    struct spr_libvirt *v = a->d->v;
    for (size_t i = 0; i < v->host_count; i++)
        if (!a->asked[i]) {
            a->asked[i] = 1;
            if (hangs(&v->hosts[i]))
                continue;
            a->job.run = ask_run;
            a->job.unconnected_too = true;
            lv_job_move(&a->job, &v->hosts[i], LV_LOOK);
            return;
        }
    a->step = ACT;
    a->job.run = lv_act_run;
    a->job.unconnected_too = false;
    lv_job_move(&a->job, lv_target(a), LV_ACT);
}

static void ask_run(struct lv_job *job, virConnectPtr conn) {
    struct lv_act *a = (struct lv_act *)job;
    virDomainPtr dom = NULL;
    if (conn && a->primary.uuid[0])
        dom = virDomainLookupByUUIDString(conn, a->primary.uuid);
    if (conn && !dom)
        dom = virDomainLookupByName(conn, a->vm);
    if (conn && !dom && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN && virConnectIsAlive(conn) == 1) {
        lv_job_fail_libvirt(job, "it answers, but does not say whether it has VM", a->vm);
        return;
    }
    if (dom && lv_runs(dom))
        a->alive = job->host->index + 1;
    if (dom)
        virDomainFree(dom);
    job->outcome = SPR_DONE;
    ask_on(a);
}

/* ---- the replica ---- */

/* Was it promoted before? The name is the shard's still. */
static bool was_promoted(struct lv_act *a, virConnectPtr conn) {
    char name[LV_NAME];
    struct lv_vm_meta m = {0};
    lv_domain_name(a->shard, a->vm, name);
    virDomainPtr dom = virDomainLookupByName(conn, name);
    bool is = dom && wishes_read(dom, &m) && m.promoted == a->shard;
    lv_vm_meta_clear(&m);
    if (dom)
        virDomainFree(dom);
    return is;
}

static bool can_be(struct lv_act *a) {
    if (a->meta.kind != SPR_SHARD_REPLICA)
        lv_job_fail(&a->job, SPR_E_STATE, "shard %llu is headroom: there is no guest in it",
                    (unsigned long long)a->shard);
    else if (a->meta.phase < LV_PHASE_WARM)
        lv_job_fail(&a->job, SPR_E_STATE, "shard %llu is %s, not warm", (unsigned long long)a->shard,
                    lv_phase_name(a->meta.phase));
    else if (a->alive)
        lv_job_fail(
            &a->job, SPR_E_STATE,
            "VM '%s' runs on %s, which answers: with shard %llu as its primary there would be two (split brain)", a->vm,
            a->d->v->hosts[a->alive - 1].id, (unsigned long long)a->shard);
    return a->job.outcome != SPR_FAILED;
}

static int run(struct lv_act *a, virConnectPtr conn) {
    int state = lv_state(a->dom, NULL);
    if (state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED)
        return SPR_OK;
    int rc = lv_guard_ours(a, conn);
    if (rc == SPR_OK && (lv_runs(a->dom) ? virDomainResume(a->dom) : virDomainCreate(a->dom)) < 0) {
        lv_fail(a, "starting", virDomainGetName(a->dom));
        rc = a->job.code;
    }
    return rc;
}

/* As large as its definition allows, which is as large as the old primary was. */
static int lift(struct lv_act *a, virConnectPtr conn) {
    struct spr_amounts whole = {{0}};
    int vcpus = virDomainGetVcpusFlags(a->dom, VIR_DOMAIN_AFFECT_CONFIG | VIR_DOMAIN_VCPU_MAXIMUM);
    whole.of[SPR_CPU] = vcpus > 0 ? vcpus : 1;
    whole.of[SPR_MEMORY] = (double)virDomainGetMaxMemory(a->dom) * 1024;
    a->held = whole;
    int rc = lv_fits_host(a, conn, &whole);
    return rc == SPR_OK ? lv_limit(a, conn, &whole, 1) : rc;
}

static int take_name(struct lv_act *a, virConnectPtr conn) {
    char id[17], *xml = virDomainGetMetadata(a->dom, VIR_DOMAIN_METADATA_ELEMENT, LV_VM_URN, VIR_DOMAIN_AFFECT_CONFIG);
    const char *const of[][2] = {{"name", a->meta.vm}, {"promoted", id}, {"was", a->meta.vm_uuid}};
    struct lv_vm_meta m = {0};
    snprintf(id, sizeof id, "%016llx", (unsigned long long)a->shard);
    bool autostart = wishes_read(a->dom, &m) && m.autostart;
    lv_vm_meta_clear(&m);
    int rc = wishes_put(a, conn, xml, of, 3);
    free(xml);
    if (rc == SPR_OK && virDomainSetAutostart(a->dom, autostart) < 0) {
        lv_fail(a, "setting the autostart of", virDomainGetName(a->dom));
        rc = a->job.code;
    }
    return rc;
}

/* The last step: from now on it is nobody's shard. */
static int let_go(struct lv_act *a, virConnectPtr conn) {
    int rc = lv_guard_ours(a, conn);
    if (rc == SPR_OK &&
        virDomainSetMetadata(a->dom, VIR_DOMAIN_METADATA_ELEMENT, NULL, NULL, LV_SHARD_URN, lv_affect(a->dom)) < 0) {
        lv_fail(a, "making a VM of", virDomainGetName(a->dom));
        rc = a->job.code;
    }
    if (rc < 0)
        return rc;
    if (a->meta.vm_uuid[0])
        gone_learn(a->d, a->meta.vm_uuid, a->meta.vm);
    virDomainFree(a->dom);
    a->dom = NULL; /* of ours there is nothing */
    return SPR_OK;
}

void lv_promote(struct lv_act *a, virConnectPtr conn) {
    if (!a->dom) {
        if (!was_promoted(a, conn))
            lv_job_fail(&a->job, SPR_E_NOT_FOUND, "shard %llu is not there", (unsigned long long)a->shard);
        return;
    }
    if (a->step == ASK) {
        if (!a->asked && !(a->asked = lv_alloc(a->d->v->host_count))) {
            lv_job_fail(&a->job, SPR_E_NOMEM, "out of memory");
            return;
        }
        snprintf(a->primary.uuid, LV_UUID, "%s", a->meta.vm_uuid);
        ask_on(a);
        return;
    }
    if (!can_be(a) || run(a, conn) < 0 || lift(a, conn) < 0)
        return;
    if (take_name(a, conn) == SPR_OK)
        let_go(a, conn);
}
