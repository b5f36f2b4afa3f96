/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_config.c - option files and arguments: what is right, and what is said of the
 * rest.
 *
 * Broken inputs are rows of a table: the lines of a file or the arguments, and every mistake that
 * must be reported, word for word where the words matter. A mistake too many fails as well.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "daemon/config_table.h"

static char dir[] = "/tmp/latentd-config-XXXXXX";
static char file_path[100], model_path[100];

static int make_dir(void **state)
{
    char path[200];
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(file_path, sizeof file_path, "%s/latentd.conf", dir);
    snprintf(model_path, sizeof model_path, "%s", dir);
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    return 0;
}

static int remove_dir(void **state)
{
    char path[200];
    (void)state;
    snprintf(path, sizeof path, "%s/config.json", dir);
    unlink(path);
    unlink(file_path);
    return rmdir(dir);
}

static void write_file(const char *text, size_t len)
{
    FILE *f = fopen(file_path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

struct loaded {
    struct config config;
    enum config_action action;
    struct config_report report;
    char text[40000]; /* of the report */
};

static void load(struct loaded *l, const char *const *args)
{
    char *argv[40] = {(char *)(uintptr_t) "latentd"};
    int argc = 1;
    for (; args[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)args[argc - 1];
    config_load(argc, argv, &l->config, &l->action, &l->report);
    assert_true(l->report.text.len < sizeof l->text);
    if (l->report.text.len)
        memcpy(l->text, l->report.text.data, l->report.text.len);
    l->text[l->report.text.len] = '\0';
}

static void unload(struct loaded *l)
{
    config_fini(&l->config);
    config_report_fini(&l->report);
}

static void expect_mistake(const struct loaded *l, const char *what)
{
    if (!strstr(l->text, what))
        fail_msg("expected a mistake with\n  %s\nfound\n%s", what, l->text);
}

/* ----------------------------------------------------------------------------- good input */

static void a_file_is_read_and_arguments_win_over_it(void **state)
{
    char text[400];
    struct loaded l;
    (void)state;
    snprintf(text, sizeof text,
             "# comment\n"
             "model = %s   # behind a value\n"
             "\n"
             "  threads=3\r\n"
             "listen = 127.0.0.1:1\n"
             "listen = unix:/run/x#y\n"
             "max_batch = 16\n"
             "prefill_chunk = 16\n"
             "drain_seconds = 0.25",
             model_path);
    write_file(text, strlen(text));
    load(&l, (const char *[]){"--set", "max_batch=32", "--config", file_path, "--threads=4", NULL});
    assert_string_equal(l.text, "");
    assert_string_equal(l.config.model, model_path);
    assert_int_equal(l.config.threads, 4);
    assert_int_equal(l.config.max_batch, 32);
    assert_int_equal(l.config.prefill_chunk, 16);
    assert_int_equal(l.config.n_listen, 2);
    assert_string_equal(l.config.listen[0], "127.0.0.1:1");
    assert_string_equal(l.config.listen[1], "unix:/run/x#y");
    assert_true(l.config.drain_seconds == 0.25);
    unload(&l);
}

static void addresses_of_the_arguments_replace_those_of_the_file(void **state)
{
    struct loaded l;
    const char *text = "listen = 127.0.0.1:1\nlisten = 127.0.0.1:2\n";
    (void)state;
    write_file(text, strlen(text));
    load(&l, (const char *[]){"--model", model_path, "--config", file_path, "--listen", "[::1]:3",
                              "--listen", "127.0.0.1:0", "--listen=127.0.0.1:0", NULL});
    assert_string_equal(l.text, "");
    assert_int_equal(l.config.n_listen, 3);
    assert_string_equal(l.config.listen[0], "[::1]:3");
    unload(&l);
}

static void defaults_are_what_the_table_says(void **state)
{
    struct loaded l;
    (void)state;
    load(&l, (const char *[]){"--model", model_path, NULL});
    assert_string_equal(l.text, "");
    assert_int_equal(l.action, CONFIG_RUN);
    assert_int_equal(l.config.n_listen, 1);
    assert_string_equal(l.config.listen[0], "127.0.0.1:7470");
    assert_string_equal(l.config.tier, "auto");
    assert_int_equal(l.config.max_batch, 64);
    assert_int_equal(l.config.max_prompt_request_bytes, 4 << 20);
    assert_true(l.config.finished_job_seconds == 3600);
    assert_string_equal(l.config.kv_format, "f32");
    assert_string_equal(l.config.format, "f32");
    assert_string_equal(l.config.early_format, "none");
    assert_int_equal(l.config.early_steps, 0);
    assert_string_equal(l.config.weights, "auto");
    assert_string_equal(l.config.overlap, "auto");
    assert_string_equal(l.config.test_service, "off");
    assert_int_equal(l.config.kv_cached_memory, 64);
    assert_int_equal(l.config.held_jobs, 8);
    assert_true(l.config.prefill_share == 0.5);
    assert_true(l.config.priority_ageing_seconds == 10);
    unload(&l);
}

static void actions_are_recognised_wherever_they_stand(void **state)
{
    static const struct {
        const char *arg;
        enum config_action action;
    } rows[] = {{"--check-config", CONFIG_CHECK},
                {"--help", CONFIG_HELP},
                {"-h", CONFIG_HELP},
                {"--version", CONFIG_VERSION},
                {"--print-options-markdown", CONFIG_MARKDOWN},
                {"--print-man", CONFIG_MANUAL}};
    struct loaded l;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        load(&l, (const char *[]){"--model", model_path, rows[i].arg, "--threads", "2", NULL});
        assert_string_equal(l.text, "");
        assert_int_equal(l.action, rows[i].action);
        unload(&l);
    }
}

static void a_store_action_has_a_path_behind_it(void **state)
{
    static const struct {
        const char *args[4];
        enum config_action action;
    } rows[] = {{{"--store-check", "/a b", NULL}, CONFIG_STORE_CHECK},
                {{"--store-vacuum=/a b", NULL}, CONFIG_STORE_VACUUM},
                {{"--store-export", "/a b", NULL}, CONFIG_STORE_EXPORT}};
    struct loaded l;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        load(&l, rows[i].args);
        assert_string_equal(l.text, "");
        assert_int_equal(l.action, rows[i].action);
        assert_string_equal(l.config.store_path, "/a b");
        unload(&l);
    }
    load(&l, (const char *[]){"--store-check", NULL});
    assert_non_null(strstr(l.text, "--store-check: no value"));
    unload(&l);
    load(&l, (const char *[]){"--help=x", NULL});
    assert_non_null(strstr(l.text, "unknown argument"));
    unload(&l);
}

/* --------------------------------------------------------------------------- broken input */

/* `@` in a file or an expectation stands for the model directory, `%` for the file's path. */
struct broken {
    const char *file; /* NULL: no --config */
    const char *args[6];
    int32_t n_mistakes;
    const char *expected[4];
};

static const struct broken rows[] = {
    {"thread = 4\n", {0}, 1, {"%:1: thread: unknown key, did you mean threads?"}},
    {"max-batch = 4\n", {0}, 1, {"%:1: max-batch: unknown key, did you mean max_batch?"}},
    {"colour = red\n",
     {0},
     1,
     {"%:1: colour: unknown key, expected one of those in latentd --help"}},
    {"threads = four\n",
     {0},
     1,
     {"%:1: threads: found \"four\", expected a whole number in [0, 1024] threads"}},
    {"threads = 4 cores\n", {0}, 1, {"found \"4 cores\", expected a whole number"}},
    {"threads = -1\n", {0}, 1, {"found \"-1\", expected a whole number in [0, 1024]"}},
    {"threads = 1025\n", {0}, 1, {"found \"1025\""}},
    {"threads = 99999999999999999999\n", {0}, 1, {"found \"99999999999999999999\""}},
    {"threads = 1.5\n", {0}, 1, {"found \"1.5\", expected a whole number"}},
    {"threads =\n", {0}, 1, {"threads: found \"\", expected a whole number"}},
    {"threads = 0x10\n", {0}, 1, {"found \"0x10\""}},
    {"drain_seconds = nan\n",
     {0},
     1,
     {"%:1: drain_seconds: found \"nan\", expected a number in [0, 86400] s"}},
    {"drain_seconds = inf\n", {0}, 1, {"found \"inf\""}},
    {"drain_seconds = 1e999\n", {0}, 1, {"found \"1e999\""}},
    {"drain_seconds = -0.5\n", {0}, 1, {"found \"-0.5\""}},
    {"drain_seconds = 5s\n", {0}, 1, {"found \"5s\""}},
    {"linger_ms = 1,5\n", {0}, 1, {"found \"1,5\""}},
    {"threads = 2\n\nthreads = 2\n",
     {0},
     1,
     {"%:3: threads: given twice (first at %:1), expected once"}},
    {"threads\n", {0}, 1, {"%:1: found \"threads\", expected key = value"}},
    {"= 5\n", {0}, 1, {"%:1: found \"= 5\", expected key = value"}},
    {"listen = 7470\n", {0}, 1, {"%:1: listen: found \"7470\", expected HOST:PORT"}},
    {"listen = localhost:99999\n", {0}, 1, {"listen: found \"localhost:99999\""}},
    {"listen = ::1:7470\n", {0}, 1, {"listen: found \"::1:7470\""}},
    {"listen = unix:\n", {0}, 1, {"listen: found \"unix:\""}},
    {"listen = 127.0.0.1:5\nlisten = 127.0.0.1:5\n",
     {0},
     1,
     {"%:2: listen: \"127.0.0.1:5\" is given twice"}},
    {"tier = sse9\n", {0}, 1, {"tier: found \"sse9\", expected auto or"}},
    {"log_level = loud\n", {0}, 1, {"log_level: found \"loud\", expected error, warning"}},
    {"kv_policy = compress-s0\n", {0}, 1, {"kv_policy: found \"compress-s0\""}},
    {"kv_policy = fast\n", {0}, 1, {"kv_policy: found \"fast\", expected full, latest-m4"}},
    {"kv_format = bf16\nkv_format = f32\n", {0}, 1, {"%:2: kv_format: given twice"}},
    {"kv_format = f16\n", {0}, 1, {"%:1: kv_format: found \"f16\", expected f32 or bf16"}},
    {"kv_format =\n", {0}, 1, {"kv_format: found \"\", expected f32 or bf16"}},
    {"weights = ram\n", {0}, 1, {"%:1: weights: found \"ram\", expected auto, mmap or copy"}},
    {"format = f16\n", {0}, 1, {"%:1: format: found \"f16\", expected f32, bf16, int8 or int4"}},
    {"format =\n", {0}, 1, {"format: found \"\", expected f32, bf16, int8 or int4"}},
    {"early_format = f16\n",
     {0},
     1,
     {"%:1: early_format: found \"f16\", expected none, f32, bf16, int8 or int4"}},
    {"format = int8\nearly_format = int8\n",
     {0},
     1,
     {"%:2: early_format: found int8, as format (%:1), expected another one"}},
    {"early_steps = 4\n", {0}, 1, {"%:1: early_steps: found 4 without an early_format"}},
    {"early_steps = -1\n", {0}, 1, {"%:1: early_steps: found \"-1\""}},
    {"tier = openblas\nearly_format = int8\n",
     {0},
     1,
     {"%:2: early_format: found int8 beside tier openblas (%:1), which has no such weights"}},
    {"tier = openblas\nformat = int8\n",
     {0},
     1,
     {"%:2: format: found int8 beside tier openblas (%:1), which has no such weights, expected a "
      "tier that has them: ",
      "ref"}},
    {"format = bf16\n",
     {"--set", "tier=openblas"},
     1,
     {"%:1: format: found bf16 beside tier openblas (command line)"}},
    {"test_service = yes\n", {0}, 1, {"test_service: found \"yes\", expected on or off"}},
    {"overlap = yes\n", {0}, 1, {"overlap: found \"yes\", expected auto, on or off"}},
    {"prefill_share = 0\n",
     {0},
     1,
     {"prefill_share: found \"0\", expected a number in [0.01, 0.99]\n"}},
    {"prefill_share = 1\n", {0}, 1, {"prefill_share: found \"1\""}},
    {"priority_ageing_seconds = 0\n",
     {0},
     1,
     {"priority_ageing_seconds: found \"0\", expected a number in [0.001, 86400] s"}},
    {"held_jobs = -1\n", {0}, 1, {"held_jobs: found \"-1\", expected a whole number in [0, 4096]"}},
    {"kv_cached_memory = 1.5\n", {0}, 1, {"kv_cached_memory: found \"1.5\""}},
    {"shares = 1,-2\n", {0}, 1, {"shares: found \"1,-2\""}},
    {"shares = 1,nan\n", {0}, 1, {"shares: found \"1,nan\""}},
    {"shares = 1,,2\n", {0}, 1, {"shares: found \"1,,2\""}},
    {"max_batch = 8\nprefill_chunk = 9\n",
     {0},
     1,
     {"%:2: prefill_chunk: found 9, expected at most max_batch, which is 8 (%:1)"}},
    {"kv_policy = full\nkv_slots = 2\n", {0}, 1, {"expected only one of them"}},
    {"kv_pages = 10\nkv_memory = 2\n", {0}, 1, {"kv_pages: found 10 beside kv_memory 2 (%:2)"}},
    {"ready_file = /nonexistent/ready\n", {0}, 1, {"ready_file: found \"/nonexistent/ready\""}},
    {"max_jobs_running = 0\n",
     {0},
     1,
     {"max_jobs_running: found \"0\", expected a whole number in [1"}},
    {"listen = tls:127.0.0.1:1\n", {0}, 1, {"tls_certificate: not given, expected a PEM file"}},
    {"listen = tls:1\n", {0}, 1, {"%:1: listen: found \"tls:1\", expected HOST:PORT"}},
    {"listen = tls:unix:/run/x\n", {0}, 1, {"a Unix socket takes no TLS"}},
    {"tls_certificate = /c\ntls_key = /k\n", {0}, 1, {"%:1: tls_certificate: given, but no"}},
    {"listen = tls:127.0.0.1:1\ntls_certificate = /c\n", {0}, 1, {"tls_key: not given"}},
    {"tls_key = /k\n", {0}, 1, {"tls_certificate: not given beside other options"}},
    {"listen = tls:127.0.0.1:1\ntls_certificate = /c\ntls_key = /k\ntls_client = ask\n",
     {0},
     1,
     {"tls_client_ca: not given, expected a PEM file because tls_client is ask (%:4)"}},
    {"listen = tls:127.0.0.1:1\ntls_certificate = /c\ntls_key = /k\ntls_client_ca = /a\n",
     {0},
     1,
     {"%:4: tls_client_ca: given, but tls_client is off (default)"}},
    {"tls_client = on\n", {0}, 1, {"%:1: tls_client: found \"on\", expected off, ask or require"}},
    /* All mistakes, not the first. */
    {"thread = 4\nthreads = x\nlisten = y\n",
     {0},
     3,
     {"%:1: thread:", "%:2: threads:", "%:3: listen:"}},
    /* Arguments. */
    {NULL, {"--modle", "x"}, 2, {"command line: \"--modle\": unknown argument"}},
    {NULL, {"--threads"}, 1, {"command line: --threads: no value, expected one behind it"}},
    {NULL, {"--set", "threads"}, 1, {"--set: found \"threads\", expected KEY=VALUE"}},
    {NULL, {"--set", "=3"}, 1, {"--set: found \"=3\", expected KEY=VALUE"}},
    {NULL, {"--set", "threads=1", "--threads=2"}, 1, {"threads: given twice"}},
    {NULL, {"--threads", "two"}, 1, {"command line: threads: found \"two\""}},
    {NULL, {"--config", "/nonexistent.conf"}, 1, {"/nonexistent.conf: No such file or directory"}},
    {NULL, {"--config", "/tmp"}, 1, {"/tmp: no regular file"}},
    {NULL, {"--config", "/dev/zero"}, 1, {"/dev/zero: no regular file"}},
    {NULL, {"--config", "a", "--config", "b"}, 2, {"--config: given twice"}},
};

static void substitute(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; *text; text++) {
        const char *put = *text == '%' ? file_path : *text == '@' ? model_path : NULL;
        n += (size_t)snprintf(out + n, size - n, put ? "%s" : "%.1s", put ? put : text);
        assert_true(n < size);
    }
    out[n] = '\0';
}

