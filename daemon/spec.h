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

#define SPEC_STOP_MAX       16
#define SPEC_STOP_BYTES_MAX 256
#define SPEC_LOGPROBS_MAX   32
#define SPEC_LABEL_BYTES    128

enum spec_kind {
    SPEC_GENERATE, /* write tokens */
    SPEC_SCORE,    /* log-probabilities of the prompt's own tokens from `score_begin` on */
};

struct spec_depth {
    bool adaptive;     /* false: exactly max_steps */
    int32_t min_steps; /* >= 1; no check before this many steps */
    int32_t max_steps; /* >= min_steps */
    double threshold;  /* of latent-diff; > 0, finite */
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
    char label[SPEC_LABEL_BYTES + 1];
    uint8_t *wire; /* owned; the packed latentd.v1.JobSpec as the client sent it */
    size_t wire_len;
};

/* Frees everything the spec owns, and itself. NULL is fine. */
void spec_destroy(struct job_spec *spec);

#endif
