/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/config.c - the shape of the model from config.json; see model/config.h.
 *
 * Three tables: numbers that are read, texts that must be as published, and numbers that follow
 * from others and must agree.
 */
#include "model/config.h"

#include <string.h>

#include "base/json.h"

#define CONFIG_MAX_BYTES ((size_t)1 << 20)

struct reader {
    json_t *root; /* jansson iterates over a mutable object only; nothing here changes it */
    const char *where;
    struct model_config config;
};

/* Integer keys. A default of 0 means that the key must be there: without it a wrong guess would
 * load. The others have the published model's values. */
static const struct {
    const char *key;
    size_t offset;
    int32_t max;
    int32_t default_value;
} numbers[] = {
    {"n_embd", offsetof(struct model_config, n_embd), MODEL_MAX_WIDTH, 0},
    {"intermediate_size", offsetof(struct model_config, intermediate), 4 * MODEL_MAX_WIDTH, 0},
    {"n_layers_in_prelude", offsetof(struct model_config, n_prelude), MODEL_MAX_LAYERS, 0},
    {"n_layers_in_recurrent_block", offsetof(struct model_config, n_core), MODEL_MAX_LAYERS, 0},
    {"n_layers_in_coda", offsetof(struct model_config, n_coda), MODEL_MAX_LAYERS, 0},
    {"vocab_size", offsetof(struct model_config, vocab), MODEL_MAX_VOCAB, 65536},
    {"block_size", offsetof(struct model_config, max_positions), MODEL_MAX_POSITIONS, 4096},
    {"mean_recurrence", offsetof(struct model_config, default_steps), MODEL_MAX_STEPS, 32},
};

/* Texts that select code in the published implementation: only these have been written here. */
static const struct {
    const char *key;
    const char *expected;
    bool required;
} texts[] = {
    {"model_type", "huginn_raven", true},
    {"block_class_name", "SandwichBlock", false},
    {"norm_class_name", "RMSNorm_llama", false},
    {"mlp_class_name", "GatedMLP", false},
    {"nonlin_name", "SiLU", false},
    {"injection_type", "linear", false},
    {"architecture_class_name", "RecurrentGPT", false},
    {"state_init", "like-init", false},
};

static int missing(const struct reader *r, const char *key, const char *expected,
                   struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_INVALID, "%s: key %s is missing, expected %s", r->where, key,
                    expected);
}

static int read_int(const struct reader *r, const char *key, int32_t max, int32_t *out,
                    struct ltd_err *err)
{
    int64_t value;
    int rc = ltd_json_get_int(r->root, key, 1, max, &value, r->where, err);
    if (rc == 0)
        *out = (int32_t)value;
    return rc;
}

static int read_numbers(struct reader *r, struct ltd_err *err)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int32_t value = numbers[i].default_value;
        int rc = read_int(r, numbers[i].key, numbers[i].max, &value, err);
        if (rc < 0)
            return -1;
        if (value == 0)
            return missing(r, numbers[i].key, "a positive integer", err);
        memcpy((char *)&r->config + numbers[i].offset, &value, sizeof value);
    }
    return 0;
}

/* Two spellings of the head count are in use; both at once must agree. */
static int read_heads(struct reader *r, struct ltd_err *err)
{
    int32_t own = 0, common = 0;
    if (read_int(r, "n_heads", MODEL_MAX_WIDTH, &own, err) < 0 ||
        read_int(r, "num_attention_heads", MODEL_MAX_WIDTH, &common, err) < 0)
        return -1;
    if (own == 0 && common == 0)
        return missing(r, "n_heads", "a positive integer (num_attention_heads is accepted too)",
                       err);
    if (own != 0 && common != 0 && own != common)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: key num_attention_heads: %d, expected the %d of n_heads", r->where,
                        common, own);
    r->config.n_heads = own ? own : common;
    if (r->config.n_embd % r->config.n_heads != 0)
        return ltd_fail(err, LTD_E_INVALID, "%s: key n_embd: %d, expected a multiple of %d heads",
                        r->where, r->config.n_embd, r->config.n_heads);
    r->config.head_dim = r->config.n_embd / r->config.n_heads;
    if (r->config.head_dim % 2 != 0)
        return ltd_fail(
            err, LTD_E_INVALID,
            "%s: key n_embd: %d over %d heads gives heads of %d, expected an even width", r->where,
            r->config.n_embd, r->config.n_heads, r->config.head_dim);
    return 0;
}

static int check_texts(const struct reader *r, struct ltd_err *err)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *found = NULL;
        if (ltd_json_get_string(r->root, texts[i].key, &found, r->where, err) < 0)
            return -1;
        if (!found && texts[i].required)
            return missing(r, texts[i].key, texts[i].expected, err);
        if (found && strcmp(found, texts[i].expected) != 0)
            return ltd_fail(err, LTD_E_INVALID, "%s: key %s: string \"%.60s\", expected \"%s\"",
                            r->where, texts[i].key, found, texts[i].expected);
    }
    return 0;
}

