/* SPDX-License-Identifier: Apache-2.0 */
/* tools/shape.c - see tools/shape.h. */
#include "tools/shape.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/json_out.h"

const char *const tool_shape_names = "huginn-0125, 100m, l2-512k, l2-1m, l2-2m, tiny";

/* The columns are those of struct model_config: width, heads, intermediate, vocabulary, layers of
 * prelude, block and coda, positions. The rest is the same for all. */
static const struct {
    const char *name;
    int32_t n, heads, fc, vocab, prelude, core, coda, positions;
} shapes[] = {
    {"huginn-0125", 5280, 55, 17920, 65536, 2, 4, 2, 4096},
    {"100m", 768, 12, 2048, 65536, 2, 4, 2, 4096},
    /* One layer, because every layer costs gathers, which would hide what the cache gives. The block
     * holds 2 n^2 (adapter) + 4 n^2 + 3 n I weights: 196,608, 387,072 and 786,432. */
    {"l2-512k", 128, 4, 256, 4096, 1, 1, 1, 2048},
    {"l2-1m", 192, 6, 288, 4096, 1, 1, 1, 2048},
    {"l2-2m", 256, 8, 512, 4096, 1, 1, 1, 2048},
    {"tiny", 64, 4, 128, 256, 1, 2, 1, 512},
};

static struct model_config config_of(size_t shape)
{
    return (struct model_config){
        .n_embd = shapes[shape].n,
        .n_heads = shapes[shape].heads,
        .head_dim = shapes[shape].n / shapes[shape].heads,
        .intermediate = shapes[shape].fc,
        .vocab = shapes[shape].vocab,
        .n_prelude = shapes[shape].prelude,
        .n_core = shapes[shape].core,
        .n_coda = shapes[shape].coda,
        .max_positions = shapes[shape].positions,
        .default_steps = 32,
        .norm_eps = 1e-6f,
        .rope_base = 50000.0f,
        .tied = true,
        .qk_bias = true,
    };
}

static int load_shape(const char *dir, struct model_config *out, struct ltd_err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/config.json", dir) >= (int)sizeof path)
        return ltd_fail(err, LTD_E_INVALID, "%.100s...: path is too long", dir);
    return model_config_load(path, out, err);
}

int tool_shape_find(const char *name, struct model_config *out, struct ltd_err *err)
{
    if (strchr(name, '/'))
        return load_shape(name, out, err);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (strcmp(shapes[i].name, name) == 0) {
            *out = config_of(i);
            return 0;
        }
    return ltd_fail(err, LTD_E_INVALID,
                    "no shape \"%.100s\", expected one of %s, or a model directory (with a slash)",
                    name, tool_shape_names);
}

static void put_shape(struct cli_json *j, const struct model_config *c)
{
    const struct {
        const char *key;
        int32_t value;
    } numbers[] = {
        {"block_size", c->max_positions},
        {"head_dim", c->head_dim},
        {"intermediate_size", c->intermediate},
        {"mean_recurrence", c->default_steps},
        {"n_embd", c->n_embd},
        {"n_heads", c->n_heads},
        {"n_layers", c->n_prelude + c->n_core + c->n_coda},
        {"n_layers_in_coda", c->n_coda},
        {"n_layers_in_prelude", c->n_prelude},
        {"n_layers_in_recurrent_block", c->n_core},
        {"num_key_value_heads", c->n_heads},
        {"padded_vocab_size", c->vocab},
        {"vocab_size", c->vocab},
        {"test_time_noise", 0},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cli_json_i64(j, numbers[i].key, numbers[i].value);
    cli_json_float(j, "norm_eps", c->norm_eps);
    cli_json_float(j, "rope_base", c->rope_base);
    cli_json_bool(j, "qk_bias", c->qk_bias);
    cli_json_bool(j, "tie_embeddings", c->tied);
}

/* The value as text and a line feed; gives up the writer. */
static void move_text(struct cli_json *j, struct ltd_bytes *out)
{
    ltd_bytes_put(out, j->text.data, j->text.len);
    ltd_bytes_put_u8(out, '\n');
    out->failed |= j->text.failed;
    cli_json_fini(j);
}

void tool_shape_config_json(const struct model_config *config, const char *torch_dtype,
                            struct ltd_bytes *out)
{
    static const char *const texts[][2] = {
        {"architecture_class_name", "RecurrentGPT"},
        {"block_class_name", "SandwichBlock"},
        {"injection_type", "linear"},
        {"mlp_class_name", "GatedMLP"},
        {"model_type", "huginn_raven"},
        {"nonlin_name", "SiLU"},
        {"norm_class_name", "RMSNorm_llama"},
        {"state_init", "like-init"},
    };
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_begin(&j, "architectures", '[');
    cli_json_str(&j, NULL, "RavenForCausalLM");
    cli_json_end(&j);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        cli_json_str(&j, texts[i][0], texts[i][1]);
    cli_json_str(&j, "torch_dtype", torch_dtype);
    cli_json_bool(&j, "bias", false);
    put_shape(&j, config);
    cli_json_end(&j);
    move_text(&j, out);
}

void tool_shape_generation_json(struct ltd_bytes *out)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_bool(&j, "do_sample", false);
    cli_json_end(&j);
    move_text(&j, out);
}
