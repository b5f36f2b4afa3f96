/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/config.h - what config.json and generation_config.json say, checked.
 *
 * Only the published recurrent-depth family is supported (`model_type` huginn_raven). A key that
 * would change the mathematics and has another value than the supported one is an error that names
 * file, key, value found and value expected; nothing is guessed and nothing is clamped. Keys that
 * only concern training are ignored.
 *
 * Threads: plain values after loading.
 * Source: arXiv 2502.05171 and the authors' public configuration files; docs/numerics.md.
 */
#ifndef LATENTD_MODEL_CONFIG_H
#define LATENTD_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bounds that keep every product of shapes far from overflow and a wrong file cheap to refuse. */
#define MODEL_MAX_WIDTH     65536 /* n_embd, intermediate_size is at most 4 times this */
#define MODEL_MAX_LAYERS    256   /* per part */
#define MODEL_MAX_VOCAB     1048576
#define MODEL_MAX_POSITIONS 1048576 /* block_size */
#define MODEL_MAX_STEPS     4096 /* mean_recurrence; also the deepest job that can be asked for */
#define MODEL_MAX_EOS       16

struct model_config {
    int32_t n_embd;        /* n */
    int32_t n_heads;       /* H */
    int32_t head_dim;      /* d = n / H, even */
    int32_t intermediate;  /* I */
    int32_t vocab;         /* V */
    int32_t n_prelude;     /* P, layers */
    int32_t n_core;        /* R, layers of the recurrent block */
    int32_t n_coda;        /* C, layers */
    int32_t max_positions; /* T: positions 0 .. T-1 exist */
    int32_t default_steps; /* mean_recurrence */
    float norm_eps;
    float rope_base;
    bool tied;    /* lm_head is wte */
    bool qk_bias; /* tensors attn.qk_bias exist */
};

/*
 * model_config_load - read `path` (a config.json of at most 1 MiB) into *out.
 * Errors: LTD_E_NOT_FOUND, LTD_E_INVALID; each message names the file and the key. *out is written
 * only on success.
 */
int model_config_load(const char *path, struct model_config *out, struct ltd_err *err);

/* model_config_parse - the same from memory; `where` stands for the file in messages. */
int model_config_parse(const char *text, size_t len, const char *where, struct model_config *out,
                       struct ltd_err *err);

/* What generation_config.json suggests; a job may ask otherwise. */
struct model_generation {
    int32_t bos, pad; /* -1: not given */
    int32_t n_eos;    /* entries of `eos` in use */
    int32_t eos[MODEL_MAX_EOS];
    bool do_sample;            /* default false: greedy */
    double temperature;        /* default 1; >= 0, 0 means greedy */
    int32_t top_k;             /* default 0: off */
    double top_p;              /* default 1: off; in (0, 1] */
    double min_p;              /* default 0: off; in [0, 1) */
    double repetition_penalty; /* default 1: off; > 0 */
    int32_t max_new_tokens;    /* default 0: not given */
};

/*
 * model_generation_load - read `path`; an absent file gives the defaults above and is no error.
 * Token ids must lie in [0, vocab). Errors: LTD_E_INVALID naming file, key, value, expectation.
 */
int model_generation_load(const char *path, int32_t vocab, struct model_generation *out,
                          struct ltd_err *err);

#endif
