/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A replica's definition out of its primary's own. Whatever names the primary, belongs to it alone or ties it to its
 * host is replaced, taken out or a reason to refuse; everything else stays, so that the guest finds the machine that it
 * knows.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "derive.h"

#define QEMU_URN "http://libvirt.org/schemas/domain/qemu/1.0"

void lv_refuse(struct derive *d, const char *format, ...) {
    char reason[LV_WHY];
    size_t at = d->refusals ? strlen(d->why) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    if (d->code == SPR_OK && at + 8 < LV_WHY) {
        char line[LV_WHY];
        if (d->refusals)
            lv_why(line, 0, "%s; %s", d->why, reason);
        else
            lv_why(line, 0, "VM %s cannot be copied: %s", d->vm, reason);
        memcpy(d->why, line, sizeof line);
    }
    d->refusals++;
}

void lv_wrong(struct derive *d, const char *format, ...) {
    char text[LV_WHY];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (d->code == SPR_OK)
        d->code = lv_why(d->why, SPR_E_ARG, "replica of VM %s: %s", d->vm, text);
}

/* ---- what replicas and placeholders share ---- */

bool lv_type_known(const char *type) {
#ifdef LV_INSIDE /* libvirt's own test driver, which the tests' build runs against */
    if (type && !strcmp(type, "test"))
        return true;
#endif
    return type && (!strcmp(type, "qemu") || !strcmp(type, "kvm"));
}

const char *lv_shard_wrong(const struct lv_shard_meta *meta, const char *uuid, const struct spr_amounts *amounts) {
    if (!meta || !meta->id || !meta->vm || !*meta->vm)
        return "the shard has no id or no VM";
    if (!lv_uuid_valid(uuid))
        return "the UUID is none";
    if (!(amounts->of[SPR_CPU] > 0) || !isfinite(amounts->of[SPR_CPU]))
        return "an amount of CPU above 0 is required";
    if (!(amounts->of[SPR_MEMORY] >= 1) || !isfinite(amounts->of[SPR_MEMORY]) || amounts->of[SPR_MEMORY] > 1e15)
        return "an amount of memory above 0 is required";
    return NULL;
}

void lv_put_text(struct lv_edit *e, xmlNode *parent, const char *name, const char *text) {
    xmlNode *n = lv_xml_need(e, parent, name);
    for (xmlNode *more = lv_xml_next(n, name), *next; more; more = next) {
        next = lv_xml_next(more, name);
        lv_xml_drop(more);
    }
    lv_xml_set_text(e, n, text);
}

int lv_put_metadata(struct lv_edit *e, xmlNode *root, const struct lv_shard_meta *meta, char why[LV_WHY]) {
    lv_xml_drop_all(root, "metadata");
    xmlNode *shard = lv_xml_add(e, lv_xml_add(e, root, "metadata", NULL), "shard", NULL);
    int rc = shard ? lv_meta_write(e, shard, meta, why) : SPR_OK;
    xmlNs *ns = shard ? xmlNewNs(shard, (const xmlChar *)LV_SHARD_URN, (const xmlChar *)"spr") : NULL;
    e->nomem |= !ns || !ns->href || !ns->prefix;
    xmlSetNs(shard, ns);
    for (xmlNode *n = shard ? shard->children : NULL; n; n = n->next)
        xmlSetNs(n, ns);
    return rc;
}

void lv_put_cpu(struct lv_edit *e, xmlNode *root, double cores, uint32_t most) {
    struct lv_cpu cpu;
    char text[32];
    lv_cpu_split(cores, &cpu);
    lv_xml_drop_all(root, "vcpu");
    lv_xml_drop_all(root, "vcpus"); /* one by one: as many as the primary has */
    lv_xml_drop_all(root, "cputune");
    snprintf(text, sizeof text, "%u", most > cpu.vcpus ? most : cpu.vcpus);
    xmlNode *vcpu = lv_xml_add(e, root, "vcpu", text), *tune = lv_xml_add(e, root, "cputune", NULL);
    lv_xml_set(e, vcpu, "placement", "static");
    lv_xml_setf(e, vcpu, "current", "%u", cpu.vcpus);
    snprintf(text, sizeof text, "%llu", (unsigned long long)cpu.period_us);
    lv_xml_add(e, tune, "period", text);
    snprintf(text, sizeof text, "%lld", (long long)cpu.quota_us);
    lv_xml_add(e, tune, "quota", text);
}

