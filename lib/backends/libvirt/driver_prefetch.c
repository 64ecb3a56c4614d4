/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The base images are read on the host, a piece each turn, so that a replica finds their blocks in the page cache. Only
 * data is read, holes are skipped; a budget keeps it from taking the disk from the others. First, of all images, what
 * guests are known to read (driver_hot.c), then the rest.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define IMAGES 8
#define CHUNK  (1 << 18)

struct ahead_image {
    char *path;
    struct lv_extents order; /* of the file, */
    size_t hot, next;        /* what is hot before the rest; all before `next` was read, */
    double at;               /* and of that one so much */
    double bytes, done;      /* length of the file, and what was read of it */
    bool failed;
};
struct lv_ahead {
    struct ahead_image image[IMAGES];
    size_t count;
    double read; /* bytes of data */
    char buffer[CHUNK];
};

void lv_ahead_free(struct lv_act *a) {
    struct lv_ahead *h = a->ahead;
    for (size_t i = 0; h && i < h->count; i++) {
        lv_free(h->image[i].path);
        lv_extents_clear(&h->image[i].order);
    }
    lv_free(h);
    a->ahead = NULL;
}

static void add(struct lv_ahead *h, virConnectPtr conn, const char *path, const struct lv_extents *hot) {
    struct ahead_image m = {0};
    virStorageVolInfo info;
    virStorageVolPtr vol = h->count < IMAGES ? virStorageVolLookupByPath(conn, path) : NULL;
    if (!vol)
        return; /* in no pool: nobody can read it for us */
    if (virStorageVolGetInfoFlags(vol, &info, VIR_STORAGE_VOL_GET_PHYSICAL) == 0 &&
        lv_extents_order(hot, info.allocation, &m.order, &m.hot) == SPR_OK) {
        m.bytes = (double)info.allocation;
        m.path = lv_strdup(path);
        if (m.path)
            h->image[h->count++] = m;
        else
            lv_extents_clear(&m.order);
    }
    virStorageVolFree(vol);
}

static struct lv_ahead *begin(struct lv_act *a, virConnectPtr conn) {
    struct lv_ahead *h = lv_alloc(sizeof *h);
    struct lv_domain d = {0};
    char why[LV_WHY], *xml = h && a->d->o.prefetch_bytes_s > 0 ? virDomainGetXMLDesc(a->dom, 0) : NULL;
    if (xml && lv_domain_read(xml, &d, why) == SPR_OK)
        for (size_t i = 0; i < d.disk_count; i++)
            if (d.disk[i].backing_count)
                add(h, conn, d.disk[i].backing[0], lv_hot_of(a, d.disk[i].backing[0]));
    lv_domain_clear(&d);
    free(xml);
    return h;
}

/* What came of this much of it. Returns data bytes, below 0: it cannot be read. */
static double receive(virStreamPtr st, char *buffer, double *past) {
    double data = 0;
    for (;;) {
        int n = virStreamRecvFlags(st, buffer, CHUNK, VIR_STREAM_RECV_STOP_AT_HOLE);
        long long hole = 0;
        if (n == -3 && virStreamRecvHole(st, &hole, 0) == 0) {
            *past += (double)hole;
            continue;
        }
        if (n <= 0)
            return n < 0 ? -1 : data;
        *past += n;
        data += n;
    }
}

static double read_some(struct ahead_image *m, char *buffer, virConnectPtr conn, double bytes) {
    virStorageVolPtr vol = virStorageVolLookupByPath(conn, m->path);
    virStreamPtr st = vol ? virStreamNew(conn, 0) : NULL;
    const struct lv_extent *x = &m->order.of[m->next];
    double past = 0, data = -1, left = (double)x->length - m->at;
    if (st && virStorageVolDownload(vol, st, x->file + (uint64_t)m->at, (unsigned long long)fmin(bytes, left),
                                    VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM) == 0)
        data = receive(st, buffer, &past);
    if (st && data >= 0)
        virStreamFinish(st);
    else if (st)
        virStreamAbort(st);
    m->at += past;
    m->done += past;
    m->failed = data < 0 || past <= 0;
    if (m->failed)
        m->bytes = m->done; /* what cannot be read is not waited for */
    if (m->at >= (double)x->length)
        m->next++, m->at = 0;
    if (st)
        virStreamFree(st);
    if (vol)
        virStorageVolFree(vol);
    return data > 0 ? data : 0;
}

/* Has all that is hot been read, or all of it (`rest`)? Or it cannot be. */
static bool over(const struct ahead_image *m, bool rest) {
    return m->failed || m->next >= (rest ? m->order.count : m->hot);
}

bool lv_ahead_step(struct lv_act *a, virConnectPtr conn, double seconds) {
    struct lv_ahead *h = a->ahead ? a->ahead : begin(a, conn);
    a->ahead = h;
    if (!h)
        return true;
    double budget = a->d->o.prefetch_bytes_s * seconds, most = a->d->o.prefetch_bytes_s * a->d->o.boot_s;
    for (size_t i = 0; i < 2 * h->count && budget >= 1 && h->read < most; i++) {
        struct ahead_image *m = &h->image[i % h->count];
        while (!over(m, i >= h->count) && budget >= 1 && !lv_job_stops(&a->job)) {
            double data = read_some(m, h->buffer, conn, ceil(fmin(budget, 4 << 20)));
            h->read += data;
            budget -= fmax(data, 1 << 16); /* a hole costs a call */
        }
    }
    for (size_t i = 0; i < h->count; i++)
        if (!over(&h->image[i], true) && h->read < most)
            return false;
    return true;
}

double lv_ahead_share(const struct lv_act *a) {
    const struct lv_ahead *h = a->ahead;
    double all = 0, done = 0;
    for (size_t i = 0; h && i < h->count; i++) {
        all += h->image[i].bytes;
        done += fmin(h->image[i].done, h->image[i].bytes);
    }
    return all > 0 ? done / all : 1;
}
