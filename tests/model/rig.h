/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/rig.h - a whole model in one process: border, and a rank group of threads.
 *
 * Ranks are threads that meet at a barrier for every gather, each with its own packed shard, KV
 * pool and latents, as real ranks have. After each step everything that a slot gives back is
 * compared between all ranks bit for bit: replicas that drift apart fail the test at the step where
 * it happens.
 *
 * Shares grow with the square of the rank's index, so some ranks own no head and some nearly
 * nothing at all.
 */
#ifndef LATENTD_TESTS_MODEL_RIG_H
#define LATENTD_TESTS_MODEL_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "model/border.h"
#include "model/core.h"

#define RIG_MAX_RANKS 7
#define RIG_MAX_SLOTS 64
#define RIG_SEQ_PAGES 6
#define RIG_MAX_SEQS  24
#define RIG_MAX_STEPS 40

struct rig;

struct rig_spec {
    const char *dir;            /* model directory */
    const struct kern_ops *ops; /* tier, possibly wrapped */
    int32_t n_ranks;
    int32_t n_threads;
    const char *policy; /* published name */
    enum model_kv_format kv_format;
    enum kern_format format;
    bool has_early; /* a second copy of the recurrent block, in early_format */
    enum kern_format early_format;
    const enum kern_format *border_format; /* of prelude and coda; NULL: format */
};

/* Fails the running test on any error. */
struct rig *rig_create(const struct rig_spec *spec);
void rig_destroy(struct rig *rig);

const struct model_config *rig_config(const struct rig *rig);
struct model_border *rig_border(struct rig *rig);

/* The place of a position of sequence `seq`; its pages are scattered over the pool. */
struct model_place rig_place(const struct rig *rig, int32_t seq, int32_t position, int32_t step);

/* One recurrent step on every rank; fails the test when ranks disagree in a bit. */
void rig_step(struct rig *rig, struct model_slot *slots, int32_t n_slots);

/* Forget everything that a sequence holds. */
void rig_release(struct rig *rig, int32_t seq);

/* Fails the test with `what` and the message. */
void rig_fail(const char *what, const struct ltd_err *err);

#endif
