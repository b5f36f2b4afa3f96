/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/test_plan.c - the sizes of a model against published and hand-counted figures.
 *
 * The published model of the family (arXiv 2502.05171) has n = 5280, 55 heads, I = 17920, 2 + 4 + 2
 * layers and 65536 tied embeddings; the numbers below follow from these shapes.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/bandwidth.h"
#include "cli/caches.h"
#include "cli/plan.h"
#include "cli/plan_config.h"
#include "cli/plan_report.h"

static const struct cli_shape huginn = {
    .n_embd = 5280,
    .n_heads = 55,
    .intermediate = 17920,
    .vocab = 65536,
    .n_prelude = 2,
    .n_core = 4,
    .n_coda = 2,
    .context_tokens = 4096,
    .default_steps = 32,
    .is_tied = true,
    .has_qk_bias = true,
};

static void assert_u64(const char *what, uint64_t found, uint64_t expected)
{
    if (found != expected)
        fail_msg("%s: %llu, expected %llu", what, (unsigned long long)found,
                 (unsigned long long)expected);
}

/* ---- formulas ---- */

static void parameters_are_those_of_the_published_model(void **state)
{
    (void)state;
    struct cli_parameters p = cli_plan_parameters(&huginn);
    assert_u64("prelude", p.prelude, 790796160);
    assert_u64("adapter", p.adapter, 55756800);
    assert_u64("core", p.core, 1581592320);
    assert_u64("coda", p.coda, 790796160);
    assert_u64("embedding", p.embedding, 346030080);
    assert_u64("norm", p.norm, 5280);
    assert_u64("head", p.head, 0);
    assert_u64("total", p.total, 3564976800);
    struct cli_shape untied = huginn;
    untied.is_tied = false;
    untied.has_qk_bias = false;
    p = cli_plan_parameters(&untied);
    assert_u64("head", p.head, 346030080);
    assert_u64("total", p.total, 3564976800 + 346030080 - 8 * 2 * 5280);
}

static void entries_read_are_those_of_the_published_model(void **state)
{
    (void)state;
    assert_u64("step", cli_plan_step_entries(&huginn), 1637222400);
    assert_u64("fixed", cli_plan_fixed_entries(&huginn), 1927495680);
}

static void bytes_are_entries_and_scales(void **state)
{
    (void)state;
    static const struct {
        enum cli_weight_format format;
        uint64_t step, fixed;
    } rows[] = {
        {CLI_WEIGHTS_F32, 6548889600, 7709982720},
        {CLI_WEIGHTS_BF16, 3274444800, 3854991360},
        /* 1 byte and 4 per row: 5280 rows of the adapter and 4 times 3n + n + 2I + n; 4 layers of
         * these and the head. Half a byte and 2 bytes per 32. */
        {CLI_WEIGHTS_INT8, 1637222400 + 4 * (5280 + 4 * (5 * 5280 + 2 * 17920)),
         1927495680 + 4 * (4 * (5 * 5280 + 2 * 17920) + 65536)},
        {CLI_WEIGHTS_INT4, 818611200 + 1637222400 / 16, 963747840 + 1927495680 / 16},
    };
    for (size_t i = 0; i < CLI_N_WEIGHT_FORMATS; i++) {
        const char *name = cli_weight_format_name(rows[i].format);
        assert_u64(name, cli_plan_shard_bytes(&huginn, rows[i].format, 1), rows[i].step);
        assert_u64(name, cli_plan_fixed_bytes(&huginn, rows[i].format), rows[i].fixed);
        assert_true(cli_weight_format_is_served(rows[i].format));
    }
}

/* Rows of 33 weights have two int4 scales each and one of int8, and 4-bit rows end at a byte. */
static void rows_that_do_not_divide_are_rounded_up_row_by_row(void **state)
{
    (void)state;
    const struct cli_shape s = {
        .n_embd = 33, .n_heads = 1, .intermediate = 1, .vocab = 10, .n_core = 1, .is_tied = true};
    /* A head of 10 rows of 33. */
    assert_u64("int8", cli_plan_fixed_bytes(&s, CLI_WEIGHTS_INT8), 10 * (33 + 4)); /* one f32 */
    assert_u64("int4", cli_plan_fixed_bytes(&s, CLI_WEIGHTS_INT4), 10 * (17 + 4));
    /* Adapter 33 x 66; Wqkv 99 x 33, proj 33 x 33, fc 2 x 33, mlp.proj 33 x 1. */
    assert_u64("step", cli_plan_shard_bytes(&s, CLI_WEIGHTS_INT4, 1),
               33 * (33 + 6) + 134 * (17 + 4) + 33 * (1 + 2));
}

