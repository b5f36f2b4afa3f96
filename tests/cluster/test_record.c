/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cluster/test_record.c - a recorded stream reads back as it was, and a damaged one says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "cluster/record.h"

static const struct clus_limits limits = {8, 64, 16, 8, 4, 12, 6};
static char path[64];

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/ltd-record-XXXXXX");
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_two_messages(void)
{
    struct ltd_err err = {0};
    struct clus_record *record = clus_record_open(path, &limits, &err);
    if (!record)
        fail_msg("%s", err.msg);
    assert_int_equal(clus_record_append(record, "hello", 5, &err), 0);
    assert_int_equal(clus_record_append(record, "", 0, &err), 0);
    assert_int_equal(clus_record_close(record, &err), 0);
}

static void messages_and_limits_come_back(void **state)
{
    (void)state;
    struct ltd_bytes out;
    struct ltd_err err = {0};
    write_two_messages();
    ltd_bytes_init(&out);
    struct clus_replay *replay = clus_replay_open(path, &err);
    assert_non_null(replay);
    assert_memory_equal(clus_replay_limits(replay), &limits, sizeof limits);
    assert_int_equal(clus_replay_next(replay, &out, &err), 1);
    assert_int_equal(out.len, 5);
    assert_memory_equal(out.data, "hello", 5);
    assert_int_equal(clus_replay_next(replay, &out, &err), 1);
    assert_int_equal(out.len, 0);
    assert_int_equal(clus_replay_next(replay, &out, &err), 0);
    clus_replay_close(replay);
    ltd_bytes_fini(&out);
}

static void file_is_for_its_owner_only(void **state)
{
    (void)state;
    struct stat st;
    chmod(path, 0644);
    write_two_messages();
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* Reads everything; 0 at a clean end, -1 with an error. */
static int read_all(struct ltd_err *err)
{
    struct ltd_bytes out;
    struct clus_replay *replay = clus_replay_open(path, err);
    if (!replay)
        return -1;
    ltd_bytes_init(&out);
    int rc;
    do {
        rc = clus_replay_next(replay, &out, err);
    } while (rc > 0);
    ltd_bytes_fini(&out);
    clus_replay_close(replay);
    return rc;
}

static void file_cut_anywhere_ends_cleanly_only_between_messages(void **state)
{
    (void)state;
    write_two_messages();
    for (long len = 36 + 9 + 4; len >= 0; len--) {
        struct ltd_err err = {0};
        assert_int_equal(truncate(path, len), 0);
        bool is_whole = len == 36 || len == 36 + 9 || len == 36 + 9 + 4;
        int rc = read_all(&err);
        if (rc != (is_whole ? 0 : -1))
            fail_msg("cut at %ld: %d, %s", len, rc, err.msg);
        if (!is_whole)
            assert_int_equal(err.code, LTD_E_CORRUPT);
    }
}

static void impossible_length_is_refused_without_reserving_it(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    write_two_messages();
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, 36, SEEK_SET);
    fwrite("\xff\xff\xff\xff", 1, 4, file);
    fclose(file);
    assert_int_equal(read_all(&err), -1);
    assert_non_null(strstr(err.msg, "message 1 of 4294967295 bytes"));
}

static void foreign_file_is_refused(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    FILE *file = fopen(path, "wb");
    fprintf(file, "%080d", 7);
    fclose(file);
    assert_int_equal(read_all(&err), -1);
    assert_non_null(strstr(err.msg, "magic"));
    assert_null(clus_replay_open("/nonexistent/record", &err));
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
}

int main(void)
{
#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, make_path, remove_path)
    const struct CMUnitTest tests[] = {
        WITH_FILE(messages_and_limits_come_back),
        WITH_FILE(file_is_for_its_owner_only),
        WITH_FILE(file_cut_anywhere_ends_cleanly_only_between_messages),
        WITH_FILE(impossible_length_is_refused_without_reserving_it),
        WITH_FILE(foreign_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
