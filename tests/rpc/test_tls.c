/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/rpc/test_tls.c - TLS between our client and our server, over real sockets, and clients that
 * are not as they should be (OpenSSL's own, bytes that are no TLS).
 *
 * The server's authorize function answers calls of Whoami with what it was told of the caller.
 */
#include <ifaddrs.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "certs.h"
#include "fixture.h"
#include "raw_peer.h"
#include "rpc/address.h"
#include "rpc/client.h"
#include "rpc/tls.h"

static char dir[64]; /* of certificates, for all tests */

static const char *in_dir(const char *name)
{
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof *paths, "%s/%s", dir, name);
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

/* ---- server ---- */

/* Whoami is refused with all that is known of who asks; everything else is allowed. */
static int tell_who(void *arg, const struct rpc_question *question, struct rpc_identity *out,
                    struct ltd_err *err)
{
    const struct rpc_peer *peer = question->peer;
    (void)arg;
    (void)out;
    if (!question->method || !strstr(question->method->path, "Host"))
        return 0;
    return ltd_fail(err, LTD_E_PERMISSION, "certificate=%s tls=%d token=%.*s",
                    peer->certificate ? peer->certificate : "none", peer->is_tls,
                    question->bearer ? (int)question->bearer_len : 4,
                    question->bearer ? question->bearer : "none");
}

/* With `ca` NULL it asks for no client certificate. */
static struct rpc_tls *server_tls(const char *ca, bool require)
{
    struct ltd_err err = {0};
    const struct rpc_tls_config config = {
        .certificate = in_dir("server.pem"),
        .key = in_dir("server.key"),
        .ca = ca ? in_dir(ca) : NULL,
        .require_peer = require,
    };
    struct rpc_tls *tls = rpc_tls_create_server(&config, &err);
    if (!tls)
        fail_msg("server: %s", err.msg);
    return tls;
}

static void stop(struct fixture *f)
{
    struct rpc_tls *tls = f->tls;
    fixture_stop(f);
    rpc_tls_destroy(tls);
}

/* ---- our client ---- */

static latentd_client *open_as(const char *address, const char *name)
{
    latentd_error err = {0};
    char pem[32], key[32];
    snprintf(pem, sizeof pem, "%s.pem", name ? name : "");
    snprintf(key, sizeof key, "%s.key", name ? name : "");
    const latentd_options options = {
        .ca_file = in_dir("ca.pem"),
        .certificate_file = name ? in_dir(pem) : NULL,
        .key_file = name ? in_dir(key) : NULL,
    };
    latentd_client *client = latentd_client_open_with(address, &options, &err);
    if (!client)
        fail_msg("open %s: %s (%s)", address, err.message, latentd_status_name(err.status));
    return client;
}

static void refused(const char *address, const latentd_options *options, int status,
                    const char *part)
{
    latentd_error err = {0};
    assert_null(latentd_client_open_with(address, options, &err));
    if (err.status != status || !strstr(err.message, part))
        fail_msg("%s: %s (%s), expected %s and '%s'", address, err.message,
                 latentd_status_name(err.status), latentd_status_name(status), part);
    assert_int_equal(err.from_server, 0);
}

static void whoami(latentd_client *client, const char *expected)
{
    latentd_error err = {0};
    latentd_bytes answer = {0};
    const latentd_request request = {.path = "/test.Echo/Host", .timeout_ms = 20000};
    assert_int_equal(latentd_client_unary(client, &request, &answer, &err), -1);
    assert_int_equal(err.status, LATENTD_PERMISSION_DENIED);
    assert_string_equal(err.message, expected);
}

static void echo(latentd_client *client, size_t len)
{
    latentd_error err = {0};
    latentd_bytes answer = {0};
    uint8_t *data = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    const latentd_request request = {
        .path = "/test.Echo/Unary", .data = data, .len = len, .timeout_ms = 30000};
    if (latentd_client_unary(client, &request, &answer, &err) != 0)
        fail_msg("echo of %zu bytes: %s", len, err.message);
    assert_int_equal(answer.len, len);
    assert_memory_equal(answer.data, data, len);
    latentd_bytes_free(&answer);
    free(data);
}

static void calls_of_every_size_come_back_whole(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    latentd_client *client = open_as(f->tls_address, NULL);
    const size_t sizes[] = {0, 1, 16383, 16384, 16385, 1 << 20, 8 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        echo(client, sizes[i]);
    latentd_client_close(client);
    stop(f);
}

static int count(void *arg, const uint8_t *data, size_t len)
{
    (void)data;
    (void)len;
    ++*(int *)arg;
    return 0;
}

static void streams_arrive_in_full(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    latentd_client *client = open_as(f->tls_address, NULL);
    latentd_error err = {0};
    int n = 0;
    const latentd_request request = {
        .path = "/test.Echo/Stream", .data = "3000 5000", .len = 9, .timeout_ms = 60000};
    if (latentd_client_stream(client, &request, count, &n, &err) != 0)
        fail_msg("stream: %s", err.message);
    assert_int_equal(n, 3000);
    latentd_client_close(client);
    stop(f);
}

static void who_calls_is_known_by_certificate_and_token(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls("ca.pem", false), tell_who);
    latentd_client *client = open_as(f->tls_address, "alice");
    whoami(client, "certificate=alice tls=1 token=none");
    latentd_client_close(client);
    client = open_as(f->tls_address, NULL); /* it asks, and does not insist */
    whoami(client, "certificate=none tls=1 token=none");
    latentd_client_close(client);

    latentd_error err = {0};
    const latentd_options with_token = {.ca_file = in_dir("ca.pem"), .token = "s3cr3t"};
    client = latentd_client_open_with(f->tls_address, &with_token, &err);
    whoami(client, "certificate=none tls=1 token=s3cr3t");
    latentd_client_close(client);
    stop(f);
}

static void a_client_without_the_right_certificate_is_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls("ca.pem", true), tell_who);
    const latentd_options none = {.ca_file = in_dir("ca.pem")};
    refused(f->tls_address, &none, LATENTD_UNAUTHENTICATED, "wants a client certificate");
    const latentd_options stranger = {
        .ca_file = in_dir("ca.pem"),
        .certificate_file = in_dir("stranger.pem"),
        .key_file = in_dir("stranger.key"),
    };
    refused(f->tls_address, &stranger, LATENTD_UNAUTHENTICATED, "does not know who signed");
    latentd_client *client = open_as(f->tls_address, "alice");
    whoami(client, "certificate=alice tls=1 token=none");
    latentd_client_close(client);
    stop(f);
}

