/* SPDX-License-Identifier: Apache-2.0 */
/* model/shard.c - checks and sizes of a shard; see model/shard.h. */
#include "model/shard.h"

static int check_range(const char *what, int32_t begin, int32_t end, int32_t limit,
                       struct ltd_err *err)
{
    if (begin >= 0 && begin <= end && end <= limit)
        return 0;
    return ltd_fail(err, LTD_E_INVALID, "shard: %s [%d, %d), expected a range inside [0, %d)", what,
                    begin, end, limit);
}

int model_shard_check(const struct model_shard *shard, const struct model_config *config,
                      struct ltd_err *err)
{
    if (check_range("heads", shard->head_begin, shard->head_end, config->n_heads, err) != 0 ||
        check_range("rows of width n", shard->embd_begin, shard->embd_end, config->n_embd, err) !=
            0 ||
        check_range("rows of mlp.fc", shard->fc_begin, shard->fc_end, config->intermediate, err) !=
            0)
        return -1;
    return 0;
}

int64_t model_shard_weights(const struct model_shard *shard, const struct model_config *config)
{
    int64_t n = config->n_embd;
    int64_t heads = shard->head_end - shard->head_begin;
    int64_t embd = shard->embd_end - shard->embd_begin;
    int64_t fc = shard->fc_end - shard->fc_begin;
    int64_t layer =
        3 * heads * config->head_dim * n + embd * n + 2 * fc * n + embd * config->intermediate;
    return embd * 2 * n + config->n_core * layer;
}
