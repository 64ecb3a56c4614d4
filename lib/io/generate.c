/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The fleet generator: who is in the fleet, and its files. */
#include <sys/stat.h>

#include "generate.h"
#include "inside.h"

/* Share of each kind, per mille of the fleet; published in doc/generator.md, never tuned to a result. */
static const int mix[GEN_KINDS] = {
    [GEN_STEADY] = 250, [GEN_DAILY] = 200, [GEN_CYCLE] = 80,        [GEN_JOB] = 100,
    [GEN_WEEKLY] = 40,  [GEN_BURST] = 80,  [GEN_BURST_JOINT] = 130, [GEN_CHAOTIC] = 120,
};

struct fleet {
    struct gen_vm *vms;
    struct gen_group groups[GEN_GROUPS];
    int64_t count;
};

static int kind_at(int64_t place, int64_t count) {
    int64_t mille = (2 * place + 1) * 500 / count;
    int kind = 0;
    for (int64_t end = mix[0]; kind < GEN_KINDS - 1 && mille >= end; end += mix[++kind])
        ;
    return kind;
}

/* Kinds in exact proportion, dealt to the VMs in a shuffled order. */
static void deal(struct fleet *f, uint64_t seed, bool stationary) {
    uint64_t key = gen_key(seed, 0x64656C);
    for (int64_t i = 0; i < f->count; i++)
        f->vms[i].kind = stationary ? GEN_STEADY : kind_at(i, f->count);
    for (int64_t i = f->count - 1; i > 0; i--) {
        int64_t j = (int64_t)(gen_uniform(key, (uint64_t)i) * (double)(i + 1));
        int swap = f->vms[i].kind;
        f->vms[i].kind = f->vms[j].kind;
        f->vms[j].kind = swap;
    }
    for (int64_t i = 0; i < f->count; i++)
        gen_vm_init(&f->vms[i], seed, i, f->vms[i].kind);
    for (int g = 0; g < GEN_GROUPS; g++)
        gen_group_init(&f->groups[g], seed, g);
}

/* "vm007": as wide as the last one, so that text order is number order. */
static char *name(char *to, int64_t index, int64_t count) {
    int width = 3;
    for (int64_t n = 1000; n < count; n *= 10)
        width++;
    *to++ = 'v', *to++ = 'm';
    for (int i = width - 1; i >= 0; i--, index /= 10)
        to[i] = (char)('0' + index % 10);
    return to + width;
}

static char *sample(char *p, const struct gen_sample *s) {
    *p++ = ',', p = gen_number(p, s->cpu, 4);
    *p++ = ',', p = gen_number(p, s->memory, 4);
    *p++ = ',', p = gen_number(p, s->rx, 4);
    *p++ = ',', p = gen_number(p, s->tx, 4);
    *p++ = ',', p = gen_number(p, s->read, 3);
    *p++ = ',', p = gen_number(p, s->write, 3);
    *p++ = '\n';
    return p;
}

enum { LINE_MAX_BYTES = 192, BLOCK_BYTES = 1 << 16 };

static void write_trace(struct fleet *f, int64_t steps, spr_output *out) {
    char block[BLOCK_BYTES], *p = block;
    spr_output_text(out, "time_s,vm,cpu_cores,memory_bytes,net_rx_bps,net_tx_bps,disk_read_Bps,disk_write_Bps\n");
    for (int64_t step = 0; step < steps; step++) {
        for (int g = 0; g < GEN_GROUPS; g++)
            gen_group_step(&f->groups[g], step);
        for (int64_t i = 0; i < f->count; i++) {
            struct gen_sample s = gen_vm_step(&f->vms[i], f->groups, step);
            p = gen_integer(p, (uint64_t)(step * GEN_STEP_S));
            *p++ = ',';
            p = sample(name(p, i, f->count), &s);
            if (p > block + sizeof block - LINE_MAX_BYTES) {
                spr_output_write(out, block, (size_t)(p - block));
                p = block;
            }
        }
    }
    spr_output_write(out, block, (size_t)(p - block));
}

