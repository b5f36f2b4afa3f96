/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/test_config.c - every refusal of a config.json, told by file, key, found, expected.
 *
 * Each row changes one key of a good file: NULL removes it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "model/config.h"

static const char good[] =
    "{\"model_type\": \"huginn_raven\", \"architectures\": [\"RavenForCausalLM\"],"
    " \"n_embd\": 40, \"n_heads\": 5, \"intermediate_size\": 53, \"n_layers_in_prelude\": 2,"
    " \"n_layers_in_recurrent_block\": 4, \"n_layers_in_coda\": 3, \"vocab_size\": 97,"
    " \"block_size\": 96, \"mean_recurrence\": 16}";

/* The good file with one key set to the JSON text `value` (NULL: removed). Free with free(). */
static char *changed(const char *key, const char *value)
{
    json_t *root = json_loads(good, 0, NULL);
    assert_non_null(root);
    if (!value) {
        json_object_del(root, key);
    } else {
        json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);
        if (!v)
            fail_msg("the test's own value %s is no JSON", value);
        json_object_set_new(root, key, v);
    }
    char *text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static int parse(const char *text, struct model_config *out, struct ltd_err *err)
{
    *err = (struct ltd_err){0};
    return model_config_parse(text, strlen(text), "m/config.json", out, err);
}