static void every_mistake_is_reported_with_place_key_found_and_expected(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct loaded l;
        const char *args[12] = {"--model", model_path};
        size_t n = 2;
        char expected[500];
        if (rows[i].file) {
            write_file(rows[i].file, strlen(rows[i].file));
            args[n++] = "--config";
            args[n++] = file_path;
        }
        for (size_t j = 0; j < 6 && rows[i].args[j]; j++)
            args[n++] = rows[i].args[j];
        load(&l, args);
        for (size_t j = 0; j < 4 && rows[i].expected[j]; j++) {
            substitute(rows[i].expected[j], expected, sizeof expected);
            expect_mistake(&l, expected);
        }
        if (l.report.n_mistakes != rows[i].n_mistakes)
            fail_msg("row %zu: expected %d mistakes, found %d:\n%s", i, rows[i].n_mistakes,
                     l.report.n_mistakes, l.text);
        unload(&l);
    }
}

static void a_model_directory_must_be_given_and_hold_config_json(void **state)
{
    struct loaded l;
    (void)state;
    load(&l, (const char *[]){NULL});
    expect_mistake(&l, "model: not given, expected a directory with config.json");
    unload(&l);
    load(&l, (const char *[]){"--model", "/nonexistent", NULL});
    expect_mistake(&l, "model: found \"/nonexistent\": No such file or directory");
    unload(&l);
    load(&l, (const char *[]){"--model", "/etc/passwd", NULL});
    expect_mistake(&l, "which is no directory");
    unload(&l);
    load(&l, (const char *[]){"--model", "/proc", NULL});
    expect_mistake(&l, "without a readable config.json");
    unload(&l);
}

