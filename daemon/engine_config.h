/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/engine_config.h - what the engine works with and how much of it there is.
 *
 * Made once at start (daemon/coordinator.c) and read by the engine and its parts.
 */
#ifndef LATENTD_DAEMON_ENGINE_CONFIG_H
#define LATENTD_DAEMON_ENGINE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"

struct clus_group;
struct model_border;
struct model_tokenizer;

/* Never changes after engine_start. */
struct engine_config {
    struct model_border *border;             /* borrowed; the engine thread's alone from now on */
    const struct model_tokenizer *tokenizer; /* borrowed; NULL: jobs write token ids only */
    struct clus_group *group;                /* borrowed; the engine thread's alone from now on */
    int32_t n_embd;
    int32_t vocab_size;
    int32_t n_pages;        /* KV pages, the same ids on every rank and in the border */
    int32_t n_rows;         /* latents of running positions that ranks hold */
    int32_t n_seqs;         /* jobs that run at once */
    int32_t max_batch;      /* positions per tick */
    int32_t prefill_chunk;  /* prompt positions of one job per tick; <= max_batch */
    double prefill_share;   /* (0, 1): of the pace that decoding jobs may lose to prompts */
    uint64_t ageing_ns;     /* a priority class without a turn gains one level per so long */
    int32_t max_waiting;    /* jobs that may wait; the caller keeps it (daemon/work.h) */
    int32_t max_steps;      /* deepest that a job may ask for */
    bool is_replayable;     /* model_kv_policy_replayable for max_steps */
    int32_t n_cached_pages; /* pages of finished jobs kept for the next with the same prefix */
    int32_t n_held_jobs;    /* finished jobs whose places are kept to be continued */
    bool overlap;           /* prelude and coda of some jobs while ranks tick for others */
    int32_t end_tokens[16];
    int32_t n_end_tokens;
    /* Called on the engine thread when events wait and none did before; must only wake the loop. */
    ltd_mailbox_notify_fn notify;
    void *notify_arg;
};

#endif
