/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What libvirt has once a process: an event loop (keepalives, close callbacks and events need one that runs) and an
 * error handler (its default prints). A host program that runs its own says so in spr_libvirt_opts.host_uses_libvirt.
 */
#include <signal.h>
#include <unistd.h>

#include "libvirt.h"

static pthread_once_t event_loop_once = PTHREAD_ONCE_INIT;
static int event_loop_started = SPR_E_STATE;

static void silent(void *user, virErrorPtr error) { (void)user, (void)error; }

static void *loop(void *unused) {
    (void)unused;
    for (;;)
        if (virEventRunDefaultImpl() < 0)
            usleep(10000); /* a handle went away under it: it goes on with the others */
    return NULL;
}

int lv_thread_start(void *(*run)(void *), void *arg) {
    sigset_t all, before;
    pthread_attr_t how;
    pthread_t thread;
    if (pthread_attr_init(&how))
        return SPR_E_NOMEM;
    pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are the host program's: none is ever taken by one of our threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, &how, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&how);
    return rc ? SPR_E_NOMEM : SPR_OK;
}

static void begin(void) {
    if (virInitialize() < 0)
        return;
    virSetErrorFunc(NULL, silent);
    if (virEventRegisterDefaultImpl() < 0)
        return;
    event_loop_started = lv_thread_start(loop, NULL);
}

int lv_event_loop_start(void) {
    pthread_once(&event_loop_once, begin);
    return event_loop_started;
}
