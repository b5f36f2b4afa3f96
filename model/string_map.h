/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/string_map.h - from a byte string to a small number, filled once and then only read.
 *
 * The vocabulary has two: from a token's text and from a token's bytes to its id. Open addressing
 * with linear probing at most half full; keys are borrowed, so the map is a side table over memory
 * that somebody else owns and that must not move.
 *
 * Not here: removal and growth. The number of keys is known when a map is made.
 *
 * Threads: one while it is filled, any number afterwards.
 */
#ifndef LATENTD_MODEL_STRING_MAP_H
#define LATENTD_MODEL_STRING_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct model_string_slot {
    const void *key; /* borrowed; NULL marks a free slot */
    uint32_t len;    /* bytes of the key */
    int32_t value;   /* >= 0 */
};

struct model_string_map {
    struct model_string_slot *slots; /* owned; [mask + 1] */
    size_t mask;                     /* a power of two minus one, at least twice the keys */
    size_t n_left;                   /* keys that may still be added */
};

/* model_string_map_init - room for `n_keys`. Errors: LTD_E_EXHAUSTED. */
int model_string_map_init(struct model_string_map *map, size_t n_keys, struct ltd_err *err);

void model_string_map_fini(struct model_string_map *map);

/*
 * model_string_map_add - remember `value` (>= 0) for a key that outlives the map.
 * Returns -1 when the key was new, else the value it already has, which stays.
 */
int32_t model_string_map_add(struct model_string_map *map, const void *key, size_t len,
                             int32_t value);

/* The value of a key, -1 when there is none. */
int32_t model_string_map_find(const struct model_string_map *map, const void *key, size_t len);

#endif
