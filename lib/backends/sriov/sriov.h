/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Inside of the SR-IOV backend. sysfs.c reads small files, scan.c makes the tables of cards and VFs of them, judge.c
 * says whose a VF is and whether it fits, record.c and journal.c keep what is going to be done, steps.c does and undoes
 * it, sriov.c is the public face, kernel.c the real kernel.
 */
#ifndef BACKENDS_SRIOV_SRIOV_H
#define BACKENDS_SRIOV_SRIOV_H

#include <stdbool.h>
#include <stdint.h>

#include <shardpredict/backend-sriov.h>

#define SV_PATH     512
#define SV_VFS_MOST 4096 /* of one card; the standard allows 65535, cards have at most some hundreds */
#define SV_RECORD   512  /* longest record of the journal */

struct sv_vf {
    struct spr_sriov_vf is;
    int32_t pf;                    /* index of its card */
    char override[SPR_SRIOV_NAME]; /* driver_override, "" = none */
};

/* What a record says. In the table of claims: what is to be known of a VF that is ours, or is being taken or given
 * back. */
enum sv_kind {
    SV_CLAIM = 1, /* is going to be taken; `former` is what it was */
    SV_HOLD,      /* is taken */
    SV_DROP,      /* is going to be given back */
    SV_GONE,      /* is given back: forget it */
    SV_RESIZE,    /* a card is going to have another number of VFs */
    SV_RESIZED    /* it has */
};
struct sv_record {
    int kind;
    char address[SPR_SRIOV_ADDRESS]; /* of the VF, or of the card for SV_RESIZE and SV_RESIZED */
    /* SV_CLAIM */
    char pf[SPR_SRIOV_ADDRESS];
    char driver[SPR_SRIOV_NAME]; /* former one, "" = none */
    uint64_t shard;
    int32_t index, nic;
    uint32_t flags; /* ::spr_sriov_wish */
    struct spr_sriov_settings former;
    /* SV_RESIZE */
    int32_t from, to;
    /* not in the journal: why it could not be put right */
    char why[SPR_SRIOV_WHY];
};

struct spr_sriov {
    spr_context *ctx;
    char sysfs[SV_PATH / 2];
    struct spr_sriov_kernel_ops kernel;
    void *kernel_state;
    struct spr_store_ops store;
    void *store_state;
    bool kernel_open, can_write;
    struct spr_sriov_pf *pf;
    struct sv_vf *vf; /* of all cards, in order of card and number */
    struct sv_record *claim;
    int32_t pfs, vfs, claims;
    size_t pf_room, vf_room, claim_room; /* elements */
    int32_t iommu_groups;
    bool vfio_pci;
};

/* ---- errors and memory (sriov.c) ---- */

/* Leave an error record, return its code. `host` names the device, or NULL. */
int sv_fail(const struct spr_sriov *s, int code, const char *device, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void sv_warn(const struct spr_sriov *s, const char *device, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Room for one more element behind `count`. */
int sv_reserve(const struct spr_sriov *s, void **array, size_t *room, size_t count, size_t element);
/* What -errno means, in words. */
const char *sv_errno(int error);
/* Copy text that may be cut. */
void sv_text(char *out, size_t room, const char *text);

/* ---- sysfs.c: reading; a missing file is no error ---- */

bool sv_address_ok(const char *text); /* "0000:01:10.0" */
bool sv_name_ok(const char *text);    /* of a driver or an interface, safe as a part of a path */
/* First line of a file without its end; false when it cannot be read, is too long or has control characters. */
bool sv_read(const struct spr_sriov *s, char *out, size_t room, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A number as sysfs writes them (decimal, or 0x...); false as above or when it is none. */
bool sv_number(const struct spr_sriov *s, int64_t *out, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Last part of a link's target. */
bool sv_link(const struct spr_sriov *s, char *out, size_t room, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool sv_exists(const struct spr_sriov *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Call `each` for every entry of a folder but . and .. until it returns non-zero; returns that, or -1: no such folder.
 */
int sv_folder(const struct spr_sriov *s, int (*each)(void *user, const char *name), void *user, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- scan.c ---- */

int sv_scan(struct spr_sriov *s);
void sv_scan_vf(struct spr_sriov *s, struct sv_vf *v); /* what can change of one VF, settings included */
struct sv_vf *sv_vf_at(const struct spr_sriov *s, const char *address);

/* ---- judge.c: true = in the way, and `why` says what ---- */

bool sv_host_uses(const struct spr_sriov *s, const struct sv_vf *v, char why[SPR_SRIOV_WHY]);
bool sv_taken(const struct spr_sriov *s, const struct sv_vf *v, char why[SPR_SRIOV_WHY]);
bool sv_no_vfio(const struct spr_sriov *s, const struct sv_vf *v, uint64_t shard, char why[SPR_SRIOV_WHY]);
bool sv_is_passthrough(const char *driver); /* vfio-pci and its like: somebody else than the host drives it */
void sv_judge(struct spr_sriov *s);         /* state and why of every VF, after scan or change */
/* The best VF for a wish, or NULL with an error record that has the reasons. */
struct sv_vf *sv_choose(struct spr_sriov *s, const struct spr_sriov_want *want);

/* ---- record.c ---- */

int sv_record_format(const struct sv_record *r, char out[SV_RECORD]); /* length */
/* SPR_E_FORMAT, SPR_E_TOO_NEW; only what sv_record_format writes is understood. */
int sv_record_parse(const void *data, size_t bytes, struct sv_record *out);

/* ---- journal.c ---- */

int sv_journal_open(struct spr_sriov *s, const struct spr_sriov_opts *o);
void sv_journal_close(struct spr_sriov *s);
/* Write it, then change the table of claims. */
int sv_journal(struct spr_sriov *s, const struct sv_record *r);
int sv_journal_note(struct spr_sriov *s, int kind, const char *address); /* a record that is only kind and address */
struct sv_record *sv_claim_of(const struct spr_sriov *s, const char *address); /* NULL = none */

/* ---- steps.c ---- */

int sv_take(struct spr_sriov *s, struct sv_vf *v, const struct spr_sriov_want *want);
int sv_give_back(struct spr_sriov *s, const char *address);
int sv_resize(struct spr_sriov *s, const struct spr_sriov_pf *pf, int32_t vfs);
/* Put right what is halfway; what cannot be is logged and kept. Below 0: out of memory or the journal cannot be
 * written. */
int sv_repair(struct spr_sriov *s);

#endif
