/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Is the guest ready? Asked from this machine, as a client would: an HTTP answer, an open port, or its own agent. */
#include <math.h>
#include <string.h>

#include "driver.h"
#include "probe.h"

/* Any answer is one: an agent that does not know the question is there all the same. Of the questions that libvirt can
 * pass on without marking the guest as tampered with this is one where it tells an answer from silence. */
static int by_agent(virDomainPtr dom, char why[LV_WHY]) {
    long long seconds;
    unsigned nanos;
    virDomainAgentSetResponseTimeout(dom, 1, 0);
    bool told = virDomainGetTime(dom, &seconds, &nanos, 0) == 0;
    const virError *e = told ? NULL : virGetLastError();
    bool answered = told || (e && e->message && strstr(e->message, "unable to execute QEMU agent command"));
    if (answered)
        return 1;
    if (e && e->code == VIR_ERR_ARGUMENT_UNSUPPORTED)
        return lv_why(why, SPR_E_UNSUPPORTED, "probe agent: %s has no channel for a guest agent",
                      virDomainGetName(dom));
    return lv_why(why, 0, "the guest agent does not answer: %s", virGetLastErrorMessage());
}

int lv_probe(const char *probe, virDomainPtr dom, double seconds, const atomic_bool *stop, char why[LV_WHY]) {
    int rc = lv_probe_kind(probe, why);
    if (rc < 0)
        return rc;
    if (rc == LV_PROBE_NONE)
        return 1; /* that it runs is all that is asked */
    if (rc == LV_PROBE_AGENT)
        return by_agent(dom, why);
    rc = lv_probe_try(probe, (int64_t)fmax(1, seconds * 1e3), stop, NULL, why);
    return rc == SPR_OK ? 1 : rc == SPR_E_ARG ? rc : 0;
}
