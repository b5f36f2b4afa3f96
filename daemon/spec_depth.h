/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/spec_depth.h - how deep a job may think: latentd.v1.Depth as a struct spec_depth.
 *
 * A part of daemon/spec_decode.h with its rules: absent means a default, nothing is clamped, a
 * message names field, found and expected. Fields are named from "depth" on; the caller puts
 * what stands in front of it there.
 *
 * Threads: pure.
 */
#ifndef LATENTD_DAEMON_SPEC_DEPTH_H
#define LATENTD_DAEMON_SPEC_DEPTH_H

#include <stdbool.h>

#include "base/err.h"
#include "daemon/served.h"
#include "daemon/spec.h"
#include "latentd/v1/latentd.pb-c.h"

/*
 * spec_depth_decode - check and fill in.
 *
 * message   NULL: the service's default depth
 * is_score  nothing will be written: a range (its numbers would be no promise) and depths of single
 *           tokens make no sense and are refused
 *
 * Errors: LTD_E_INVALID; LTD_E_UNIMPLEMENTED for a criterion that this build lacks.
 */
int spec_depth_decode(const Latentd__V1__Depth *message, const struct served *served, bool is_score,
                      struct spec_depth *out, struct ltd_err *err);

/* spec_depth_check_at - do the tokens that have depths of their own exist? LTD_E_INVALID if not. */
int spec_depth_check_at(const struct spec_depth *depth, int32_t max_tokens, struct ltd_err *err);

#endif