static void a_file_that_is_no_text_is_refused_line_by_line(void **state)
{
    struct loaded l;
    static const char bytes[] = "threads = 1\0\nmax_batch = \xff\xfe\n";
    (void)state;
    write_file(bytes, sizeof bytes - 1);
    load(&l, (const char *[]){"--model", model_path, "--config", file_path, NULL});
    expect_mistake(&l, ":1: found a NUL byte");
    expect_mistake(&l, ":2: byte 13 is not UTF-8");
    assert_int_equal(l.report.n_mistakes, 2);
    unload(&l);
}

static void mistakes_are_counted_beyond_what_is_printed(void **state)
{
    struct loaded l;
    char text[12 * 1000 + 1];
    (void)state;
    for (size_t i = 0; i < 1000; i++)
        memcpy(text + 12 * i, "zzzzzzzzz=1\n", 13);
    write_file(text, 12 * 1000);
    load(&l, (const char *[]){"--model", model_path, "--config", file_path, NULL});
    assert_int_equal(l.report.n_mistakes, 1000);
    expect_mistake(&l, "and 800 more");
    unload(&l);
}

static void a_mistake_is_one_line_whatever_the_value_holds(void **state)
{
    struct loaded l;
    (void)state;
    load(&l, (const char *[]){"--model", model_path, "--set", "threads=\033[31m\nx", NULL});
    assert_int_equal(l.report.n_mistakes, 1);
    assert_null(strchr(l.text, '\033'));
    assert_ptr_equal(strchr(l.text, '\n'), l.text + strlen(l.text) - 1);
    unload(&l);
}