static void a_good_file_gives_its_shape_and_the_published_defaults(void **state)
{
    struct model_config c;
    struct ltd_err err;
    (void)state;
    if (parse(good, &c, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(c.n_embd, 40);
    assert_int_equal(c.n_heads, 5);
    assert_int_equal(c.head_dim, 8);
    assert_int_equal(c.intermediate, 53);
    assert_int_equal(c.n_prelude, 2);
    assert_int_equal(c.n_core, 4);
    assert_int_equal(c.n_coda, 3);
    assert_int_equal(c.vocab, 97);
    assert_int_equal(c.max_positions, 96);
    assert_int_equal(c.default_steps, 16);
    assert_true(c.norm_eps == 1e-6f);
    assert_true(c.rope_base == 50000.0f);
    assert_true(c.tied && c.qk_bias);
}

static void absent_keys_take_the_published_values(void **state)
{
    static const char *const keys[] = {"vocab_size", "block_size", "mean_recurrence"};
    struct model_config c = {0};
    struct ltd_err err;
    (void)state;
    for (int i = 0; i < 3; i++) {
        char *text = changed(keys[i], NULL);
        assert_int_equal(parse(text, &c, &err), 0);
        free(text);
        assert_int_equal(i == 0   ? c.vocab
                         : i == 1 ? c.max_positions
                                  : c.default_steps,
                         i == 0   ? 65536
                         : i == 1 ? 4096
                                  : 32);
    }
}

static void values_that_are_supported_pass(void **state)
{
    static const struct {
        const char *key, *value;
    } rows[] = {
        {"block_class_name", "\"SandwichBlock\""},
        {"norm_class_name", "\"RMSNorm_llama\""},
        {"mlp_class_name", "\"GatedMLP\""},
        {"nonlin_name", "\"SiLU\""},
        {"injection_type", "\"linear\""},
        {"architecture_class_name", "\"RecurrentGPT\""},
        {"state_init", "\"like-init\""},
        {"bias", "false"},
        {"num_key_value_heads", "5"},
        {"num_attention_heads", "5"},
        {"padded_vocab_size", "97"},
        {"head_dim", "8"},
        {"n_layers", "9"},
        {"test_time_noise", "0"},
        {"test_time_noise", "0.0"},
        {"test_time_noise_type", "\"fixed\""},
        {"rope_scaling", "null"},
        {"rope_base", "10000"},
        {"tie_embeddings", "false"},
        {"qk_bias", "false"},
        {"torch_dtype", "\"bfloat16\""},
        {"tie_word_embeddings", "true"},
        {"init_strategy", "\"takase\""},
        {"use_cache", "true"},
        {"architectures", "[\"Other\", \"RavenForCausalLM\"]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_config c;
        struct ltd_err err;
        char *text = changed(rows[i].key, rows[i].value);
        if (parse(text, &c, &err) != 0)
            fail_msg("%s = %s: %s", rows[i].key, rows[i].value, err.msg);
        free(text);
    }
}

static void the_other_spelling_of_heads_is_enough(void **state)
{
    static const char text[] =
        "{\"model_type\": \"huginn_raven\", \"n_embd\": 40, \"num_attention_heads\": 5,"
        " \"intermediate_size\": 53, \"n_layers_in_prelude\": 2,"
        " \"n_layers_in_recurrent_block\": 4, \"n_layers_in_coda\": 3}";
    struct model_config c;
    struct ltd_err err;
    (void)state;
    assert_int_equal(parse(text, &c, &err), 0);
    assert_int_equal(c.n_heads, 5);
}

/* found: what the message must quote; expected: what it must ask for. */
static void everything_else_is_refused_by_key_found_and_expected(void **state)
{
    static const struct {
        const char *key, *value, *found, *expected;
    } rows[] = {
        {"model_type", NULL, "missing", "huginn_raven"},
        {"model_type", "\"llama\"", "llama", "huginn_raven"},
        {"model_type", "7", "integer 7", "a string"},
        {"architectures", "[\"LlamaForCausalLM\"]", "array of 1", "RavenForCausalLM"},
        {"architectures", "[]", "array of 0", "RavenForCausalLM"},
        {"architectures", "\"RavenForCausalLM\"", "string", "an array"},
        {"block_class_name", "\"TransformerPreNormBlock\"", "TransformerPreNormBlock",
         "SandwichBlock"},
        {"norm_class_name", "\"LayerNorm\"", "LayerNorm", "RMSNorm_llama"},
        {"mlp_class_name", "\"BaseMLP\"", "BaseMLP", "GatedMLP"},
        {"nonlin_name", "\"GELU\"", "GELU", "SiLU"},
        {"injection_type", "\"add\"", "add", "linear"},
        {"architecture_class_name", "\"GPT\"", "GPT", "RecurrentGPT"},
        {"state_init", "\"zero\"", "zero", "like-init"},
        {"bias", "true", "true", "false"},
        {"bias", "0", "integer 0", "true or false"},
        {"num_key_value_heads", "1", "1", "5"},
        {"padded_vocab_size", "128", "128", "97"},
        {"head_dim", "10", "10", "8"},
        {"n_layers", "8", "8", "9"},
        {"test_time_noise", "0.5", "0.5", "0"},
        {"test_time_noise", "\"none\"", "none", "a number"},
        {"rope_scaling", "{\"type\": \"linear\"}", "object", "absent"},
        {"rope_theta", "10000", "10000", "absent"},
        {"rope_base", "0", "0", "a number"},
        {"rope_base", "-1", "-1", "a number"},
        {"rope_base", "\"50000\"", "string", "a number"},
        {"norm_eps", "0", "0", "a number"},
        {"norm_eps", "2", "2", "a number"},
        {"n_embd", NULL, "missing", "a positive integer"},
        {"n_embd", "0", "integer 0", "an integer"},
        {"n_embd", "-40", "integer -40", "an integer"},
        {"n_embd", "40.0", "number 40", "an integer"},
        {"n_embd", "\"40\"", "string", "an integer"},
        {"n_embd", "99999999", "99999999", "an integer"},
        {"n_embd", "42", "42", "a multiple of 5"},
        {"n_embd", "45", "heads of 9", "an even width"},
        {"n_heads", NULL, "missing", "num_attention_heads"},
        {"n_heads", "0", "integer 0", "an integer"},
        {"num_attention_heads", "4", "4", "the 5 of n_heads"},
        {"intermediate_size", NULL, "missing", "a positive integer"},
        {"intermediate_size", "-1", "integer -1", "an integer"},
        {"n_layers_in_prelude", NULL, "missing", "a positive integer"},
        {"n_layers_in_prelude", "0", "integer 0", "an integer"},
        {"n_layers_in_recurrent_block", NULL, "missing", "a positive integer"},
        {"n_layers_in_recurrent_block", "0", "integer 0", "an integer"},
        {"n_layers_in_coda", NULL, "missing", "a positive integer"},
        {"n_layers_in_coda", "257", "257", "an integer"},
        {"vocab_size", "0", "integer 0", "an integer"},
        {"vocab_size", "9999999999999", "9999999999999", "an integer"},
        {"block_size", "true", "true", "an integer"},
        {"mean_recurrence", "0", "integer 0", "an integer"},
        {"tie_embeddings", "1", "integer 1", "true or false"},
        {"qk_bias", "\"yes\"", "string", "true or false"},
    };
    (void)state;
    print_message("%zu broken configurations\n", sizeof rows / sizeof rows[0]);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_config c;
        struct ltd_err err;
        char *text = changed(rows[i].key, rows[i].value);
        if (parse(text, &c, &err) != -1)
            fail_msg("%s = %s was accepted", rows[i].key, rows[i].value ? rows[i].value : "absent");
        free(text);
        assert_int_equal(err.code, LTD_E_INVALID);
        if (!strstr(err.msg, "m/config.json") || !strstr(err.msg, rows[i].key) ||
            !strstr(err.msg, rows[i].found) || !strstr(err.msg, "expected") ||
            !strstr(err.msg, rows[i].expected))
            fail_msg("%s: \"%s\", expected file, key, \"%s\", \"expected\" and \"%s\" in it",
                     rows[i].key, err.msg, rows[i].found, rows[i].expected);
    }
}

static void text_that_is_no_configuration_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "7",
                                        "\"x\"",
                                        "null",
                                        "{}",
                                        "{\"model_type\":}",
                                        "{\"n_embd\": 1, \"n_embd\": 2}",
                                        "\xff\xfe"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct model_config c;
        struct ltd_err err;
        assert_int_equal(parse(texts[i], &c, &err), -1);
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_non_null(strstr(err.msg, "m/config.json"));
    }
}