void lv_put_memory(struct lv_edit *e, xmlNode *root, double bytes, double most) {
    static const char *const name[] = {"memory", "currentMemory"};
    double amount[] = {fmax(bytes, most), bytes};
    lv_xml_drop_all(root, "maxMemory"); /* for memory that is plugged in, of which there is none */
    for (int i = 0; i < 2; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.0f", ceil(amount[i] / 1024));
        lv_xml_drop_all(root, name[i]);
        lv_xml_set(e, lv_xml_add(e, root, name[i], text), "unit", "KiB");
    }
}

/* ---- the kernel's command line ---- */

/* Length of the word at `t`; blanks inside double quotes belong to it, as the kernel reads them. */
static size_t word(const char *t) {
    size_t n = 0;
    for (bool quoted = false; t[n] && (quoted || !strchr(" \t\r\n", t[n])); n++)
        quoted ^= t[n] == '"';
    return n;
}
/* Do these two arguments have one name? To the kernel '-' and '_' are the same there. */
static bool same_argument(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    size_t i = 0;
    for (; i < a_bytes && i < b_bytes && a[i] != '=' && b[i] != '='; i++)
        if ((a[i] == '-' ? '_' : a[i]) != (b[i] == '-' ? '_' : b[i]))
            return false;
    return (i == a_bytes || a[i] == '=') && (i == b_bytes || b[i] == '=');
}

struct line {
    char *text;
    size_t used;
};
static void put_word(struct line *l, const char *t, size_t bytes) {
    if (l->used)
        l->text[l->used++] = ' ';
    memcpy(l->text + l->used, t, bytes);
    l->used += bytes;
}

/* Every given argument of that name (NULL: those that no word of the old line has), once. */
static void put_given(struct line *l, const struct lv_derive *how, const char *name, size_t bytes, const char *old) {
    for (size_t i = 0; i < how->kernel_arg_count; i++) {
        const char *given = how->kernel_args[i];
        bool there = false;
        if (name)
            there = !same_argument(name, bytes, given, strlen(given));
        else
            for (const char *t = old + strspn(old, " \t\r\n"); *t && !there; t += strspn(t, " \t\r\n")) {
                size_t n = word(t);
                if (n == 2 && !memcmp(t, "--", 2))
                    break;
                there = same_argument(t, n, given, strlen(given));
                t += n;
            }
        if (!there)
            put_word(l, given, strlen(given));
    }
}

static bool named_before(const char *old, const char *here, size_t bytes) {
    for (const char *t = old + strspn(old, " \t\r\n"); t < here; t += strspn(t, " \t\r\n")) {
        size_t n = word(t);
        if (same_argument(t, n, here, bytes))
            return true;
        t += n;
    }
    return false;
}

/* The old line with the given arguments in the place of those of their names; new ones before what belongs to init. */
static void edit_line(struct line *l, const char *old, const struct lv_derive *how) {
    const char *t = old + strspn(old, " \t\r\n");
    for (size_t n; *t; t += n, t += strspn(t, " \t\r\n")) {
        n = word(t);
        if (n == 2 && !memcmp(t, "--", 2))
            break;
        bool replaced = false;
        for (size_t i = 0; i < how->kernel_arg_count; i++)
            replaced |= same_argument(t, n, how->kernel_args[i], strlen(how->kernel_args[i]));
        if (!replaced)
            put_word(l, t, n);
        else if (!named_before(old, t, n))
            put_given(l, how, t, n, old);
    }
    put_given(l, how, NULL, 0, old);
    if (*t)
        put_word(l, t, strlen(t));
}

static void derive_cmdline(struct derive *d, xmlNode *os) {
    const struct lv_derive *how = d->how;
    if (!how->kernel_arg_count)
        return;
    const char *old = lv_xml_text(lv_xml_first(os, "cmdline"));
    size_t room = strlen(old) + 2;
    if (!lv_xml_first(os, "kernel"))
        lv_refuse(d, "it boots from its disk, so kernel arguments cannot be given (a cloud-init seed can)");
    for (size_t i = 0; i < how->kernel_arg_count; i++) {
        const char *given = how->kernel_args[i];
        room += strlen(given) + 1;
        if (!*given || *given == '=' || !strcmp(given, "--") || word(given) != strlen(given) || !lv_xml_fits(given))
            lv_wrong(d, "kernel argument '%s' is not one word K or K=V", given);
    }
    struct line l = {.text = lv_alloc(room)};
    if (!l.text)
        d->e.nomem = true;
    else if (d->code == SPR_OK && !d->refusals) {
        edit_line(&l, old, how);
        lv_put_text(&d->e, os, "cmdline", l.text);
    }
    lv_free(l.text);
}

/* ---- firmware and identity ---- */

