/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_store_tool.c - check, vacuum and export of a job log, also of a damaged one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/store_tool.h"
#include "store_rig.h"

typedef int (*tool_fn)(const char *path, FILE *out, struct ltd_err *err);

/* What a tool prints; the caller frees. */
static char *print(tool_fn tool, struct ltd_err *err)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    *err = (struct ltd_err){0};
    int rc = tool(rig_path, out, err);
    assert_int_equal(rc == 0, err->code == LTD_OK);
    fclose(out);
    return text;
}

/* One finished and one running job; their ids. */
static void make_log(char ids[2][JOB_ID_CHARS + 1])
{
    struct store *store = rig_open();
    struct job_id_maker maker = {0};
    for (int i = 0; i < 2; i++) {
        struct job_event event = rig_queued("req", "lab");
        struct job_event written = rig_token(7, "caf\xc3\xa9", 5);
        event.queued.owner = i ? "ann" : "";
        event.queued.seed = UINT64_MAX;
        event.queued.spec = (const uint8_t *)"\x01\x02\x03";
        event.queued.spec_len = 3;
        written.token.n_top = 1;
        written.token.logprob = -0.25f;
        written.token.top[0].id = 9;
        rig_append_later(store, rig_id(&maker, ids[i]), event);
        rig_append_later(store, ids[i], rig_started());
        rig_append_later(store, ids[i], written);
        rig_append_later(store, ids[i], rig_priority(4));
    }
    rig_append_later(store, ids[0], rig_finished(JOB_FINISH_ERROR, 9));
    rig_settle(store);
    rig_close(store);
}

static void check_of_a_sound_log_counts_it(void **state)
{
    char ids[2][JOB_ID_CHARS + 1];
    struct ltd_err err;
    (void)state;
    make_log(ids);
    char *text = print(store_tool_check, &err);
    assert_int_equal(err.code, LTD_OK);
    assert_non_null(strstr(text, "version 2, 2 jobs, 1 of them unfinished, 9 events"));
    assert_null(strstr(text, "damaged from"));
    free(text);
}

static void check_names_every_damaged_job_and_what_is_wrong(void **state)
{
    char ids[2][JOB_ID_CHARS + 1], line[100];
    struct ltd_err err;
    (void)state;
    make_log(ids);
    rig_sql("UPDATE events SET payload = x'00' WHERE job = 1 AND seq = 3;"
            "DELETE FROM events WHERE job = 2 AND seq = 2;"
            "INSERT INTO events VALUES(77, 1, x'00', 0)");
    char *text = print(store_tool_check, &err);
    assert_int_equal(err.code, LTD_E_CORRUPT);
    assert_non_null(strstr(err.msg, "3 jobs are damaged"));
    snprintf(line, sizeof line, "job %s: damaged from event 3 on: its checksum is wrong\n", ids[0]);
    assert_non_null(strstr(text, line));
    snprintf(line, sizeof line, "job %s: damaged from event 2 on: the next one", ids[1]);
    assert_non_null(strstr(text, line));
    assert_non_null(strstr(text, "job number 77: "));
    free(text);
}

static void check_and_export_work_beside_a_daemon_and_vacuum_does_not(void **state)
{
    char ids[2][JOB_ID_CHARS + 1];
    struct ltd_err err;
    (void)state;
    make_log(ids);
    struct store *store = rig_open();
    rig_append(store, ids[1], rig_token(8, "x", 1));
    char *text = print(store_tool_check, &err);
    assert_int_equal(err.code, LTD_OK);
    assert_non_null(strstr(text, "10 events")); /* what was accepted is there, checkpoint or not */
    free(text);
    free(print(store_tool_export, &err));
    assert_int_equal(err.code, LTD_OK);
    free(print(store_tool_vacuum, &err));
    assert_int_equal(err.code, LTD_E_EXISTS);
    rig_close(store);
}