/* ------------------------------------------------------------------------------ the table */

static void effective_values_can_be_read_back_as_a_file(void **state)
{
    struct loaded first, second;
    struct ltd_bytes values, again;
    (void)state;
    ltd_bytes_init(&values);
    ltd_bytes_init(&again);
    load(&first,
         (const char *[]){"--model", model_path, "--set", "shares=1,2", "--set", "linger_ms=2.5",
                          "--listen", "127.0.0.1:9", "--set", "prefill_share=0.07", "--set",
                          "kv_format=bf16", "--set", "format=bf16", "--set", "early_format=int8",
                          "--set", "early_steps=8", NULL});
    config_print_values(&first.config, &values);
    assert_int_equal(first.report.n_mistakes, 0);
    write_file((const char *)values.data, values.len);
    load(&second, (const char *[]){"--config", file_path, NULL});
    assert_string_equal(second.text, "");
    config_print_values(&second.config, &again);
    assert_int_equal(values.len, again.len);
    assert_memory_equal(values.data, again.data, values.len);
    ltd_bytes_fini(&values);
    ltd_bytes_fini(&again);
    unload(&first);
    unload(&second);
}

static void every_format_goes_with_auto_and_with_the_reference_tier(void **state)
{
    static const char *const formats[] = {"format=f32", "format=bf16", "format=int8",
                                          "format=int4"};
    (void)state;
    for (int f = 0; f < 4; f++)
        for (int t = 0; t < 2; t++) {
            struct loaded l;
            load(&l, (const char *[]){"--model", model_path, "--set", formats[f], "--set",
                                      t ? "tier=ref" : "tier=auto", NULL});
            assert_string_equal(l.text, "");
            assert_string_equal(l.config.format, formats[f] + strlen("format="));
            unload(&l);
        }
}

