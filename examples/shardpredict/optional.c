/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Methods of libraries that need not be there: opened by soname when a verb asks for one, never linked. */
#include <dlfcn.h>
#include <string.h>

#include "tool.h"

#define STR_(x) #x
#define STR(x)  STR_(x)

static const struct optional {
    const char *method, *soname, *accessor, *package;
} optionals[] = {
    {"gsl-wavelet", "libshardpredict-gsl.so." STR(SPR_ABI_VERSION), "spr_forecaster_gsl_wavelet",
     "libshardpredict-gsl" STR(SPR_ABI_VERSION)},
};

static const struct optional *optional_of(const char *method) {
    for (size_t i = 0; i < sizeof optionals / sizeof *optionals; i++)
        if (!strcmp(optionals[i].method, method))
            return &optionals[i];
    return NULL;
}

/* The library stays loaded: its table points into it. */
static const struct spr_forecaster_ops *open_optional(const struct optional *o) {
    const struct spr_forecaster_ops *(*accessor)(void) = NULL;
    void *library = dlopen(o->soname, RTLD_LAZY), *found = library ? dlsym(library, o->accessor) : NULL;
    memcpy(&accessor, &found, sizeof accessor); /* dlsym gives a data pointer, hence the copy */
    return accessor ? accessor() : NULL;
}

const struct spr_forecaster_ops *tool_forecaster(const char *name) {
    const struct optional *o = optional_of(name);
    return o ? open_optional(o) : spr_forecaster_by_name(name);
}

bool tool_method_optional(const char *name) { return optional_of(name) != NULL; }

int tool_method_missing(const char *verb, const char *name) {
    const struct optional *o = optional_of(name);
    if (!o || open_optional(o))
        return 0;
    fprintf(stderr, "shardpredict %s: --method %s needs the package %s (%s cannot be opened)\n", verb, name, o->package,
            o->soname);
    return EXIT_CANNOT;
}
