/* SPDX-License-Identifier: Apache-2.0 */
/* model/exchange.c - widths of the parts, and the group of one; see model/exchange.h. */
#include "model/exchange.h"

#include <string.h>

int32_t model_part_width(enum model_part part, const struct model_config *config)
{
    return part == MODEL_PART_FC ? config->intermediate : config->n_embd;
}

int32_t model_part_begin(enum model_part part, const struct model_config *config,
                         const struct model_shard *shard)
{
    switch (part) {
    case MODEL_PART_HEADS:
        return shard->head_begin * config->head_dim;
    case MODEL_PART_EMBD:
        return shard->embd_begin;
    case MODEL_PART_FC:
        return shard->fc_begin;
    case MODEL_N_PARTS:
        break;
    }
    return 0;
}

int32_t model_part_own(enum model_part part, const struct model_config *config,
                       const struct model_shard *shard)
{
    switch (part) {
    case MODEL_PART_HEADS:
        return (shard->head_end - shard->head_begin) * config->head_dim;
    case MODEL_PART_EMBD:
        return shard->embd_end - shard->embd_begin;
    case MODEL_PART_FC:
        return shard->fc_end - shard->fc_begin;
    case MODEL_N_PARTS:
        break;
    }
    return 0;
}

static int gather_local(void *arg, enum model_part part, const float *own, float *full,
                        int32_t n_pos, struct ltd_err *err)
{
    (void)err;
    const struct model_config *config = arg;
    memcpy(full, own, (size_t)n_pos * (size_t)model_part_width(part, config) * sizeof *full);
    return 0;
}

struct model_exchange model_exchange_local(const struct model_config *config)
{
    /* The callback only reads through the pointer; `arg` is shared with exchanges that write. */
    union {
        const void *from;
        void *to;
    } arg = {.from = config};
    return (struct model_exchange){.gather = gather_local, .arg = arg.to};
}