static void a_shard_is_whole_heads_and_rows(void **state)
{
    (void)state;
    /* 28 of 55 heads of 96, half the rows of n, half the pairs of fc; 4 bytes each. */
    uint64_t layer = 3 * 28 * 96 * 5280ull + 2640 * 5280ull + 2 * 8960 * 5280ull + 2640 * 17920ull;
    assert_u64("two ranks", cli_plan_shard_bytes(&huginn, CLI_WEIGHTS_F32, 2),
               4 * (2640 * 10560ull + 4 * layer));
    /* Every rank has at least one row of each kind, however many there are. */
    assert_u64("many ranks", cli_plan_shard_bytes(&huginn, CLI_WEIGHTS_F32, 100000),
               4 * (10560 + 4 * (3 * 96 * 5280ull + 5280 + 2 * 5280 + 17920)));
}

static void shards_never_grow_with_more_ranks_and_cover_the_step(void **state)
{
    (void)state;
    for (enum cli_weight_format f = 0; f < CLI_N_WEIGHT_FORMATS; f++) {
        uint64_t whole = cli_plan_shard_bytes(&huginn, f, 1), last = whole;
        for (uint64_t n = 2; n <= 300; n++) {
            uint64_t shard = cli_plan_shard_bytes(&huginn, f, n);
            if (shard > last || shard * n < whole)
                fail_msg("%s, %llu ranks: %llu bytes, before %llu", cli_weight_format_name(f),
                         (unsigned long long)n, (unsigned long long)shard,
                         (unsigned long long)last);
            last = shard;
        }
    }
}

static void the_least_number_of_ranks_that_fits_is_found(void **state)
{
    (void)state;
    for (enum cli_weight_format f = 0; f < CLI_N_WEIGHT_FORMATS; f++) {
        uint64_t cache = (uint64_t)64 << 20;
        uint64_t n = cli_plan_ranks_to_fit(&huginn, f, cache);
        assert_true(n > 1);
        assert_true(cli_plan_shard_bytes(&huginn, f, n) <= cache);
        assert_true(cli_plan_shard_bytes(&huginn, f, n - 1) > cache);
    }
    uint64_t whole = cli_plan_shard_bytes(&huginn, CLI_WEIGHTS_BF16, 1);
    assert_u64("whole", cli_plan_ranks_to_fit(&huginn, CLI_WEIGHTS_BF16, whole), 1);
    assert_u64("nothing", cli_plan_ranks_to_fit(&huginn, CLI_WEIGHTS_F32, 1000), 0);
}

static void time_is_bytes_over_bandwidth(void **state)
{
    (void)state;
    /* At 20 GB/s: 0.164 s per step in bf16, 5.4 s per token at depth 32. */
    double one = cli_plan_token_seconds(&huginn, CLI_WEIGHTS_BF16, 1, 1, 20e9);
    double two = cli_plan_token_seconds(&huginn, CLI_WEIGHTS_BF16, 1, 2, 20e9);
    double deep = cli_plan_token_seconds(&huginn, CLI_WEIGHTS_BF16, 1, 32, 20e9);
    assert_true(fabs((two - one) - 0.16372224) < 1e-9);
    assert_true(fabs(deep - (3.85499136e9 + 32 * 3.2744448e9) / 20e9) < 1e-9);
    /* Prelude, coda and head stay on one host. */
    double eight = cli_plan_token_seconds(&huginn, CLI_WEIGHTS_BF16, 8, 0, 20e9);
    assert_true(fabs(eight - 3.85499136e9 / 20e9) < 1e-12);
}

static void kv_bytes_are_those_of_the_published_policies(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t bf16;
    } rows[] = {
        {"full, max_steps 8", 760320},   {"full, max_steps 32", 2787840},
        {"full, max_steps 64", 5491200}, {"compress-s4", 168960},
        {"compress-s8", 253440},         {"compress-s16", 422400},
        {"compress-anchor", 844800},     {"kv_slots 3", 337920},
    };
    struct cli_kv_policy policies[CLI_PLAN_MAX_POLICIES];
    assert_int_equal(cli_plan_policies(&huginn, 0, policies), 7);
    assert_int_equal(cli_plan_policies(&huginn, 3, policies), 8);
    for (size_t i = 0; i < 8; i++) {
        assert_string_equal(policies[i].name, rows[i].name);
        assert_u64(rows[i].name, cli_plan_kv_bytes(&huginn, policies[i].n_planes, 2), rows[i].bf16);
        assert_u64(rows[i].name, cli_plan_kv_bytes(&huginn, policies[i].n_planes, 4),
                   2 * rows[i].bf16);
    }
}

/* ---- config.json ---- */

