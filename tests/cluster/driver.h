/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cluster/driver.h - a miniature engine: makes streams of ticks for whoever runs them.
 *
 * What runs a tick is a function, so the same streams drive one executor, a team of threads and a
 * real rank group, and their replies can be compared byte for byte through a hash.
 */
#ifndef LATENTD_TESTS_CLUSTER_DRIVER_H
#define LATENTD_TESTS_CLUSTER_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cluster/tick.h"
#include "model/border.h"

#define DRIVER_POLICY    "latest-m4"
#define DRIVER_MAX_STEPS 16

/* Runs one tick; 0 with a reply (possibly a refusal), -1 when the group is lost. */
struct driver_port {
    int (*run)(void *arg, const struct clus_tick *tick, struct clus_reply *reply,
               struct ltd_err *err);
    void *arg;
    bool has_early; /* the ranks hold an early copy: driver_mixed uses it for some of the steps */
};

/* Limits that fit the golden models and the streams below. */
struct clus_limits driver_limits(const struct model_config *config);

uint64_t driver_hash(uint64_t hash, const void *data, size_t len);
#define DRIVER_HASH_BEGIN 0xCBF29CE484222325u

/* Fold a reply, as it is encoded, into `hash`. */
int driver_hash_reply(const struct clus_limits *limits, const struct clus_reply *reply,
                      uint64_t *hash, struct ltd_err *err);

/*
 * driver_mixed - `n_ticks` ticks of sequences that open, share full pages of open and of closed
 * ones, prefill in chunks, decode at depths of their own, think positions again, close and hand
 * their pages on; all kinds of starts and of values. Everything follows from `seed`. The hash
 * covers every byte of every reply. No reply may be a refusal.
 */
int driver_mixed(const struct driver_port *port, const struct clus_limits *limits, uint64_t seed,
                 int32_t n_ticks, uint64_t *hash, struct ltd_err *err);

/*
 * driver_generate - greedy decoding from zero latents, `n_steps` per position, in sequence 0:
 * prefill in chunks of `chunk` positions in lockstep over depth, then one token at a time.
 * border has a page pool of limits->n_pages. tokens: out [n_new].
 */
struct driver_generation {
    const int32_t *prompt; /* [n_prompt] */
    int32_t n_prompt;
    int32_t n_new;
    int32_t n_steps;
    int32_t chunk;
};
int driver_generate(const struct driver_port *port, const struct clus_limits *limits,
                    struct model_border *border, const struct driver_generation *what,
                    int32_t *tokens, struct ltd_err *err);

#endif
