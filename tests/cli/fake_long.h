/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/fake_long.h - the log of "jobs/long", a job of many tokens, and readers that lose it.
 *
 * Its events are the same whenever they are sent, so what a command prints of them can be compared
 * byte for byte, however often the stream was cut. Between tokens there are events without a number
 * (thinking, heartbeats), which come again or not as it happens.
 *
 * Threads: the fake server's.
 */
#ifndef LATENTD_TESTS_CLI_FAKE_LONG_H
#define LATENTD_TESTS_CLI_FAKE_LONG_H

#include <stdint.h>

#include "rpc/call.h"

#define FAKE_LONG_NAME   "jobs/long"
#define FAKE_LONG_TOKENS 40

/* Queued, started, the tokens, finished. */
#define FAKE_LONG_LAST_SEQ (FAKE_LONG_TOKENS + 3)

/* fake_long_send - the events behind `after_seq` up to `up_to`, under the name `name`. */
void fake_long_send(struct rpc_call *call, const char *name, uint64_t after_seq, uint64_t up_to);

/* All of its text. Static. */
const char *fake_long_text(void);

#endif