static void a_server_with_the_wrong_certificate_is_not_spoken_to(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    const latentd_options other_ca = {.ca_file = in_dir("stranger-ca.pem"), .token = "s3cr3t"};
    refused(f->tls_address, &other_ca, LATENTD_UNAUTHENTICATED, "certificate is not accepted");
    refused(f->tls_address, NULL, LATENTD_UNAUTHENTICATED, "certificate is not accepted");
    const latentd_options other_name = {.ca_file = in_dir("ca.pem"), .server_name = "example.org"};
    refused(f->tls_address, &other_name, LATENTD_UNAUTHENTICATED, "mismatch");
    const latentd_options other_ip = {.ca_file = in_dir("ca.pem"), .server_name = "127.0.0.2"};
    refused(f->tls_address, &other_ip, LATENTD_UNAUTHENTICATED, "mismatch");

    latentd_error err = {0};
    const latentd_options by_name = {.ca_file = in_dir("ca.pem"), .server_name = "localhost"};
    latentd_client *client = latentd_client_open_with(f->tls_address, &by_name, &err);
    if (!client)
        fail_msg("by name: %s", err.message);
    echo(client, 100);
    latentd_client_close(client);
    stop(f);
}

static void tls_and_plaintext_do_not_mix(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    char address[140];
    const latentd_options options = {.ca_file = in_dir("ca.pem"), .timeout_ms = 20000};
    /* TLS to a plaintext port. */
    snprintf(address, sizeof address, "tls:%s", f->address);
    refused(address, &options, LATENTD_UNAVAILABLE, "connect to tls:");
    /* Plaintext to a TLS port: connecting works, the call does not. */
    latentd_error err = {0};
    latentd_bytes answer;
    latentd_client *client = latentd_client_open(f->tls_address + strlen("tls:"), 5000, &err);
    assert_non_null(client);
    const latentd_request request = {.path = "/test.Echo/Host", .timeout_ms = 20000};
    assert_int_equal(latentd_client_unary(client, &request, &answer, &err), -1);
    assert_int_equal(err.status, LATENTD_UNAVAILABLE);
    latentd_client_close(client);
    /* Certificates with an address that would not use them. */
    refused(f->address, &options, LATENTD_INVALID_ARGUMENT, "no tls: address");
    stop(f);
}

