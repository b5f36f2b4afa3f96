/* SPDX-License-Identifier: Apache-2.0 */
/* tools/weights.c - see tools/weights.h. */
#include "tools/weights.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "model/latent.h"

#define GRID_BITS     23 /* and a sign: what an f32 holds exactly */
#define BRANCH_FACTOR 0.25
#define BLOCK         4 /* elements that one draw gives */

static bool ends_with(const char *name, const char *end)
{
    size_t name_len = strlen(name), end_len = strlen(end);
    return name_len >= end_len && strcmp(name + name_len - end_len, end) == 0;
}

static bool is_norm(const char *name)
{
    return strstr(name, ".norm_") || strstr(name, ".ln_f.");
}

/* FNV-1a. Names of one model are a few hundred; a test compares the hashes of a large one's. */
static uint64_t hash_name(const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash;
}

struct tool_weights tool_weights_of(uint64_t seed, const char *name, int32_t n_embd)
{
    double deviation = sqrt(2.0 / (5.0 * n_embd));
    if (ends_with(name, "attn.proj.weight") || ends_with(name, "mlp.proj.weight"))
        deviation *= BRANCH_FACTOR;
    struct tool_weights w = {.seed = seed, .tensor = hash_name(name)};
    if (!is_norm(name))
        w.unit = (float)ldexp(deviation * sqrt(3.0), -GRID_BITS);
    return w;
}

/* The draw is 128 bits wide: block number and tensor are the counter, the seed is the key. */
static void draw(const struct tool_weights *w, uint64_t block, float out[BLOCK])
{
    const uint32_t ctr[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)w->tensor,
                             (uint32_t)(w->tensor >> 32)};
    const uint32_t key[2] = {(uint32_t)w->seed, (uint32_t)(w->seed >> 32)};
    uint32_t words[BLOCK];
    model_philox(ctr, key, words);
    for (int i = 0; i < BLOCK; i++) {
        int32_t point = (int32_t)(words[i] >> 8) - (1 << GRID_BITS);
        out[i] = (float)point * w->unit;
    }
}

void tool_weights_fill(const struct tool_weights *w, int64_t begin, int64_t count, float *out)
{
    if (w->unit == 0.0f) {
        for (int64_t i = 0; i < count; i++)
            out[i] = 1.0f;
        return;
    }
    int64_t i = 0;
    while (i < count) {
        int64_t first = (begin + i) % BLOCK;
        uint64_t block = (uint64_t)(begin + i) / BLOCK;
        if (first == 0 && count - i >= BLOCK) {
            draw(w, block, out + i);
            i += BLOCK;
            continue;
        }
        float part[BLOCK];
        draw(w, block, part);
        for (int64_t k = first; k < BLOCK && i < count; k++)
            out[i++] = part[k];
    }
}
