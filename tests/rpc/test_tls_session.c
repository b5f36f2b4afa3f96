/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/test_tls_session.c - two ends of TLS without sockets: cuts, broken bytes, names, dates.
 *
 * A pair is a client's and a server's session; what one has to say is carried to the other in
 * pieces of a chosen size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "certs.h"
#include "fixture.h"
#include "rpc/tls_session.h"

#define HOUR  3600L
#define WHOLE SIZE_MAX

static char dir[64];

struct end {
    struct rpc_tls_session *session;
    struct ltd_bytes out;    /* to be carried to the other end */
    struct ltd_bytes plain;  /* received */
    enum rpc_tls_event last; /* what next() said last */
    bool secure;             /* SECURE has come */
    struct ltd_err why;
};

struct pair {
    struct rpc_tls *server_tls, *client_tls;
    struct end server, client;
};

static const char *in_dir(const char *name, const char *suffix)
{
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof *paths, "%s/%s%s", dir, name, suffix);
    return path;
}

static int setup(void **state)
{
    (void)state;
    make_dir(dir);
    certs_make(dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_dir(dir);
    return 0;
}

/* `client` names the client's certificate; NULL: it has none. */
static void pair_open(struct pair *p, const char *server, const char *client, const char *expect)
{
    struct ltd_err err = {0};
    const struct rpc_tls_config s = {.certificate = in_dir(server, ".pem"),
                                     .key = in_dir(server, ".key"),
                                     .ca = in_dir("ca", ".pem")};
    struct rpc_tls_config c = {.ca = in_dir("ca", ".pem")};
    if (client) {
        c.certificate = in_dir(client, ".pem");
        c.key = in_dir(client, ".key");
    }
    memset(p, 0, sizeof *p);
    p->server_tls = rpc_tls_create_server(&s, &err);
    p->client_tls = rpc_tls_create_client(&c, &err);
    if (!p->server_tls || !p->client_tls)
        fail_msg("%s", err.msg);
    p->server.session = rpc_tls_session_create(p->server_tls, NULL, &err);
    p->client.session = rpc_tls_session_create(p->client_tls, expect, &err);
    if (!p->server.session || !p->client.session)
        fail_msg("%s", err.msg);
}

static void pair_close(struct pair *p)
{
    struct end *ends[] = {&p->server, &p->client};
    for (int i = 0; i < 2; i++) {
        rpc_tls_session_destroy(ends[i]->session);
        ltd_bytes_fini(&ends[i]->out);
        ltd_bytes_fini(&ends[i]->plain);
    }
    rpc_tls_destroy(p->server_tls);
    rpc_tls_destroy(p->client_tls);
}

static void give(struct end *to, const uint8_t *data, size_t len)
{
    uint8_t plain[5000]; /* less than a record: the rest comes with the next call */
    size_t n;
    rpc_tls_session_feed(to->session, data, len);
    for (;;) {
        to->last = rpc_tls_session_next(to->session, plain, sizeof plain, &n, &to->out, &to->why);
        if (to->last == RPC_TLS_DATA)
            ltd_bytes_put(&to->plain, plain, n);
        else if (to->last == RPC_TLS_SECURE)
            to->secure = true;
        else
            return;
    }
}

/* Carry what `from` has said, in pieces of `piece` bytes. */
static void carry(struct end *from, struct end *to, size_t piece)
{
    struct ltd_bytes said = from->out;
    from->out = (struct ltd_bytes){0};
    for (size_t at = 0; at < said.len;) {
        size_t n = said.len - at < piece ? said.len - at : piece;
        /* A copy of its own, so that a sanitizer sees whoever reads behind it. */
        uint8_t *copy = malloc(n);
        memcpy(copy, said.data + at, n);
        give(to, copy, n);
        free(copy);
        at += n;
    }
    ltd_bytes_fini(&said);
}

static void shake_hands(struct pair *p, size_t piece)
{
    give(&p->client, NULL, 0);
    for (int round = 0; round < 8 && (p->client.out.len || p->server.out.len); round++) {
        carry(&p->client, &p->server, piece);
        carry(&p->server, &p->client, piece);
    }
}

static void both_are_secure(const struct pair *p)
{
    if (!p->server.secure || !p->client.secure)
        fail_msg("server: %s, client: %s", p->server.why.msg, p->client.why.msg);
}

static void say(struct end *from, struct end *to, size_t len, size_t piece)
{
    struct ltd_err err = {0};
    uint8_t *data = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 40503u >> 8);
    assert_int_equal(rpc_tls_session_write(from->session, data, len, &from->out, &err), 0);
    carry(from, to, piece);
    assert_int_equal(to->plain.len, len);
    assert_memory_equal(to->plain.data, data, len);
    ltd_bytes_clear(&to->plain);
    free(data);
}

