/* SPDX-License-Identifier: Apache-2.0 */
/* tests/daemon/test_auth.c - the access file, and who may do what with it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "base/log.h"
#include "daemon/auth.h"
#include "daemon/auth_file.h"
#include "daemon/auth_recent.h"

/* printf %s TOKEN | sha256sum */
#define HASH_A  "911208488b4efa47a44a333ee3289bd5e6f36555146f9f743eb0028f62f26384"
#define TOKEN_B "hunter2"
#define HASH_B  "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7"
#define HASH_C  "0000000000000000000000000000000000000000000000000000000000000000"

static char dir[] = "/tmp/test_auth.XXXXXX";
static char path[64];

static void write_file(const char *text, mode_t mode)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static int parse(const char *text, struct auth_table *table, struct auth_mistakes *mistakes,
                 struct ltd_err *err)
{
    *mistakes = (struct auth_mistakes){0};
    *err = (struct ltd_err){0};
    return auth_table_parse("F", text, strlen(text), table, mistakes, err);
}

/* --------------------------------------------------------------------------------- the file */

static void a_whole_file_is_understood(void **state)
{
    static const char text[] = "# who may what\n"
                               "\n"
                               "token sha256:" HASH_B " alice inference jobs   # her own\n"
                               "\tuid 1000 bob.b-1@host jobs\tcluster \r\n"
                               "cert \"Build Farm 7\" ci metrics\n"
                               "cert farm8 ci admin\n"
                               "limits * queued=2 stored=3\n"
                               "limits ci queued=none running=4 steps_per_hour=500";
    struct auth_table t;
    struct auth_mistakes mistakes;
    struct ltd_err err;
    struct quota_limits limits;
    (void)state;
    if (parse(text, &t, &mistakes, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(t.n_entries, 4);
    assert_int_equal(t.entries[0].kind, AUTH_TOKEN);
    assert_int_equal(t.entries[0].line, 3);
    assert_int_equal(t.entries[0].hash[0], 0xf5);
    assert_int_equal(t.entries[0].hash[31], 0xc7);
    assert_int_equal(t.entries[0].rights, AUTH_INFERENCE | AUTH_JOBS);
    assert_string_equal(t.entries[1].name, "bob.b-1@host");
    assert_int_equal(t.entries[1].uid, 1000);
    assert_int_equal(t.entries[1].rights, AUTH_JOBS | AUTH_CLUSTER);
    assert_string_equal(t.entries[2].common_name, "Build Farm 7");
    assert_int_equal(t.entries[2].rights, AUTH_METRICS);
    assert_int_equal(t.entries[3].rights, AUTH_ALL);
    auth_table_limits(&t, "ci", &limits);
    assert_int_equal(limits.max_queued, 0);
    assert_int_equal(limits.max_running, 4);
    assert_int_equal(limits.max_stored_bytes, 3 << 20);
    assert_int_equal(limits.max_steps_per_hour, 500);
    auth_table_limits(&t, "alice", &limits);
    assert_int_equal(limits.max_queued, 2);
    assert_int_equal(limits.max_running, 0);
    auth_table_fini(&t);
}

static void every_mistake_has_its_line(void **state)
{
    static const struct {
        const char *line, *expected;
    } rows[] = {
        {"tokne sha256:" HASH_A " a jobs", "the first word (5 characters) is unknown, expected"},
        {"token", "1 words, expected token sha256:HEX NAME RIGHTS"},
        {"uid 5", "2 words, expected uid N NAME RIGHTS"},
        {"cert x", "2 words, expected cert COMMONNAME NAME RIGHTS"},
        {"token ltd_secret alice jobs", "(10 characters, not shown: it may be a token) is no hash"},
        {"token alice ltd_secret jobs", "(5 characters, not shown"},
        {"token sha256:12 alice jobs", "is no hash, expected sha256: and 64"},
        {"token sha256:g" HASH_A " alice jobs", "is no hash"},
        {"token sha256:" HASH_A, "2 words"},
        {"token sha256:" HASH_A " alice", "no rights, expected one or more of"},
        {"token sha256:" HASH_A " alice jobs root", "\"root\" is no right, expected"},
        {"token sha256:" HASH_A " -alice jobs", "\"-alice\" is no name"},
        {"token sha256:" HASH_A " al/ice jobs", "\"al/ice\" is no name"},
        {"token sha256:" HASH_A " uid:0 jobs", "\"uid:0\" is no name"},
        {"token sha256:" HASH_A " * jobs", "\"*\" is no name"},
        {"token sha256:" HASH_A " \"\" jobs", "\"\" is no name"},
        {"token sha256:" HASH_A " 0123456789012345678901234567890123456789012345678 jobs",
         "is no name, expected 1 to 48"},
        {"uid x a jobs", "\"x\" is no user id"},
        {"uid -1 a jobs", "\"-1\" is no user id"},
        {"uid 4294967295 a jobs", "is no user id, expected a whole number in [0, 4294967294]"},
        {"uid 99999999999999999999 a jobs", "is no user id"},
        {"cert \"\" a jobs", "the common name has 0 bytes"},
        {"cert \"x a jobs", "a quoted word has no end"},
        {"cert \"x\"y a jobs", "followed by more without a blank"},
        {"uid 7 a jobs", "the same user id as in line 1"},
        {"limits", "1 words, expected limits NAME WHAT=N"},
        {"limits a", "2 words, expected limits NAME WHAT=N"},
        {"limits a! queued=1", "\"a!\" is no name"},
        {"limits a queued", "\"queued\" is no limit"},
        {"limits a quewed=1", "\"quewed=1\" is no limit"},
        {"limits a queued=0", "queued: found \"0\", expected none or a whole number in [1, "},
        {"limits a queued=", "queued: found \"\""},
        {"limits a queued=1x", "queued: found \"1x\""},
        {"limits a queued=1 queued=1", "queued stands twice in the line"},
        {"limits a queued=99999999999", "in [1, 4294967295]"},
        {"a b c d e f g h i j k l m n o p q", "more than 16 words"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct auth_table t;
        struct auth_mistakes mistakes;
        struct ltd_err err;
        char text[400];
        snprintf(text, sizeof text, "uid 7 bob jobs\n%s\nuid 8 bob jobs\n", rows[i].line);
        int rc = parse(text, &t, &mistakes, &err);
        if (rc == 0 || mistakes.n != 1 || strncmp(err.msg, "F:2: ", 5) != 0 ||
            !strstr(err.msg, rows[i].expected) || strstr(err.msg, "secret"))
            fail_msg("row %zu: rc %d, %u mistakes, \"%s\", expected \"%s\"", i, rc, mistakes.n,
                     err.msg, rows[i].expected);
        assert_int_equal(err.code, LTD_E_INVALID);
        ltd_bytes_fini(&mistakes.text);
        auth_table_fini(&t);
    }
}

static void all_mistakes_are_reported_and_the_error_counts_them(void **state)
{
    static const char text[] = "uid 1 a jobs\n"
                               "uid 1 a jobs\n"
                               "token x a jobs\n"
                               "token sha256:" HASH_A " a jobs\n"
                               "token sha256:" HASH_A " b jobs\n"
                               "cert c c jobs\n"
                               "cert c c jobs\n"
                               "limits a queued=1\n"
                               "limits a running=1\n";
    struct auth_table t;
    struct auth_mistakes mistakes;
    struct ltd_err err;
    (void)state;
    assert_int_equal(parse(text, &t, &mistakes, &err), -1);
    assert_int_equal(mistakes.n, 5);
    ltd_bytes_put_u8(&mistakes.text, 0);
    const char *lines = (const char *)mistakes.text.data;
    assert_non_null(strstr(lines, "F:2: the same user id as in line 1"));
    assert_non_null(strstr(lines, "F:3: "));
    assert_non_null(strstr(lines, "F:5: the same token as in line 4"));
    assert_non_null(strstr(lines, "F:7: the same common name as in line 6"));
    assert_non_null(strstr(lines, "F:9: limits of a stand in line 8 already"));
    assert_non_null(strstr(err.msg, "(and 4 more)"));
    ltd_bytes_fini(&mistakes.text);
    auth_table_fini(&t);
}

static void what_is_no_text_and_what_is_too_much_is_refused(void **state)
{
    struct auth_table t;
    struct auth_mistakes mistakes = {0};
    struct ltd_err err = {0};
    (void)state;
    assert_int_equal(auth_table_parse("F", "uid 1 a\0jobs", 12, &t, &mistakes, &err), -1);
    assert_non_null(strstr(err.msg, "byte 8 is not text"));
    auth_table_fini(&t);
    ltd_bytes_fini(&mistakes.text);
    assert_int_equal(parse("cert \xff a jobs", &t, &mistakes, &err), -1);
    assert_non_null(strstr(err.msg, "byte 6 is not text"));
    auth_table_fini(&t);
    ltd_bytes_fini(&mistakes.text);
    assert_int_equal(parse("# nobody\n", &t, &mistakes, &err), -1);
    assert_non_null(strstr(err.msg, "no entry, expected at least one"));
    auth_table_fini(&t);
    ltd_bytes_fini(&mistakes.text);
    struct ltd_bytes many;
    ltd_bytes_init(&many);
    for (int i = 0; i < AUTH_ENTRIES_MAX + 1; i++) {
        char line[40];
        snprintf(line, sizeof line, "uid %d a jobs\n", i);
        ltd_bytes_put_str(&many, line);
    }
    ltd_bytes_put_u8(&many, 0);
    assert_int_equal(parse((char *)many.data, &t, &mistakes, &err), -1);
    assert_non_null(strstr(err.msg, "F:1025: more than 1024 entries"));
    assert_int_equal(mistakes.n, 1);
    assert_int_equal(t.n_entries, AUTH_ENTRIES_MAX);
    auth_table_fini(&t);
    ltd_bytes_fini(&mistakes.text);
    ltd_bytes_fini(&many);
}

/* Bytes of every kind, cut and changed: nothing may crash, and a table without mistakes is whole. */
static void no_bytes_confuse_the_parser(void **state)
{
    static const char seed[] = "token sha256:" HASH_A " alice jobs\nuid 1 a admin # x\n"
                               "cert \"a b\" c jobs\nlimits * queued=1 stored=none\n";
    char text[sizeof seed];
    (void)state;
    srand(7);
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)rand() % sizeof seed;
        memcpy(text, seed, sizeof text);
        for (int i = rand() % 4; i > 0; i--)
            text[(size_t)rand() % sizeof text] =
                (char)(rand() % 3 ? "\"\n #=\t:"[rand() % 7] : rand());
        struct auth_table t;
        struct auth_mistakes mistakes = {0};
        struct ltd_err err = {0};
        int rc = auth_table_parse("F", text, len, &t, &mistakes, &err);
        assert_int_equal(rc == 0, mistakes.n == 0);
        for (size_t i = 0; rc == 0 && i < t.n_entries; i++)
            assert_true(t.entries[i].rights && t.entries[i].name[0]);
        ltd_bytes_fini(&mistakes.text);
        auth_table_fini(&t);
    }
}

static void a_file_that_others_can_write_is_refused(void **state)
{
    static const mode_t bad[] = {0666, 0620, 0602, 0660};
    struct ltd_err err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file("uid 1 a jobs\n", bad[i]);
        assert_null(auth_create(path, &err));
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_non_null(strstr(err.msg, "expected a file that only its owner can write"));
    }
    write_file("uid 1 a jobs\n", 0644);
    struct auth *auth = auth_create(path, &err);
    assert_non_null(auth);
    auth_destroy(auth);
    if (geteuid() == 0) { /* who else could give a file away */
        assert_int_equal(chown(path, 12345, 0), 0);
        assert_null(auth_create(path, &err));
        assert_non_null(strstr(err.msg, "it belongs to user id 12345, expected root"));
    }
    unlink(path);
    assert_null(auth_create(path, &err));
    assert_non_null(strstr(err.msg, path));
    assert_null(auth_create(dir, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
}

/* ------------------------------------------------------------------------------ who may what */

static const struct rpc_peer stranger = {
    .address = "192.0.2.1:5", .host = "192.0.2.1", .uid = UINT32_MAX};

struct question {
    const char *token, *certificate;
    uint32_t uid, rights;
};

static int ask(struct auth *auth, struct question q, struct rpc_identity *who, struct ltd_err *err)
{
    struct rpc_peer peer = stranger;
    struct rpc_method method = {.path = "/a.B/C", .rights = q.rights};
    peer.uid = q.uid;
    peer.certificate = q.certificate;
    struct rpc_question question = {.peer = &peer, .method = &method, .bearer = q.token};
    question.bearer_len = q.token ? strlen(q.token) : 0;
    *err = (struct ltd_err){0};
    return auth_authorize(auth, &question, who, err);
}

#define NO_UID UINT32_MAX

static void expect(struct auth *auth, struct question q, const char *name)
{
    struct rpc_identity who;
    struct ltd_err err;
    if (ask(auth, q, &who, &err) != 0)
        fail_msg("expected %s, refused: %s", name, err.msg);
    assert_string_equal(who.name, name);
}

static void expect_refused(struct auth *auth, struct question q, enum ltd_code code,
                           const char *reason)
{
    struct rpc_identity who;
    struct ltd_err err;
    if (ask(auth, q, &who, &err) == 0)
        fail_msg("expected %s, accepted as \"%s\"", reason, who.name);
    assert_int_equal(err.code, code);
    assert_string_equal(err.reason, reason);
}

static struct auth *make(const char *text)
{
    struct ltd_err err = {0};
    write_file(text, 0600);
    struct auth *auth = auth_create(path, &err);
    if (!auth)
        fail_msg("%s", err.msg);
    return auth;
}

static void without_a_file_everybody_is_nobody_and_may_everything(void **state)
{
    struct ltd_err err = {0};
    struct rpc_identity who;
    struct quota_limits limits;
    (void)state;
    struct auth *auth = auth_create("", &err);
    assert_non_null(auth);
    assert_false(auth_is_on(auth));
    assert_int_equal(ask(auth, (struct question){NULL, NULL, NO_UID, AUTH_ADMIN}, &who, &err), 0);
    assert_string_equal(who.name, "");
    assert_int_equal(who.rights, AUTH_ALL);
    assert_int_equal(ask(auth, (struct question){"x", "y", 5, AUTH_ADMIN}, &who, &err), 0);
    assert_string_equal(who.name, "");
    auth_limits(auth, "alice", &limits);
    assert_int_equal(limits.max_queued, 0);
    assert_int_equal(auth_reload(auth, &err), 0);
    auth_destroy(auth);
    auth_destroy(NULL);
}

static void a_token_a_user_id_or_a_certificate_make_a_name(void **state)
{
    (void)state;
    struct auth *auth = make("token sha256:" HASH_C " zero jobs\n"
                             "token sha256:" HASH_B " alice jobs inference\n"
                             "uid 1000 bob jobs\n"
                             "cert farm carol jobs\n");
    expect(auth, (struct question){TOKEN_B, NULL, NO_UID, AUTH_JOBS}, "alice");
    expect(auth, (struct question){NULL, NULL, 1000, AUTH_JOBS}, "bob");
    expect(auth, (struct question){NULL, "farm", NO_UID, AUTH_JOBS}, "carol");
    /* Together: the token, then the certificate. */
    expect(auth, (struct question){TOKEN_B, "farm", 1000, AUTH_JOBS}, "alice");
    expect(auth, (struct question){NULL, "farm", 1000, AUTH_JOBS}, "carol");
    expect(auth, (struct question){NULL, "unknown", 1000, AUTH_JOBS}, "bob");
    /* A wrong token is not made up for by anything. */
    expect_refused(auth, (struct question){"hunter3", "farm", 1000, AUTH_JOBS},
                   LTD_E_UNAUTHENTICATED, "TOKEN_WRONG");
    expect_refused(auth, (struct question){"", NULL, NO_UID, AUTH_JOBS}, LTD_E_UNAUTHENTICATED,
                   "TOKEN_WRONG");
    expect_refused(auth, (struct question){HASH_B, NULL, NO_UID, AUTH_JOBS}, LTD_E_UNAUTHENTICATED,
                   "TOKEN_WRONG");
    expect_refused(auth, (struct question){NULL, NULL, NO_UID, AUTH_JOBS}, LTD_E_UNAUTHENTICATED,
                   "TOKEN_MISSING");
    expect_refused(auth, (struct question){NULL, "barn", 1001, AUTH_JOBS}, LTD_E_UNAUTHENTICATED,
                   "TOKEN_MISSING");
    struct auth_stats stats;
    auth_stats(auth, &stats);
    assert_int_equal(stats.n_unauthenticated, 5);
    assert_int_equal(stats.n_denied, 0);
    auth_destroy(auth);
}

/* Whoever can choose a token whose hash begins as another's must not become him. */
static void every_byte_of_a_hash_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof HASH_B - 1; i++) {
        char text[] = "token sha256:" HASH_B " alice jobs\n";
        char *digit = text + strlen("token sha256:") + i;
        *digit = *digit == '0' ? '1' : '0';
        struct auth *auth = make(text);
        expect_refused(auth, (struct question){TOKEN_B, NULL, NO_UID, AUTH_JOBS},
                       LTD_E_UNAUTHENTICATED, "TOKEN_WRONG");
        auth_destroy(auth);
    }
}