static void a_token_stays_on_this_host_unless_it_is_encrypted(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), tell_who);
    latentd_error err = {0};
    const latentd_options with_token = {.token = "s3cr3t", .timeout_ms = 5000};
    const char *near[] = {f->address, f->unix_address};
    for (int i = 0; i < 2; i++) {
        latentd_client *client = latentd_client_open_with(near[i], &with_token, &err);
        if (!client)
            fail_msg("%s: %s", near[i], err.message);
        whoami(client, "certificate=none tls=0 token=s3cr3t");
        latentd_client_close(client);
    }
    const char *bad[] = {"", "two words", "tab\t", "caf\xc3\xa9"};
    for (int i = 0; i < 4; i++) {
        const latentd_options options = {.token = bad[i]};
        refused(f->address, &options, LATENTD_INVALID_ARGUMENT, "visible ASCII");
    }
    stop(f);
}

/* An address of this machine that is not loopback; false when it has none. */
static bool outer_address(struct sockaddr_in *out)
{
    struct ifaddrs *all;
    bool found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *one = all; one && !found; one = one->ifa_next) {
        if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET ||
            rpc_address_is_loopback(one->ifa_addr))
            continue;
        memcpy(out, one->ifa_addr, sizeof *out);
        found = true;
    }
    freeifaddrs(all);
    return found;
}

static void a_token_does_not_cross_a_network_in_plaintext(void **state)
{
    struct sockaddr_in sa;
    socklen_t sa_bytes = sizeof sa;
    char address[RPC_ADDRESS_BYTES], byte;
    (void)state;
    if (!outer_address(&sa))
        skip(); /* a machine without a network */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    sa.sin_port = 0;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &sa_bytes), 0);
    rpc_address_format((struct sockaddr *)&sa, sa_bytes, address);

    latentd_options options = {.token = "s3cr3t", .timeout_ms = 10000};
    refused(address, &options, LATENTD_FAILED_PRECONDITION, "in plaintext; use a tls: address");
    int accepted = accept(fd, NULL, NULL);
    assert_int_equal(recv(accepted, &byte, 1, 0), 0); /* closed, and not a byte was said */
    close(accepted);

    latentd_error err = {0};
    options.allow_plaintext_token = 1;
    latentd_client *client = latentd_client_open_with(address, &options, &err);
    if (!client)
        fail_msg("allowed: %s", err.message);
    latentd_client_close(client);
    close(fd);
}

static void a_reload_changes_new_connections_and_leaves_old_ones(void **state)
{
    (void)state;
    struct rpc_tls *tls = server_tls("ca.pem", false);
    struct fixture *f = fixture_start_tls(NULL, tls, tell_who);
    latentd_client *old = open_as(f->tls_address, "alice");
    echo(old, 1000);

    /* A broken file changes nothing. */
    FILE *file = fopen(in_dir("server.pem"), "w");
    fputs("nothing\n", file);
    fclose(file);
    assert_false(fixture_reload_tls(f));
    latentd_client *between = open_as(f->tls_address, NULL);
    latentd_client_close(between);

    const struct cert renamed = {
        .file = "server", .issuer = "ca", .cn = "new", .san = "DNS:new.example,IP:127.0.0.1"};
    certs_issue(dir, &renamed);
    assert_true(fixture_reload_tls(f));
    whoami(old, "certificate=alice tls=1 token=none");
    latentd_error err = {0};
    const latentd_options by_new = {.ca_file = in_dir("ca.pem"), .server_name = "new.example"};
    latentd_client *new = latentd_client_open_with(f->tls_address, &by_new, &err);
    if (!new)
        fail_msg("after the reload: %s", err.message);
    echo(new, 1000);
    const latentd_options by_old = {.ca_file = in_dir("ca.pem"), .server_name = "localhost"};
    refused(f->tls_address, &by_old, LATENTD_UNAUTHENTICATED, "mismatch");
    latentd_client_close(old);
    latentd_client_close(new);
    stop(f);
    certs_make(dir);
}