#define SHAPE                                                                                      \
    "\"n_embd\": 64, \"n_heads\": 4, \"intermediate_size\": 192, \"n_layers_in_prelude\": 1, "     \
    "\"n_layers_in_recurrent_block\": 2, \"n_layers_in_coda\": 3"

static void a_configuration_gives_the_shape_and_its_defaults(void **state)
{
    (void)state;
    static const char text[] = "{\"model_type\": \"huginn_raven\", " SHAPE ", \"unknown\": [1]}";
    struct cli_shape s;
    struct ltd_err err;
    if (cli_shape_parse(text, strlen(text), "c.json", &s, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(s.n_embd, 64);
    assert_int_equal(s.n_heads, 4);
    assert_int_equal(s.intermediate, 192);
    assert_int_equal(s.n_prelude, 1);
    assert_int_equal(s.n_core, 2);
    assert_int_equal(s.n_coda, 3);
    assert_int_equal(s.vocab, 65536);
    assert_int_equal(s.context_tokens, 4096);
    assert_int_equal(s.default_steps, 32);
    assert_true(s.is_tied && s.has_qk_bias);
}

static const struct {
    const char *text;
    const char *expected;
} refusals[] = {
    {"[]", "c.json: array of 0, expected a JSON object"},
    {"{" SHAPE "}", "c.json: key model_type is missing, expected \"huginn_raven\""},
    {"{\"model_type\": \"llama\", " SHAPE "}",
     "key model_type: string \"llama\", expected \"huginn_raven\""},
    {"{\"model_type\": 7}", "key model_type: integer 7"},
    {"{\"model_type\": \"huginn_raven\"}", "key n_embd is missing, expected a positive integer"},
    {"{\"model_type\": \"huginn_raven\", \"n_embd\": 0}", "key n_embd: integer 0"},
    {"{\"model_type\": \"huginn_raven\", \"n_embd\": \"64\"}", "key n_embd: string \"64\""},
    {"{\"model_type\": \"huginn_raven\", \"n_embd\": 9007199254740992}", "key n_embd"},
    {"{\"model_type\": \"huginn_raven\", " SHAPE ", \"num_attention_heads\": 8}",
     "key num_attention_heads: 8, expected the 4 of n_heads"},
    {"{\"model_type\": \"huginn_raven\", " SHAPE ", \"tie_embeddings\": 1}", "key tie_embeddings"},
    {"{\"model_type\": \"huginn_raven\", \"n_embd\": 65, \"n_heads\": 4, "
     "\"intermediate_size\": 1, \"n_layers_in_prelude\": 1, \"n_layers_in_recurrent_block\": 1, "
     "\"n_layers_in_coda\": 1}",
     "key n_embd: 65, expected a multiple of 4 heads"},
    {"{\"model_type\": \"huginn_raven\", \"n_embd\": 64, \"intermediate_size\": 1, "
     "\"n_layers_in_prelude\": 1, \"n_layers_in_recurrent_block\": 1, \"n_layers_in_coda\": 1}",
     "key n_heads is missing"},
    {"{\"model_type\": ", "c.json"},
};

static void a_bad_configuration_is_refused_with_file_and_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct cli_shape s = {.n_embd = 7};
        struct ltd_err err = {.code = LTD_OK};
        int rc = cli_shape_parse(refusals[i].text, strlen(refusals[i].text), "c.json", &s, &err);
        if (rc != -1 || err.code != LTD_E_INVALID || !strstr(err.msg, refusals[i].expected))
            fail_msg("%s: rc %d, \"%s\", expected \"%s\"", refusals[i].text, rc, err.msg,
                     refusals[i].expected);
        assert_int_equal(s.n_embd, 7);
    }
}

static void the_demo_model_has_a_shape(void **state)
{
    (void)state;
    struct cli_shape s;
    struct ltd_err err;
    if (cli_shape_load(SOURCE_DIR "/models/demo", &s, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(s.n_embd, 64);
    assert_int_equal(cli_shape_load("/nonexistent", &s, &err), -1);
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/config.json"));
}

/* ---- caches ---- */

static char folder[] = "/tmp/latentctl-plan-XXXXXX";

static void write_word(const char *path, const char *name, const char *word)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", path, name);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", word);
    fclose(file);
}

