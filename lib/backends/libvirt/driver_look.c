/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The primary's definition. The job walks over the hosts' look lanes: where the VM was last, then hosts that are
 * connected and idle, then the others, the target last (a primary there would not need this shard). A VM that runs is
 * the primary; a definition that sleeps counts only when no host has it running.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "xml.h"

void lv_primary_clear(struct lv_primary *p) {
    for (size_t i = 0; i < p->base_count; i++) {
        lv_free(p->base[i].target), lv_free(p->base[i].path);
        lv_free(p->base[i].format), lv_free(p->base[i].overlay);
    }
    lv_free(p->base);
    lv_free(p->live), lv_free(p->host_cpu), lv_free(p->wishes);
    lv_free(p->vf_network), lv_free(p->template_name);
    lv_free(p->xml), lv_free(p->type), lv_free(p->arch), lv_free(p->machine), lv_free(p->emulator);
    memset(p, 0, sizeof *p);
}

/* ---- homes ---- */

static struct lv_home *home_of(struct lv_driver *d, const char *vm) {
    for (size_t i = 0; i < d->home_count; i++)
        if (!strcmp(d->homes[i].vm, vm))
            return &d->homes[i];
    return NULL;
}

static void remember_home(struct lv_act *a, size_t host) {
    struct lv_driver *d = a->d;
    pthread_mutex_lock(&d->lock);
    struct lv_home *h = home_of(d, a->vm);
    if (!h && lv_grow((void **)&d->homes, &d->home_cap, d->home_count + 1, sizeof *d->homes) == SPR_OK) {
        h = &d->homes[d->home_count];
        h->vm = lv_strdup(a->vm);
        if (h->vm)
            d->home_count++;
        else
            h = NULL;
    }
    if (h) /* without memory the next one looks everywhere, that is all */
        h->host = host;
    pthread_mutex_unlock(&d->lock);
}

/* ---- where to next ---- */

static int rank(struct lv_act *a, size_t i, size_t hint) {
    struct lv_host *h = &a->d->v->hosts[i];
    if (a->asked[i])
        return 9;
    if (i == hint)
        return 0;
    if (i == a->target)
        return 3;
    return h->conn && !atomic_load(&h->lost) && !h->lane[LV_LOOK].running ? 1 : 2;
}

static bool next_host(struct lv_act *a, size_t *out) {
    struct lv_driver *d = a->d;
    int best = 9;
    pthread_mutex_lock(&d->lock);
    struct lv_home *home = home_of(d, a->vm);
    size_t hint = home ? home->host : SIZE_MAX;
    pthread_mutex_unlock(&d->lock);
    pthread_mutex_lock(&d->v->lock);
    for (size_t i = 0; i < d->v->host_count; i++)
        if (rank(a, i, hint) < best) {
            best = rank(a, i, hint);
            *out = i;
        }
    pthread_mutex_unlock(&d->v->lock);
    return best < 9;
}

static void go_back(struct lv_act *a) {
    a->job.run = lv_act_run;
    a->job.unconnected_too = false;
    lv_job_move(&a->job, lv_target(a), LV_ACT);
}

/* The job has failed; it ends where it began, so that the target is left as it was. */
static void give_up(struct lv_act *a) {
    a->lost_code = a->job.code;
    memcpy(a->lost, a->job.text, sizeof a->lost);
    go_back(a);
}

static void look_on(struct lv_act *a) {
    size_t i = 0;
    if (next_host(a, &i)) {
        lv_job_move(&a->job, &a->d->v->hosts[i], LV_LOOK);
        return;
    }
    if (a->asleep && !a->takes_asleep) {
        a->takes_asleep = true;
        a->asked[a->asleep - 1] = 0;
        lv_job_move(&a->job, &a->d->v->hosts[a->asleep - 1], LV_LOOK);
        return;
    }
    a->job.host = lv_target(a);
    lv_job_fail(&a->job, a->away[0] ? SPR_E_IO : SPR_E_NOT_FOUND, "VM '%s' is on none of the hosts%s%s", a->vm,
                a->away[0] ? " that answer; " : "", a->away);
    give_up(a);
}

/* ---- what is needed of it ---- */

