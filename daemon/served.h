/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/served.h - what is served: the facts that requests are checked against.
 *
 * Filled by main's helpers (daemon/startup.c) before the first call and read-only from then on, so
 * every handler may read it. It owns nothing.
 *
 * Threads: any, after start.
 */
#ifndef LATENTD_DAEMON_SERVED_H
#define LATENTD_DAEMON_SERVED_H

#include <stdint.h>

#include "base/err.h"
#include "cluster/rank.h"
#include "model/chat.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/tokenizer.h"

#define SERVED_NAME_BYTES 160
#define SERVED_TEXT_BYTES 240

struct served {
    char name[SERVED_NAME_BYTES]; /* "models/demo" */
    char hash[MODEL_HASH_HEX_BYTES];
    struct model_config model;
    struct model_generation generation;
    int32_t end_tokens[MODEL_MAX_EOS]; /* what ends an answer */
    int32_t n_end_tokens;

    const struct model_tokenizer *tokenizer; /* borrowed; NULL: token ids only, and the reason: */
    char no_text[SERVED_TEXT_BYTES];
    size_t token_bytes_max;        /* of one token of this vocabulary; 0 without a tokenizer */
    const struct model_chat *chat; /* borrowed; NULL: no chat, and the reason: */
    char no_chat[SERVED_TEXT_BYTES];

    int32_t default_steps;      /* of a job that says nothing about depth */
    int32_t max_steps;          /* deepest that a job may ask for */
    int32_t default_max_tokens; /* of a job that does not say */

    char tier[16];                     /* "openblas" */
    char tier_id[SERVED_TEXT_BYTES];   /* with library version and kind of processor */
    char format[16];                   /* of the weights in memory: "f32", "bf16", "int8", "int4" */
    char early_format[16];             /* of the second copy for early steps, or "": none */
    int32_t early_steps;               /* of a job that does not say */
    char kv_policy[SERVED_TEXT_BYTES]; /* for people */
    char kv_format[16];                /* of keys and values: "f32" */
    uint64_t kv_bytes_per_position;    /* all ranks and the border together */
    /* Everything that fixes the bytes of an answer beside the job's spec, as one line: hash of the
     * model, format, tier with library and processor, what its arithmetic gives
     * (kernels/fingerprint.h), cache policy and format. How many steps a job makes in early_format is
     * its own, and recorded behind this. */
    char numerics[688];
    int32_t max_batch; /* positions that a tick can hold */
    uint64_t parameters;

    const struct clus_rank_info *ranks; /* [n_ranks], borrowed */
    int32_t n_ranks;
    int64_t start_us; /* wall clock */
    uint64_t start_ns;
};

#endif