static void add_cache(unsigned cpu, unsigned idx, const char *const words[4])
{
    static const char *const names[] = {"level", "type", "size", "shared_cpu_list"};
    char path[128];
    snprintf(path, sizeof path, "%s/cpu%u", folder, cpu);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/cpu%u/cache", folder, cpu);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/cpu%u/cache/index%u", folder, cpu, idx);
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < 4; i++)
        write_word(path, names[i], words[i]);
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static void shared_caches_count_once_and_the_deepest_level_counts(void **state)
{
    (void)state;
    struct cli_caches c;
    struct ltd_err err;
    for (unsigned cpu = 0; cpu < 12; cpu++) {
        char own[8];
        snprintf(own, sizeof own, "%u", cpu);
        const char *shared = cpu < 4 ? "0-3" : cpu < 8 ? "4-7" : "8-11";
        add_cache(cpu, 0, (const char *const[]){"1", "Data", "32K", own});
        add_cache(cpu, 1, (const char *const[]){"1", "Instruction", "999M", own});
        add_cache(cpu, 2, (const char *const[]){"3", "Unified", "32768K", shared});
    }
    write_word(folder, "cpufreq", "no processor");
    if (cli_caches_read(folder, &c, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(c.level, 3);
    assert_int_equal(c.n_instances, 3);
    assert_u64("bytes", c.bytes, (uint64_t)96 << 20);
}

static void a_machine_without_listed_caches_says_so(void **state)
{
    (void)state;
    struct cli_caches c;
    struct ltd_err err;
    assert_int_equal(cli_caches_read(folder, &c, &err), -1);
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "lists no data cache"));
    add_cache(0, 0, (const char *const[]){"1", "Data", "garbage", "0"});
    assert_int_equal(cli_caches_read(folder, &c, &err), -1);
    assert_int_equal(cli_caches_read("/nonexistent", &c, &err), -1);
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
}

/* ---- bandwidth ---- */

static void the_buffer_is_far_larger_than_the_caches_and_fits_into_memory(void **state)
{
    (void)state;
    const uint64_t mib = (uint64_t)1 << 20, gib = (uint64_t)1 << 30;
    assert_u64("small cache", cli_bandwidth_buffer(8 * mib, 64 * gib), 256 * mib);
    assert_u64("large cache", cli_bandwidth_buffer(256 * mib, 64 * gib), 2 * gib);
    assert_u64("little memory", cli_bandwidth_buffer(256 * mib, 4 * gib), gib);
    assert_u64("absurd", cli_bandwidth_buffer(UINT64_MAX, gib), gib / 4);
}

/* That every byte is read is checked by the measurement itself; how fast is not for a test. */
static void bandwidth_is_measured_with_any_number_of_threads(void **state)
{
    (void)state;
    static const uint32_t threads[] = {1, 2, 7};
    for (size_t i = 0; i < 3; i++) {
        struct cli_bandwidth b;
        struct ltd_err err;
        if (cli_bandwidth_measure(threads[i], 1000008, &b, &err) != 0)
            fail_msg("%s", err.msg);
        assert_int_equal(b.n_threads, threads[i]);
        assert_true(b.one > 0 && b.least > 0);
        assert_true(b.least <= b.all && b.all <= b.most);
    }
}

/* ---- words ---- */

static void sizes_and_times_are_short(void **state)
{
    (void)state;
    char text[CLI_SECONDS_BYTES];
    assert_string_equal(cli_seconds_text(121.5994, text), "121.599 s");
    assert_string_equal(cli_seconds_text(0.16372, text), "163.7 ms");
    assert_string_equal(cli_seconds_text(0.00022512, text), "225 us");
    assert_string_equal(cli_size_text(6548889600, text), "6.549 GB");
    assert_string_equal(cli_size_text(920937600, text), "920.938 MB");
    assert_string_equal(cli_size_text(245760, text), "245.760 kB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_those_of_the_published_model),
        cmocka_unit_test(entries_read_are_those_of_the_published_model),
        cmocka_unit_test(bytes_are_entries_and_scales),
        cmocka_unit_test(rows_that_do_not_divide_are_rounded_up_row_by_row),
        cmocka_unit_test(a_shard_is_whole_heads_and_rows),
        cmocka_unit_test(shards_never_grow_with_more_ranks_and_cover_the_step),
        cmocka_unit_test(the_least_number_of_ranks_that_fits_is_found),
        cmocka_unit_test(time_is_bytes_over_bandwidth),
        cmocka_unit_test(kv_bytes_are_those_of_the_published_policies),
        cmocka_unit_test(a_configuration_gives_the_shape_and_its_defaults),
        cmocka_unit_test(a_bad_configuration_is_refused_with_file_and_key),
        cmocka_unit_test(the_demo_model_has_a_shape),
        cmocka_unit_test_setup_teardown(shared_caches_count_once_and_the_deepest_level_counts,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_machine_without_listed_caches_says_so, make_folder,
                                        remove_folder),
        cmocka_unit_test(the_buffer_is_far_larger_than_the_caches_and_fits_into_memory),
        cmocka_unit_test(bandwidth_is_measured_with_any_number_of_threads),
        cmocka_unit_test(sizes_and_times_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
