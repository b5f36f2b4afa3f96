/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/test_service_reasons.c - every reason of docs/api.md, made to happen over a real
 * connection, with the status that stands beside it there; and what a bug's answer says.
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

#include "service_rig.h"

#define GENERATE "/latentd.v1.Inference/Generate"
#define NOBODY   "jobs/00000000000000000000000000"

/* What the table promises and nothing here can bring about: those of the durable log. */
static const char *const elsewhere[] = {"STORE_STALLED"}; /* tests/daemon/test_store_*.c */

static struct {
    char reason[64];
    int status;
} seen[64];
static size_t n_seen;

static void note(const char *reason, int status)
{
    for (size_t i = 0; i < n_seen; i++)
        if (strcmp(seen[i].reason, reason) == 0) {
            assert_int_equal(seen[i].status, status);
            return;
        }
    snprintf(seen[n_seen].reason, sizeof seen->reason, "%s", reason);
    seen[n_seen++].status = status;
}

static void expect(struct rig *rig, int status, const char *reason)
{
    if (strcmp(rig->reason, reason) != 0)
        fail_msg("found reason \"%s\" (%s), expected %s", rig->reason, latentd_status_name(status),
                 reason);
    note(reason, status);
}

/* --------------------------------------------------------------------------------- requests */

static void submit(struct rig *rig, Latentd__V1__JobSpec *spec, const char *id, const char *reason)
{
    expect(rig, rig_submit_spec(rig, spec, id, NULL, NULL), reason);
}

static void raw(struct rig *rig, const void *data, size_t len, const char *reason)
{
    latentd_error error;
    latentd_bytes bytes;
    latentd_request req = {
        .path = "/latentd.v1.Jobs/Submit", .data = data, .len = len, .timeout_ms = 60000};
    assert_int_equal(latentd_client_unary(rig->client, &req, &bytes, &error), -1);
    snprintf(rig->reason, sizeof rig->reason, "%s", error.reason);
    expect(rig, error.status, reason);
}

static int set_priority(struct rig *rig, const char *name, uint32_t priority)
{
    Latentd__V1__SetJobPriorityRequest m = LATENTD__V1__SET_JOB_PRIORITY_REQUEST__INIT;
    m.name = wire_text(name, strlen(name));
    m.priority = priority;
    return rig_call(rig, "/latentd.v1.Jobs/SetPriority", &m.base, &latentd__v1__job__descriptor,
                    NULL, NULL);
}

static void watch(struct rig *rig, const char *name, uint64_t after_seq, const char *reason)
{
    struct rig_stream *s = rig_watch(rig, name, after_seq);
    int status = rig_stream_end(s);
    assert_string_equal(s->reason, reason);
    note(reason, status);
    rig_stream_free(s);
}

static void specs_that_are_wrong(struct rig *rig)
{
    struct rig_spec s;
    Latentd__V1__Depth depth = LATENTD__V1__DEPTH__INIT;
    Latentd__V1__AdaptiveDepth adaptive = LATENTD__V1__ADAPTIVE_DEPTH__INIT;
    rig_make_spec(&s, 5);
    s.spec.priority_set_case = LATENTD__V1__JOB_SPEC__PRIORITY_SET_PRIORITY;
    s.spec.priority = 99;
    submit(rig, &s.spec, "", "FIELD_INVALID");
    rig_make_spec(&s, 1 << 16);
    submit(rig, &s.spec, "", "PROMPT_TOO_LONG");
    rig_make_spec(&s, 5);
    s.spec.model = wire_text("models/other", 12);
    submit(rig, &s.spec, "", "MODEL_NOT_FOUND");
    rig_make_spec(&s, 5);
    depth.mode_case = LATENTD__V1__DEPTH__MODE_ADAPTIVE;
    depth.adaptive = &adaptive;
    adaptive.criterion = (Latentd__V1__Criterion)99;
    s.spec.depth = &depth;
    submit(rig, &s.spec, "", "DEPTH_UNSUPPORTED");
    fake_engine_set_room(rig->engine, 10);
    rig_make_spec(&s, 50);
    submit(rig, &s.spec, "", "PROMPT_TOO_LONG");
    fake_engine_set_room(rig->engine, INT32_MAX);
}

static void bytes_that_are_wrong(struct rig *rig)
{
    static uint8_t many[40004];
    raw(rig, "\xff\xff\xff", 3, "REQUEST_MALFORMED");
    raw(rig, "\x78\x01", 2, "FIELD_UNKNOWN");
    /* spec.prompt.chat.messages, 20000 empty ones: each level in front of what it holds. */
    static const uint8_t head[] = {0x0a, 0xc8, 0xb8, 0x02, 0x12, 0xc4,
                                   0xb8, 0x02, 0x1a, 0xc0, 0xb8, 0x02};
    static uint8_t whole[sizeof head + 40000];
    memcpy(whole, head, sizeof head);
    for (size_t i = 0; i < 40000; i += 2)
        many[i] = 0x0a;
    memcpy(whole + sizeof head, many, 40000);
    raw(rig, whole, sizeof whole, "REQUEST_TOO_COMPLEX");
}