static void an_absent_file_is_named(void **state)
{
    struct model_config c;
    struct ltd_err err = {0};
    (void)state;
    assert_int_equal(model_config_load("/nonexistent/config.json", &c, &err), -1);
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/config.json"));
}

/* ---- generation_config.json ---- */

static int load_generation(const char *text, struct model_generation *out, struct ltd_err *err)
{
    char path[] = "/tmp/latentd-generation-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (long)strlen(text));
    close(fd);
    *err = (struct ltd_err){0};
    int rc = model_generation_load(path, 97, out, err);
    if (rc != 0 && !strstr(err->msg, path))
        fail_msg("\"%s\" does not name %s", err->msg, path);
    unlink(path);
    return rc;
}

static void an_absent_generation_file_gives_greedy_defaults(void **state)
{
    struct model_generation g;
    struct ltd_err err = {0};
    (void)state;
    assert_int_equal(model_generation_load("/nonexistent/generation_config.json", 97, &g, &err), 0);
    assert_int_equal(g.bos, -1);
    assert_int_equal(g.pad, -1);
    assert_int_equal(g.n_eos, 0);
    assert_false(g.do_sample);
    assert_true(g.temperature == 1.0 && g.top_p == 1.0 && g.min_p == 0.0);
    assert_true(g.repetition_penalty == 1.0);
    assert_int_equal(g.top_k, 0);
    assert_int_equal(g.max_new_tokens, 0);
}

/* It holds the end tokens: a model whose file is lost would write on past its answer. */
static void a_generation_file_that_is_lost_is_not_an_absent_one(void **state)
{
    struct model_generation g;
    struct ltd_err err = {0};
    char path[] = "/tmp/latentd-generation-XXXXXX";
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    assert_int_equal(symlink("/nonexistent/blob", path), 0);
    assert_int_equal(model_generation_load(path, 97, &g, &err), -1);
    unlink(path);
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, path));
}

