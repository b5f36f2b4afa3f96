/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/plan_config.h - the shape of a model from its config.json.
 *
 * Only the keys that fix sizes are read, and `model_type`, which says that they mean what is assumed
 * here. Whether a daemon would load the model is the daemon's business; it checks far more.
 *
 * Threads: plain values.
 */
#ifndef LATENTD_CLI_PLAN_CONFIG_H
#define LATENTD_CLI_PLAN_CONFIG_H

#include "base/err.h"
#include "cli/plan.h"

/*
 * cli_shape_load - read FOLDER/config.json.
 * Errors: LTD_E_NOT_FOUND, LTD_E_INVALID; the message names the file and the key, what was found and
 * what was expected. *out is written only on success.
 */
int cli_shape_load(const char *folder, struct cli_shape *out, struct ltd_err *err);

/* cli_shape_parse - the same from memory; `where` stands for the file in messages. */
int cli_shape_parse(const char *text, size_t len, const char *where, struct cli_shape *out,
                    struct ltd_err *err);

#endif
