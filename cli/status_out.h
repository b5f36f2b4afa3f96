/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/status_out.h - what is served and how it is doing, as JSON: info and top print the same keys.
 *
 * Keys are those of proto/latentd/v1, except for ranges of rows, which are pairs: "heads": [0, 28].
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_STATUS_OUT_H
#define LATENTD_CLI_STATUS_OUT_H

#include "cli/json_out.h"
#include "cli/rates.h"
#include "latentd/v1/latentd.pb-c.h"

/* The fields "model", "status" and "rates" of the object that is open in `j`. */
void cli_model_field(struct cli_json *j, const Latentd__V1__Model *model);
void cli_status_field(struct cli_json *j, const Latentd__V1__ClusterStatus *status);
void cli_rates_field(struct cli_json *j, const struct cli_rates *rates);

#endif