static void a_generation_file_is_read(void **state)
{
    struct model_generation g;
    struct ltd_err err;
    (void)state;
    assert_int_equal(
        load_generation("{\"bos_token_id\": 1, \"eos_token_id\": [2, 96], \"pad_token_id\": 3,"
                        "\"do_sample\": true, \"temperature\": 0.7, \"top_k\": 500, \"top_p\": 0.9,"
                        "\"min_p\": 0.1, \"max_new_tokens\": 1024, \"repetition_penalty\": 1.1,"
                        "\"transformers_version\": \"4.47.1\"}",
                        &g, &err),
        0);
    assert_int_equal(g.bos, 1);
    assert_int_equal(g.pad, 3);
    assert_int_equal(g.n_eos, 2);
    assert_int_equal(g.eos[0], 2);
    assert_int_equal(g.eos[1], 96);
    assert_true(g.do_sample && g.temperature == 0.7 && g.top_p == 0.9 && g.min_p == 0.1);
    assert_int_equal(g.top_k, 97); /* more than all is all */
    assert_int_equal(g.max_new_tokens, 1024);
    assert_true(g.repetition_penalty == 1.1);
    assert_int_equal(load_generation("{\"eos_token_id\": 5}", &g, &err), 0);
    assert_int_equal(g.n_eos, 1);
    assert_int_equal(g.eos[0], 5);
    assert_int_equal(load_generation("{\"eos_token_id\": null}", &g, &err), 0);
    assert_int_equal(g.n_eos, 0);
}

static void a_broken_generation_file_is_refused_by_key(void **state)
{
    static const struct {
        const char *text, *key;
    } rows[] = {
        {"{\"bos_token_id\": 97}", "bos_token_id"},
        {"{\"bos_token_id\": -1}", "bos_token_id"},
        {"{\"pad_token_id\": \"x\"}", "pad_token_id"},
        {"{\"eos_token_id\": 97}", "eos_token_id"},
        {"{\"eos_token_id\": [1, 97]}", "eos_token_id[1]"},
        {"{\"eos_token_id\": [1, \"2\"]}", "eos_token_id[1]"},
        {"{\"eos_token_id\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "eos_token_id"},
        {"{\"do_sample\": 1}", "do_sample"},
        {"{\"temperature\": -1}", "temperature"},
        {"{\"temperature\": \"hot\"}", "temperature"},
        {"{\"top_k\": -1}", "top_k"},
        {"{\"top_k\": 1.5}", "top_k"},
        {"{\"top_p\": 0}", "top_p"},
        {"{\"top_p\": 1.5}", "top_p"},
        {"{\"min_p\": 1}", "min_p"},
        {"{\"repetition_penalty\": 0}", "repetition_penalty"},
        {"{\"max_new_tokens\": 0}", "max_new_tokens"},
        {"[]", "object"},
        {"{", "line"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_generation g;
        struct ltd_err err;
        if (load_generation(rows[i].text, &g, &err) != -1)
            fail_msg("%s was accepted", rows[i].text);
        assert_int_equal(err.code, LTD_E_INVALID);
        if (!strstr(err.msg, rows[i].key))
            fail_msg("\"%s\", expected \"%s\" in it", err.msg, rows[i].key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_gives_its_shape_and_the_published_defaults),
        cmocka_unit_test(absent_keys_take_the_published_values),
        cmocka_unit_test(values_that_are_supported_pass),
        cmocka_unit_test(the_other_spelling_of_heads_is_enough),
        cmocka_unit_test(everything_else_is_refused_by_key_found_and_expected),
        cmocka_unit_test(text_that_is_no_configuration_is_refused),
        cmocka_unit_test(an_absent_file_is_named),
        cmocka_unit_test(an_absent_generation_file_gives_greedy_defaults),
        cmocka_unit_test(a_generation_file_that_is_lost_is_not_an_absent_one),
        cmocka_unit_test(a_generation_file_is_read),
        cmocka_unit_test(a_broken_generation_file_is_refused_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
