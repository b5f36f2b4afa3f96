/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/engine_rig.h - a real engine over a real rank group of one, for tests of the engine.
 *
 * A rig owns a model, its core and border, an executor, a group and an engine with the options of
 * the test. Jobs are numbers below MAX_JOBS; what the events say of each adds up in results[job].
 */
#ifndef LATENTD_TESTS_DAEMON_ENGINE_RIG_H
#define LATENTD_TESTS_DAEMON_ENGINE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "daemon/engine.h"
#include "kernels/kernels.h"
#include "model/kv.h"

#define GOLDEN     TEST_DATA_DIR "/golden/tiny-p2r4c2"
#define MAX_TOKENS 64
#define MAX_JOBS   64
#define TEST_MS    120000 /* a deadline for a hang, never a measure of speed */

struct model_safetensors;
extern struct model_safetensors
    *golden; /* the vectors; open between rig_set_up and rig_tear_down */

/* What the events of one job added up to. */
struct result {
    int32_t tokens[MAX_TOKENS], steps[MAX_TOKENS];
    enum engine_exit exits[MAX_TOKENS];
    double values[MAX_TOKENS];
    float logprobs[MAX_TOKENS];
    struct engine_top top[MAX_TOKENS][SPEC_LOGPROBS_MAX];
    int32_t n_tokens, n_started, n_finished;
    enum engine_finish finish;
    struct ltd_err error;
    uint64_t total_steps;
    bool late;
    int32_t finish_rank; /* how many jobs had ended when this one did */
    float scores[MAX_TOKENS];
    bool greedy[MAX_TOKENS];
    int32_t score_steps[MAX_TOKENS];
    int32_t n_scores;
};

struct rig {
    struct kern_ctx ctx;
    struct model_checkpoint *ckpt;
    struct model_core *core;
    struct model_border *border;
    struct clus_executor *executor;
    struct clus_group *group;
    struct engine *engine;
    bool is_stopped;        /* the engine's thread is gone already */
    int wake;               /* eventfd that the engine's notify writes to */
    struct result *results; /* [MAX_JOBS] by job number */
    int32_t n_finished;
};

struct rig_options {
    const char *kv_policy;
    int32_t n_pages, n_seqs, max_batch, prefill_chunk;
    const char *model; /* NULL: the golden one */
    int32_t n_cached_pages, n_held_jobs;
    bool overlap;
    enum model_kv_format kv_format;
    int32_t n_rows;       /* 0: more than anybody needs */
    int32_t n_end_tokens; /* tokens 0 .. n - 1 end an answer */
    bool has_early;       /* the recurrent block also in int8, for early steps */
};

extern const struct rig_options roomy;

/* The gather fails from now on, until the next rig_open. */
void rig_break_gather(void);

#define must(expr)                                                                                 \
    do {                                                                                           \
        if (!(expr)) {                                                                             \
            print_error("%s: %s\n", #expr, err.msg);                                               \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

void rig_open(struct rig *rig, const struct rig_options *o);
/* Every place must have come back. */
void rig_close(struct rig *rig);

/* Take the events that wait. */
void pump(struct rig *rig);
/* Wait until `done` holds for the job, or the test's deadline is over. */
void wait_for(struct rig *rig, uint64_t job, bool (*done)(const struct result *));
bool is_finished(const struct result *r);
bool is_started(const struct result *r);
bool has_written(const struct result *r); /* at least one token */

void submit(struct rig *rig, uint64_t job, const struct job_spec *spec);
/* Submit, wait for the end, and return the result, which lives as long as the rig. */
const struct result *run_job(struct rig *rig, uint64_t job, const struct job_spec *spec);

/* Greedy, zero latent, fixed depth. The prompt is borrowed. */
struct job_spec plain_spec(int32_t *prompt, int32_t n_prompt, int32_t max_tokens, int32_t steps);
/* A spec that differs from its neighbours in everything: prompt, depth, sampling, seed. */
struct job_spec varied_spec(int32_t (*prompts)[32], int32_t i);

int32_t golden_ints(const char *key, int32_t *out);
int32_t golden_floats(const char *key, float *out, int32_t room);

void assert_same(const struct result *a, const struct result *b);
/* Whatever a job had written when it was ended is the beginning of what it would have written. */
void assert_begins(const struct result *whole, const struct result *part);

int rig_set_up(void **state);
int rig_tear_down(void **state);

#endif