static void bytes_may_come_in_pieces_of_any_size(void **state)
{
    const size_t pieces[] = {1, 2, 3, 7, 100, 1400, 16384, 32768, WHOLE};
    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct pair p;
        pair_open(&p, "server", "alice", "localhost");
        shake_hands(&p, pieces[i]);
        both_are_secure(&p);
        assert_int_equal(rpc_tls_session_protocol(p.server.session), RPC_TLS_PROTOCOL_H2);
        assert_string_equal(rpc_tls_session_peer_name(p.server.session), "alice");
        assert_null(rpc_tls_session_peer_name(p.client.session));
        say(&p.client, &p.server, 1, pieces[i]);
        say(&p.client, &p.server, 40000, pieces[i]);
        say(&p.server, &p.client, pieces[i] > 1000 ? 1 << 20 : 40000, pieces[i]);
        assert_int_equal(p.server.last, RPC_TLS_MORE);
        pair_close(&p);
    }
}

static void a_first_message_may_be_cut_anywhere(void **state)
{
    struct pair p;
    (void)state;
    pair_open(&p, "server", NULL, "localhost");
    give(&p.client, NULL, 0);
    struct ltd_bytes hello = p.client.out;
    p.client.out = (struct ltd_bytes){0};
    assert_true(hello.len > 100);
    for (size_t cut = 0; cut <= hello.len; cut++) {
        struct end server = {0};
        server.session = rpc_tls_session_create(p.server_tls, NULL, NULL);
        give(&server, hello.data, cut);
        /* Nothing is said before all of it is there, and waiting is no failure. */
        assert_int_equal(server.last, RPC_TLS_MORE);
        assert_int_equal(server.out.len > 0, cut == hello.len);
        give(&server, hello.data + cut, hello.len - cut);
        assert_int_equal(server.last, RPC_TLS_MORE);
        assert_true(server.out.len > 0);
        rpc_tls_session_destroy(server.session);
        ltd_bytes_fini(&server.out);
    }
    ltd_bytes_fini(&hello);
    pair_close(&p);
}

static void broken_bytes_end_a_session_and_nothing_else(void **state)
{
    struct pair p;
    (void)state;
    pair_open(&p, "server", NULL, "localhost");
    give(&p.client, NULL, 0);
    int n_failed = 0;
    for (size_t at = 0; at < p.client.out.len; at++) {
        struct end server = {0};
        server.session = rpc_tls_session_create(p.server_tls, NULL, NULL);
        uint8_t *copy = malloc(p.client.out.len);
        memcpy(copy, p.client.out.data, p.client.out.len);
        copy[at] ^= 0xFF;
        give(&server, copy, p.client.out.len);
        assert_true(server.last == RPC_TLS_MORE || server.last == RPC_TLS_FAILED);
        n_failed += server.last == RPC_TLS_FAILED;
        if (server.last == RPC_TLS_FAILED) {
            assert_int_equal(server.why.code, LTD_E_PEER);
            give(&server, copy, p.client.out.len); /* and stays so */
            assert_int_equal(server.last, RPC_TLS_FAILED);
            assert_int_equal(rpc_tls_session_write(server.session, "x", 1, &server.out, NULL), -1);
            rpc_tls_session_close(server.session, &server.out);
        }
        free(copy);
        rpc_tls_session_destroy(server.session);
        ltd_bytes_fini(&server.out);
    }
    assert_true(n_failed > 5); /* record head, message head, version, … */
    pair_close(&p);
}

