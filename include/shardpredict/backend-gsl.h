/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file backend-gsl.h
 * @brief The wavelet forecaster: every scale of a series is forecast by itself. Needs the GNU Scientific Library.
 *
 * libshardpredict-gsl is GPL-3.0-or-later, as GSL is: a program that is linked with it and handed on comes under that
 * licence too. This header says only how it is called and is as free as the core.
 */
#ifndef SHARDPREDICT_BACKEND_GSL_H
#define SHARDPREDICT_BACKEND_GSL_H

#include <shardpredict/ops/forecaster.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Wavelet multi-resolution forecaster (after AGILE: Nguyen et al., ICAC 2013): the history is split into scales by a
 * stationary wavelet transform that looks back only, an autoregressive model forecasts each, their sum is the forecast;
 * quantiles are those of its out-of-sample errors. Config: struct spr_gsl_wavelet_opts.
 */
SPR_API const struct spr_forecaster_ops *spr_forecaster_gsl_wavelet(void);

/** Whose low-pass filter splits the scales. */
enum spr_gsl_wavelet {
    SPR_GSL_WAVELET_DEFAULT = 0, /**< chosen for each series by the error on its own recent past */
    SPR_GSL_WAVELET_HAAR = 1,
    SPR_GSL_WAVELET_DAUBECHIES4 = 2,
    SPR_GSL_WAVELET_BSPLINE3 = 3
};

/** Config of the wavelet forecaster. */
struct spr_gsl_wavelet_opts {
    size_t size;     /**< sizeof this struct */
    double period;   /**< season in steps, rounded to a whole number; 0 = a day of the panel's step; SPR_NONE = none */
    int32_t wavelet; /**< ::spr_gsl_wavelet */
    int32_t scales;  /**< detail scales, 1..8; 0 = chosen by error; SPR_NONE = none: one autoregressive model */
    int32_t order;   /**< lags of each scale besides the season's, 1..8; 0 = 4 */
    int32_t reserved;/**< must be 0 */
    int64_t window;  /**< newest steps that are learnt from; 0 = 4096 */
};

#ifdef __cplusplus
}
#endif
#endif