/* What lies under an image that no running guest tells of: the volume's own header, through its pool. */
static int volume_backing(virConnectPtr conn, const char *path, struct lv_base *b, char why[LV_WHY]) {
    virStorageVolPtr vol = lv_volume(conn, path);
    char *text = vol ? virStorageVolGetXMLDesc(vol, 0) : NULL;
    xmlDoc *doc = NULL;
    int rc = SPR_OK;
    if (text && lv_xml_open(text, "volume", &doc, why) == SPR_OK) {
        const xmlNode *under = lv_xml_first(xmlDocGetRootElement(doc), "backingStore");
        const char *at = lv_xml_text(lv_xml_first(under, "path"));
        const char *format = lv_xml_attr(lv_xml_first(under, "format"), "type");
        if (at && *at) {
            b->path = lv_strdup(at);
            b->format = lv_strdup(format ? format : "raw");
            rc = b->path && b->format ? SPR_OK : SPR_E_NOMEM;
        }
        xmlFreeDoc(doc);
    }
    free(text);
    if (vol)
        virStorageVolFree(vol);
    return rc;
}

static int add_base(struct lv_act *a, virConnectPtr conn, virDomainPtr dom, const struct lv_disk *disk, bool is_base,
                    char why[LV_WHY]) {
    struct lv_primary *p = &a->primary;
    size_t cap = p->base_count;
    if (lv_grow((void **)&p->base, &cap, p->base_count + 1, sizeof *p->base) < 0)
        return lv_why(why, SPR_E_NOMEM, "out of memory");
    struct lv_base *b = &p->base[p->base_count++];
    memset(b, 0, sizeof *b);
    b->target = lv_strdup(disk->target);
    b->rests = is_base;
    if (is_base) {
        b->path = lv_strdup(disk->source);
        b->format = lv_strdup(disk->format ? disk->format : "raw");
    } else if (disk->backing_count) {
        b->path = lv_strdup(disk->backing[0]);
        b->format = lv_strdup(disk->backing_format[0] ? disk->backing_format[0] : "raw");
    } else if (disk->source && volume_backing(conn, disk->source, b, why) < 0) {
        return lv_why(why, SPR_E_NOMEM, "out of memory");
    }
    if (!b->target || (b->path && !b->format))
        return lv_why(why, SPR_E_NOMEM, "out of memory");
    if (!b->path)
        return lv_why(why, SPR_E_UNSUPPORTED,
                      "disk %s of VM '%s' (%s) lies on no image that a replica could share: use replica=template",
                      disk->target, a->vm, disk->source ? disk->source : "no path");
    virDomainBlockInfo info;
    if (!is_base && virDomainGetBlockInfo(dom, disk->target, &info, 0) == 0)
        b->capacity = (double)info.capacity;
    return SPR_OK;
}

/* The disks that need overlays: of the primary what lies under them, of a template they themselves. */
static int read_disks(struct lv_act *a, virConnectPtr conn, virDomainPtr dom, const struct lv_domain *d, bool is_base,
                      char why[LV_WHY]) {
    int rc = SPR_OK;
    for (size_t i = 0; i < d->disk_count && rc == SPR_OK; i++) {
        const struct lv_disk *k = &d->disk[i];
        if (!strcmp(k->device, "disk") && !k->readonly && !k->shareable && k->target)
            rc = add_base(a, conn, dom, k, is_base, why);
    }
    return rc;
}

static int keep_machine(struct lv_primary *p, const struct lv_domain *d) {
    snprintf(p->uuid, LV_UUID, "%s", d->uuid ? d->uuid : "");
    p->type = lv_strdup(d->type), p->arch = lv_strdup(d->arch);
    p->machine = lv_strdup(d->machine), p->emulator = lv_strdup(d->emulator);
    p->vcpus = d->vcpus_most ? d->vcpus_most : d->vcpus;
    p->memory = d->memory;
    return (d->type && !p->type) || (d->arch && !p->arch) || (d->machine && !p->machine) ||
                   (d->emulator && !p->emulator)
               ? SPR_E_NOMEM
               : SPR_OK;
}

/* Whose definition: the VM's own or a template's. The owner's word in the metadata stands unless the program has one.
 */
static int choose(struct lv_act *a, const struct lv_domain *d, int *policy, char **template, char why[LV_WHY]) {
    struct lv_vm_meta m = {0};
    *policy = SPR_REPLICA_IMAGE;
    if (!d->vm_xml)
        return SPR_OK;
    int rc = lv_vm_meta_parse(d->vm_xml, &m, why);
    if (rc < 0)
        return rc;
    *policy = m.replica;
    if (m.vf_network && !(a->primary.vf_network = lv_strdup(m.vf_network)))
        rc = lv_why(why, SPR_E_NOMEM, "out of memory");
    if (m.template_name && !(*template = lv_strdup(m.template_name)))
        rc = lv_why(why, SPR_E_NOMEM, "out of memory");
    else if (m.replica == SPR_REPLICA_NEVER && a->d->v->opts.vm)
        *policy = SPR_REPLICA_IMAGE;
    else if (m.replica == SPR_REPLICA_NEVER)
        rc = lv_why(why, SPR_E_UNSUPPORTED, "the owner of VM '%s' allows no replicas (its metadata)", a->vm);
    lv_vm_meta_clear(&m);
    return rc;
}