static void a_record_that_was_tampered_with_is_noticed(void **state)
{
    struct pair p;
    (void)state;
    pair_open(&p, "server", NULL, "localhost");
    shake_hands(&p, WHOLE);
    both_are_secure(&p);
    assert_int_equal(rpc_tls_session_write(p.client.session, "transfer 1", 10, &p.client.out, NULL),
                     0);
    p.client.out.data[p.client.out.len - 1] ^= 1;
    carry(&p.client, &p.server, WHOLE);
    assert_int_equal(p.server.last, RPC_TLS_FAILED);
    assert_int_equal(p.server.plain.len, 0);
    pair_close(&p);
}

static void the_end_is_heard_and_ends_one_direction(void **state)
{
    struct pair p;
    (void)state;
    pair_open(&p, "server", NULL, "localhost");
    shake_hands(&p, WHOLE);
    both_are_secure(&p);
    rpc_tls_session_close(p.server.session, &p.server.out);
    carry(&p.server, &p.client, WHOLE);
    assert_int_equal(p.client.last, RPC_TLS_END);
    give(&p.client, NULL, 0);
    assert_int_equal(p.client.last, RPC_TLS_END);
    say(&p.client, &p.server, 100, WHOLE); /* the other direction is still open */
    pair_close(&p);
}

/* ---- names ---- */

static void a_name_is_a_common_name_or_else_the_first_alternative(void **state)
{
    static const char long_name[] =
        "0123456789012345678901234567890123456789012345678901234567890123"
        "4567890123456789012345678901234";
    const struct {
        struct cert cert;
        const char *name; /* NULL: refused */
    } rows[] = {
        {{.cn = "bob"}, "bob"},
        {{.cn = "bob", .san = "DNS:host.example"}, "bob"},
        {{.cn = "B\xc3\xb6"}, "B\xc3\xb6"},
        {{.cn = long_name}, long_name}, /* 95 characters */
        {{.san = "DNS:host.example,DNS:other.example"}, "host.example"},
        {{.san = "IP:127.0.0.1,email:bob@example.org"}, "bob@example.org"},
        {{.cn = "alice\0.evil.example", .cn_bytes = 19}, NULL},
        {{.cn = "bob", .cn2 = "alice"}, NULL},
        {{.cn = "two\nlines"}, NULL},
        {{.cn = "0123456789012345678901234567890123456789012345678901234567890123"
                "45678901234567890123456789012345"},
         NULL}, /* 96 */
        {{.san = "IP:127.0.0.1"}, NULL},
        {{.cn = NULL}, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cert cert = rows[i].cert;
        struct pair p;
        cert.file = "named";
        cert.issuer = "ca";
        certs_issue(dir, &cert);
        pair_open(&p, "server", "named", "localhost");
        shake_hands(&p, WHOLE);
        if (rows[i].name) {
            both_are_secure(&p);
            assert_string_equal(rpc_tls_session_peer_name(p.server.session), rows[i].name);
        } else {
            if (p.server.last != RPC_TLS_FAILED)
                fail_msg("row %zu got in as '%s'", i, rpc_tls_session_peer_name(p.server.session));
            assert_int_equal(p.server.why.code, LTD_E_UNAUTHENTICATED);
            assert_non_null(strstr(p.server.why.msg, "no usable name"));
            assert_int_equal(p.client.last, RPC_TLS_FAILED); /* it was told */
        }
        pair_close(&p);
    }
}

/* ---- a server of another kind ---- */

/* OpenSSL's own server with our files, for what ours would not do; returns what the client says. */
static struct ltd_err meet_other_server(const char *server, const char *expect)
{
    struct ltd_err err = {0};
    const struct rpc_tls_config c = {.ca = in_dir("ca", ".pem")};
    struct rpc_tls *tls = rpc_tls_create_client(&c, &err);
    struct end client = {.session = rpc_tls_session_create(tls, expect, &err)};
    assert_non_null(client.session);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate_file(ctx, in_dir(server, ".pem"), SSL_FILETYPE_PEM),
                     1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, in_dir(server, ".key"), SSL_FILETYPE_PEM), 1);
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_accept_state(ssl);
    for (int round = 0; round < 4 && client.last != RPC_TLS_FAILED; round++) {
        char buf[16384];
        int n = BIO_read(out, buf, sizeof buf);
        give(&client, (uint8_t *)buf, n > 0 ? (size_t)n : 0);
        BIO_write(in, client.out.data ? (const void *)client.out.data : "", (int)client.out.len);
        ltd_bytes_clear(&client.out);
        SSL_do_handshake(ssl);
    }
    assert_int_equal(client.last, RPC_TLS_FAILED);
    assert_false(client.secure);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    rpc_tls_session_destroy(client.session);
    ltd_bytes_fini(&client.out);
    rpc_tls_destroy(tls);
    return client.why;
}