static int check_architectures(const struct reader *r, struct ltd_err *err)
{
    const json_t *list = json_object_get(r->root, "architectures");
    char found[96];
    if (!list || json_is_null(list))
        return 0;
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) if (json_is_string(entry) &&
                                           strcmp(json_string_value(entry), "RavenForCausalLM") ==
                                               0) return 0;
    return ltd_fail(err, LTD_E_INVALID,
                    "%s: key architectures: %s, expected an array with \"RavenForCausalLM\"",
                    r->where, ltd_json_describe(list, found, sizeof found));
}

/* Keys that repeat what the shape already says. */
static int check_derived(const struct reader *r, struct ltd_err *err)
{
    const struct model_config *c = &r->config;
    const struct {
        const char *key;
        int32_t expected;
    } derived[] = {
        {"num_key_value_heads", c->n_heads},
        {"padded_vocab_size", c->vocab},
        {"head_dim", c->head_dim},
        {"n_layers", c->n_prelude + c->n_core + c->n_coda},
        {"test_time_noise", 0},
    };
    for (size_t i = 0; i < sizeof derived / sizeof derived[0]; i++) {
        double value = derived[i].expected;
        if (ltd_json_get_number(r->root, derived[i].key, -1e15, 1e15, &value, r->where, err) < 0)
            return -1;
        if (value != (double)derived[i].expected)
            return ltd_fail(err, LTD_E_INVALID, "%s: key %s: %g, expected %d", r->where,
                            derived[i].key, value, derived[i].expected);
    }
    return 0;
}

static int read_flags(struct reader *r, struct ltd_err *err)
{
    bool bias = false;
    r->config.tied = true;
    r->config.qk_bias = true;
    if (ltd_json_get_bool(r->root, "bias", &bias, r->where, err) < 0 ||
        ltd_json_get_bool(r->root, "tie_embeddings", &r->config.tied, r->where, err) < 0 ||
        ltd_json_get_bool(r->root, "qk_bias", &r->config.qk_bias, r->where, err) < 0)
        return -1;
    if (bias)
        return ltd_fail(err, LTD_E_INVALID, "%s: key bias: true, expected false", r->where);
    return 0;
}

static int read_reals(struct reader *r, struct ltd_err *err)
{
    double eps = 1e-6, base = 50000.0;
    if (ltd_json_get_number(r->root, "norm_eps", 1e-12, 1.0, &eps, r->where, err) < 0 ||
        ltd_json_get_number(r->root, "rope_base", 1.0, 1e12, &base, r->where, err) < 0)
        return -1;
    r->config.norm_eps = (float)eps;
    r->config.rope_base = (float)base;
    return 0;
}

/* Any other rotary key would change the angles in a way that is not written here. */
static int check_rope_keys(const struct reader *r, struct ltd_err *err)
{
    const char *key;
    json_t *value;
    char found[96];
    json_object_foreach(r->root, key, value)
    {
        if (strncmp(key, "rope", 4) != 0 || strcmp(key, "rope_base") == 0 || json_is_null(value))
            continue;
        return ltd_fail(err, LTD_E_INVALID, "%s: key %.60s: %s, expected it absent", r->where, key,
                        ltd_json_describe(value, found, sizeof found));
    }
    return 0;
}

static int read_config(struct reader *r, struct ltd_err *err)
{
    char found[96];
    if (!json_is_object(r->root))
        return ltd_fail(err, LTD_E_INVALID, "%s: %s, expected a JSON object", r->where,
                        ltd_json_describe(r->root, found, sizeof found));
    /* What kind of model it is comes first: a message about a size would mislead. */
    if (check_texts(r, err) != 0 || check_architectures(r, err) != 0 || read_numbers(r, err) != 0 ||
        read_heads(r, err) != 0 || read_flags(r, err) != 0 || read_reals(r, err) != 0 ||
        check_derived(r, err) != 0)
        return -1;
    return check_rope_keys(r, err);
}

static int finish(json_t *take_root, const char *where, struct model_config *out,
                  struct ltd_err *err)
{
    if (!take_root)
        return -1;
    struct reader r = {.root = take_root, .where = where};
    int rc = read_config(&r, err);
    json_decref(take_root);
    if (rc == 0)
        *out = r.config;
    return rc;
}

int model_config_parse(const char *text, size_t len, const char *where, struct model_config *out,
                       struct ltd_err *err)
{
    return finish(ltd_json_parse(text, len, where, err), where, out, err);
}

int model_config_load(const char *path, struct model_config *out, struct ltd_err *err)
{
    return finish(ltd_json_load(path, CONFIG_MAX_BYTES, err), path, out, err);
}
