/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Probes by libcurl. A connection of its own for each try: one that is kept would hide that the guest is gone. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"

#define BODY_MOST (64 << 10) /* bytes of an answer that are read; the status says it all */

/* ---- what is asked ---- */

static bool has(CURLU *url, CURLUPart part) {
    char *text = NULL;
    bool there = !curl_url_get(url, part, &text, 0) && text && *text;
    curl_free(text);
    return there;
}

static const char *wrong_with(CURLU *url, bool tcp) {
    char *path = NULL;
    const char *wrong = NULL;
    if (!has(url, CURLUPART_HOST))
        wrong = "it names no host";
    else if (has(url, CURLUPART_USER) || has(url, CURLUPART_PASSWORD))
        wrong = "it holds a name or password, and metadata is no place for one";
    else if (tcp && !has(url, CURLUPART_PORT))
        wrong = "it names no port";
    else if (tcp && (has(url, CURLUPART_QUERY) || has(url, CURLUPART_FRAGMENT) ||
                     (!curl_url_get(url, CURLUPART_PATH, &path, 0) && path && strcmp(path, "/"))))
        wrong = "something follows its port";
    curl_free(path);
    return wrong;
}

int lv_probe_kind(const char *probe, char why[LV_WHY]) {
    static const struct {
        const char *begin;
        int kind;
    } schemes[] = {{"http://", LV_PROBE_HTTP}, {"https://", LV_PROBE_HTTP}, {"tcp://", LV_PROBE_TCP}};
    int kind = SPR_E_ARG;
    if (!probe || !*probe)
        return LV_PROBE_NONE;
    if (!strcmp(probe, "agent"))
        return LV_PROBE_AGENT;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (!strncmp(probe, schemes[i].begin, strlen(schemes[i].begin)))
            kind = schemes[i].kind;
    if (kind < 0)
        return lv_why(why, kind, "probe '%.200s': neither http://, https://, tcp://HOST:PORT nor agent", probe);
    CURLU *url = curl_url();
    if (!url)
        return lv_why(why, SPR_E_NOMEM, "probe: out of memory");
    CURLUcode rc = curl_url_set(url, CURLUPART_URL, probe, CURLU_NON_SUPPORT_SCHEME);
    const char *wrong = rc ? curl_url_strerror(rc) : wrong_with(url, kind == LV_PROBE_TCP);
    if (wrong)
        kind = lv_why(why, rc == CURLUE_OUT_OF_MEMORY ? SPR_E_NOMEM : SPR_E_ARG, "probe '%.200s': %s", probe, wrong);
    curl_url_cleanup(url);
    return kind;
}

/* ---- one try ---- */

struct attempt {
    const atomic_bool *stop;
    size_t bytes;
};

static size_t body(char *data, size_t each, size_t count, void *user) {
    (void)data;
    struct attempt *a = user;
    a->bytes += each * count;
    return a->bytes > BODY_MOST ? 0 : each * count; /* 0 ends it; that is no failure, see below */
}

static int progress(void *user, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up) {
    (void)down_all, (void)down, (void)up_all, (void)up;
    const struct attempt *a = user;
    return a->stop && atomic_load(a->stop);
}

static CURLcode prepare(CURL *curl, const char *url, int kind, int64_t timeout_ms, struct attempt *a, char *text) {
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {{CURLOPT_NOSIGNAL, 1},
                   {CURLOPT_TIMEOUT_MS, (long)timeout_ms},
                   {CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms},
                   {CURLOPT_FOLLOWLOCATION, 0},
                   {CURLOPT_NOPROGRESS, 0},
                   {CURLOPT_FRESH_CONNECT, 1},
                   {CURLOPT_FORBID_REUSE, 1},
                   {CURLOPT_CONNECT_ONLY, kind == LV_PROBE_TCP}};
    CURLcode rc = curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
    for (size_t i = 0; !rc && i < sizeof numbers / sizeof *numbers; i++)
        rc = curl_easy_setopt(curl, numbers[i].option, numbers[i].value);
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_URL, url);
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_USERAGENT, "libshardpredict");
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body);
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, progress);
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_XFERINFODATA, a);
    return rc;
}

static int answered(const char *probe, long status, char why[LV_WHY]) {
    if (status >= 200 && status < 400)
        return SPR_OK;
    return lv_why(why, SPR_E_BUSY, "probe %.200s: it answers with status %ld", probe, status);
}

static int judge(CURL *curl, CURLcode rc, int kind, const char *probe, const struct attempt *a, const char *text,
                 char why[LV_WHY]) {
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (rc == CURLE_WRITE_ERROR && a->bytes > BODY_MOST)
        rc = CURLE_OK; /* it answers at length */
    if (rc == CURLE_OK)
        return kind == LV_PROBE_TCP ? SPR_OK : answered(probe, status, why);
    int code = rc == CURLE_OPERATION_TIMEDOUT    ? SPR_E_TIMEOUT
               : rc == CURLE_ABORTED_BY_CALLBACK ? SPR_E_CANCELLED
               : rc == CURLE_OUT_OF_MEMORY       ? SPR_E_NOMEM
               : rc == CURLE_URL_MALFORMAT       ? SPR_E_ARG
                                                 : SPR_E_IO;
    return lv_why(why, code, "probe %.200s: %s", probe, *text ? text : curl_easy_strerror(rc));
}

int lv_probe_try(const char *probe, int64_t timeout_ms, const atomic_bool *stop, double *seconds, char why[LV_WHY]) {
    int kind = lv_probe_kind(probe, why);
    if (kind < 0)
        return kind;
    if (kind != LV_PROBE_HTTP && kind != LV_PROBE_TCP)
        return lv_why(why, SPR_E_UNSUPPORTED, "probe '%s' is not asked over the network", probe ? probe : "");
    if (timeout_ms <= 0 || timeout_ms > INT32_MAX)
        return lv_why(why, SPR_E_ARG, "probe %.200s: a time limit from 1 ms on is needed", probe);
    size_t room = strlen(probe) + sizeof "http://";
    char *url = lv_alloc(room), text[CURL_ERROR_SIZE] = "";
    CURL *curl = url ? curl_easy_init() : NULL;
    struct attempt a = {.stop = stop};
    int code = SPR_E_NOMEM;
    curl_off_t spent_us = 0;
    if (curl) {
        /* A bare connection is the first half of any request of libcurl's. */
        snprintf(url, room, "%s%s", kind == LV_PROBE_TCP ? "http://" : "",
                 kind == LV_PROBE_TCP ? probe + strlen("tcp://") : probe);
        CURLcode rc = prepare(curl, url, kind, timeout_ms, &a, text);
        if (!rc)
            rc = curl_easy_perform(curl);
        code = judge(curl, rc, kind, probe, &a, text, why);
        curl_easy_getinfo(curl, CURLINFO_TOTAL_TIME_T, &spent_us);
        curl_easy_cleanup(curl);
    } else {
        lv_why(why, code, "probe: out of memory");
    }
    lv_free(url);
    if (code == SPR_OK && seconds)
        *seconds = (double)spent_us * 1e-6;
    return code;
}
