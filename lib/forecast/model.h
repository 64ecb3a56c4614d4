/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The container of trained models (doc/formats.md, "Model file"): sections under tags, checked once, then used where
 * they lie. */
#ifndef SPR_LIB_FORECAST_MODEL_H
#define SPR_LIB_FORECAST_MODEL_H

#include "forecast/forecast.h"

#include <shardpredict/forecast-model.h>

#define SPR__MODEL_ALIGN    64
#define SPR__MODEL_VERSION  1
#define SPR__MODEL_SECTIONS 1024 /* at most */

/* One payload on its way into a model. Tags are four printable characters. */
struct spr__section {
    char tag[4];
    uint32_t index; /* of several under one tag */
    const void *data;
    size_t size;
};

/*
 * Make a model of sections; everything is copied. What spr_model_open would refuse is refused here too, so that no
 * model is made that nobody can read. The section "INFO" is written from `info`.
 */
int spr__model_make(spr_context *ctx, const struct spr_model_info *info, const struct spr__section *sections,
                    size_t count, spr_model **out);
/* Payload of a section, aligned to 64 bytes; NULL where there is none. It lives as long as the model. */
const void *spr__model_section(const spr_model *m, const char *tag, uint32_t index, size_t *size);

/*
 * Every kind of payload has a checker in the table of model.c; after it said 0 a reader may trust sizes and numbers of
 * that payload. It fails by spr__fail_at(ctx, SPR_E_CORRUPT, name, 0, 0, ...), so that the file is named.
 */
typedef int spr__model_check(const spr_context *ctx, const char *name, uint32_t index, const void *payload,
                             size_t size);

#endif
