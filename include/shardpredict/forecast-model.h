/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file forecast-model.h
 * @ingroup forecast
 * @brief Global models: trained once across a fleet, asked for any of its series, also one never seen.
 *
 * A model is one block of bytes (doc/formats.md) that is used as it lies in memory or in a mapped file.
 *
 * Ownership: a model is reference counted and immutable. Threads: a model any thread.
 * @{
 */
#ifndef SHARDPREDICT_FORECAST_MODEL_H
#define SHARDPREDICT_FORECAST_MODEL_H

#include <shardpredict/forecast.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What was learnt. Opaque, immutable, reference counted. */
typedef struct spr_model spr_model;

/** What learns. */
enum spr_model_kind {
    SPR_MODEL_AUTO = 0,    /**< what is best on the held-out tail */
    SPR_MODEL_NET = 1,     /**< direct multi-horizon quantile perceptron */
    SPR_MODEL_LSTM = 2,    /**< recurrent encoder, the same head */
    SPR_MODEL_HYBRID = 3   /**< Holt-Winters takes level and season out, a net learns the rest */
};

/** Where the events of a calendar are put. */
enum spr_model_events {
    SPR_EVENTS_AUTO = 0,   /**< where they were measured to be forecast better: around (doc/algorithms/lstm.md, "Events") */
    SPR_EVENTS_AROUND = 1, /**< taken out before training; the forecaster "events" puts them back around the model */
    SPR_EVENTS_INSIDE = 2  /**< inputs of the nets: of every step of the window and ahead what stands in the calendar, and
                                what earlier events of the kind did; not of hybrid members, which have them around */
};

/** What a model is. */
struct spr_model_info {
    size_t size;           /**< sizeof this struct, set by the caller */
    int32_t kind;          /**< ::spr_model_kind of what answers by default */
    int32_t horizon;       /**< most steps ahead */
    int32_t level_count;   /**< number of quantile levels */
    int32_t members;       /**< nets averaged */
    const double *levels;  /**< rising, in (0, 1); live as long as the model */
    int64_t step_ns;       /**< length of a step */
    int64_t context;       /**< most steps it looks back */
    int64_t weights;       /**< numbers trained */
    double loss;           /**< mean pinball loss of the held-out tail, each series in units of its own scale; NaN = not measured */
    double naive_loss;     /**< the same of seasonal naive or last value, the better one */
    double coverage95;     /**< share of the held-out tail at or below its 0.95 quantile */
    const char *text;      /**< one line for people; lives as long as the model */
    int64_t newest_step;   /**< one past the newest step it learnt from, counted since 1970; 0 = not known */
    int32_t events;        /**< ::spr_model_events: SPR_EVENTS_INSIDE = its nets look at a calendar (spr_model_opts.calendar), else SPR_EVENTS_AROUND */
    int32_t reserved;      /**< 0 */
};

/**
 * Use a model that lies in memory (a mapped file). Nothing is read past `bytes`; the version, all sums and every size
 * inside are checked before anything is used, so that no bytes whatever can do harm.
 * @param name  what it is called in errors (a path); NULL = "model"
 * @param image first byte; without `copy` at an address that is a multiple of 64
 * @param copy  0 = the bytes stay the caller's and must outlive the model, 1 = copied
 * @return 0, SPR_E_FORMAT (empty or no model at all), SPR_E_CORRUPT (cut off, longer than it says, a wrong sum or size),
 *         SPR_E_TOO_NEW, SPR_E_UNSUPPORTED (a big-endian machine), SPR_E_ARG, SPR_E_NOMEM
 */
SPR_API int spr_model_open(spr_context *ctx, const char *name, const void *image, size_t bytes, int copy, spr_model **out);
/** The bytes of a model, as spr_model_open takes them; they live as long as the model. NULL for NULL. */
SPR_API const void *spr_model_bytes(const spr_model *m, size_t *bytes);
/** What a model is. @return 0 or SPR_E_ARG */
SPR_API int spr_model_describe(const spr_model *m, struct spr_model_info *out);
/** One more reference. */
SPR_API spr_model *spr_model_ref(spr_model *m);
/** One reference less. NULL is fine. */
SPR_API void spr_model_unref(spr_model *m);

/** Learns a model. Opaque; belongs to its creator; one thread at a time (it uses the context's executor inside). */
typedef struct spr_trainer spr_trainer;

/** Options of spr_trainer_create. */
struct spr_trainer_opts {
    size_t size;           /**< sizeof this struct */
    int64_t step_ns;       /**< length of a step; 0 = 300 s */
    int32_t horizon;       /**< steps ahead, at most 4096; 0 = 12 */
    int32_t kind;          /**< ::spr_model_kind */
    int32_t level_count;   /**< 0 = .1 .2 .3 .4 .5 .6 .7 .8 .9 10/11 .95 .99; at most 64 */
    int32_t members;       /**< nets averaged, at most 16; 0 = what the kind of series asks for */
    const double *levels;  /**< rising, in (0, 1); copied */
    int64_t context;       /**< steps before the origin that the model sees; 0 = what the series allow */
    double effort;         /**< times the usual number of minibatches; 0 = 1 */
    const spr_model *start; /**< go on from this model instead of from nothing: its members, levels and horizon, a tenth of
                                 the pace, a quarter of the minibatches; kind, members, context and events are not asked. NULL = none */
    int32_t early_stop;    /**< 0 = where the held-out tail's loss has clearly left its lowest, training ends from there, and the
                                other nets learn as long; SPR_NONE = every net runs its whole schedule */
    int32_t events;        /**< ::spr_model_events: what becomes of the calendars that come with the series */
};
/** What is known of the series of a panel besides their values. */
struct spr_training_opts {
    size_t size;             /**< sizeof this struct */
    int64_t first_step;      /**< step of column 0, counted since 1970 (calendar inputs) */
    const int64_t *until;    /**< [series] columns that may be used; NULL = all */
    const int32_t *resource; /**< [series] ::spr_resource, or -1; NULL = as the panel says */
    int32_t signed_values;   /**< 0 = never below 0 when no value of the panels is; SPR_NONE = may go below */
    int32_t reserved;        /**< must be 0 */
    const struct spr_calendar *calendar; /**< events that the series live through; spr_trainer_opts.events says what becomes of
                                              them. Read in the call. NULL = none */
    int64_t calendar_origin_ns; /**< wall time of the step counted as 0; 0 = 1970 */
};
/** Make a trainer. @return 0, SPR_E_ARG, SPR_E_NOMEM, SPR_E_TOO_NEW */
SPR_API int spr_trainer_create(spr_context *ctx, const struct spr_trainer_opts *opts, spr_trainer **out);
/** Forget it. NULL is fine. */
SPR_API void spr_trainer_destroy(spr_trainer *t);
/**
 * Take series in; the values are copied, several panels add up. A censored value is a lower bound: it costs only
 * while a quantile lies below it. Missing values are filled from what lies before them and never trained on.
 * @return 0, SPR_E_ARG, SPR_E_STATE (training has begun), SPR_E_NOMEM
 */
SPR_API int spr_trainer_add(spr_trainer *t, const struct spr_panel *panel, const struct spr_training_opts *opts);
/**
 * Train. Settings follow from the step, the horizon, how long the series are and whether their resources are known
 * (doc/algorithms/quantile-net.md). The same series, options and seed give the same bits for any number of threads.
 * @param budget most minibatches before it returns SPR_AGAIN; 0 = no limit
 * @return 0, SPR_AGAIN (call again; the slices add up), SPR_E_HISTORY (no series is long enough), SPR_E_NOMEM
 */
SPR_API int spr_trainer_run(spr_trainer *t, int64_t budget);
/** Share done, 0..1, and (when `text` is not NULL) what runs, for people; the text lives until the next call. */
SPR_API double spr_trainer_progress(const spr_trainer *t, const char **text);
/** Loss of the minibatches so far, moving means, at most 100 of them, one net behind the other; they live as long as the trainer. */
SPR_API int32_t spr_trainer_losses(const spr_trainer *t, const double **losses);
/**
 * Did the held-out tail end training early?
 * @param planned (optional) minibatches in the first net's whole schedule; 0 = training has not begun
 * @return the minibatch it went back to, where the tail's loss was lowest: from there it ended in a tenth of the schedule, or, 0, kept
 *         what it went on from; SPR_NONE = not stopped (so far)
 */
SPR_API int64_t spr_trainer_stopped(const spr_trainer *t, int64_t *planned);
/** The model, after spr_trainer_run returned 0. @return 0, SPR_E_STATE, SPR_E_NOMEM */
SPR_API int spr_trainer_finish(spr_trainer *t, spr_model **out);

/**
 * Forecaster that asks a model. Config: struct spr_model_opts, whose model is required. Steps must be the model's,
 * the horizon at most the model's; levels between the model's are interpolated. A series with less history than the
 * model looks back is padded, one without any is answered with what the trained series show over all.
 */
SPR_API const struct spr_forecaster_ops *spr_forecaster_model(void);
/** Config of the forecaster that asks a model. */
struct spr_model_opts {
    size_t size;             /**< sizeof this struct */
    const spr_model *model;  /**< required; referenced until close */
    const int32_t *resource; /**< [series of the fitted panel] ::spr_resource or -1, read in fit; NULL = as the panel says */
    int32_t kind;            /**< ::spr_model_kind: which members answer; SPR_MODEL_AUTO = as trained */
    int32_t signed_values;   /**< SPR_NONE = may go below 0 */
    int32_t carry;           /**< 0 = LSTM members read their window anew at every forecast; 1 = their states are carried from
                                  forecast to forecast, one step per new sample, in the scale of the window last read. It is
                                  read anew after a fit, once a season, after a gap, where a new value lies more than 10
                                  mean deviations from that window's level, and where today's window has another scale (by
                                  a quarter, or half a mean deviation away). A series then keeps 32 bytes and 8 bytes per
                                  cell (288 with the usual 32 cells) for each such member, and answers depend on when
                                  forecasts were asked for; one given `now` reads anew and leaves the states alone */
    int32_t reserved;        /**< must be 0 */
    const struct spr_calendar *calendar; /**< for a model whose nets look at events (spr_model_info.events), which forecasts
                                              without it as if there were none; referenced until close. Such a model is not
                                              put into the forecaster "events" as well. Others do not look at it. NULL = none */
    int64_t calendar_origin_ns; /**< wall time of the step counted as 0; 0 = 1970 */
};

#ifdef __cplusplus
}
#endif
/** @} */
#endif
