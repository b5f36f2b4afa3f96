/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_model_config.c - config.json and generation_config.json of a model directory.
 *
 * Input: one byte, then the text. Even: config.json, odd: generation_config.json.
 * Checked: a refusal has a reason and leaves the caller's struct alone; what is accepted lies within
 * the bounds that every product of shapes relies on; from a file and from memory is the same.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json_mutator.h"

const size_t fuzz_json_begin = 1;

#define VOCAB 1000

static void check_config(const struct model_config *c)
{
    FUZZ_CHECK(c->n_embd >= 1 && c->n_embd <= MODEL_MAX_WIDTH && c->n_heads >= 1 &&
                   c->head_dim >= 2 && c->head_dim % 2 == 0 &&
                   (int64_t)c->n_heads * c->head_dim == c->n_embd,
               "width %d, %d heads of %d", c->n_embd, c->n_heads, c->head_dim);
    FUZZ_CHECK(c->intermediate >= 1 && c->intermediate <= 4 * MODEL_MAX_WIDTH, "intermediate %d",
               c->intermediate);
    FUZZ_CHECK(c->vocab >= 1 && c->vocab <= MODEL_MAX_VOCAB, "vocabulary %d", c->vocab);
    FUZZ_CHECK(c->n_prelude >= 0 && c->n_prelude <= MODEL_MAX_LAYERS && c->n_core >= 1 &&
                   c->n_core <= MODEL_MAX_LAYERS && c->n_coda >= 0 && c->n_coda <= MODEL_MAX_LAYERS,
               "layers %d %d %d", c->n_prelude, c->n_core, c->n_coda);
    FUZZ_CHECK(c->max_positions >= 1 && c->max_positions <= MODEL_MAX_POSITIONS, "positions %d",
               c->max_positions);
    FUZZ_CHECK(c->default_steps >= 1 && c->default_steps <= MODEL_MAX_STEPS, "steps %d",
               c->default_steps);
    FUZZ_CHECK(isfinite(c->norm_eps) && c->norm_eps >= 0 && isfinite(c->rope_base) &&
                   c->rope_base > 0,
               "eps %g, base %g", (double)c->norm_eps, (double)c->rope_base);
}

static void check_generation(const struct model_generation *g)
{
    FUZZ_CHECK(g->bos >= -1 && g->bos < VOCAB && g->pad >= -1 && g->pad < VOCAB, "bos %d, pad %d",
               g->bos, g->pad);
    FUZZ_CHECK(g->n_eos >= 0 && g->n_eos <= MODEL_MAX_EOS, "%d end tokens", g->n_eos);
    for (int32_t i = 0; i < g->n_eos; i++)
        FUZZ_CHECK(g->eos[i] >= 0 && g->eos[i] < VOCAB, "end token %d", g->eos[i]);
    FUZZ_CHECK(g->temperature >= 0 && isfinite(g->temperature) && g->top_k >= 0 && g->top_p > 0 &&
                   g->top_p <= 1 && g->min_p >= 0 && g->min_p < 1 && g->repetition_penalty > 0 &&
                   isfinite(g->repetition_penalty) && g->max_new_tokens >= 0,
               "temperature %g, top_k %d, top_p %g, min_p %g", g->temperature, g->top_k, g->top_p,
               g->min_p);
}

static void try_config(const uint8_t *text, size_t len)
{
    struct ltd_err err = {0}, file_err = {0};
    struct model_config found, untouched, from_file;
    memset(&found, 0xA5, sizeof found);
    untouched = found;
    int rc = model_config_parse((const char *)text, len, "config.json", &found, &err);
    int file_rc = model_config_load(fuzz_file(text, len), &from_file, &file_err);
    FUZZ_CHECK(rc == file_rc, "%s / %s", err.msg, file_err.msg);
    if (rc == 0) {
        check_config(&found);
        return;
    }
    fuzz_check_refusal(&err);
    FUZZ_CHECK(memcmp(&found, &untouched, sizeof found) == 0, "refused, but written");
}

static void try_generation(const uint8_t *text, size_t len)
{
    struct ltd_err err = {0};
    struct model_generation found, untouched;
    memset(&found, 0xA5, sizeof found);
    untouched = found;
    if (model_generation_load(fuzz_file(text, len), VOCAB, &found, &err) == 0) {
        check_generation(&found);
        return;
    }
    fuzz_check_refusal(&err);
    FUZZ_CHECK(memcmp(&found, &untouched, sizeof found) == 0, "refused, but written");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_input in = {data, len};
    bool is_generation = fuzz_u8(&in) & 1;
    uint8_t *text = fuzz_copy(in.data, in.len);
    if (is_generation)
        try_generation(text, in.len);
    else
        try_config(text, in.len);
    free(text);
    return 0;
}
