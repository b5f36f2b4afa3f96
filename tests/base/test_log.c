/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_log.c - one event is one line, whole, at the right level, whoever else is writing.
 *
 * Standard error is replaced by a pipe while a case writes, then read back.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

struct capture {
    char path[64];
    int saved;
};

static void capture_begin(struct capture *c)
{
    strcpy(c->path, "/tmp/test_log.XXXXXX");
    int fd = mkstemp(c->path);
    assert_true(fd >= 0);
    c->saved = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    /* Appending, so that lines of several threads land one behind the other as in a log file. */
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_APPEND), 0);
    close(fd);
}

/* What was written since capture_begin; owned by the caller. */
static char *capture_end(struct capture *c)
{
    off_t size = lseek(STDERR_FILENO, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    assert_int_equal(pread(STDERR_FILENO, text, (size_t)size, 0), size);
    dup2(c->saved, STDERR_FILENO);
    close(c->saved);
    unlink(c->path);
    return text;
}

static void level_names_are_parsed_and_others_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"error", "warning", "info", "debug", "trace"};
    for (int i = 0; i < 5; i++) {
        enum ltd_log_level level = LTD_LOG_TRACE;
        assert_true(ltd_log_level_parse(names[i], &level));
        assert_int_equal(level, i);
    }
    enum ltd_log_level level = LTD_LOG_INFO;
    assert_false(ltd_log_level_parse("Info", &level));
    assert_false(ltd_log_level_parse("", &level));
    assert_int_equal(level, LTD_LOG_INFO);
}

static void lines_above_the_level_are_not_written(void **state)
{
    (void)state;
    unsetenv("JOURNAL_STREAM");
    struct capture c;
    capture_begin(&c);
    ltd_log_init(LTD_LOG_WARNING, -1);
    ltd_info("not this");
    ltd_debug("nor this");
    ltd_warning("but %s", "this");
    ltd_error("and %d", 7);
    char *text = capture_end(&c);
    assert_null(strstr(text, "not this"));
    assert_null(strstr(text, "nor this"));
    assert_non_null(strstr(text, " warning but this\n"));
    assert_non_null(strstr(text, " error   and 7\n"));
    assert_true(ltd_log_enabled(LTD_LOG_WARNING));
    assert_false(ltd_log_enabled(LTD_LOG_INFO));
    free(text);
}

static void the_journal_gets_its_priority_prefix_and_the_rank(void **state)
{
    (void)state;
    setenv("JOURNAL_STREAM", "8:1", 1);
    struct capture c;
    capture_begin(&c);
    ltd_log_init(LTD_LOG_TRACE, 3);
    ltd_error("a");
    ltd_warning("b");
    ltd_info("c");
    ltd_debug("d");
    ltd_trace("e");
    char *text = capture_end(&c);
    unsetenv("JOURNAL_STREAM");
    assert_string_equal(text,
                        "<3>rank 3: a\n<4>rank 3: b\n<6>rank 3: c\n<7>rank 3: d\n<7>rank 3: e\n");
    free(text);
}

static void a_line_that_is_too_long_is_cut_and_still_a_line(void **state)
{
    (void)state;
    char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    struct capture c;
    capture_begin(&c);
    ltd_log_init(LTD_LOG_INFO, -1);
    errno = EAGAIN;
    ltd_info("%s", longer);
    assert_int_equal(errno, EAGAIN);
    ltd_info("next");
    char *text = capture_end(&c);
    char *end = strchr(text, '\n');
    assert_non_null(end);
    assert_in_range(end - text, 500, 4096);
    assert_non_null(strstr(end + 1, "next\n"));
    free(text);
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 1000; i++)
        ltd_info("thread %d line %d end", *(int *)arg, i);
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    struct capture c;
    capture_begin(&c);
    ltd_log_init(LTD_LOG_INFO, -1);
    pthread_t threads[4];
    int numbers[4] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    char *text = capture_end(&c);
    int next[4] = {0}, lines = 0;
    char *saved = NULL;
    for (char *line = strtok_r(text, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved)) {
        int thread, number, used = 0;
        char *at = strstr(line, "thread ");
        assert_non_null(at);
        assert_int_equal(sscanf(at, "thread %d line %d end%n", &thread, &number, &used), 2);
        assert_int_equal(at[used], '\0');
        assert_int_equal(number, next[thread]);
        next[thread]++;
        lines++;
    }
    assert_int_equal(lines, 4000);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(level_names_are_parsed_and_others_refused),
        cmocka_unit_test(lines_above_the_level_are_not_written),
        cmocka_unit_test(the_journal_gets_its_priority_prefix_and_the_rank),
        cmocka_unit_test(a_line_that_is_too_long_is_cut_and_still_a_line),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
