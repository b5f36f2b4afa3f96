/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/coordinator.h - what only rank 0 has: prelude and coda, the tokenizer, the facts served.
 *
 * Made after daemon/rank_setup.h and before the group starts, on rank 0 alone; a failure here is
 * told to the other ranks by the caller (clus_agree).
 *
 * Threads: main thread. The border belongs to the engine thread once the engine runs.
 */
#ifndef LATENTD_DAEMON_COORDINATOR_H
#define LATENTD_DAEMON_COORDINATOR_H

#include "base/err.h"
#include "daemon/config.h"
#include "daemon/engine.h"
#include "daemon/rank_setup.h"
#include "daemon/served.h"

struct coordinator {
    struct model_border *border;
    struct model_tokenizer *tokenizer; /* NULL: token ids only */
    struct model_chat chat;
    struct served served;
    const struct config *config; /* borrowed */
};

/*
 * coordinator_load - pack prelude and coda, read the tokenizer, fill `served` but for its ranks.
 * A model without tokenizer.json is served with token ids; one whose tokenizer this build cannot
 * reproduce too, with a warning and the reason. `config` stays borrowed until unload.
 * Errors: LTD_E_CORRUPT, LTD_E_EXHAUSTED (weights), LTD_E_INVALID (a broken tokenizer.json).
 */
int coordinator_load(struct coordinator *c, const struct rank_setup *setup,
                     const struct config *config, struct ltd_err *err);

/* The engine's configuration; notify is the caller's to set. Borrows from coordinator and group. */
struct engine_config coordinator_engine_config(const struct coordinator *c,
                                               const struct rank_setup *setup,
                                               struct clus_group *group);

void coordinator_unload(struct coordinator *c);

#endif