int lv_template_rests(const struct lv_primary *p, virConnectPtr conn, char why[LV_WHY]) {
    virDomainPtr dom = NULL;
    if (p->template_uuid[0])
        dom = virDomainLookupByUUIDString(conn, p->template_uuid);
    if (!dom && p->template_name)
        dom = virDomainLookupByName(conn, p->template_name);
    bool runs = dom && lv_runs(dom);
    if (dom)
        virDomainFree(dom);
    return runs ? lv_why(why, SPR_E_BUSY,
                         "template '%s' is running, so that its disks change under the replicas: switch it off",
                         p->template_name)
                : SPR_OK;
}

/* A template's disk that the primary itself writes to is none that rests. */
static int apart(const struct lv_domain *t, const struct lv_domain *primary, char why[LV_WHY]) {
    for (size_t i = 0; i < t->disk_count; i++)
        for (size_t j = 0; j < primary->disk_count; j++)
            if (!t->disk[i].readonly && t->disk[i].source && primary->disk[j].source && !primary->disk[j].readonly &&
                !strcmp(t->disk[i].source, primary->disk[j].source))
                return lv_why(why, SPR_E_UNSUPPORTED,
                              "disk %s of template '%s' (%s) is the one that VM '%s' writes to: give it a copy",
                              t->disk[i].target ? t->disk[i].target : "", t->name ? t->name : "", t->disk[i].source,
                              primary->name ? primary->name : "");
    return SPR_OK;
}

static int keep_template(struct lv_primary *p, const struct lv_domain *t, char why[LV_WHY]) {
    if (!t->name)
        return lv_why(why, SPR_E_FORMAT, "the template's definition has no name");
    p->template_name = lv_strdup(t->name);
    snprintf(p->template_uuid, LV_UUID, "%s", t->uuid ? t->uuid : "");
    return p->template_name ? SPR_OK : lv_why(why, SPR_E_NOMEM, "out of memory");
}

static int take_template(struct lv_act *a, virConnectPtr conn, const struct lv_domain *primary, const char *name,
                         char why[LV_WHY]) {
    struct lv_domain t = {0};
    char *xml = NULL;
    if (name) {
        virDomainPtr dom = virDomainLookupByName(conn, name);
        char *text = dom ? virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE) : NULL;
        if (!text)
            lv_why(why, SPR_E_NOT_FOUND, "template '%s' of VM '%s': %s", name, a->vm, virGetLastErrorMessage());
        xml = lv_strdup(text);
        free(text);
        if (dom)
            virDomainFree(dom);
        if (!xml)
            return SPR_E_NOT_FOUND;
    } else if (a->d->o.template_xml) {
        xml = lv_strdup(a->d->o.template_xml);
    } else {
        return lv_why(why, SPR_E_ARG, "VM '%s' wants replicas from a template, and the driver has no template_xml",
                      a->vm);
    }
    int rc = xml ? lv_domain_read(xml, &t, why) : SPR_E_NOMEM;
    if (rc == SPR_OK)
        rc = keep_template(&a->primary, &t, why);
    if (rc == SPR_OK)
        rc = lv_template_rests(&a->primary, conn, why);
    if (rc == SPR_OK)
        rc = apart(&t, primary, why);
    if (rc == SPR_OK)
        rc = read_disks(a, conn, NULL, &t, true, why);
    lv_domain_clear(&t);
    if (rc == SPR_OK)
        a->primary.xml = xml;
    else
        lv_free(xml);
    return rc;
}

/* The CPU of the host that this connection is to. */
static char *host_cpu(virConnectPtr conn) {
    char *out = NULL, why[LV_WHY], *text = virConnectGetCapabilities(conn);
    xmlDoc *doc = NULL;
    if (text && lv_xml_open(text, "capabilities", &doc, why) == SPR_OK) {
        struct lv_edit e = {.doc = doc};
        xmlNode *cpu = lv_xml_at(xmlDocGetRootElement(doc), "host", "cpu");
        if (cpu && lv_xml_print(&e, cpu, &out) < 0)
            out = NULL;
        xmlFreeDoc(doc);
    }
    free(text);
    return out;
}