static void vacuum_gives_back_the_room_of_what_was_deleted(void **state)
{
    struct store *store = rig_open_keeping(0, INT64_MAX, RIG_HUGE);
    struct job_id_maker maker = {0};
    char id[JOB_ID_CHARS + 1];
    char *text = calloc(1, 1 << 20);
    struct ltd_err err;
    size_t before, after;
    (void)state;
    rig_append_later(store, rig_id(&maker, id), rig_queued("", ""));
    rig_append_later(store, id, rig_started());
    rig_append_later(store, id, rig_token(1, text, 1 << 20));
    rig_append_later(store, id, rig_finished(JOB_FINISH_EOS, 1));
    rig_settle(store);
    store_expire(store, 2);
    rig_append(store, rig_id(&maker, id), rig_queued("kept", ""));
    rig_append(store, id, rig_started());
    rig_close(store);
    free(text);
    free(rig_load_file(rig_path, &before));
    free(print(store_tool_vacuum, &err));
    assert_int_equal(err.code, LTD_OK);
    free(rig_load_file(rig_path, &after));
    assert_true(before > (1 << 20) && after < (1 << 16));
    store = rig_open();
    assert_string_equal(store_find_request(store, "", "kept")->id, id);
    rig_close(store);
}

static void export_is_a_line_of_json_per_job_with_every_event(void **state)
{
    char ids[2][JOB_ID_CHARS + 1];
    struct ltd_err err;
    json_error_t where;
    (void)state;
    make_log(ids);
    rig_sql("UPDATE events SET crc = crc + 1 WHERE job = 2 AND seq = 3");
    char *text = print(store_tool_export, &err);
    assert_int_equal(err.code, LTD_E_CORRUPT);
    char *second = strchr(text, '\n');
    assert_non_null(second);
    *second++ = '\0';
    json_t *job = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    assert_non_null(job);
    assert_string_equal(json_string_value(json_object_get(job, "id")), ids[0]);
    assert_string_equal(json_string_value(json_object_get(job, "state")), "failed");
    json_t *events = json_object_get(job, "events");
    assert_int_equal(json_array_size(events), 5);
    json_t *queued = json_array_get(events, 0), *written = json_array_get(events, 2);
    assert_string_equal(json_string_value(json_object_get(queued, "seed")), "18446744073709551615");
    assert_string_equal(json_string_value(json_object_get(queued, "spec_base64")), "AQID");
    assert_int_equal(json_integer_value(json_object_get(written, "token")), 7);
    assert_string_equal(json_string_value(json_object_get(written, "text")), "caf\xc3\xa9");
    assert_int_equal(json_array_size(json_object_get(written, "top")), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(events, 4), "error")),
                        "why");
    json_decref(job);
    job = json_loads(second, JSON_REJECT_DUPLICATES, &where);
    assert_non_null(job);
    assert_string_equal(json_string_value(json_object_get(job, "owner")), "ann");
    assert_int_equal(json_integer_value(json_object_get(job, "damaged_from")), 3);
    assert_int_equal(json_array_size(json_object_get(job, "events")), 2);
    json_decref(job);
    free(text);
}

static void what_is_not_there_is_not_made(void **state)
{
    static const tool_fn tools[] = {store_tool_check, store_tool_vacuum, store_tool_export};
    struct ltd_err err;
    (void)state;
    for (int i = 0; i < 3; i++) {
        free(print(tools[i], &err));
        assert_int_equal(err.code, LTD_E_NOT_FOUND);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_CASE(check_of_a_sound_log_counts_it),
        RIG_CASE(check_names_every_damaged_job_and_what_is_wrong),
        RIG_CASE(check_and_export_work_beside_a_daemon_and_vacuum_does_not),
        RIG_CASE(vacuum_gives_back_the_room_of_what_was_deleted),
        RIG_CASE(export_is_a_line_of_json_per_job_with_every_event),
        RIG_CASE(what_is_not_there_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