static void an_endless_token_is_refused_unread(void **state)
{
    static char text[5000];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    struct auth *auth = make("uid 1 a jobs\n");
    expect_refused(auth, (struct question){text, NULL, NO_UID, AUTH_JOBS}, LTD_E_UNAUTHENTICATED,
                   "TOKEN_WRONG");
    auth_destroy(auth);
}

/* Every right against every other one, and none against all. */
static void rights_are_needed_one_by_one(void **state)
{
    static const char *const words[] = {"inference", "jobs", "cluster", "metrics", "admin"};
    (void)state;
    for (size_t has = 0; has < 5; has++) {
        char text[200];
        snprintf(text, sizeof text, "token sha256:%s alice %s\n", HASH_B, words[has]);
        struct auth *auth = make(text);
        expect(auth, (struct question){TOKEN_B, NULL, NO_UID, 1u << has}, "alice");
        for (size_t needs = 0; needs < 5; needs++) {
            struct question q = {TOKEN_B, NULL, NO_UID, 1u << needs};
            if (has == needs || has == 4)
                expect(auth, q, "alice");
            else
                expect_refused(auth, q, LTD_E_PERMISSION, "ROLE");
        }
        auth_destroy(auth);
    }
    struct auth *auth = make("uid 1000 bob jobs\n");
    struct rpc_identity who;
    struct ltd_err err;
    assert_int_equal(
        ask(auth, (struct question){NULL, NULL, 1000, AUTH_ADMIN | AUTH_JOBS}, &who, &err), -1);
    assert_string_equal(err.msg, "bob lacks the right admin");
    /* A page has its rights in the question. */
    struct rpc_question page = {.peer = &stranger, .rights = AUTH_METRICS};
    assert_int_equal(auth_authorize(auth, &page, &who, &err), -1);
    assert_int_equal(err.code, LTD_E_UNAUTHENTICATED);
    auth_destroy(auth);
}

