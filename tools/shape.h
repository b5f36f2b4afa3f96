/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/shape.h - shapes of models that can be made up, by name, and the config.json of any shape.
 *
 *     huginn-0125   the published 3.5 G model, exactly
 *     100m          the same proportions at 108 M: larger than most caches, loaded in a moment
 *     l2-512k       a recurrent block that fits two caches of this size and not one, held in f32: 1.5
 *     l2-1m         times the cache, so half of it leaves a quarter of the cache for latents and
 *     l2-2m         keys. They show how much faster a step is once a rank's shard stays in its cache
 *     tiny          for tests: 380 kB
 *
 * A name with a slash is a model directory, whose config.json gives the shape.
 *
 * Threads: no state.
 * Source: arXiv 2502.05171 for huginn-0125; the others are ours.
 */
#ifndef LATENTD_TOOLS_SHAPE_H
#define LATENTD_TOOLS_SHAPE_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"
#include "model/config.h"

/* All names that tool_shape_find knows, in the order of help: "huginn-0125, 100m, ...". */
extern const char *const tool_shape_names;

/*
 * tool_shape_find - the shape called `name`.
 * Errors: LTD_E_INVALID naming what was found and the names; for a directory those of
 * model_config_load.
 */
int tool_shape_find(const char *name, struct model_config *out, struct ltd_err *err);

/*
 * tool_shape_config_json - config.json of a shape, with the keys that its authors write, appended to
 * `out` (which remembers a failed allocation). model_config_parse gives the same shape back.
 * torch_dtype is "bfloat16" or "float32".
 */
void tool_shape_config_json(const struct model_config *config, const char *torch_dtype,
                            struct ltd_bytes *out);

/*
 * tool_shape_generation_json - generation_config.json: greedy, and no end token, because what a made
 * up model writes means nothing and a benchmark wants it to go on.
 */
void tool_shape_generation_json(struct ltd_bytes *out);

#endif