static void derive_nvram(struct derive *d, xmlNode *os) {
    xmlNode *nvram = lv_xml_first(os, "nvram");
    if (!lv_xml_attr(os, "firmware"))
        lv_xml_drop_all(os, "firmware"); /* what it was chosen by; libvirt takes no wishes beside the choice */
    if (!nvram && !d->how->nvram)
        return;
    if (!d->how->nvram) { /* libvirt makes one by the new name, from the template */
        lv_xml_unset(nvram, "type");
        if (!lv_xml_attr(nvram, "template") || lv_xml_attr(os, "firmware")) {
            lv_xml_drop(nvram);
            return;
        }
        while (nvram && nvram->children)
            lv_xml_drop(nvram->children);
        return;
    }
    if (!nvram && !lv_xml_first(os, "loader") && !lv_xml_is(os, "firmware", "efi"))
        lv_wrong(d, "NVRAM is given, and it does not boot by UEFI");
    lv_xml_unset(nvram, "type");
    lv_put_text(&d->e, os, "nvram", d->how->nvram);
}

static xmlNode *smbios_info(struct derive *d) {
    xmlNode *n = lv_xml_first(d->root, "sysinfo");
    while (n && !lv_xml_is(n, "type", "smbios"))
        n = lv_xml_next(n, "sysinfo");
    return n;
}

static void drop_entry(xmlNode *system, const char *name) {
    for (xmlNode *n = lv_xml_first(system, "entry"), *next; n; n = next) {
        next = lv_xml_next(n, "entry");
        if (lv_xml_is(n, "name", name))
            lv_xml_drop(n);
    }
}

static void derive_smbios(struct derive *d, xmlNode *os) {
    xmlNode *info = smbios_info(d);
    drop_entry(lv_xml_first(info, "system"), "uuid"); /* must be the domain's, and that is a new one */
    if (!d->how->seed_url)
        return;
    if (strcspn(d->how->seed_url, " \t\r\n;") != strlen(d->how->seed_url) || !lv_xml_fits(d->how->seed_url))
        lv_wrong(d, "seed URL '%s' holds blanks or ';'", d->how->seed_url);
    if (!info) {
        info = lv_xml_add(&d->e, d->root, "sysinfo", NULL);
        lv_xml_set(&d->e, info, "type", "smbios");
    }
    xmlNode *system = lv_xml_need(&d->e, info, "system");
    drop_entry(system, "serial");
    char *serial = lv_alloc(strlen(d->how->seed_url) + sizeof "ds=nocloud;s=");
    if (serial) {
        strcpy(serial, "ds=nocloud;s=");
        strcat(serial, d->how->seed_url);
        lv_xml_set(&d->e, lv_xml_add(&d->e, system, "entry", serial), "name", "serial");
    }
    d->e.nomem |= !serial;
    lv_free(serial);
    lv_xml_set(&d->e, lv_xml_need(&d->e, os, "smbios"), "mode", "sysinfo");
}

/* ---- the machine ---- */

static void derive_cpu(struct derive *d) {
    xmlNode *cpu = lv_xml_first(d->root, "cpu");
    lv_xml_drop_all(cpu, "topology"); /* counts the primary's vcpus */
    if (!(d->how->flags & LV_KEEP_NUMA)) {
        lv_xml_drop_all(cpu, "numa");
        lv_xml_drop_all(d->root, "numatune");
    }
    if (cpu && !cpu->children && !cpu->properties)
        lv_xml_drop(cpu);
    lv_put_cpu(&d->e, d->root, d->how->amounts.of[SPR_CPU], d->how->vcpus_most);
}

static void derive_memory(struct derive *d) {
    xmlNode *backing = lv_xml_first(d->root, "memoryBacking");
    lv_xml_drop_all(d->root, "memtune");
    lv_xml_drop_all(backing, "locked");
    if (!(d->how->flags & LV_KEEP_HUGEPAGES))
        lv_xml_drop_all(backing, "hugepages");
    if (backing && !backing->children)
        lv_xml_drop(backing);
    lv_put_memory(&d->e, d->root, d->how->amounts.of[SPR_MEMORY], d->how->memory_most);
}