static void what_needs_no_right_is_open(void **state)
{
    struct rpc_identity who;
    struct ltd_err err;
    (void)state;
    struct auth *auth = make("uid 1000 bob jobs\n");
    assert_int_equal(ask(auth, (struct question){NULL, NULL, NO_UID, 0}, &who, &err), 0);
    assert_string_equal(who.name, "");
    assert_int_equal(who.rights, 0);
    assert_int_equal(ask(auth, (struct question){"wrong", NULL, NO_UID, 0}, &who, &err), 0);
    auth_destroy(auth);
}

static void who_owns_the_service_has_all_rights_unless_the_file_says_otherwise(void **state)
{
    struct rpc_identity who;
    struct ltd_err err;
    char name[32], text[100];
    (void)state;
    struct auth *auth = make("uid 123456 bob jobs\n");
    expect(auth, (struct question){NULL, NULL, 0, AUTH_ADMIN}, "uid:0");
    snprintf(name, sizeof name, "uid:%u", (unsigned)geteuid());
    expect(auth, (struct question){NULL, NULL, (uint32_t)geteuid(), AUTH_ALL}, name);
    expect_refused(auth, (struct question){"x", NULL, 0, AUTH_JOBS}, LTD_E_UNAUTHENTICATED,
                   "TOKEN_WRONG");
    auth_destroy(auth);
    snprintf(text, sizeof text, "uid 0 root cluster\n%s", "limits * queued=1\n");
    auth = make(text);
    assert_int_equal(ask(auth, (struct question){NULL, NULL, 0, AUTH_CLUSTER}, &who, &err), 0);
    assert_string_equal(who.name, "root");
    expect_refused(auth, (struct question){NULL, NULL, 0, AUTH_ADMIN}, LTD_E_PERMISSION, "ROLE");
    struct quota_limits limits;
    auth_limits(auth, "uid:0", &limits);
    assert_int_equal(limits.max_queued, 0);
    auth_limits(auth, "", &limits);
    assert_int_equal(limits.max_queued, 0);
    auth_limits(auth, "root", &limits);
    assert_int_equal(limits.max_queued, 1);
    auth_destroy(auth);
}

