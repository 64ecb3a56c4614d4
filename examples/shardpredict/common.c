/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

/* ---- threads: a pool that lives as long as the context; n items are taken one by one ---- */

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t threads[64], main_thread;
    int width, running;
    bool stop;
    uint64_t round;
    void (*fn)(void *arg, size_t i);
    void *arg;
    size_t next, n;
};
static struct pool pool;

static void take_items(void) { /* with the lock held */
    while (pool.next < pool.n) {
        size_t i = pool.next++;
        pthread_mutex_unlock(&pool.lock);
        pool.fn(pool.arg, i);
        pthread_mutex_lock(&pool.lock);
    }
}

static void *worker(void *arg) {
    uint64_t seen = 0;
    (void)arg;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (!pool.stop && pool.round == seen)
            pthread_cond_wait(&pool.work, &pool.lock);
        if (pool.stop)
            break;
        seen = pool.round;
        take_items();
        if (--pool.running == 0)
            pthread_cond_signal(&pool.done);
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

static void pool_for(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg) {
    (void)user;
    pthread_mutex_lock(&pool.lock);
    if (pool.n) { /* called from inside an item: run it here */
        pthread_mutex_unlock(&pool.lock);
        for (size_t i = 0; i < n; i++)
            fn(arg, i);
        return;
    }
    pool.fn = fn, pool.arg = arg, pool.next = 0, pool.n = n;
    pool.running = pool.width - 1;
    pool.round++;
    pthread_cond_broadcast(&pool.work);
    take_items();
    while (pool.running)
        pthread_cond_wait(&pool.done, &pool.lock);
    pool.n = 0;
    pthread_mutex_unlock(&pool.lock);
}

static void pool_start(int width) {
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.width = 1;
    pool.main_thread = pthread_self();
    while (pool.width < width && !pthread_create(&pool.threads[pool.width], NULL, worker, NULL))
        pool.width++;
}

static void pool_stop(void) {
    if (!pool.width)
        return;
    pthread_mutex_lock(&pool.lock);
    pool.stop = true;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 1; i < pool.width; i++)
        pthread_join(pool.threads[i], NULL);
    memset(&pool, 0, sizeof pool);
}

/* ---- context ---- */

static void log_to_stderr(void *user, const struct spr_log_record *r) {
    static const char *const words[] = {"", "error: ", "warning: ", "note: ", ""};
    (void)user;
    tool_progress_end();
    fprintf(stderr, "shardpredict: %s%s%s%s\n", words[r->level < 5 ? r->level : 4], r->subject ? r->subject : "",
            r->subject ? ": " : "", r->text);
}

double tool_started_s;

spr_context *tool_context(uint64_t seed, int threads) {
    tool_started_s = tool_wall_s();
    if (threads <= 0)
        threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    threads = threads < 1 ? 1 : threads > 64 ? 64 : threads;
    struct spr_logger logger = {sizeof logger, log_to_stderr, SPR_LOG_NOTE, 0, NULL};
    struct spr_executor executor = {sizeof executor, pool_for, threads, 0, NULL};
    struct spr_context_opts opts = SPR_CONTEXT_OPTS_INIT;
    opts.seed = seed;
    opts.logger = &logger;
    if (threads > 1) {
        pool_start(threads);
        opts.executor = &executor;
    }
    spr_context *ctx = NULL;
    int rc = spr_context_create(&opts, &ctx);
    if (rc < 0)
        fprintf(stderr, "shardpredict: %s\n", spr_error_text(rc));
    return ctx;
}

void tool_context_free(spr_context *ctx) {
    spr_context_unref(ctx);
    pool_stop();
}

int tool_error(const spr_context *ctx, const char *what) {
    struct spr_error e = {.size = sizeof e};
    tool_progress_end();
    if (spr_context_error(ctx, &e) < 0) {
        fprintf(stderr, "shardpredict: %s: failed\n", what);
        return EXIT_FAILED;
    }
    fprintf(stderr, "shardpredict: ");
    if (e.file) {
        fprintf(stderr, "%s:", e.file);
        if (e.line > 0)
            fprintf(stderr, "%lld:", (long long)e.line);
        if (e.column > 0)
            fprintf(stderr, "%lld:", (long long)e.column);
        fputc(' ', stderr);
    } else {
        fprintf(stderr, "%s: ", what);
    }
    if (e.series)
        fprintf(stderr, "%s: ", e.series);
    if (e.host)
        fprintf(stderr, "host %s: ", e.host);
    fprintf(stderr, "%s\n", e.text);
    return e.code == SPR_E_UNSUPPORTED ? EXIT_CANNOT : EXIT_FAILED;
}

