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

#ifdef __cplusplus
}
#endif
/** @} */
#endif