static void a_reload_takes_all_of_the_new_file_or_nothing(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    struct auth *auth = make("token sha256:" HASH_B " alice jobs\n");
    const struct question q = {TOKEN_B, NULL, NO_UID, AUTH_JOBS};
    write_file("token sha256:" HASH_B " eve jobs\nuid x\n", 0600);
    assert_int_equal(auth_reload(auth, &err), -1);
    assert_non_null(strstr(err.msg, ":2: "));
    expect(auth, q, "alice");
    write_file("token sha256:" HASH_B " eve jobs\n", 0666);
    assert_int_equal(auth_reload(auth, &err), -1);
    expect(auth, q, "alice");
    unlink(path);
    assert_int_equal(auth_reload(auth, &err), -1);
    expect(auth, q, "alice");
    write_file("token sha256:" HASH_B " eve jobs\n", 0600);
    assert_int_equal(auth_reload(auth, &err), 0);
    expect(auth, q, "eve");
    write_file("uid 77 alice jobs\n", 0600);
    assert_int_equal(auth_reload(auth, &err), 0);
    expect_refused(auth, q, LTD_E_UNAUTHENTICATED, "TOKEN_WRONG");
    auth_destroy(auth);
}

/* What is kept of right tokens lets nothing else in, and tells callers apart. */
static void tokens_that_were_right_before_stay_the_only_ones(void **state)
{
    char text[64 * 120], token[32], name[16];
    size_t len = 0;
    (void)state;
    for (int i = 0; i < 64; i++) {
        uint8_t hash[32];
        snprintf(token, sizeof token, "token-%d", i);
        SHA256((const uint8_t *)token, strlen(token), hash);
        len += (size_t)snprintf(text + len, sizeof text - len, "token sha256:");
        for (int b = 0; b < 32; b++)
            len += (size_t)snprintf(text + len, sizeof text - len, "%02x", hash[b]);
        len += (size_t)snprintf(text + len, sizeof text - len, " name-%d jobs\n", i);
    }
    struct auth *auth = make(text);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++) {
            snprintf(token, sizeof token, "token-%d", i);
            snprintf(name, sizeof name, "name-%d", i);
            for (int again = 0; again < 2; again++)
                expect(auth, (struct question){token, NULL, NO_UID, AUTH_JOBS}, name);
            expect_refused(auth, (struct question){token, NULL, NO_UID, AUTH_ADMIN},
                           LTD_E_PERMISSION, "ROLE");
            token[strlen(token) - 1] ^= 64;
            expect_refused(auth, (struct question){token, NULL, NO_UID, AUTH_JOBS},
                           LTD_E_UNAUTHENTICATED, "TOKEN_WRONG");
            expect_refused(auth, (struct question){"token-", NULL, NO_UID, AUTH_JOBS},
                           LTD_E_UNAUTHENTICATED, "TOKEN_WRONG");
            snprintf(token, sizeof token, "token-%d ", i);
            expect_refused(auth, (struct question){token, NULL, NO_UID, AUTH_JOBS},
                           LTD_E_UNAUTHENTICATED, "TOKEN_WRONG");
        }
    }
    auth_destroy(auth);
}

