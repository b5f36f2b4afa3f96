/* SPDX-License-Identifier: Apache-2.0 */
/* model/string_map.c - see model/string_map.h. */
#include "model/string_map.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a, then the finaliser of a 64-bit mixer: FNV alone leaves the low bits of short keys, which
 * pick the slot, badly mixed. */
static uint64_t hash(const void *key, size_t len)
{
    const uint8_t *bytes = key;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    return h ^ h >> 33;
}

int model_string_map_init(struct model_string_map *map, size_t n_keys, struct ltd_err *err)
{
    size_t n_slots = 16;
    while (n_slots / 2 < n_keys)
        n_slots *= 2;
    map->slots = calloc(n_slots, sizeof *map->slots);
    map->mask = n_slots - 1;
    map->n_left = n_slots / 2;
    if (!map->slots)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a map of %zu strings", n_keys);
    return 0;
}

void model_string_map_fini(struct model_string_map *map)
{
    free(map->slots);
    memset(map, 0, sizeof *map);
}

/* The slot that holds the key, or the free one where it would go. */
static struct model_string_slot *probe(const struct model_string_map *map, const void *key,
                                       size_t len)
{
    for (size_t i = hash(key, len) & map->mask;; i = (i + 1) & map->mask) {
        struct model_string_slot *slot = &map->slots[i];
        if (!slot->key || (slot->len == len && memcmp(slot->key, key, len) == 0))
            return slot;
    }
}

int32_t model_string_map_add(struct model_string_map *map, const void *key, size_t len,
                             int32_t value)
{
    struct model_string_slot *slot = probe(map, key, len);
    if (slot->key)
        return slot->value;
    ltd_assert(map->n_left > 0, map->n_left, map->mask);
    map->n_left--;
    *slot = (struct model_string_slot){.key = key, .len = (uint32_t)len, .value = value};
    return -1;
}

int32_t model_string_map_find(const struct model_string_map *map, const void *key, size_t len)
{
    if (!map->slots)
        return -1;
    const struct model_string_slot *slot = probe(map, key, len);
    return slot->key ? slot->value : -1;
}
