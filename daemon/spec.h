/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/spec.h - what a job asks for, after every default was filled in and every value checked.
 *
 * Made by the request handlers (daemon/spec_decode.h) on the loop thread and never changed
 * afterwards, so the engine thread reads it without a lock. The job owns it; it outlives the
 * engine's work on it, because a job is only forgotten after the engine has said that it is done
 * (daemon/engine.h).
 */
#ifndef LATENTD_DAEMON_SPEC_H
#define LATENTD_DAEMON_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/exit.h"

#define SPEC_STOP_MAX       16
#define SPEC_STOP_BYTES_MAX 256
#define SPEC_LOGPROBS_MAX   32
#define SPEC_LABEL_BYTES    128
#define SPEC_DEPTH_AT_MAX   32
#define SPEC_CLIENT_BYTES   64
#define SPEC_KEY_BYTES      32

#define SPEC_PRIORITY_HOLD    0
#define SPEC_PRIORITY_DEFAULT 16
#define SPEC_PRIORITY_MAX     31

enum spec_kind {
    SPEC_GENERATE, /* write tokens */
    SPEC_SCORE,    /* log-probabilities of the prompt's own tokens from `score_begin` on */
};

/* Another depth for one token of the answer: exactly `steps`. */
struct spec_depth_at {
    int32_t token; /* from 0; 0 is written by the prompt's call */
    int32_t steps;
};

struct spec_depth {
    struct model_exit_rule rule; /* MODEL_EXIT_FIXED: exactly max_steps, or a range when is_range */
    bool is_range;               /* as deep as time and load allow, in [min_steps, max_steps] */
    bool is_tokenwise;           /* each prompt position is a call of its own */
    int32_t early_steps;         /* first steps of each position, with the early copy; 0 = none */
    /* By rising token. One more than may be asked for: a restart fixes the depth of the last
     * token. */
    struct spec_depth_at at[SPEC_DEPTH_AT_MAX + 1];
    int32_t n_at;
};

/* Time that the answer may cost; 0 = no such limit. */
struct spec_budget {
    uint64_t token_ms;
    uint64_t total_ms; /* from submission */
};

/* Tokens that are known already, because an earlier job wrote them or a restart found them in the
 * log: they are not written again, and each takes as many steps as it took. */
struct spec_known {
    int32_t n;
    int32_t *ids;   /* [n] owned */
    int32_t *steps; /* [n] owned; steps[0] is that of the prompt's call */
};

struct spec_sampling {
    double temperature;        /* 0 = greedy */
    int32_t top_k;             /* 0 = off */
    double top_p;              /* 0 = off */
    double min_p;              /* 0 = off */
    double repetition_penalty; /* 1 = off */
};

struct spec_stop {
    char *text; /* owned, UTF-8, not NUL-terminated by contract */
    size_t len; /* 1 .. SPEC_STOP_BYTES_MAX */
};

struct job_spec {
    enum spec_kind kind;
    int32_t *prompt;     /* [n_prompt], owned; token ids, all below vocab_size */
    int32_t n_prompt;    /* >= 1 */
    int32_t score_begin; /* SPEC_SCORE: index of the first scored token, 1 .. n_prompt - 1 */
    int32_t max_tokens;  /* SPEC_GENERATE: >= 1; n_prompt + max_tokens <= block_size */
    struct spec_depth depth;
    struct spec_sampling sampling;
    uint64_t seed;
    bool seed_given;
    float init_scale;   /* >= 0 */
    int32_t n_logprobs; /* -1 = none, else alternatives per token, 0 .. SPEC_LOGPROBS_MAX */
    bool ignore_eos;
    struct spec_stop stop[SPEC_STOP_MAX];
    int32_t n_stop;
    uint64_t max_run_ms; /* 0 = no limit */
    struct spec_budget budget;
    int32_t priority;                   /* at submission; 0 = held */
    char client[SPEC_CLIENT_BYTES + 1]; /* account for fair share */
    char key[SPEC_KEY_BYTES];       /* the job's id, by which a later job may continue it, or "" */
    char continues[SPEC_KEY_BYTES]; /* key of the job that this one goes on from, or "" */
    struct spec_known known;
    char label[SPEC_LABEL_BYTES + 1];
    uint8_t *wire; /* owned; the packed latentd.v1.JobSpec as the client sent it */
    size_t wire_len;
};

/* True when time or load may choose how deep the job thinks: its bytes are then no promise. */
static inline bool spec_is_elastic(const struct job_spec *spec)
{
    bool has_budget = spec->budget.token_ms || spec->budget.total_ms;
    bool is_fixed = spec->depth.rule.kind == MODEL_EXIT_FIXED && !spec->depth.is_range;
    return spec->depth.is_range || (has_budget && !is_fixed);
}

/* Frees everything the spec owns, and itself. NULL is fine. */
void spec_destroy(struct job_spec *spec);

#endif