static void what_is_kept_is_found_by_all_its_bytes_and_forgotten_at_once(void **state)
{
    static const struct auth_entry one, two;
    char edge[AUTH_RECENT_TOKEN_BYTES + 2];
    struct auth_recent *recent = auth_recent_create();
    (void)state;
    assert_non_null(recent);
    memset(edge, 'a', sizeof edge);
    assert_null(auth_recent_find(recent, "", 0));
    auth_recent_put(recent, edge, AUTH_RECENT_TOKEN_BYTES, &one);
    auth_recent_put(recent, edge, AUTH_RECENT_TOKEN_BYTES + 1, &two);
    assert_ptr_equal(auth_recent_find(recent, edge, AUTH_RECENT_TOKEN_BYTES), &one);
    assert_null(auth_recent_find(recent, edge, AUTH_RECENT_TOKEN_BYTES + 1));
    assert_null(auth_recent_find(recent, edge, AUTH_RECENT_TOKEN_BYTES - 1));
    auth_recent_put(recent, edge, AUTH_RECENT_TOKEN_BYTES, &two);
    assert_ptr_equal(auth_recent_find(recent, edge, AUTH_RECENT_TOKEN_BYTES), &two);
    for (int last = 1; last < 256; last++) { /* many share its slot */
        edge[AUTH_RECENT_TOKEN_BYTES - 1] = (char)last;
        const struct auth_entry *found = auth_recent_find(recent, edge, AUTH_RECENT_TOKEN_BYTES);
        assert_ptr_equal(found, last == 'a' ? &two : NULL);
    }
    edge[AUTH_RECENT_TOKEN_BYTES - 1] = 'a';
    auth_recent_forget(recent);
    assert_null(auth_recent_find(recent, edge, AUTH_RECENT_TOKEN_BYTES));
    auth_recent_destroy(recent);
    /* Without memory for it nothing is kept, and all goes on. */
    auth_recent_put(NULL, "a", 1, &one);
    assert_null(auth_recent_find(NULL, "a", 1));
    auth_recent_forget(NULL);
    auth_recent_destroy(NULL);
}

