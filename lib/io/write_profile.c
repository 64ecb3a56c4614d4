/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Profiles as JSON: doc/schema/profile.json. */
#include <stdlib.h>

#include <jansson.h>

#include "inside.h"

/* A JSON number that is read back as it was shown; what is no number is null. */
static json_t *number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static json_t *clock_text(int32_t second) {
    char text[16];
    snprintf(text, sizeof text, "%02d:%02d", (int)(second / 3600 % 100), (int)(second / 60 % 60));
    return json_string(text);
}

static json_t *windows_of(const struct spr_profile_row *r) {
    static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    json_t *all = json_array();
    for (int i = 0; i < r->peak_window_count; i++) {
        const struct spr_peak_window *w = &r->peak_windows[i];
        json_t *one = json_object(), *names = json_array();
        for (int d = 0; d < 7; d++)
            if (w->days >> d & 1)
                json_array_append_new(names, json_string(days[d]));
        json_object_set_new(one, "days", names);
        json_object_set_new(one, "from", clock_text(w->from_s));
        json_object_set_new(one, "to", clock_text(w->to_s));
        json_object_set_new(one, "probability", number(w->probability));
        if (json_array_append_new(all, one) < 0)
            break;
    }
    return all;
}

static json_t *row_of(const struct spr_profile_row *r) {
    json_t *one = json_object(), *periods = json_array(), *burst = json_object();
    for (int i = 0; i < r->period_count; i++)
        json_array_append_new(periods, number(r->periods_s[i]));
    json_object_set_new(burst, "rate_per_day", number(r->burst_rate_per_day));
    json_object_set_new(burst, "size", number(r->burst_size));
    json_object_set_new(burst, "length_s", number(r->burst_length_s));
    json_object_set_new(one, "series", json_string(r->id));
    json_object_set_new(one, "metric", json_string(r->metric));
    json_object_set_new(one, "class", json_string(spr_class_name(r->klass)));
    json_object_set_new(one, "confidence", number(r->confidence));
    json_object_set_new(one, "level", number(r->level));
    json_object_set_new(one, "spread", number(r->spread));
    json_object_set_new(one, "trend_per_day", number(r->trend_per_day));
    json_object_set_new(one, "periods_s", periods);
    json_object_set_new(one, "season_strength", number(r->season_strength));
    json_object_set_new(one, "burst", burst);
    json_object_set_new(one, "forecastability", number(r->forecastability));
    json_object_set_new(one, "peak_windows", windows_of(r));
    return one;
}

int spr_profile_write(spr_context *ctx, const spr_profile *profile, spr_output *out) {
    if (!ctx)
        return SPR_E_ARG;
    if (!profile || !out)
        return spr__io_fail(ctx, SPR_E_ARG, NULL, 0, 0, "spr_profile_write: profile and output are required");
    spr_output_text(out, "{\"schema\": 1, \"profiles\": [");
    for (int64_t i = 0; i < spr_profile_count(profile); i++) {
        struct spr_profile_row r = {.size = sizeof r};
        spr_profile_get(profile, i, &r);
        json_t *one = row_of(&r);
        /* A series whose name is no UTF-8 has no place in JSON: jansson refuses it, and so do we. */
        bool named = json_is_string(json_object_get(one, "series")) && json_is_string(json_object_get(one, "metric"));
        char *text = named ? json_dumps(one, JSON_REAL_PRECISION(10)) : NULL;
        json_decref(one);
        if (!text)
            return named ? spr__io_nomem(ctx)
                         : spr__io_fail(ctx, SPR_E_FORMAT, NULL, 0, 0, "the name of series %lld is not UTF-8",
                                        (long long)i + 1);
        spr_output_text(out, i ? ",\n" : "\n");
        spr_output_text(out, text);
        free(text);
    }
    spr_output_text(out, "\n]}\n");
    return SPR_OK;
}