/* What is the running primary's, or ties it to its host. */
static void derive_ties(struct derive *d) {
    xmlNode *root = d->root;
    lv_xml_unset(root, "id");
    for (xmlNode *n = lv_xml_first(root, "seclabel"), *next; n; n = next) {
        next = lv_xml_next(n, "seclabel");
        if (!lv_xml_is(n, "type", "none"))
            lv_xml_drop(n); /* a label of its own would let the replica at the primary's files */
    }
    lv_xml_drop_all(lv_xml_first(root, "blkiotune"), "device"); /* names the host's disks */
    xmlNode *tune = lv_xml_first(root, "blkiotune");
    if (tune && !tune->children)
        lv_xml_drop(tune);
    lv_xml_drop_all(root, "resource");
    if (d->how->partition)
        lv_xml_add(&d->e, lv_xml_add(&d->e, root, "resource", NULL), "partition", d->how->partition);
    if (lv_xml_first(root, "genid")) { /* the guest must see that it is a copy */
        char genid[LV_UUID];
        lv_uuid_derive(d->how->meta->id, d->how->uuid, genid);
        lv_put_text(&d->e, root, "genid", genid);
    }
    if (lv_xml_first(root, "launchSecurity"))
        lv_refuse(d, "launchSecurity: an encrypted guest cannot be started by somebody else");
    for (xmlNode *n = lv_xml_first(root, NULL); n; n = lv_xml_next(n, NULL))
        if (n->ns && !strcmp((const char *)n->ns->href, QEMU_URN) && !strcmp((const char *)n->name, "commandline"))
            lv_refuse(d, "qemu:commandline: arguments that libvirt does not know may name what is the primary's alone");
}

static void derive_names(struct derive *d) {
    char note[LV_NAME + 80];
    snprintf(note, sizeof note, "Shard %016llx made by libshardpredict. It comes and goes by itself; do not edit it.",
             (unsigned long long)d->how->meta->id);
    lv_put_text(&d->e, d->root, "name", d->name);
    lv_put_text(&d->e, d->root, "uuid", d->how->uuid);
    lv_xml_drop_all(d->root, "title");
    lv_put_text(&d->e, d->root, "description", note);
    lv_put_text(&d->e, d->root, "on_crash", "destroy");
}

static void derive_all(struct derive *d) {
    xmlNode *os = lv_xml_first(d->root, "os");
    const char *type = lv_xml_attr(d->root, "type");
    if (!lv_type_known(type))
        lv_refuse(d, "its type is %s, and only qemu and kvm are known", type ? type : "not said");
    if (!os || !d->devices) {
        lv_refuse(d, "it has no <os> or no <devices>");
        return;
    }
    derive_cmdline(d, os);
    derive_nvram(d, os);
    derive_smbios(d, os);
    derive_cpu(d);
    derive_memory(d);
    derive_ties(d);
    derive_names(d);
    lv_derive_devices(d);
}

static int check_how(struct derive *d) {
    const struct lv_derive *how = d->how;
    const char *wrong = lv_shard_wrong(how->meta, how->uuid, &how->amounts);
    const char *const text[] = {how->name, how->nvram, how->partition, how->vf_network};
    if (!wrong && !strcasecmp(how->uuid, lv_xml_text(lv_xml_first(d->root, "uuid"))))
        wrong = "the UUID is the primary's";
    if (!wrong && !strcmp(d->name, d->vm))
        wrong = "the name is the primary's";
    for (size_t i = 0; !wrong && i < how->disk_count; i++)
        if (!how->disks[i].target)
            wrong = "an overlay names no disk";
    if (!wrong && how->name && strlen(how->name) >= LV_NAME)
        wrong = "the name is too long";
    if (!wrong && !(how->memory_most >= 0 && how->memory_most < 1e15))
        wrong = "the largest amount of memory is none";
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (!wrong && (!lv_xml_fits(text[i]) || (text[i] && !*text[i])))
            wrong = "a name, path or partition cannot be written";
    if (wrong)
        lv_wrong(d, "%s", wrong);
    return d->code;
}

int lv_domain_derive(const char *xml, const struct lv_derive *how, char **out, char why[LV_WHY]) {
    struct derive d = {.how = how, .why = why};
    int rc = lv_xml_open(xml, "domain", &d.e.doc, why);
    if (rc < 0)
        return rc;
    d.root = xmlDocGetRootElement(d.e.doc);
    d.devices = lv_xml_first(d.root, "devices");
    char *vm = lv_strdup(lv_xml_text(lv_xml_first(d.root, "name")));
    if (vm) {
        d.vm = vm;
        if (how->name)
            snprintf(d.name, sizeof d.name, "%s", how->name);
        else if (how->meta && how->meta->vm)
            lv_domain_name(how->meta->id, how->meta->vm, d.name);
        rc = check_how(&d);
    }
    if (vm && rc == SPR_OK) {
        derive_all(&d);
        rc = d.code < 0 ? d.code : d.refusals ? SPR_E_UNSUPPORTED : lv_put_metadata(&d.e, d.root, how->meta, why);
    }
    char *text = NULL;
    if (!vm || d.e.nomem || (rc == SPR_OK && lv_xml_print(&d.e, d.root, &text) < 0))
        rc = lv_why(why, SPR_E_NOMEM, "replica: out of memory");
    if (rc == SPR_OK)
        *out = text;
    lv_free(vm);
    xmlFreeDoc(d.e.doc);
    return rc;
}
