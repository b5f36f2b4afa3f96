/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cli/cases.c - see tests/cli/cases.h. */
#include "tests/cli/cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fake *fake;
static char folder[] = "/tmp/latentctl-test-XXXXXX";

int cases_set_up(void **state)
{
    (void)state;
    char address[96];
    if (!mkdtemp(folder))
        return -1;
    snprintf(address, sizeof address, "unix:%s/s", folder);
    fake = fake_start(address);
    return 0;
}

int cases_tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"q.jsonl", "config.json", "s", "s.lock"};
    char path[96];
    fake_stop(fake);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

const char *cases_folder(void)
{
    return folder;
}

const char *cases_write(const char *name, const char *text)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

void run_on_fake(struct run *run, const char *args)
{
    run_all(run, &(struct run_options){.server = fake_address(fake)}, args);
}

void expect(const char *args, int status, const char *out, const char *err)
{
    struct run run;
    run_on_fake(&run, args);
    if (run.status != status || (out && strcmp(run.out, out) != 0) ||
        (err && strcmp(run.err, err) != 0))
        fail_msg("latentctl %s\nexit %d, expected %d\nout: %s\nexpected: %s\nerr: %s\nexpected: %s",
                 args, run.status, status, run.out, out ? out : "(any)", run.err,
                 err ? err : "(any)");
    run_free(&run);
}

json_t *expect_json(const char *args, int status)
{
    struct run run;
    run_on_fake(&run, args);
    if (run.status != status)
        fail_msg("latentctl %s: exit %d, expected %d; err: %s", args, run.status, status, run.err);
    json_t *value = run_json(&run);
    run_free(&run);
    return value;
}

void expect_piece(const struct run *run, const char *piece)
{
    if (!strstr(run->out, piece))
        fail_msg("no \"%s\" in: %s", piece, run->out);
}

const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "(no string)";
}

json_int_t integer_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        fail_msg("key %s is no integer", key);
    return json_integer_value(value);
}

double real_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_real(value))
        fail_msg("key %s is no real", key);
    return json_real_value(value);
}

void assert_array(const json_t *object, const char *key, const char *expected)
{
    char *text = json_dumps(json_object_get(object, key), JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (!text || strcmp(text, expected) != 0)
        fail_msg("%s: %s, expected %s", key, text ? text : "(absent)", expected);
    free(text);
}