/* ---- clients of another kind ---- */

struct odd {
    struct raw raw; /* for its connecting and closing */
    SSL_CTX *ctx;
    SSL *ssl;
};

static void odd_open(struct odd *odd, const struct fixture *f)
{
    raw_connect(&odd->raw, f->tls_address + strlen("tls:"));
    odd->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(odd->ctx, 0);
    odd->ssl = SSL_new(odd->ctx);
    SSL_set_fd(odd->ssl, odd->raw.fd);
    ERR_clear_error();
}

static void odd_close(struct odd *odd)
{
    SSL_free(odd->ssl);
    SSL_CTX_free(odd->ctx);
    raw_close(&odd->raw);
}

/* The server's alert, as the reason of what failed last. */
static void expect_reason(int reason)
{
    unsigned long error = ERR_peek_last_error();
    if (ERR_GET_REASON(error) != reason)
        fail_msg("'%s', expected reason %d", ERR_reason_error_string(error), reason);
    ERR_clear_error();
}

static void versions_before_1_2_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    struct odd odd;
    odd_open(&odd, f);
    SSL_set_min_proto_version(odd.ssl, TLS1_VERSION);
    SSL_set_max_proto_version(odd.ssl, TLS1_1_VERSION);
    assert_int_not_equal(SSL_connect(odd.ssl), 1);
    expect_reason(SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    odd_close(&odd);
    stop(f);
}

static void without_a_common_protocol_there_is_a_fatal_alert(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    struct odd odd;
    odd_open(&odd, f);
    SSL_set_alpn_protos(odd.ssl,
                        (const unsigned char *)"\x03"
                                               "foo",
                        4);
    assert_int_not_equal(SSL_connect(odd.ssl), 1);
    expect_reason(SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
    odd_close(&odd);
    stop(f);
}

static void alpn_prefers_h2_and_takes_http_1_1(void **state)
{
    static const struct {
        const char *offer, *chosen;
    } rows[] = {
        {"\x08http/1.1\x02h2", "h2"},
        {"\x03"
         "foo\x08http/1.1",
         "http/1.1"},
        {"", ""},
    };
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct odd odd;
        const unsigned char *chosen;
        unsigned len;
        odd_open(&odd, f);
        if (*rows[i].offer)
            SSL_set_alpn_protos(odd.ssl, (const unsigned char *)rows[i].offer,
                                (unsigned)strlen(rows[i].offer));
        assert_int_equal(SSL_connect(odd.ssl), 1);
        SSL_get0_alpn_selected(odd.ssl, &chosen, &len);
        assert_int_equal(len, strlen(rows[i].chosen));
        assert_memory_equal(chosen, rows[i].chosen, len);
        odd_close(&odd);
    }
    stop(f);
}

