/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/test_tls_files.c - which files make a context, and what is said of those that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "certs.h"
#include "fixture.h"
#include "rpc/tls.h"

#define HOUR 3600L

static char dir[64];

static const char *in_dir(const char *name)
{
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof *paths, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(in_dir(name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    chmod(in_dir(name), mode);
}

/* A copy of `from` with other rights. */
static void copy_file(const char *from, const char *to, mode_t mode)
{
    char text[8192];
    FILE *file = fopen(in_dir(from), "r");
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    write_file(to, text, mode);
}

static void make_encrypted_key(const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *file = fopen(in_dir(name), "w");
    assert_int_equal(PEM_write_PKCS8PrivateKey(file, key, EVP_aes_128_cbc(), "pass", 4, NULL, NULL),
                     1);
    fclose(file);
    chmod(in_dir(name), 0600);
    EVP_PKEY_free(key);
}

static int setup(void **state)
{
    static const struct cert expired = {
        .file = "expired", .issuer = "ca", .cn = "old", .from_s = -2 * HOUR, .to_s = -HOUR};
    static const struct cert soon = {
        .file = "soon", .issuer = "ca", .cn = "soon", .from_s = HOUR, .to_s = 2 * HOUR};
    (void)state;
    make_dir(dir);
    certs_make(dir);
    certs_issue(dir, &expired);
    certs_issue(dir, &soon);
    write_file("nothing.pem", "", 0600);
    write_file("text.pem", "no certificate\n", 0600);
    write_file("broken.pem", "-----BEGIN CERTIFICATE-----\nMIIB!!!\n-----END CERTIFICATE-----\n",
               0600);
    copy_file("server.key", "group.key", 0640);
    copy_file("server.key", "world.key", 0604);
    make_encrypted_key("encrypted.key");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_dir(dir);
    return 0;
}

static void what_cannot_be_used_is_refused_with_file_and_cause(void **state)
{
    static const struct {
        const char *certificate, *key, *ca, *file, *cause; /* file "": none is named */
    } rows[] = {
        {"absent.pem", "server.key", NULL, "absent.pem", "No such file"},
        {"nothing.pem", "server.key", NULL, "nothing.pem", "found no certificate"},
        {"text.pem", "server.key", NULL, "text.pem", "found no certificate"},
        {"broken.pem", "server.key", NULL, "broken.pem", "certificate 1 of the file"},
        {"", "server.key", NULL, "/", "no regular file"},
        {"server.key", "server.key", NULL, "server.key", "found no certificate"},
        {"server.pem", "absent.key", NULL, "absent.key", "No such file"},
        {"server.pem", "server.pem", NULL, "server.pem", "only its owner may read"},
        {"server.pem", "text.pem", NULL, "text.pem", "found no private key"},
        {"server.pem", "encrypted.key", NULL, "encrypted.key", "without a passphrase"},
        {"server.pem", "alice.key", NULL, "alice.key", "does not belong to the certificate"},
        {"server.pem", "group.key", NULL, "group.key", "0640"},
        {"server.pem", "world.key", NULL, "world.key", "0604"},
        {"expired.pem", "expired.key", NULL, "expired.pem", "expired at 20"},
        {"server.pem", "server.key", "absent.pem", "absent.pem", "No such file"},
        {"server.pem", "server.key", "text.pem", "text.pem", "found no certificate"},
        {"server.pem", NULL, NULL, "server.pem", "without a key"},
        {NULL, "server.key", NULL, "server.key", "without a certificate"},
        {NULL, NULL, NULL, "", "neither"},
    };
    (void)state;
    chmod(in_dir("server.pem"), 0644); /* a certificate is no secret, a key would be */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ltd_err err = {0};
        const struct rpc_tls_config config = {
            .certificate = rows[i].certificate ? in_dir(rows[i].certificate) : NULL,
            .key = rows[i].key ? in_dir(rows[i].key) : NULL,
            .ca = rows[i].ca ? in_dir(rows[i].ca) : NULL,
        };
        assert_null(rpc_tls_create_server(&config, &err));
        assert_int_equal(err.code, LTD_E_INVALID);
        if (!strstr(err.msg, rows[i].file) || !strstr(err.msg, rows[i].cause))
            fail_msg("row %zu: '%s', expected '%s' and '%s'", i, err.msg, rows[i].file,
                     rows[i].cause);
    }
}

static void required_client_certificates_need_somebody_who_signs_them(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    const struct rpc_tls_config config = {
        .certificate = in_dir("server.pem"), .key = in_dir("server.key"), .require_peer = true};
    assert_null(rpc_tls_create_server(&config, &err));
    assert_int_equal(err.code, LTD_E_INVALID);
}

static void what_can_be_used_is_taken(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    /* Not valid yet is a matter of clocks: warned of, and for clients to judge. */
    const struct rpc_tls_config rows[] = {
        {.certificate = in_dir("server.pem"), .key = in_dir("server.key")},
        {.certificate = in_dir("soon.pem"), .key = in_dir("soon.key")},
    };
    for (size_t i = 0; i < 2; i++) {
        struct rpc_tls *tls = rpc_tls_create_server(&rows[i], &err);
        if (!tls)
            fail_msg("%s", err.msg);
        assert_int_equal(rpc_tls_reload(tls, &err), 0);
        rpc_tls_destroy(tls);
    }
    const struct rpc_tls_config none = {0}; /* a client that trusts what the system trusts */
    struct rpc_tls *client = rpc_tls_create_client(&none, &err);
    assert_non_null(client);
    rpc_tls_destroy(client);
    rpc_tls_destroy(NULL);
}

static void a_reload_takes_all_or_nothing(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    copy_file("server.pem", "live.pem", 0644);
    copy_file("server.key", "live.key", 0600);
    const struct rpc_tls_config config = {.certificate = in_dir("live.pem"),
                                          .key = in_dir("live.key")};
    struct rpc_tls *tls = rpc_tls_create_server(&config, &err);
    assert_non_null(tls);
    copy_file("alice.pem", "live.pem", 0644); /* the key is the old one's */
    assert_int_equal(rpc_tls_reload(tls, &err), -1);
    assert_non_null(strstr(err.msg, "does not belong"));
    copy_file("expired.pem", "live.pem", 0644);
    copy_file("expired.key", "live.key", 0600);
    assert_int_equal(rpc_tls_reload(tls, &err), -1);
    assert_non_null(strstr(err.msg, "expired at"));
    copy_file("alice.pem", "live.pem", 0644);
    copy_file("alice.key", "live.key", 0600);
    assert_int_equal(rpc_tls_reload(tls, &err), 0);
    rpc_tls_destroy(tls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_used_is_refused_with_file_and_cause),
        cmocka_unit_test(required_client_certificates_need_somebody_who_signs_them),
        cmocka_unit_test(what_can_be_used_is_taken),
        cmocka_unit_test(a_reload_takes_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
