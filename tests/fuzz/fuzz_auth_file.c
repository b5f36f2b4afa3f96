/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_auth_file.c - the access file: who may use the service.
 *
 * Input: the file.
 * Checked: a file with mistakes is never a table that could be used, and every mistake is one clean
 * line of UTF-8 and is counted; entries of a file without mistakes have a name and known rights
 * alone, are of a known kind, no more than allowed, and stand in the order of their lines; limits
 * are found for any name. Reading the same text again gives the same.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "daemon/auth.h"
#include "daemon/auth_file.h"
#include "tests/fuzz/fuzz.h"

#define MISTAKES_SHOWN 100

static void check_mistakes(const struct auth_mistakes *mistakes, const struct ltd_err *err)
{
    const char *text = (const char *)mistakes->text.data;
    size_t len = mistakes->text.len;
    uint32_t n_lines = 0;
    fuzz_check_refusal(err);
    FUZZ_CHECK(err->code == LTD_E_INVALID && mistakes->n > 0, "%s, %u mistakes", err->msg,
               mistakes->n);
    FUZZ_CHECK(ltd_utf8_valid_prefix(text, len) == len, "mistakes that are no UTF-8");
    for (size_t i = 0; i < len; i++) {
        n_lines += text[i] == '\n';
        FUZZ_CHECK(text[i] == '\n' || ((unsigned char)text[i] >= 0x20 && text[i] != 0x7F),
                   "byte 0x%02x among the mistakes", (unsigned char)text[i]);
    }
    FUZZ_CHECK(n_lines == mistakes->n || (n_lines < mistakes->n && n_lines >= MISTAKES_SHOWN),
               "%u mistakes on %u lines", mistakes->n, n_lines);
}

static void check_name(const char *name)
{
    size_t len = strlen(name);
    FUZZ_CHECK(len >= 1 && len <= AUTH_NAME_CHARS, "a name of %zu", len);
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK(name[i] > 0x20 && name[i] < 0x7F, "byte 0x%02x in a name",
                   (unsigned char)name[i]);
}

static void check_table(const struct auth_table *table)
{
    struct quota_limits limits;
    FUZZ_CHECK(table->n_entries <= AUTH_ENTRIES_MAX, "%zu entries", table->n_entries);
    for (size_t i = 0; i < table->n_entries; i++) {
        const struct auth_entry *e = &table->entries[i];
        check_name(e->name);
        FUZZ_CHECK(e->rights != 0 && (e->rights & ~(uint32_t)AUTH_ALL) == 0, "rights %x",
                   e->rights);
        FUZZ_CHECK((e->kind == AUTH_CERT) == (e->common_name != NULL), "kind %d", e->kind);
        FUZZ_CHECK(i == 0 || e[-1].line < e->line, "line %u behind line %u", e->line, e[-1].line);
        auth_table_limits(table, e->name, &limits);
    }
    for (size_t i = 0; i < table->n_limits; i++)
        check_name(table->limits[i].name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct auth_table table, again;
    struct auth_mistakes mistakes = {0}, mistakes_again = {0};
    struct ltd_err err = {0};
    char *text = (char *)fuzz_copy(data, len);
    int rc = auth_table_parse("access", text, len, &table, &mistakes, &err);
    if (rc == 0)
        check_table(&table);
    else
        check_mistakes(&mistakes, &err);
    FUZZ_CHECK(auth_table_parse("access", text, len, &again, &mistakes_again, &err) == rc &&
                   table.n_entries == again.n_entries && mistakes.n == mistakes_again.n,
               "one text, two tables");
    auth_table_fini(&table);
    auth_table_fini(&again);
    ltd_bytes_fini(&mistakes.text);
    ltd_bytes_fini(&mistakes_again.text);
    free(text);
    return 0;
}