static void a_client_refuses_servers_that_it_should(void **state)
{
    static const struct cert expired = {.file = "past",
                                        .issuer = "ca",
                                        .cn = "localhost",
                                        .san = "DNS:localhost",
                                        .from_s = -2 * HOUR,
                                        .to_s = -HOUR};
    static const struct cert by_cn = {.file = "by-cn", .issuer = "ca", .cn = "localhost"};
    static const struct {
        const char *server, *expect, *part;
        enum ltd_code code;
    } rows[] = {
        {"past", "localhost", "expired", LTD_E_UNAUTHENTICATED},
        {"stranger", "localhost", "certificate is not accepted", LTD_E_UNAUTHENTICATED},
        {"server", "example.org", "mismatch", LTD_E_UNAUTHENTICATED},
        {"server", "10.0.0.1", "mismatch", LTD_E_UNAUTHENTICATED},
        {"by-cn", "localhost", "mismatch", LTD_E_UNAUTHENTICATED}, /* a common name is no host */
        {"server", "localhost", "HTTP/2", LTD_E_PEER},             /* it knows no ALPN */
    };
    (void)state;
    certs_issue(dir, &expired);
    certs_issue(dir, &by_cn);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ltd_err why = meet_other_server(rows[i].server, rows[i].expect);
        if (why.code != rows[i].code || !strstr(why.msg, rows[i].part))
            fail_msg("row %zu: '%s' (%s), expected '%s'", i, why.msg, ltd_code_name(why.code),
                     rows[i].part);
    }
}

/* ---- clients of another kind ---- */

/* Between OpenSSL's own client and our server, until neither has anything to say. */
static void exchange(SSL *ssl, BIO *in, BIO *out, struct end *server)
{
    static char buf[1 << 17];
    for (int round = 0; round < 6; round++) {
        SSL_do_handshake(ssl);
        int n = BIO_read(out, buf, sizeof buf);
        give(server, (uint8_t *)buf, n > 0 ? (size_t)n : 0);
        if (server->out.len)
            BIO_write(in, server->out.data, (int)server->out.len);
        ltd_bytes_clear(&server->out);
    }
}

/* How many changes of keys our server takes before it gives up; they come in one piece. */
static bool survives_key_updates(int n_updates, struct ltd_err *why)
{
    struct pair p;
    pair_open(&p, "server", NULL, "localhost");
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    exchange(ssl, in, out, &p.server);
    assert_true(p.server.secure);
    for (int i = 0; i < n_updates; i++) {
        assert_int_equal(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(ssl), 1);
    }
    assert_int_equal(SSL_write(ssl, "hello", 5), 5);
    static char buf[1 << 17];
    int n = BIO_read(out, buf, sizeof buf);
    give(&p.server, (uint8_t *)buf, (size_t)n);
    bool survived = p.server.last == RPC_TLS_MORE && p.server.plain.len == 5;
    assert_true(p.server.out.len < 4096); /* what is answered has a bound too */
    *why = p.server.why;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    pair_close(&p);
    return survived;
}

static void keys_may_change_but_not_without_end(void **state)
{
    struct ltd_err why;
    (void)state;
    assert_true(survives_key_updates(0, &why));
    assert_true(survives_key_updates(32, &why));
    assert_false(survives_key_updates(33, &why));
    assert_int_equal(why.code, LTD_E_PEER);
    assert_non_null(strstr(why.msg, "again and again"));
    assert_false(survives_key_updates(2000, &why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_may_come_in_pieces_of_any_size),
        cmocka_unit_test(a_first_message_may_be_cut_anywhere),
        cmocka_unit_test(broken_bytes_end_a_session_and_nothing_else),
        cmocka_unit_test(a_record_that_was_tampered_with_is_noticed),
        cmocka_unit_test(the_end_is_heard_and_ends_one_direction),
        cmocka_unit_test(a_name_is_a_common_name_or_else_the_first_alternative),
        cmocka_unit_test(a_client_refuses_servers_that_it_should),
        cmocka_unit_test(keys_may_change_but_not_without_end),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
