/* SPDX-License-Identifier: Apache-2.0 */
/* model/generation.c - suggestions of generation_config.json; see model/config.h. */
#include "model/config.h"

#include "base/file.h"
#include "base/json.h"

#define GENERATION_MAX_BYTES ((size_t)1 << 20)

static int read_token(const json_t *root, const char *key, int32_t vocab, int32_t *out,
                      const char *path, struct ltd_err *err)
{
    int64_t value;
    int rc = ltd_json_get_int(root, key, 0, vocab - 1, &value, path, err);
    if (rc == 0)
        *out = (int32_t)value;
    return rc < 0 ? -1 : 0;
}

/* One id or an array of them. */
static int read_eos(const json_t *root, int32_t vocab, struct model_generation *out,
                    const char *path, struct ltd_err *err)
{
    const json_t *value = json_object_get(root, "eos_token_id");
    char found[96];
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_array(value)) {
        out->n_eos = 1;
        return read_token(root, "eos_token_id", vocab, &out->eos[0], path, err);
    }
    if (json_array_size(value) > MODEL_MAX_EOS)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: key eos_token_id: %s, expected an array of at most %d", path,
                        ltd_json_describe(value, found, sizeof found), MODEL_MAX_EOS);
    size_t i;
    json_t *entry;
    json_array_foreach(value, i, entry)
    {
        if (!json_is_integer(entry) || json_integer_value(entry) < 0 ||
            json_integer_value(entry) >= vocab)
            return ltd_fail(err, LTD_E_INVALID,
                            "%s: key eos_token_id[%zu]: %s, expected an integer in [0, %d]", path,
                            i, ltd_json_describe(entry, found, sizeof found), vocab - 1);
        out->eos[out->n_eos++] = (int32_t)json_integer_value(entry);
    }
    return 0;
}

static int read_reals(const json_t *root, struct model_generation *out, const char *path,
                      struct ltd_err *err)
{
    /* The open ends of the ranges are the nearest double inside. */
    const struct {
        const char *key;
        double min, max;
        double *value;
    } reals[] = {
        {"temperature", 0.0, 1000.0, &out->temperature},
        {"top_p", 1e-9, 1.0, &out->top_p},
        {"min_p", 0.0, 0x1.fffffffffffffp-1, &out->min_p},
        {"repetition_penalty", 1e-9, 1000.0, &out->repetition_penalty},
    };
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++)
        if (ltd_json_get_number(root, reals[i].key, reals[i].min, reals[i].max, reals[i].value,
                                path, err) < 0)
            return -1;
    return 0;
}

static int read_counts(const json_t *root, int32_t vocab, struct model_generation *out,
                       const char *path, struct ltd_err *err)
{
    int64_t top_k = 0, max_new = 0;
    if (ltd_json_get_int(root, "top_k", 0, INT32_MAX, &top_k, path, err) < 0 ||
        ltd_json_get_int(root, "max_new_tokens", 1, MODEL_MAX_POSITIONS, &max_new, path, err) < 0)
        return -1;
    out->top_k = top_k > vocab ? vocab : (int32_t)top_k; /* more than all is all */
    out->max_new_tokens = (int32_t)max_new;
    return 0;
}

static int read_all(const json_t *root, int32_t vocab, struct model_generation *out,
                    const char *path, struct ltd_err *err)
{
    char found[96];
    if (!json_is_object(root))
        return ltd_fail(err, LTD_E_INVALID, "%s: %s, expected a JSON object", path,
                        ltd_json_describe(root, found, sizeof found));
    if (read_token(root, "bos_token_id", vocab, &out->bos, path, err) != 0 ||
        read_token(root, "pad_token_id", vocab, &out->pad, path, err) != 0 ||
        read_eos(root, vocab, out, path, err) != 0 ||
        ltd_json_get_bool(root, "do_sample", &out->do_sample, path, err) < 0 ||
        read_reals(root, out, path, err) != 0)
        return -1;
    return read_counts(root, vocab, out, path, err);
}

int model_generation_load(const char *path, int32_t vocab, struct model_generation *out,
                          struct ltd_err *err)
{
    struct model_generation found = {
        .bos = -1, .pad = -1, .temperature = 1.0, .top_p = 1.0, .repetition_penalty = 1.0};
    if (ltd_file_is_absent(path)) {
        *out = found;
        return 0;
    }
    json_t *root = ltd_json_load(path, GENERATION_MAX_BYTES, err);
    if (!root)
        return -1;
    int rc = read_all(root, vocab, &found, path, err);
    json_decref(root);
    if (rc == 0)
        *out = found;
    return rc;
}
