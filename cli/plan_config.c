/* SPDX-License-Identifier: Apache-2.0 */
/* cli/plan_config.c - see cli/plan_config.h. */
#include "cli/plan_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define CONFIG_MAX_BYTES ((size_t)1 << 20)
#define MODEL_TYPE       "huginn_raven"

/* Far above any model of the family, and low enough that no product of sizes overflows. */
#define MAX_WIDTH     65536
#define MAX_LAYERS    256
#define MAX_VOCAB     1048576
#define MAX_POSITIONS 1048576
#define MAX_STEPS     4096

/* A default of 0 means that the key must be there; the others are the published model's. */
static const struct {
    const char *key;
    size_t offset;
    int64_t max;
    uint64_t default_value;
} numbers[] = {
    {"n_embd", offsetof(struct cli_shape, n_embd), MAX_WIDTH, 0},
    {"intermediate_size", offsetof(struct cli_shape, intermediate), 4 * MAX_WIDTH, 0},
    {"n_layers_in_prelude", offsetof(struct cli_shape, n_prelude), MAX_LAYERS, 0},
    {"n_layers_in_recurrent_block", offsetof(struct cli_shape, n_core), MAX_LAYERS, 0},
    {"n_layers_in_coda", offsetof(struct cli_shape, n_coda), MAX_LAYERS, 0},
    {"vocab_size", offsetof(struct cli_shape, vocab), MAX_VOCAB, 65536},
    {"block_size", offsetof(struct cli_shape, context_tokens), MAX_POSITIONS, 4096},
    {"mean_recurrence", offsetof(struct cli_shape, default_steps), MAX_STEPS, 32},
};

static int missing(const char *where, const char *key, const char *expected, struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_INVALID, "%s: key %s is missing, expected %s", where, key, expected);
}

static int check_type(const json_t *root, const char *where, struct ltd_err *err)
{
    const char *type = NULL;
    char found[96];
    if (!json_is_object(root))
        return ltd_fail(err, LTD_E_INVALID, "%s: %s, expected a JSON object", where,
                        ltd_json_describe(root, found, sizeof found));
    if (ltd_json_get_string(root, "model_type", &type, where, err) < 0)
        return -1;
    if (!type)
        return missing(where, "model_type", "\"" MODEL_TYPE "\"", err);
    if (strcmp(type, MODEL_TYPE) != 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: key model_type: string \"%.60s\", expected \"" MODEL_TYPE "\"", where,
                        type);
    return 0;
}

static int read_numbers(const json_t *root, const char *where, struct cli_shape *shape,
                        struct ltd_err *err)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int64_t value = (int64_t)numbers[i].default_value;
        if (ltd_json_get_int(root, numbers[i].key, 1, numbers[i].max, &value, where, err) < 0)
            return -1;
        if (value == 0)
            return missing(where, numbers[i].key, "a positive integer", err);
        const uint64_t size = (uint64_t)value;
        memcpy((char *)shape + numbers[i].offset, &size, sizeof size);
    }
    return 0;
}

/* Two spellings of the head count are in use; both at once must agree. */
static int read_heads(const json_t *root, const char *where, struct cli_shape *shape,
                      struct ltd_err *err)
{
    int64_t own = 0, common = 0;
    if (ltd_json_get_int(root, "n_heads", 1, MAX_WIDTH, &own, where, err) < 0 ||
        ltd_json_get_int(root, "num_attention_heads", 1, MAX_WIDTH, &common, where, err) < 0)
        return -1;
    if (own == 0 && common == 0)
        return missing(where, "n_heads", "a positive integer (num_attention_heads is accepted too)",
                       err);
    if (own != 0 && common != 0 && own != common)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: key num_attention_heads: %" PRId64 ", expected the %" PRId64
                        " of n_heads",
                        where, common, own);
    shape->n_heads = (uint64_t)(own ? own : common);
    if (shape->n_embd % shape->n_heads != 0)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: key n_embd: %" PRIu64 ", expected a multiple of %" PRIu64 " heads",
                        where, shape->n_embd, shape->n_heads);
    return 0;
}

static int read_shape(const json_t *root, const char *where, struct cli_shape *shape,
                      struct ltd_err *err)
{
    *shape = (struct cli_shape){.is_tied = true, .has_qk_bias = true};
    if (check_type(root, where, err) != 0 || read_numbers(root, where, shape, err) != 0 ||
        read_heads(root, where, shape, err) != 0)
        return -1;
    if (ltd_json_get_bool(root, "tie_embeddings", &shape->is_tied, where, err) < 0 ||
        ltd_json_get_bool(root, "qk_bias", &shape->has_qk_bias, where, err) < 0)
        return -1;
    return 0;
}

static int finish(json_t *take_root, const char *where, struct cli_shape *out, struct ltd_err *err)
{
    struct cli_shape shape;
    if (!take_root)
        return -1;
    int rc = read_shape(take_root, where, &shape, err);
    json_decref(take_root);
    if (rc == 0)
        *out = shape;
    return rc;
}

int cli_shape_parse(const char *text, size_t len, const char *where, struct cli_shape *out,
                    struct ltd_err *err)
{
    return finish(ltd_json_parse(text, len, where, err), where, out, err);
}

int cli_shape_load(const char *folder, struct cli_shape *out, struct ltd_err *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s/config.json", folder) < 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a path");
    int rc = finish(ltd_json_load(path, CONFIG_MAX_BYTES, err), path, out, err);
    free(path);
    return rc;
}
