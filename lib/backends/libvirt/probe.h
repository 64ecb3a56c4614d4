/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Does a guest answer? One try of a probe, on the thread of whoever asks (a lane's): the caller asks again until the
 * guest is ready or its time is up. No signals, no redirects, no proxies of the environment, no passwords.
 */
#ifndef SPR_LIBVIRT_PROBE_H
#define SPR_LIBVIRT_PROBE_H

#include "domain.h"

enum lv_probe_kind {
    LV_PROBE_NONE = 0,  /* NULL or "": a guest that runs is ready */
    LV_PROBE_AGENT = 1, /* "agent": the guest agent answers; that is asked through libvirt, not here */
    LV_PROBE_HTTP = 2,  /* http://... or https://...: it answers with a status 200 to 399 */
    LV_PROBE_TCP = 3    /* tcp://HOST:PORT: it takes a connection */
};

/* What kind of probe this text is, looked at when it is given, not when it is too late. ::lv_probe_kind or SPR_E_ARG.
 */
int lv_probe_kind(const char *probe, char why[LV_WHY]);

/*
 * One try (HTTP and TCP) of at most `timeout_ms`; *stop set by another thread ends it early (NULL = nobody will).
 * *seconds (may be NULL) is how long the answer took.
 *
 * @return SPR_OK (ready), SPR_E_BUSY (it answers, but not yet as it should), SPR_E_IO (refused, cut off, unreachable, a
 *         certificate that is not trusted), SPR_E_TIMEOUT, SPR_E_CANCELLED, SPR_E_UNSUPPORTED (another kind),
 * SPR_E_ARG, SPR_E_NOMEM; why says it in words
 */
int lv_probe_try(const char *probe, int64_t timeout_ms, const atomic_bool *stop, double *seconds, char why[LV_WHY]);

#endif
