/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a host lacks to keep shards to their amounts, found out before the first one asks for it. A guest that runs
 * tells whether there is a CPU control group, one with a limit on its interface that there is traffic shaping. Where no
 * guest tells, a tiny one of our own does, if the host program wants that: it never runs, is gone within a second or
 * two, and libvirt takes it away when our connection ends.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "xml.h"

#define ASK_MOST 64 /* definitions that are read, once a connection, to find one with a limit */

static void keep_why(char out[LV_TEXT], const char *text) { snprintf(out, LV_TEXT, "%s", text); }

/* ---- what libvirt says when it cannot ---- */

static bool is_of_quota(const virError *e) {
    return e && e->message && (strstr(e->message, "cgroup cpu is required") || strstr(e->message, "CPU tuning is not"));
}

static bool is_of_bandwidth(const virError *e) {
    return e && e->message && strstr(e->message, "tc ") && e->code == VIR_ERR_INTERNAL_ERROR;
}

/* The kernel's part that the failing command of libvirt's wanted. */
static const char *module_of(const char *command) {
    static const struct {
        const char *word, *module;
    } of[] = {{" police ", "act_police"}, {" sfq ", "sch_sfq"}, {" fq_codel ", "sch_fq_codel"}, {" fw ", "cls_fw"},
              {" u32 ", "cls_u32"},       {" htb ", "sch_htb"}, {" ingress", "sch_ingress"}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (strstr(command, of[i].word))
            return of[i].module;
    return "sch_htb, sch_sfq, cls_fw, cls_u32, act_police, sch_ingress";
}

static void lacks(struct lv_driver *d, struct lv_facts *f, bool quota, const char *text) {
    pthread_mutex_lock(&d->lock);
    bool *no = quota ? &f->no_quota : &f->no_bandwidth;
    *no = true;
    keep_why(quota ? f->quota_why : f->bandwidth_why, text);
    pthread_mutex_unlock(&d->lock);
}

bool lv_means_failed(struct lv_act *a) {
    const virError *e = virGetLastError();
    struct lv_facts *f = &lv_here(a)->facts;
    if (is_of_quota(e) || is_of_bandwidth(e))
        lacks(a->d, f, is_of_quota(e), e->message);
    return is_of_bandwidth(e);
}

uint32_t lv_means_lack(const struct lv_driver *d, const struct lv_facts *f, char *why, size_t room) {
    bool net = f->no_bandwidth && d->o.limit_net != SPR_NONE;
    size_t n = 0;
    why[0] = 0;
    if (f->no_quota)
        n = (size_t)snprintf(why, room,
                             "no cpu control group, its shards cannot be limited: give libvirtd and its guests the "
                             "controller cpu%s%s%s",
                             f->quota_why[0] ? " (" : "", f->quota_why, f->quota_why[0] ? ")" : "");
    n = n < room ? n : room - 1;
    if (net)
        snprintf(why + n, room - n, "%swithout network limit: load %s there, or set limit_net off (%s)", n ? "; " : "",
                 module_of(f->bandwidth_why), f->bandwidth_why);
    return (f->no_quota ? 1u << SPR_CPU : 0) | (net ? 1u << SPR_NET_RX | 1u << SPR_NET_TX : 0);
}

/* ---- what guests tell that run ---- */

/* 1: it can be limited, 0: it cannot, -1: it does not tell. */
static int tells_quota(virDomainPtr dom, char why[LV_TEXT]) {
    int parameters = 0, is = -1;
    char *type = virDomainGetSchedulerType(dom, &parameters);
    int code = type ? VIR_ERR_OK : virGetLastErrorCode();
    if (type) {
        is = parameters >= 3; /* weight, period and quota; where the kernel knows no quota there is the first only */
        keep_why(why, is ? "" : "this kernel's scheduler knows no quota");
    } else if (code == VIR_ERR_OPERATION_INVALID || code == VIR_ERR_NO_SUPPORT ||
               code == VIR_ERR_OPERATION_UNSUPPORTED || code == VIR_ERR_CONFIG_UNSUPPORTED) {
        is = 0;
        keep_why(why, virGetLastErrorMessage());
    }
    free(type);
    return lv_runs(dom) ? is : -1; /* of one that ended meanwhile libvirt says what it would be */
}

static bool shows_bandwidth(virDomainPtr dom) {
    char *xml = virDomainGetXMLDesc(dom, 0);
    bool has = xml && strstr(xml, "<bandwidth>");
    free(xml);
    return has && lv_runs(dom);
}

static bool migrates_live(virConnectPtr conn) {
    char *caps = virConnectGetCapabilities(conn);
    bool says = !caps || !strstr(caps, "<migration_features>") || strstr(caps, "<live/>");
    free(caps);
    return says;
}

struct told {
    int quota;
    bool bandwidth;
    char quota_why[LV_TEXT];
};

static void ask_guests(virConnectPtr conn, bool of_bandwidth, struct told *t) {
    virDomainPtr *all = NULL;
    int n = virConnectListAllDomains(conn, &all, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    t->quota = -1;
    for (int i = 0; i < n; i++) {
        if (t->quota < 0)
            t->quota = tells_quota(all[i], t->quota_why);
        if (of_bandwidth && !t->bandwidth && i < ASK_MOST)
            t->bandwidth = shows_bandwidth(all[i]);
        virDomainFree(all[i]);
    }
    free(all);
}

/* ---- a guest of our own ---- */

struct trial {
    struct lv_job job; /* first */
    struct lv_driver *d;
};

/* As the host calls itself; emulated, because nothing shall run and every QEMU can. */
static bool machine_of(virConnectPtr conn, char arch[64], const char **type) {
    char why[LV_WHY], *caps = virConnectGetCapabilities(conn);
    xmlDoc *doc = NULL;
    bool found = false;
    if (caps && lv_xml_open(caps, "capabilities", &doc, why) == SPR_OK) {
        const xmlNode *root = xmlDocGetRootElement(doc);
        const xmlNode *own = lv_xml_first(lv_xml_at(root, "host", "cpu"), "arch");
        for (const xmlNode *g = lv_xml_first(root, "guest"); g && own && !found; g = lv_xml_next(g, "guest")) {
            const xmlNode *a = lv_xml_first(g, "arch");
            if (!lv_xml_is(a, "name", lv_xml_text(own)) || strcmp(lv_xml_text(lv_xml_first(g, "os_type")), "hvm"))
                continue;
            *type = "kvm";
            for (const xmlNode *k = lv_xml_first(a, "domain"); k; k = lv_xml_next(k, "domain"))
                if (lv_xml_is(k, "type", "qemu"))
                    *type = "qemu";
            snprintf(arch, 64, "%s", lv_xml_text(own));
            found = true;
        }
        xmlFreeDoc(doc);
    }
    free(caps);
    return found;
}

/* Started, never running, destroyed. SPR_OK, or libvirt's last error says what was in the way. */
static int try_limits(virConnectPtr conn, const char *type, const char *arch, unsigned salt, bool quota, bool net) {
    char xml[2048];
    snprintf(
        xml, sizeof xml,
        "<domain type='%s'><name>spr-trial-%08x</name><metadata><spr:trial xmlns:spr='" LV_TRIAL_URN "'/></metadata>"
        "<description>What can be limited here? Made by libshardpredict, never runs, goes by itself.</description>"
        "<memory unit='MiB'>16</memory><vcpu>1</vcpu>%s<os><type arch='%s'>hvm</type></os><devices>"
        "<controller type='usb' model='none'/><memballoon model='none'/>%s</devices></domain>",
        type, salt, quota ? "<cputune><period>100000</period><quota>50000</quota></cputune>" : "", arch,
        net ? "<interface type='ethernet'><bandwidth><inbound average='1000'/><outbound average='1000'/></bandwidth>"
              "</interface>"
            : "");
    virDomainPtr dom = virDomainCreateXML(conn, xml, VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY);
    if (!dom)
        return SPR_E_UNSUPPORTED;
    virDomainDestroy(dom); /* it is the one that was just made; should this fail, it goes with the connection */
    virDomainFree(dom);
    return SPR_OK;
}

static void trial_run(struct lv_job *job, virConnectPtr conn) {
    struct lv_driver *d = ((struct trial *)job)->d;
    struct lv_facts *f = &d->host[job->host->index].facts;
    bool quota = true, net = d->o.limit_net != SPR_NONE, done = false;
    char arch[64] = "", unsure[LV_TEXT] = "libvirt names no machine that it can run";
    const char *type = NULL;
    bool can = machine_of(conn, arch, &type);
    for (int turn = 0; can && !done && turn < 3; turn++) {
        done = try_limits(conn, type, arch, (unsigned)(d->salt >> 16) + (unsigned)turn, quota, net) == SPR_OK;
        const virError *e = done ? NULL : virGetLastError();
        if (quota && is_of_quota(e))
            quota = false, lacks(d, f, true, e->message);
        else if (net && is_of_bandwidth(e))
            net = false, lacks(d, f, false, e->message);
        else if (!done)
            keep_why(unsure, virGetLastErrorMessage()), turn = 3;
    }
    pthread_mutex_lock(&d->lock);
    f->quota_known |= done || !quota;
    f->bandwidth_known |= done || !net;
    keep_why(f->unsure, done ? "" : unsure);
    pthread_mutex_unlock(&d->lock);
}

static void trial_destroy(struct lv_job *job) {
    lv_driver_unref(((struct trial *)job)->d);
    lv_free(job);
}

/* Without memory or a thread it is not known, as before. */
static void begin_trial(struct lv_driver *d, struct lv_host *host) {
    struct trial *t = lv_alloc(sizeof *t);
    if (!t)
        return;
    t->d = lv_driver_ref(d);
    t->job.run = trial_run;
    t->job.destroy = trial_destroy;
    t->job.deadline_ns = INT64_MAX;
    if (lv_lane_put(host, LV_ACT, &t->job) < 0)
        trial_destroy(&t->job);
}

/* ---- a look ---- */

/* What was found out under an older connection may have been mended: a module loaded, a daemon started anew. */
static bool begin_anew(struct lv_driver *d, struct lv_host *host, struct lv_facts *f) {
    pthread_mutex_lock(&d->v->lock);
    uint64_t epoch = host->epoch;
    pthread_mutex_unlock(&d->v->lock);
    pthread_mutex_lock(&d->lock);
    bool anew = f->epoch != epoch;
    if (anew && f->epoch)
        f->no_quota = f->no_bandwidth = f->quota_known = f->bandwidth_known = false;
    f->epoch = epoch;
    pthread_mutex_unlock(&d->lock);
    return anew;
}

void lv_means_look(struct lv_driver *d, struct lv_host *host, virConnectPtr conn) {
    struct lv_facts *f = &d->host[host->index].facts;
    struct told t = {0};
    bool anew = begin_anew(d, host, f), stays = !anew || migrates_live(conn);
    ask_guests(conn, anew && d->o.limit_net != SPR_NONE, &t);
    pthread_mutex_lock(&d->lock);
    if (anew)
        f->no_migration = !stays;
    if (t.quota >= 0) {
        f->quota_known = true;
        f->no_quota = !t.quota;
        memcpy(f->quota_why, t.quota_why, sizeof f->quota_why);
    }
    f->bandwidth_known |= t.bandwidth || d->o.limit_net == SPR_NONE;
    bool tries = anew && d->o.trial && !(f->quota_known && f->bandwidth_known);
    pthread_mutex_unlock(&d->lock);
    if (tries)
        begin_trial(d, host);
}

/* ---- the guest's own part ---- */

int lv_means_probe(struct lv_act *a) {
    struct lv_domain d = {0};
    char why[LV_WHY] = "";
    if (!a->probe || strcmp(a->probe, "agent"))
        return SPR_OK;
    int rc = lv_domain_read(a->primary.xml, &d, why);
    if (rc == SPR_OK && !d.agent)
        rc = lv_why(
            why, SPR_E_UNSUPPORTED,
            "VM '%s' has no channel for a guest agent, so its replica could never answer the probe 'agent': give "
            "it the channel org.qemu.guest_agent.0, or another probe",
            a->vm);
    lv_domain_clear(&d);
    if (rc < 0)
        lv_job_fail(&a->job, rc, "%s", why);
    return rc;
}