static void what_is_not_there(struct rig *rig)
{
    Latentd__V1__TokenizeRequest m = LATENTD__V1__TOKENIZE_REQUEST__INIT;
    Latentd__V1__Job *job = rig_get(rig, NOBODY);
    assert_null(job);
    expect(rig, LATENTD_NOT_FOUND, "JOB_NOT_FOUND");
    watch(rig, NOBODY, 0, "JOB_NOT_FOUND");
    m.kind_case = LATENTD__V1__TOKENIZE_REQUEST__KIND_TEXT;
    m.text = wire_text("x", 1);
    expect(rig,
           rig_call(rig, "/latentd.v1.Inference/Tokenize", &m.base,
                    &latentd__v1__tokenize_response__descriptor, NULL, NULL),
           "UNSUPPORTED");
}

static void states_that_forbid_it(struct rig *rig)
{
    struct rig_spec s;
    struct rig_name name = rig_submit(rig, 5, "id"), held;
    rig_make_spec(&s, 6);
    submit(rig, &s.spec, "id", "REQUEST_ID_REUSED");
    watch(rig, name.text, 100, "SEQ_AHEAD");
    rig_run_job(rig, 0, 3, ENGINE_FINISH_LENGTH);
    rig_await_end(rig, name.text);
    expect(rig, set_priority(rig, name.text, 3), "STATE");
    held = rig_submit(rig, 5, NULL);
    for (uint32_t i = 0; i < JOB_PRIORITY_CHANGES_MAX; i++)
        EXPECT_STATUS(set_priority(rig, held.text, 20 + i % 2), LATENTD_OK);
    expect(rig, set_priority(rig, held.text, 3), "PRIORITY_CHANGES");
}

static void too_much_of_it(struct rig *rig)
{
    struct rig_spec s;
    Latentd__V1__Budget budget = LATENTD__V1__BUDGET__INIT;
    rig_make_spec(&s, 5);
    budget.total_ms = 10;
    s.spec.budget = &budget;
    fake_engine_predict(rig->engine, 1000000000);
    submit(rig, &s.spec, "", "TOO_LATE");
    assert_true(rig->retry_ms > 0);
    fake_engine_predict(rig->engine, 0);
    int32_t positions = rig->served.model.max_positions;
    rig->served.model.max_positions = 1 << 20;
    rig_make_spec(&s, 1000000);
    s.spec.logprobs_set_case = LATENTD__V1__JOB_SPEC__LOGPROBS_SET_LOGPROBS;
    s.spec.logprobs = 32;
    submit(rig, &s.spec, "", "LOG_TOO_LARGE");
    rig->served.model.max_positions = positions;
    struct rig_score_request score;
    rig_make_score(&score);
    fake_engine_refuse(rig->engine, LTD_E_EXHAUSTED);
    expect(rig,
           rig_call(rig, "/latentd.v1.Inference/Score", &score.m.base,
                    &latentd__v1__score_response__descriptor, NULL, NULL),
           "MEMORY");
    fake_engine_refuse(rig->engine, LTD_OK);
    int status;
    do {
        rig_make_spec(&s, 5);
        status = rig_submit_spec(rig, &s.spec, "", NULL, NULL);
    } while (status == LATENTD_OK);
    expect(rig, status, "QUEUE_FULL");
    assert_true(rig->retry_ms > 0);
}

/* -------------------------------------------------------------------------------- Generate */

static void generate(struct rig *rig, enum engine_finish finish, enum ltd_code error,
                     const char *reason, char *message)
{
    size_t idx = fake_engine_n_jobs(rig->engine);
    struct rig_stream *s = rig_generate(rig, 5, true, 60000);
    fake_engine_wait_jobs(rig->engine, idx + 1);
    fake_engine_start(rig->engine, idx);
    fake_engine_finish(rig->engine, idx, finish, error);
    int status = rig_stream_end(s);
    if (strcmp(s->reason, reason) != 0)
        fail_msg("found reason \"%s\" (%s), expected %s", s->reason, latentd_status_name(status),
                 reason);
    note(reason, status);
    if (message)
        snprintf(message, sizeof s->message, "%s", s->message);
    rig_stream_free(s);
}

