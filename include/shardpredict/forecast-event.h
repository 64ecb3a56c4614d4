/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file forecast-event.h
 * @ingroup forecast
 * @brief Events: a calendar of what is known to come, and what it does to demand.
 *
 * A calendar builder takes one-off, recurring and moving events (explicit dates) and makes an immutable
 * calendar; it is asked which occurrences meet a span of time. Effects of a *kind* of event on every series
 * (multiplier, how long before the start demand rises, how long after the end it falls) are learned from a
 * panel, drawn towards what the fleet shows, and told again in O(1). The forecaster "events" puts both around
 * any other forecaster: history is divided by the effects, what comes out is multiplied again.
 *
 * Ownership: builder and effects belong to their creator; a calendar is reference counted and immutable.
 * Threads: builder and effects one thread at a time, calendar any thread.
 * @{
 */
#ifndef SHARDPREDICT_FORECAST_EVENT_H
#define SHARDPREDICT_FORECAST_EVENT_H

#include <shardpredict/forecast.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Takes events in. Opaque; belongs to its creator. */
typedef struct spr_calendar_builder spr_calendar_builder;
/** Events and when they occur. Opaque, immutable, reference counted. */
typedef struct spr_calendar spr_calendar;
/** What kinds of events do to series. Opaque; belongs to its creator. */
typedef struct spr_event_effects spr_event_effects;

/** How an event comes again. Recurrences run in local time. */
enum spr_event_repeat {
    SPR_EVENT_ONCE = 0,    /**< start and the explicit dates only */
    SPR_EVENT_DAILY = 1,   /**< every `interval` days */
    SPR_EVENT_WEEKLY = 2,  /**< on `weekdays` of every `interval` weeks; weeks begin on Monday */
    SPR_EVENT_MONTHLY = 3, /**< on a day of the month, or on the nth weekday, of every `interval` months */
    SPR_EVENT_YEARLY = 4   /**< the same in the start's month of every `interval` years */
};

/** From a moment on, local time = UTC + offset. */
struct spr_zone_offset {
    int64_t from_ns;   /**< wall time, ns since 1970 UTC; the first row counts for what lies before it as well */
    int32_t offset_s;  /**< local time - UTC, s; within a day */
    int32_t reserved;  /**< must be 0 */
};

/** An event. */
struct spr_event {
    size_t size;         /**< sizeof this struct */
    const char *kind;    /**< what shares an effect ("match", "backup"); required, copied */
    const char *name;    /**< for people; NULL = the kind; copied */
    int64_t start_ns;    /**< first start, ns since 1970 UTC; not before 1970 */
    int64_t end_ns;      /**< its end, after the start */
    int32_t repeat;      /**< ::spr_event_repeat */
    int32_t interval;    /**< every so many days, weeks, months or years; 0 = 1 */
    int64_t count;       /**< occurrences of the rule; 0 = no limit */
    int64_t until_ns;    /**< latest start; 0 = no limit */
    uint32_t weekdays;   /**< bit 0 = Monday ... bit 6 = Sunday; 0 = the start's own (weekly) or none (else) */
    int32_t nth;         /**< with weekdays, monthly and yearly: the 1st ... 5th of the month, -1 = the last; 0 = all of them */
    int32_t month_day;   /**< without weekdays, monthly and yearly: 1..31, -1 = the last; 0 = the start's own */
    int32_t zone;        /**< what spr_calendar_builder_zone gave; 0 = UTC */
    double confidence;   /**< chance that it takes place, 0..1; 0 = 1 */
    double amount;       /**< what somebody knows: demand is multiplied by it; 0 = to be learned */
};

/** One time an event takes place. */
struct spr_occurrence {
    int64_t start_ns;   /**< ns since 1970 UTC */
    int64_t end_ns;     /**< first moment after it */
    int32_t event;      /**< index of the event */
    int32_t kind;       /**< index of its kind */
    double confidence;  /**< chance that it takes place */
    double amount;      /**< declared multiplier; 0 = none */
};

/** Begin a calendar. @return 0, SPR_E_ARG, SPR_E_NOMEM */
SPR_API int spr_calendar_builder_create(spr_context *ctx, spr_calendar_builder **out);
/** Drop a builder that made nothing. NULL is fine. */
SPR_API void spr_calendar_builder_destroy(spr_calendar_builder *b);
/**
 * Add a zone: rows with rising moments.
 * @param stride bytes from one row to the next
 * @return its index (from 1 on), SPR_E_ARG, SPR_E_NOMEM
 */
SPR_API int spr_calendar_builder_zone(spr_calendar_builder *b, const struct spr_zone_offset *rows, size_t stride,
                                      size_t count);
/** Add an event. @return its index (from 0 on), SPR_E_ARG, SPR_E_TOO_NEW, SPR_E_NOMEM */
SPR_API int spr_calendar_builder_add(spr_calendar_builder *b, const struct spr_event *event);
/** One more date of an event (moving events). @param end_ns 0 = as long as the event's first. @return 0, SPR_E_ARG, SPR_E_NOMEM */
SPR_API int spr_calendar_builder_date(spr_calendar_builder *b, int32_t event, int64_t start_ns, int64_t end_ns);
/** Leave one date of an event out. @return 0, SPR_E_ARG, SPR_E_NOMEM */
SPR_API int spr_calendar_builder_skip(spr_calendar_builder *b, int32_t event, int64_t start_ns);
/** Make the calendar; the builder is used up when this returns 0. @return 0, SPR_E_ARG, SPR_E_NOMEM */
SPR_API int spr_calendar_builder_finish(spr_calendar_builder *b, spr_calendar **out);

/** One more reference. */
SPR_API spr_calendar *spr_calendar_ref(spr_calendar *c);
/** One reference less. NULL is fine. */
SPR_API void spr_calendar_unref(spr_calendar *c);
/** Number of events. */
SPR_API int32_t spr_calendar_event_count(const spr_calendar *c);
/** Copy of an event; its texts live as long as the calendar. @return 0 or SPR_E_ARG */
SPR_API int spr_calendar_event(const spr_calendar *c, int32_t index, struct spr_event *out);
/** Number of kinds, in order of first appearance. */
SPR_API int32_t spr_calendar_kind_count(const spr_calendar *c);
/** Name of a kind, or NULL. */
SPR_API const char *spr_calendar_kind(const spr_calendar *c, int32_t index);
/** Index of a kind, or SPR_E_NOT_FOUND. */
SPR_API int spr_calendar_kind_find(const spr_calendar *c, const char *name);
/**
 * Which occurrences meet [from, to), by start.
 * @param stride bytes from one element of `out` to the next
 * @param count  in: room in out, out: number found (may be larger than the room: the latest are left out)
 * @return 0 or SPR_E_ARG
 */
SPR_API int spr_calendar_occurrences(const spr_calendar *c, int64_t from_ns, int64_t to_ns, struct spr_occurrence *out,
                                     size_t stride, size_t *count);

/** Options of effects. */
struct spr_event_effects_opts {
    size_t size;                  /**< sizeof this struct */
    const spr_calendar *calendar; /**< required; referenced until the effects are destroyed */
    int64_t step_ns;              /**< length of a step of the panels; 0 = 300 s */
    int64_t origin_ns;            /**< wall time at which step 0 of the panels' grid begins */
    int64_t reach_ns;             /**< longest lead and lag; 0 = 3 h */
};
/** What a kind of event does to a series. */
struct spr_event_effect {
    size_t size;        /**< sizeof this struct, set by the caller */
    double multiplier;  /**< demand while it lasts, as a multiple of what it would be without; 1 = nothing known */
    double low;         /**< 0.1 quantile of the next occurrence's multiplier */
    double high;        /**< 0.9 quantile of it */
    double lead_s;      /**< demand begins to move so long before the start, s */
    double lag_s;       /**< and is back so long after the end, s */
    int64_t seen;       /**< occurrences seen with the series known */
    int32_t certain;    /**< 0: seen less than twice, upper quantiles widen and the median stays; 1: it moves too */
    int32_t reserved;   /**< 0 */
};
/** Make effects that know nothing yet. @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_TOO_NEW */
SPR_API int spr_event_effects_create(spr_context *ctx, const struct spr_event_effects_opts *opts,
                                     spr_event_effects **out);
/** Forget them. NULL is fine. */
SPR_API void spr_event_effects_destroy(spr_event_effects *e);
/** Learn from a panel whose column 0 is step `first_step` of the grid; what was learned before is replaced. @return 0, SPR_E_ARG, SPR_E_NOMEM */
SPR_API int spr_event_effects_fit(spr_event_effects *e, const struct spr_panel *history, int64_t first_step);
/** Take new steps of all series, oldest first. @return 0, SPR_E_ARG, SPR_E_STATE, SPR_E_NOMEM */
SPR_API int spr_event_effects_update(spr_event_effects *e, const struct spr_panel *steps);
/** What a kind does to a series; SPR_NONE = to the fleet. @return 0 or SPR_E_ARG */
SPR_API int spr_event_effects_get(const spr_event_effects *e, int64_t series, int32_t kind,
                                  struct spr_event_effect *out);

/**
 * A forecaster around another one ("events"): history is divided by the effects, forecasts are multiplied. Config:
 * struct spr_events_opts, required. It stands for the inner one wherever a forecaster is asked for.
 */
SPR_API const struct spr_forecaster_ops *spr_forecaster_events(void);
/** Config of the forecaster "events". */
struct spr_events_opts {
    size_t size;                            /**< sizeof this struct */
    const spr_calendar *calendar;           /**< required; referenced until close */
    const struct spr_forecaster_ops *inner; /**< what forecasts; NULL = the mix */
    const void *inner_config;               /**< its config, or NULL; read inside `create` only */
    int64_t origin_ns;                      /**< wall time at which step 0 of the panels' grid begins */
    int64_t reach_ns;                       /**< longest lead and lag; 0 = 3 h */
    spr_event_effects *effects;             /**< learn into these, so that the caller can look (same calendar, step and
                                                 origin; must outlive the forecaster); NULL = its own */
    int32_t trial;                          /**< 0 = a fit lives through the last two weeks again and lets the events count as far
                                                 as they paid there; SPR_NONE = they are always believed */
    int32_t reserved;                       /**< must be 0 */
};

#ifdef __cplusplus
}
#endif
/** @} */
#endif
