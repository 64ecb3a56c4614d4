/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The base images are read on the host, a piece each turn, so that a replica finds their blocks in the page cache. Only
 * data is read, holes are skipped; a budget keeps it from taking the disk from the others.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define IMAGES 8
#define CHUNK  (1 << 18)

struct ahead_image {
    char *path;
    double bytes, at; /* length of the file; all before `at` was read */
    bool over;        /* read, or it cannot be */
};
struct lv_ahead {
    struct ahead_image image[IMAGES];
    size_t count;
    double read; /* bytes of data */
    char buffer[CHUNK];
};

void lv_ahead_free(struct lv_act *a) {
    struct lv_ahead *h = a->ahead;
    for (size_t i = 0; h && i < h->count; i++)
        lv_free(h->image[i].path);
    lv_free(h);
    a->ahead = NULL;
}

static void add(struct lv_ahead *h, virConnectPtr conn, const char *path) {
    virStorageVolInfo info;
    virStorageVolPtr vol = h->count < IMAGES ? virStorageVolLookupByPath(conn, path) : NULL;
    if (!vol)
        return; /* in no pool: nobody can read it for us */
    char *copy = virStorageVolGetInfoFlags(vol, &info, VIR_STORAGE_VOL_GET_PHYSICAL) == 0 ? lv_strdup(path) : NULL;
    if (copy)
        h->image[h->count++] = (struct ahead_image){.path = copy, .bytes = (double)info.allocation};
    virStorageVolFree(vol);
}

static struct lv_ahead *begin(struct lv_act *a, virConnectPtr conn) {
    struct lv_ahead *h = lv_alloc(sizeof *h);
    struct lv_domain d = {0};
    char why[LV_WHY], *xml = h && a->d->o.prefetch_bytes_s > 0 ? virDomainGetXMLDesc(a->dom, 0) : NULL;
    if (xml && lv_domain_read(xml, &d, why) == SPR_OK)
        for (size_t i = 0; i < d.disk_count; i++)
            if (d.disk[i].backing_count)
                add(h, conn, d.disk[i].backing[0]);
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
    double past = 0, data = -1;
    if (st && virStorageVolDownload(vol, st, (unsigned long long)m->at, (unsigned long long)bytes,
                                    VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM) == 0)
        data = receive(st, buffer, &past);
    if (st && data >= 0)
        virStreamFinish(st);
    else if (st)
        virStreamAbort(st);
    m->at += past;
    m->over = data < 0 || past <= 0 || m->at >= m->bytes;
    if (m->over)
        m->bytes = m->at; /* what cannot be read is not waited for */
    if (st)
        virStreamFree(st);
    if (vol)
        virStorageVolFree(vol);
    return data > 0 ? data : 0;
}

bool lv_ahead_step(struct lv_act *a, virConnectPtr conn, double seconds) {
    struct lv_ahead *h = a->ahead ? a->ahead : begin(a, conn);
    a->ahead = h;
    if (!h)
        return true;
    double budget = a->d->o.prefetch_bytes_s * seconds, most = a->d->o.prefetch_bytes_s * a->d->o.boot_s;
    for (size_t i = 0; i < h->count && budget >= 1 && h->read < most; i++)
        while (!h->image[i].over && budget >= 1 && !lv_job_stops(&a->job)) {
            double data = read_some(&h->image[i], h->buffer, conn, ceil(fmin(budget, 4 << 20)));
            h->read += data;
            budget -= fmax(data, 1 << 16); /* a hole costs a call */
        }
    for (size_t i = 0; i < h->count; i++)
        if (!h->image[i].over && h->read < most)
            return false;
    return true;
}

double lv_ahead_share(const struct lv_act *a) {
    const struct lv_ahead *h = a->ahead;
    double all = 0, done = 0;
    for (size_t i = 0; h && i < h->count; i++) {
        all += h->image[i].bytes;
        done += fmin(h->image[i].at, h->image[i].bytes);
    }
    return all > 0 ? done / all : 1;
}