int tool_usage(const char *verb, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "shardpredict %s: ", verb);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; shardpredict %s --help tells how\n", verb);
    va_end(args);
    return EXIT_USAGE;
}

int tool_options(const char *verb, const char *about, const char *epilogue, struct poptOption *table, int argc,
                 const char **argv, const char ***rest) {
    static int want_help;
    static poptContext parser; /* its strings must outlive the verb */
    struct poptOption all[] = {
        {NULL, '\0', POPT_ARG_INCLUDE_TABLE, table, 0, "Options:", NULL},
        {"help", 'h', POPT_ARG_NONE, &want_help, 0, "this text", NULL},
        POPT_TABLEEND,
    };
    static char name[64]; /* what the usage line begins with */
    snprintf(name, sizeof name, "shardpredict %s", verb);
    argv[0] = name;
    parser = poptGetContext("shardpredict", argc, argv, all, 0);
    poptSetOtherOptionHelp(parser, "[OPTION...]");
    int rc;
    while ((rc = poptGetNextOpt(parser)) > 0)
        ;
    if (rc < -1)
        return tool_usage(verb, "%s: %s", poptBadOption(parser, 0), poptStrerror(rc));
    if (want_help) {
        printf("%s\n\n", about);
        poptPrintHelp(parser, stdout, 0);
        if (epilogue)
            printf("\n%s\n", epilogue);
        return EXIT_DONE;
    }
    const char **args = poptGetArgs(parser);
    static const char *none[] = {NULL};
    if (rest)
        *rest = args ? args : none;
    else if (args)
        return tool_usage(verb, "'%s' is not expected", args[0]);
    return -1;
}

size_t tool_count(const char **list) {
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

int tool_numbers(const char *verb, const char *option, const char *text, double *out, int room) {
    int n = 0;
    for (const char *p = text; p && *p;) {
        char *end;
        double v = strtod(p, &end);
        if (end == p || (*end && *end != ',') || n == room)
            return tool_usage(verb, "%s: '%s' is not a list of numbers", option, text), -1;
        out[n++] = v;
        p = *end ? end + 1 : end;
    }
    return n;
}

void tool_json_text(const char *key, const char *text) {
    printf("\"%s\": ", key);
    if (!text) {
        printf("null");
        return;
    }
    putchar('"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p == '"' || *p == '\\')
            printf("\\%c", *p);
        else if (*p < 0x20)
            printf("\\u%04x", *p);
        else
            putchar(*p);
    putchar('"');
}

/* ---- progress, colour, figures ---- */

static bool progress_shown;

void tool_progress(void *user, double share, const char *what) {
    static double started, last;
    (void)user;
    if (pool.width > 1 && !pthread_equal(pthread_self(), pool.main_thread)) /* one pen is enough */
        return;
    double now = tool_wall_s();
    if (!started || share <= 0)
        started = now;
    /* Nothing for the first two seconds, then five times a second. */
    if (!isatty(2) || now - started < 2 || now - last < 0.2)
        return;
    last = now;
    char bar[31];
    int full = (int)(share * 30);
    for (int i = 0; i < 30; i++)
        bar[i] = i < full ? '#' : '.';
    bar[30] = 0;
    fprintf(stderr, "\r[%s] %3.0f %% %-40.40s", bar, share * 100, what ? what : "");
    fflush(stderr);
    progress_shown = true;
}

void tool_progress_end(void) {
    if (progress_shown)
        fprintf(stderr, "\r%80s\r", "");
    progress_shown = false;
}

bool tool_colour(FILE *to) {
    const char *no = getenv("NO_COLOR");
    return isatty(fileno(to)) && !(no && *no);
}

double tool_wall_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double tool_cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int64_t tool_peak_rss(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (int64_t)u.ru_maxrss * 1024;
}
