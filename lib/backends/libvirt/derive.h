/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A definition that becomes another one: what the files that change it share. */
#ifndef SPR_LIBVIRT_DERIVE_H
#define SPR_LIBVIRT_DERIVE_H

#include "fields.h"

struct derive {
    struct lv_edit e;
    xmlNode *root, *devices;
    const struct lv_derive *how;
    const char *vm;          /* the primary's name, for the texts */
    char name[LV_NAME];      /* the new one */
    size_t limited, nic, vf; /* interfaces that can be limited; the next one's number; virtual functions used */
    int refusals, code;      /* reasons why it cannot be copied; an error of the caller's */
    char *why;
};

/* One more reason, behind those before it. */
void lv_refuse(struct derive *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What the caller asked for is wrong; the first one counts. */
void lv_wrong(struct derive *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

void lv_derive_devices(struct derive *d);             /* domain_devices.c */
void lv_derive_disk(struct derive *d, xmlNode *disk); /* domain_disks.c */
void lv_derive_seed(struct derive *d);                /* how->seed_image as one more disk */
void lv_derive_nic(struct derive *d, xmlNode *nic);   /* domain_nics.c */
void lv_derive_vf(struct derive *d, xmlNode *device, const char *what);
bool lv_nic_limited(const struct derive *d, const xmlNode *nic); /* can its bandwidth be? */

/* <name>, <uuid>, metadata of a shard, CPU and memory: what a replica and a placeholder have in common. */
int lv_put_metadata(struct lv_edit *e, xmlNode *root, const struct lv_shard_meta *meta, char why[LV_WHY]);
void lv_put_cpu(struct lv_edit *e, xmlNode *root, double cores, uint32_t most);
void lv_put_memory(struct lv_edit *e, xmlNode *root, double bytes, double most);
void lv_put_text(struct lv_edit *e, xmlNode *parent, const char *name, const char *text);
/* Is it of a hypervisor whose definitions we know? */
bool lv_type_known(const char *type);
/* NULL when it has what every definition needs, else what is wrong with it. */
const char *lv_shard_wrong(const struct lv_shard_meta *meta, const char *uuid, const struct spr_amounts *amounts);

#endif