static int set_up(void **state)
{
    (void)state;
    ltd_log_init(LTD_LOG_ERROR, -1);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/access", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_file_is_understood),
        cmocka_unit_test(every_mistake_has_its_line),
        cmocka_unit_test(all_mistakes_are_reported_and_the_error_counts_them),
        cmocka_unit_test(what_is_no_text_and_what_is_too_much_is_refused),
        cmocka_unit_test(no_bytes_confuse_the_parser),
        cmocka_unit_test(a_file_that_others_can_write_is_refused),
        cmocka_unit_test(without_a_file_everybody_is_nobody_and_may_everything),
        cmocka_unit_test(a_token_a_user_id_or_a_certificate_make_a_name),
        cmocka_unit_test(every_byte_of_a_hash_counts),
        cmocka_unit_test(an_endless_token_is_refused_unread),
        cmocka_unit_test(rights_are_needed_one_by_one),
        cmocka_unit_test(what_needs_no_right_is_open),
        cmocka_unit_test(who_owns_the_service_has_all_rights_unless_the_file_says_otherwise),
        cmocka_unit_test(a_reload_takes_all_of_the_new_file_or_nothing),
        cmocka_unit_test(tokens_that_were_right_before_stay_the_only_ones),
        cmocka_unit_test(what_is_kept_is_found_by_all_its_bytes_and_forgotten_at_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