static void write_vms(const struct fleet *f, spr_output *out) {
    spr_output_text(out, "vm,cpu_cores,memory_bytes,class,replica,spillable\n");
    for (int64_t i = 0; i < f->count; i++) {
        const struct gen_vm *v = &f->vms[i];
        char line[LINE_MAX_BYTES], *p = name(line, i, f->count);
        *p++ = ',', p = gen_integer(p, (uint64_t)v->cores);
        *p++ = ',', p = gen_integer(p, (uint64_t)v->memory);
        spr_output_write(out, line, (size_t)(p - line));
        spr_output_text(out, ",");
        spr_output_text(out, gen_class(v->kind));
        spr_output_text(out, v->replica ? ",template," : ",never,");
        p = gen_number(line, v->spillable, 2);
        *p++ = '\n';
        spr_output_write(out, line, (size_t)(p - line));
    }
}

static void write_truth(const struct fleet *f, spr_output *out) {
    spr_output_text(out, "vm,class,period_s\n");
    for (int64_t i = 0; i < f->count; i++) {
        const struct gen_vm *v = &f->vms[i];
        char line[LINE_MAX_BYTES], *p = name(line, i, f->count);
        spr_output_write(out, line, (size_t)(p - line));
        spr_output_text(out, ",");
        spr_output_text(out, gen_class(v->kind));
        p = line;
        *p++ = ',';
        if (v->period_s > 0)
            p = gen_number(p, v->period_s, 6);
        *p++ = '\n';
        spr_output_write(out, line, (size_t)(p - line));
    }
}

/* Something else than a file (a pipe, a device) has no neighbour: a side file there would litter. */
static bool is_file(const char *path) {
    struct stat st;
    return strcmp(path, "-") != 0 && (stat(path, &st) != 0 || S_ISREG(st.st_mode));
}

static int write_side(spr_context *ctx, const struct fleet *f, const char *out) {
    char *path = spr__io_printf(ctx, "%s.vms.csv", out);
    spr_output *o = NULL;
    if (!path)
        return spr__io_nomem(ctx);
    int rc = spr_output_create(ctx, path, &o);
    if (rc >= 0) {
        write_vms(f, o);
        rc = spr_output_commit(o);
    }
    spr__io_strfree(ctx, path);
    return rc;
}

/* The truth is opened first and finished last: a path that cannot be written is known before the work is done. */
static int write_all(spr_context *ctx, struct fleet *f, const struct spr_generate_opts *o) {
    spr_output *truth = NULL, *trace = NULL;
    int rc = o->truth ? spr_output_create(ctx, o->truth, &truth) : SPR_OK;
    if (rc >= 0 && (rc = spr_output_create(ctx, o->out, &trace)) >= 0) {
        write_trace(f, (int64_t)o->days * GEN_STEPS_PER_DAY, trace);
        rc = spr_output_commit(trace);
    }
    if (rc >= 0 && is_file(o->out))
        rc = write_side(ctx, f, o->out);
    if (rc < 0 || !truth) {
        spr_output_discard(truth);
        return rc;
    }
    write_truth(f, truth);
    return spr_output_commit(truth);
}

static int read_opts(spr_context *ctx, const struct spr_generate_opts *given, struct spr_generate_opts *o) {
    int rc = spr__io_opts(ctx, "spr_generate_opts", given, o, sizeof *o);
    if (rc < 0)
        return rc;
    o->vms = o->vms ? o->vms : 200;
    o->days = o->days ? o->days : 28;
    if (!o->out || !*o->out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_generate: an output path is required");
    if (o->vms < 1 || o->vms > 1000000 || o->days < 1 || o->days > 3650)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0,
                            "spr_generate: %d VMs over %d days; at most 1000000 VMs and 3650 days", (int)o->vms,
                            (int)o->days);
    return SPR_OK;
}

int spr_generate(spr_context *ctx, const struct spr_generate_opts *opts) {
    struct spr_generate_opts o;
    int rc;
    if (!ctx)
        return SPR_E_ARG;
    if ((rc = read_opts(ctx, opts, &o)) < 0)
        return rc;
    struct fleet f = {.count = o.vms};
    size_t bytes = (size_t)o.vms * sizeof *f.vms;
    if (!(f.vms = spr_context_alloc(ctx, bytes)))
        return spr__io_nomem(ctx);
    deal(&f, o.seed, o.stationary != 0);
    rc = write_all(ctx, &f, &o);
    spr_context_free(ctx, f.vms, bytes);
    return rc;
}