static void a_page_is_answered_over_tls_and_the_end_is_said(void **state)
{
    static const char get[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    struct odd odd;
    char answer[4096];
    size_t n = 0, got;
    odd_open(&odd, f);
    assert_int_equal(SSL_connect(odd.ssl), 1);
    assert_int_equal(SSL_write(odd.ssl, get, sizeof get - 1), sizeof get - 1);
    while (n < sizeof answer - 1 && SSL_read_ex(odd.ssl, answer + n, sizeof answer - 1 - n, &got))
        n += got;
    answer[n] = '\0';
    if (strncmp(answer, "HTTP/1.1 ", 9) != 0)
        fail_msg("answer '%s', expected HTTP/1.1", answer);
    /* close_notify came, not only the end of the connection. */
    assert_int_equal(SSL_get_error(odd.ssl, 0), SSL_ERROR_ZERO_RETURN);
    odd_close(&odd);
    stop(f);
}

static void nothing_can_be_negotiated_again(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    struct odd odd;
    char byte;
    odd_open(&odd, f);
    SSL_set_max_proto_version(odd.ssl, TLS1_2_VERSION);
    assert_int_equal(SSL_connect(odd.ssl), 1);
    assert_int_equal(SSL_renegotiate(odd.ssl), 1);
    int rv = SSL_do_handshake(odd.ssl);
    if (rv == 1)
        rv = SSL_read(odd.ssl, &byte, 1);
    assert_int_not_equal(rv, 1);
    expect_reason(SSL_R_NO_RENEGOTIATION);
    odd_close(&odd);
    stop(f);
}

static void no_session_can_be_resumed(void **state)
{
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (int i = 0; i < 2; i++) {
        struct odd first, second;
        odd_open(&first, f);
        SSL_set_max_proto_version(first.ssl, versions[i]);
        assert_int_equal(SSL_connect(first.ssl), 1);
        SSL_SESSION *session = SSL_get1_session(first.ssl);
        odd_open(&second, f);
        SSL_set_max_proto_version(second.ssl, versions[i]);
        SSL_set_session(second.ssl, session);
        assert_int_equal(SSL_connect(second.ssl), 1);
        assert_int_equal(SSL_session_reused(second.ssl), 0);
        SSL_SESSION_free(session);
        odd_close(&first);
        odd_close(&second);
    }
    stop(f);
}

/* ---- no TLS at all ---- */

static void whatever_comes_to_a_tls_port_others_are_served(void **state)
{
    static const size_t lens[] = {18, 24, 6, 14, 7};
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\n\r\n",           "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\xff\xff\x01",         /* a record larger than there may be */
        "\x16\x03\x01\x00\x05\x63yyyyyyyy", /* a message of an unknown type */
        "\x15\x03\x03\x00\x02\x02\x28",     /* an alert for a beginning */
    };
    (void)state;
    struct fixture *f = fixture_start_tls(NULL, server_tls(NULL, false), NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct raw raw;
        char byte;
        raw_connect(&raw, f->tls_address + strlen("tls:"));
        raw_send(&raw, texts[i], lens[i]);
        raw_send(&raw, "zzzzzzzzzzzz", 12);
        while (recv(raw.fd, &byte, 1, 0) > 0)
            ; /* an alert, perhaps; then it is closed, or this hangs and the test fails by time */
        raw_close(&raw);
    }
    latentd_client *client = open_as(f->tls_address, NULL);
    echo(client, 100);
    latentd_client_close(client);
    stop(f);
}

static void a_handshake_that_does_not_go_on_is_given_up(void **state)
{
    (void)state;
    const struct rpc_limits limits = {.handshake_ms = 200, .linger_ms = 100};
    struct fixture *f = fixture_start_tls(&limits, server_tls(NULL, false), NULL);
    static const char *const begun[] = {"", "\x16", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"};
    const size_t lens[] = {0, 1, 11};
    for (int i = 0; i < 3; i++) {
        struct raw raw;
        char byte;
        raw_connect(&raw, f->tls_address + strlen("tls:"));
        raw_send(&raw, begun[i], lens[i]);
        while (recv(raw.fd, &byte, 1, 0) > 0)
            ; /* returns when the server has closed */
        raw_close(&raw);
    }
    /* TLS is spoken, and then nothing. */
    struct odd odd;
    char byte;
    odd_open(&odd, f);
    assert_int_equal(SSL_connect(odd.ssl), 1);
    while (SSL_read(odd.ssl, &byte, 1) == 1)
        ;
    odd_close(&odd);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_every_size_come_back_whole),
        cmocka_unit_test(streams_arrive_in_full),
        cmocka_unit_test(who_calls_is_known_by_certificate_and_token),
        cmocka_unit_test(a_client_without_the_right_certificate_is_refused),
        cmocka_unit_test(a_server_with_the_wrong_certificate_is_not_spoken_to),
        cmocka_unit_test(tls_and_plaintext_do_not_mix),
        cmocka_unit_test(a_token_stays_on_this_host_unless_it_is_encrypted),
        cmocka_unit_test(a_token_does_not_cross_a_network_in_plaintext),
        cmocka_unit_test(a_reload_changes_new_connections_and_leaves_old_ones),
        cmocka_unit_test(versions_before_1_2_are_refused),
        cmocka_unit_test(without_a_common_protocol_there_is_a_fatal_alert),
        cmocka_unit_test(alpn_prefers_h2_and_takes_http_1_1),
        cmocka_unit_test(a_page_is_answered_over_tls_and_the_end_is_said),
        cmocka_unit_test(nothing_can_be_negotiated_again),
        cmocka_unit_test(no_session_can_be_resumed),
        cmocka_unit_test(whatever_comes_to_a_tls_port_others_are_served),
        cmocka_unit_test(a_handshake_that_does_not_go_on_is_given_up),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