static void fates_of_jobs(struct rig *rig)
{
    char message[480];
    generate(rig, ENGINE_FINISH_ERROR, LTD_E_RANK, "RANK_LOST", NULL);
    generate(rig, ENGINE_FINISH_ERROR, LTD_E_CORRUPT, "LOG_CORRUPT", NULL);
    generate(rig, ENGINE_FINISH_DEADLINE, LTD_OK, "JOB_DEADLINE", NULL);
    generate(rig, ENGINE_FINISH_CANCELLED, LTD_OK, "CANCELLED", NULL);
    generate(rig, ENGINE_FINISH_ERROR, LTD_E_INTERNAL, "BUG", message);
    /* The number has eight digits; the log has it, too. */
    assert_int_equal(strncmp(message, "incident ", 9), 0);
    assert_int_equal(strspn(message + 9, "0123456789abcdef"), 8);
    assert_int_equal(strncmp(message + 17, ": ", 2), 0);
}

static void close_table(struct rig *rig)
{
    job_table_close(rig->service.jobs);
}

/* ----------------------------------------------------------------------------------- access */

static void callers(void)
{
    char path[] = "/tmp/test_reasons.XXXXXX";
    static const char text[] =
        "token sha256:f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7 alice jobs\n"
        "limits alice queued=1\n"; /* "hunter2" */
    struct rig_spec s;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    struct rig *rig = rig_open_access(10, 100, path);
    unlink(path);
    rig_make_spec(&s, 5);
    submit(rig, &s.spec, "", "TOKEN_MISSING");
    rig_log_in(rig, "hunter3");
    submit(rig, &s.spec, "", "TOKEN_WRONG");
    rig_log_in(rig, "hunter2");
    Latentd__V1__GetStatusRequest status = LATENTD__V1__GET_STATUS_REQUEST__INIT;
    expect(rig,
           rig_call(rig, "/latentd.v1.Cluster/GetStatus", &status.base,
                    &latentd__v1__cluster_status__descriptor, NULL, NULL),
           "ROLE");
    EXPECT_STATUS(rig_submit_spec(rig, &s.spec, "once", NULL, NULL), LATENTD_OK);
    submit(rig, &s.spec, "twice", "QUOTA");
    EXPECT_STATUS(rig_submit_spec(rig, &s.spec, "once", NULL, NULL), LATENTD_OK);
    rig_close(rig);
}

/* ---------------------------------------------------------------------------------- the table */

static bool is_elsewhere(const char *reason)
{
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strcmp(elsewhere[i], reason) == 0)
            return true;
    return false;
}

static int status_seen(const char *reason)
{
    for (size_t i = 0; i < n_seen; i++)
        if (strcmp(seen[i].reason, reason) == 0)
            return seen[i].status;
    return -1;
}

/* One row of the table; "A, B" in its first column are two reasons. Returns how many. */
static size_t check_row(char *line)
{
    size_t n = 0;
    char *rest = line + 2, *reasons = strsep(&rest, "|"), *status = strsep(&rest, "|");
    assert_non_null(status);
    status++;
    status[strcspn(status, " ")] = '\0';
    for (char *reason; (reason = strsep(&reasons, ", "));) {
        if (!*reason)
            continue;
        n++;
        if (is_elsewhere(reason))
            continue;
        int found = status_seen(reason);
        if (found < 0)
            fail_msg("docs/api.md has the reason %s, which nothing here met", reason);
        if (strcmp(latentd_status_name(found), status) != 0)
            fail_msg("%s: found %s, docs/api.md says %s", reason, latentd_status_name(found),
                     status);
    }
    return n;
}

static void expect_table(void)
{
    char line[600];
    size_t n = 0;
    bool is_table = false;
    FILE *file = fopen(SOURCE_DIR "/docs/api.md", "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        is_table |= strcmp(line, "## Reasons\n") == 0;
        if (is_table && line[0] == '|' && line[2] >= 'A' && line[2] <= 'Z')
            n += check_row(line);
    }
    fclose(file);
    if (n != n_seen + sizeof elsewhere / sizeof *elsewhere)
        fail_msg("docs/api.md has %zu reasons, %zu were met here", n, n_seen);
}

static void every_reason_of_the_table_comes_with_its_status(void **state)
{
    struct rig *rig = rig_open(4, 100);
    struct rig_spec s;
    (void)state;
    specs_that_are_wrong(rig);
    bytes_that_are_wrong(rig);
    what_is_not_there(rig);
    states_that_forbid_it(rig);
    fates_of_jobs(rig);
    too_much_of_it(rig);
    rig_on_loop(rig, close_table);
    rig_make_spec(&s, 5);
    submit(rig, &s.spec, "", "DRAINING");
    rig_close(rig);
    callers();
    expect_table();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_of_the_table_comes_with_its_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