/* What a migration is judged by. */
static int keep_live(struct lv_act *a, virConnectPtr conn, const char *live, char why[LV_WHY]) {
    a->primary.live = lv_strdup(live);
    a->primary.host_cpu =
        host_cpu(conn); /* none: hosts whose CPU is passed through cannot be compared, and it is said */
    return a->primary.live ? SPR_OK : lv_why(why, SPR_E_NOMEM, "out of memory");
}

static int fill(struct lv_act *a, virConnectPtr conn, virDomainPtr dom, char why[LV_WHY]) {
    struct lv_domain d = {0};
    char *template = NULL, *xml = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    char *live = xml ? virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_SECURE) : NULL;
    int policy = SPR_REPLICA_IMAGE, rc = live ? SPR_OK : lv_code_of_last_error();
    if (rc < 0)
        lv_why(why, rc, "reading VM '%s': %s", a->vm, virGetLastErrorMessage());
    lv_primary_clear(&a->primary);
    if (rc == SPR_OK)
        rc = lv_domain_read(live, &d, why);
    if (rc == SPR_OK)
        rc = keep_machine(&a->primary, &d);
    if (rc == SPR_OK && a->kind == SPR_SHARD_REPLICA) {
        int starts = 0;
        a->primary.autostart = virDomainGetAutostart(dom, &starts) == 0 && starts;
        if (d.vm_xml && !(a->primary.wishes = lv_strdup(d.vm_xml)))
            rc = lv_why(why, SPR_E_NOMEM, "out of memory");
    }
    if (rc == SPR_OK && a->kind == SPR_SHARD_HEADROOM)
        rc = keep_live(a, conn, live, why);
    if (rc == SPR_OK && a->kind == SPR_SHARD_REPLICA)
        rc = choose(a, &d, &policy, &template, why);
    if (rc == SPR_OK && a->d->o.vf_network && !a->primary.vf_network &&
        !(a->primary.vf_network = lv_strdup(a->d->o.vf_network)))
        rc = lv_why(why, SPR_E_NOMEM, "out of memory");
    if (rc == SPR_OK && a->kind == SPR_SHARD_REPLICA && policy == SPR_REPLICA_TEMPLATE) {
        rc = take_template(a, conn, &d, template, why);
    } else if (rc == SPR_OK) {
        if (a->kind == SPR_SHARD_REPLICA)
            rc = read_disks(a, conn, dom, &d, false, why);
        a->primary.xml = rc == SPR_OK ? lv_strdup(xml) : NULL;
        if (rc == SPR_OK && !a->primary.xml)
            rc = lv_why(why, SPR_E_NOMEM, "out of memory");
    }
    lv_domain_clear(&d);
    lv_free(template);
    free(xml), free(live);
    return rc;
}

/* ---- one host ---- */

static void note_away(struct lv_act *a) {
    size_t n = strlen(a->away);
    snprintf(a->away + n, sizeof a->away - n, "%s%s", n ? "; " : "", a->job.text);
}

static void look_run(struct lv_job *job, virConnectPtr conn) {
    struct lv_act *a = (struct lv_act *)job;
    char why[LV_WHY] = "";
    size_t here = job->host->index;
    a->asked[here] = 1;
    if (!conn) {
        note_away(a);
        look_on(a);
        return;
    }
    virDomainPtr dom = virDomainLookupByName(conn, a->vm);
    if (!dom && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN) {
        lv_job_fail_libvirt(job, "looking for VM", a->vm);
        note_away(a);
    }
    if (dom && !lv_runs(dom) && !a->takes_asleep) {
        a->asleep = here + 1;
        virDomainFree(dom);
        dom = NULL;
    }
    if (!dom) {
        job->outcome = SPR_DONE;
        look_on(a);
        return;
    }
    bool sleeps = !lv_runs(dom);
    int rc = fill(a, conn, dom, why);
    a->primary.host = here;
    a->primary.sleeps = sleeps;
    virDomainFree(dom);
    if (rc < 0) {
        lv_job_fail(job, rc, "%s", why);
        give_up(a);
        return;
    }
    remember_home(a, here);
    go_back(a);
}

void lv_find_primary(struct lv_act *a) {
    if (!a->asked)
        a->asked = lv_alloc(a->d->v->host_count);
    if (!a->asked) {
        lv_job_fail(&a->job, SPR_E_NOMEM, "out of memory");
        return;
    }
    memset(a->asked, 0, a->d->v->host_count);
    a->asleep = 0;
    a->takes_asleep = false;
    a->away[0] = 0;
    a->job.run = look_run;
    a->job.unconnected_too = true;
    look_on(a);
}