static void every_row_has_a_name_of_its_own_a_help_and_an_effect(void **state)
{
    (void)state;
    for (int32_t i = 0; i < config_n_options; i++) {
        const struct config_option *o = &config_options[i];
        assert_ptr_equal(config_option_find(o->name, strlen(o->name)), o);
        assert_true(strlen(o->help) > 20);
        assert_true(strlen(o->effect) > 5);
        assert_true(strlen(o->group) > 3);
    }
}

/* A document that is made from the table must be what the table makes today. */
static void compare_document(const char *path, void (*print)(struct ltd_bytes *out))
{
    struct ltd_bytes text;
    char *document = calloc(1, 200000);
    assert_non_null(document);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(document, 1, 199999, f);
    fclose(f);
    ltd_bytes_init(&text);
    print(&text);
    ltd_bytes_put_u8(&text, 0);
    if (n + 1 != text.len || strcmp(document, (const char *)text.data) != 0)
        fail_msg("%s is stale: print it again with --print-options-markdown or --print-man", path);
    ltd_bytes_fini(&text);
    free(document);
}

static void the_manuals_are_what_the_table_says(void **state)
{
    (void)state;
    compare_document(SOURCE_DIR "/docs/configuration.md", config_print_markdown);
    compare_document(SOURCE_DIR "/docs/latentd.8", config_print_manual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_and_arguments_win_over_it),
        cmocka_unit_test(addresses_of_the_arguments_replace_those_of_the_file),
        cmocka_unit_test(defaults_are_what_the_table_says),
        cmocka_unit_test(actions_are_recognised_wherever_they_stand),
        cmocka_unit_test(a_store_action_has_a_path_behind_it),
        cmocka_unit_test(every_mistake_is_reported_with_place_key_found_and_expected),
        cmocka_unit_test(a_model_directory_must_be_given_and_hold_config_json),
        cmocka_unit_test(a_file_that_is_no_text_is_refused_line_by_line),
        cmocka_unit_test(mistakes_are_counted_beyond_what_is_printed),
        cmocka_unit_test(a_mistake_is_one_line_whatever_the_value_holds),
        cmocka_unit_test(effective_values_can_be_read_back_as_a_file),
        cmocka_unit_test(every_format_goes_with_auto_and_with_the_reference_tier),
        cmocka_unit_test(every_row_has_a_name_of_its_own_a_help_and_an_effect),
        cmocka_unit_test(the_manuals_are_what_the_table_says),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
