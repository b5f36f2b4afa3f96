/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/kv.h - keys and values of past positions, in pages of 16 positions.
 *
 * A pool has a fixed number of page numbers; memory behind a page is taken when it is first
 * written. The scheduler owns the plan (which page belongs to which sequence); the pool owns the
 * bytes. Position p of a sequence lies in pages[p / 16] at p % 16, always: pages are aligned to
 * absolute positions, so a result cannot depend on where a chunk of a prompt began.
 *
 *     page ── plane 0 ── layer 0 ── keys   [own head][head_dim][16]
 *          │          │           └ values [own head][16][head_dim]
 *          │          └ layer 1 ...
 *          └ plane 1 ...
 *
 * A plane is what the configuration calls a KV slot: recurrent step k writes and reads plane
 * model_kv_plane(policy, k), the same for all layers, so memory need not grow with depth. Per
 * position the pool counts the planes present. A position that left early has fewer of them than
 * its reader is deep; the policy says what is read then.
 *
 * Threads: the thread that computes; no locks.
 * Source: the published cache policies (recurrent-pretraining, "lookup strategy");
 * docs/numerics.md#kv-policies.
 */
#ifndef LATENTD_MODEL_KV_H
#define LATENTD_MODEL_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"

#define MODEL_KV_MAX_PLANES    4096
#define MODEL_KV_ANCHOR_PLANES 9 /* published: steps 0..7 keep their own, deeper ones share one */

enum model_kv_holes {
    MODEL_KV_LATEST, /* read the position's deepest plane not deeper than the reader's */
    MODEL_KV_SKIP,   /* do not attend to a position that has no entry at the reader's plane */
};

struct model_kv_policy {
    int32_t n_planes; /* 1 .. MODEL_KV_MAX_PLANES */
    bool anchor;      /* the last plane is shared by all deeper steps, instead of a ring */
    enum model_kv_holes holes;
};

/*
 * model_kv_policy_parse - a published name: "full", "latest-m4", "compress-sN", "compress-anchor",
 * "latest-m4-compress-sN", "latest-m4-compress-anchor".
 * n_core: layers of the recurrent block, N must be a multiple. max_steps: no job goes deeper;
 * policies that keep every step get that many planes, and none gets more.
 * Errors: LTD_E_INVALID naming what was found and what is known.
 */
int model_kv_policy_parse(const char *name, int32_t n_core, int32_t max_steps,
                          struct model_kv_policy *out, struct ltd_err *err);

/* The plane of step k: k mod n_planes, or with anchor min(k, n_planes - 1). */
int32_t model_kv_plane(const struct model_kv_policy *policy, int32_t step_idx);

/* True when replaying a sequence as one prefill gives the caches that step-by-step decoding gave:
 * each step of at most `max_steps` has its own plane. */
bool model_kv_policy_replayable(const struct model_kv_policy *policy, int32_t max_steps);

/* How keys and values are kept. BF16 is rounded to nearest, ties to even, when it is stored and
 * widened exactly when it is read; every position reads its own key and value as they were stored,
 * too. */
enum model_kv_format { MODEL_KV_F32, MODEL_KV_BF16 };

/* "f32" or "bf16". Errors: LTD_E_INVALID naming what was found. */
int model_kv_format_parse(const char *name, enum model_kv_format *out, struct ltd_err *err);
const char *model_kv_format_name(enum model_kv_format format);

struct model_kv_spec {
    int32_t n_pages;
    int32_t n_layers; /* layers whose keys this pool holds */
    int32_t n_heads;  /* own heads; 0 is allowed: then the pool only keeps counts */
    int32_t head_dim;
    struct model_kv_policy policy;
    enum model_kv_format format;
};

/* Where a position of a sequence lies, and how deep it is. */
struct model_place {
    const int32_t *pages; /* page numbers of the sequence, borrowed; covers `position` */
    int32_t n_pages;
    int32_t position; /* absolute, from 0 */
    int32_t step_idx; /* step about to run, from 0; 0 in prelude and coda */
};

struct model_kv;

/* Errors: LTD_E_INVALID for a bad spec, LTD_E_EXHAUSTED when the address space is refused. */
struct model_kv *model_kv_create(const struct model_kv_spec *spec, struct ltd_err *err);
void model_kv_destroy(struct model_kv *kv); /* accepts NULL */

const struct model_kv_spec *model_kv_spec_of(const struct model_kv *kv);
/* Bytes behind one page once it was written; what a capacity plan multiplies. */
size_t model_kv_page_bytes(const struct model_kv_spec *spec);

/* model_kv_release - forget what a page holds and give its memory back to the system. */
void model_kv_release(struct model_kv *kv, int32_t page);

/* Planes present for the position: 0 = never started since the page was released. */
int32_t model_kv_present(const struct model_kv *kv, int32_t page, int32_t position);

/*
 * model_kv_start - count the planes that a batch is about to write; once per batch, before reads.
 * Step 0 starts the position anew. Errors: LTD_E_INTERNAL when a place names a page outside the
 * pool, does not cover its position, or skips a step (present planes must be those of the step
 * before); the counts of entries before the bad one are then changed.
 */
int model_kv_start(struct model_kv *kv, const struct model_place *places, int32_t n_places,
                   struct ltd_err *err);

/*
 * model_kv_planes - for a reader at `place`: planes [position + 1], the plane to read each key
 * 0 .. position from, or -1 for one that is skipped.
 * Errors: LTD_E_INTERNAL when an older position was never started.
 */
int model_kv_planes(const struct model_kv *kv, const struct model_place *place, int16_t *planes,
                    struct ltd_err *err);

/* model_kv_store - write k and v [own heads][head_dim] of one position into its plane. */
void model_kv_store(struct model_kv *kv, int32_t layer, const struct model_place *place,
                    const float *k, const float *v);

/* The layer as the attention kernel reads it. */
struct kern_kv_layer model_kv_layer(const struct model_kv *kv, int32_t layer);

#endif
