/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Is the guest ready? Asked from this machine, as a client would: an HTTP answer, an open port, or its own agent. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "xml.h"

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static void begin(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

static size_t swallow(char *data, size_t size, size_t count, void *user) {
    (void)data, (void)user;
    return size * count;
}

static int by_curl(const char *url, bool port_only, double seconds, char why[LV_WHY]) {
    char text[CURL_ERROR_SIZE] = "";
    long status = 0;
    pthread_once(&curl_once, begin);
    CURL *c = curl_easy_init();
    if (!c)
        return lv_why(why, 0, "out of memory");
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(seconds * 1e3));
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, swallow);
    curl_easy_setopt(c, CURLOPT_CONNECT_ONLY, port_only ? 1L : 0L);
    CURLcode rc = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    if (rc == CURLE_UNSUPPORTED_PROTOCOL || rc == CURLE_URL_MALFORMAT)
        return lv_why(why, SPR_E_ARG, "probe %s: %s", url, text[0] ? text : curl_easy_strerror(rc));
    if (rc != CURLE_OK)
        return lv_why(why, 0, "%s: %s", url, text[0] ? text : curl_easy_strerror(rc));
    if (!port_only && (status < 200 || status >= 400))
        return lv_why(why, 0, "%s answers %ld", url, status);
    return 1;
}

static int by_agent(virDomainPtr dom, char why[LV_WHY]) {
    virDomainAgentSetResponseTimeout(dom, 1, 0);
    char *name = virDomainGetHostname(dom, VIR_DOMAIN_GET_HOSTNAME_AGENT);
    bool answered = name != NULL;
    free(name);
    return answered ? 1 : lv_why(why, 0, "the guest agent does not answer: %s", virGetLastErrorMessage());
}

int lv_probe(const char *probe, virDomainPtr dom, double seconds, char why[LV_WHY]) {
    char url[LV_WHY];
    if (!probe || !*probe)
        return 1; /* that it runs is all that is asked */
    if (!strcmp(probe, "agent"))
        return by_agent(dom, why);
    if (!strncmp(probe, "http://", 7) || !strncmp(probe, "https://", 8))
        return by_curl(probe, false, seconds, why);
    if (strncmp(probe, "tcp://", 6) || strlen(probe) > 400)
        return lv_why(why, SPR_E_ARG, "probe '%.80s' is none of http://, https://, tcp://HOST:PORT and agent", probe);
    snprintf(url, sizeof url, "http://%s", probe + 6);
    return by_curl(url, true, seconds, why);
}
