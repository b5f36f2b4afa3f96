/* SPDX-License-Identifier: Apache-2.0 */
/* tests/base/test_file.c - what is no regular file is refused at once, and said to be what it is.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static char dir[] = "/tmp/latentd-file-XXXXXX";
static char path[64];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/file", dir);
    alarm(60); /* a pipe that is waited for would wait for ever */
    return 0;
}

static int drop_dir(void **state)
{
    (void)state;
    alarm(0);
    return rmdir(dir);
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

static void refused(const char *what, enum ltd_code code, const char *says)
{
    struct ltd_err err = {0};
    size_t len = 0;
    char *text = ltd_file_read(what, 100, &len, &err);
    if (text || err.code != code || !strstr(err.msg, what) || !strstr(err.msg, says))
        fail_msg("%s: %s \"%s\", expected %s with \"%s\"", what, ltd_code_name(err.code), err.msg,
                 ltd_code_name(code), says);
    if (code == LTD_E_INVALID && !strstr(err.msg, "expected"))
        fail_msg("\"%s\" does not say what was expected", err.msg);
}

static void a_file_is_read_whole_up_to_the_limit(void **state)
{
    struct ltd_err err = {0};
    size_t len = 99;
    (void)state;
    write_file("");
    char *text = ltd_file_read(path, 0, &len, &err);
    assert_non_null(text);
    assert_int_equal(len, 0);
    assert_string_equal(text, "");
    free(text);
    write_file("four");
    text = ltd_file_read(path, 4, &len, &err);
    assert_non_null(text);
    assert_int_equal(len, 4);
    assert_string_equal(text, "four");
    free(text);
    assert_null(ltd_file_read(path, 3, &len, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
    assert_non_null(strstr(err.msg, "4 bytes, expected at most 3"));
    unlink(path);
}

static void what_is_no_regular_file_is_refused_and_not_waited_for(void **state)
{
    (void)state;
    refused(dir, LTD_E_INVALID, "a directory");
    refused("/dev/zero", LTD_E_INVALID, "a device");
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(path, LTD_E_INVALID, "a pipe");
    unlink(path);

    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    refused(path, LTD_E_NOT_FOUND, "expected a readable regular file");
    close(fd);
    unlink(path);
}

static void links_are_followed_and_lost_ones_are_not_absent_files(void **state)
{
    struct ltd_err err = {0};
    char link_path[80];
    size_t len;
    (void)state;
    snprintf(link_path, sizeof link_path, "%s/link", dir);
    assert_true(ltd_file_is_absent(link_path));
    assert_true(ltd_file_is_absent("/dev/null/below"));
    refused(link_path, LTD_E_NOT_FOUND, "No such file");
    assert_int_equal(symlink("file", link_path), 0);
    assert_false(ltd_file_is_absent(link_path));
    refused(link_path, LTD_E_NOT_FOUND, "No such file");
    write_file("behind");
    char *text = ltd_file_read(link_path, 100, &len, &err);
    assert_non_null(text);
    assert_string_equal(text, "behind");
    free(text);
    unlink(link_path);
    assert_int_equal(symlink("link", link_path), 0);
    assert_false(ltd_file_is_absent(link_path));
    refused(link_path, LTD_E_NOT_FOUND, "symbolic links");
    unlink(link_path);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole_up_to_the_limit),
        cmocka_unit_test(what_is_no_regular_file_is_refused_and_not_waited_for),
        cmocka_unit_test(links_are_followed_and_lost_ones_are_not_absent_files),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
