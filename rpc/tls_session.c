/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/tls_session.c - see rpc/tls_session.h: bytes, the handshake's end, names, reasons. */
#include "rpc/tls_session.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/utf8.h"

/*
 * Handshake messages that a peer may send after the handshake: new keys, attempts to negotiate
 * again. Each is answered, and new keys cost 40 us: 32 KiB full of them held the loop for 50 ms, and
 * a turn takes up to four such reads. An honest peer changes keys once in 350 GB; a client gets two
 * tickets from most servers.
 */
#define CONTROLS_MAX 32

struct rpc_tls_session {
    SSL *ssl;
    bool is_server, is_secure;
    enum rpc_tls_event last; /* END and FAILED are for good, */
    struct ltd_err why;      /* with the reason of FAILED */
    enum rpc_tls_protocol protocol;
    char peer_name[RPC_TLS_NAME_BYTES]; /* "": none */

    int n_controls; /* handshake messages received, alerts sent, since SECURE */

    const uint8_t *in; /* [in_left] fed, not yet read by OpenSSL; borrowed */
    size_t in_left;
    struct ltd_bytes *out; /* borrowed for the length of a call; NULL between calls */
};

/* ---- bytes ---- */

static int bio_read(BIO *bio, char *to, int to_bytes)
{
    struct rpc_tls_session *s = BIO_get_data(bio);
    size_t n = s->in_left < (size_t)to_bytes ? s->in_left : (size_t)to_bytes;
    BIO_clear_retry_flags(bio);
    if (s->n_controls > CONTROLS_MAX)
        return -1; /* for good: fail_for says why */
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(to, s->in, n);
    s->in += n;
    s->in_left -= n;
    return (int)n;
}

static int bio_write(BIO *bio, const char *from, int len)
{
    struct rpc_tls_session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!s->out)
        return -1;
    ltd_bytes_put(s->out, from, (size_t)len);
    return s->out->failed ? -1 : len;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH; /* nothing is held back; everything else is not ours */
}

/* OpenSSL tells of every message; an attempt to negotiate again is seen by the alert it gets. */
static void on_message(int is_sent, int version, int type, const void *data, size_t len, SSL *ssl,
                       void *arg)
{
    struct rpc_tls_session *s = arg;
    (void)version;
    (void)data;
    (void)len;
    (void)ssl;
    if (s->is_secure && type == (is_sent ? SSL3_RT_ALERT : SSL3_RT_HANDSHAKE))
        s->n_controls++;
}

/* One table for all sessions, which may outlive the context that they came from. */
static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "latentd");
    if (!m)
        return;
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_ctrl(m, bio_ctrl);
    bio_method = m;
}

static BIO *make_bio(struct rpc_tls_session *s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bio_method);
    BIO *bio = bio_method ? BIO_new(bio_method) : NULL;
    if (!bio)
        return NULL;
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    return bio;
}

/* ---- names ---- */

/* Printable UTF-8 that fits, and nothing else: it becomes somebody's name in logs and files. */
static bool take_name(const ASN1_STRING *from, char out[RPC_TLS_NAME_BYTES])
{
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, from);
    bool good = len > 0 && len < RPC_TLS_NAME_BYTES &&
                ltd_utf8_valid_prefix((char *)text, (size_t)len) == (size_t)len;
    for (int i = 0; i < len && good; i++)
        good = text[i] >= ' ' && text[i] != 0x7F;
    if (good) {
        memcpy(out, text, (size_t)len);
        out[len] = '\0';
    }
    OPENSSL_free(text);
    return good;
}

static bool take_alternative(const X509 *cert, char out[RPC_TLS_NAME_BYTES])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool good = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *one = sk_GENERAL_NAME_value(names, i);
        if (one->type != GEN_DNS && one->type != GEN_EMAIL)
            continue;
        good = take_name(one->d.ia5, out);
        break;
    }
    GENERAL_NAMES_free(names);
    return good;
}

/* False: it has no name that can be used. */
static bool name_of(const X509 *cert, char out[RPC_TLS_NAME_BYTES])
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0)
        return take_alternative(cert, out);
    /* Of two common names, other programs take the first, or the last: nobody may profit. */
    if (X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return false;
    return take_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), out);
}

int rpc_tls_verify_client(int preverified, X509_STORE_CTX *store)
{
    char name[RPC_TLS_NAME_BYTES];
    if (!preverified || X509_STORE_CTX_get_error_depth(store) > 0)
        return preverified;
    if (name_of(X509_STORE_CTX_get_current_cert(store), name))
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

/* ---- reasons ---- */

static const struct {
    int reason;
    enum ltd_code code;
    const char *text; /* NULL: OpenSSL's own */
} reasons[] = {
    {SSL_R_HTTP_REQUEST, LTD_E_PEER, "it does not speak TLS, but plain HTTP"},
    {SSL_R_WRONG_VERSION_NUMBER, LTD_E_PEER, "it does not speak TLS"},
    {SSL_R_NO_APPLICATION_PROTOCOL, LTD_E_PEER, "it offers neither h2 nor http/1.1 (ALPN)"},
    {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, LTD_E_PEER, "it does not speak HTTP/2 (ALPN)"},
    {SSL_R_UNSUPPORTED_PROTOCOL, LTD_E_PEER, "it speaks no TLS that is new enough, 1.2 at least"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, LTD_E_UNAUTHENTICATED, "it shows no certificate"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, LTD_E_UNAUTHENTICATED,
     "it wants a client certificate"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, LTD_E_PEER,
     "it refuses the handshake (does it want a client certificate?)"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, LTD_E_UNAUTHENTICATED,
     "it does not accept our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, LTD_E_UNAUTHENTICATED,
     "it says that our certificate has expired"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, LTD_E_UNAUTHENTICATED,
     "it says that our certificate was revoked"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, LTD_E_UNAUTHENTICATED,
     "it does not accept our certificate"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, LTD_E_UNAUTHENTICATED,
     "it does not take this kind of certificate"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, LTD_E_UNAUTHENTICATED,
     "it does not know who signed our certificate"},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, LTD_E_UNAUTHENTICATED, "it refuses our certificate"},
};

static int fail_certificate(const struct rpc_tls_session *s, struct ltd_err *err)
{
    long result = SSL_get_verify_result(s->ssl);
    const char *text = X509_verify_cert_error_string(result);
    if (result == X509_V_ERR_APPLICATION_VERIFICATION)
        text = "no usable name in it, or more than one";
    return ltd_fail(err, LTD_E_UNAUTHENTICATED, "its certificate is not accepted: %s", text);
}

/* The first error of the queue is the cause, what follows are consequences. */
static int fail_for(const struct rpc_tls_session *s, struct ltd_err *err)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    if (s->out && s->out->failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a TLS record");
    if (s->n_controls > CONTROLS_MAX)
        return ltd_fail(err, LTD_E_PEER, "it changes keys again and again");
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return fail_certificate(s, err);
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].reason == reason)
            return ltd_fail(err, reasons[i].code, "%s", reasons[i].text);
    const char *text = ERR_reason_error_string(ERR_peek_error());
    return ltd_fail(err, LTD_E_PEER, "%s", text ? text : "broken off");
}

static enum rpc_tls_event fail(struct rpc_tls_session *s)
{
    fail_for(s, &s->why);
    ltd_err_context(&s->why, "TLS");
    ERR_clear_error();
    return s->last = RPC_TLS_FAILED;
}

/* ---- steps ---- */

static enum rpc_tls_protocol protocol_of(const SSL *ssl)
{
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &name, &len);
    if (len == 0)
        return RPC_TLS_PROTOCOL_NONE;
    return len == 2 ? RPC_TLS_PROTOCOL_H2 : RPC_TLS_PROTOCOL_HTTP1; /* no others are offered */
}

static enum rpc_tls_event handshake(struct rpc_tls_session *s)
{
    int rv = SSL_do_handshake(s->ssl);
    if (rv != 1)
        return SSL_get_error(s->ssl, rv) == SSL_ERROR_WANT_READ ? RPC_TLS_MORE : fail(s);
    s->protocol = protocol_of(s->ssl);
    if (!s->is_server && s->protocol != RPC_TLS_PROTOCOL_H2) {
        ltd_fail(&s->why, LTD_E_PEER, "TLS: it does not speak HTTP/2 (no ALPN)");
        return s->last = RPC_TLS_FAILED;
    }
    const X509 *cert = s->is_server ? SSL_get0_peer_certificate(s->ssl) : NULL;
    if (cert)
        name_of(cert, s->peer_name); /* it can: rpc_tls_verify_client has seen to that */
    s->is_secure = true;
    return RPC_TLS_SECURE;
}

static enum rpc_tls_event read_plain(struct rpc_tls_session *s, uint8_t *plain, size_t plain_bytes,
                                     size_t *n)
{
    if (SSL_read_ex(s->ssl, plain, plain_bytes, n) == 1)
        return RPC_TLS_DATA;
    int error = SSL_get_error(s->ssl, 0);
    if (error == SSL_ERROR_WANT_READ)
        return RPC_TLS_MORE;
    return error == SSL_ERROR_ZERO_RETURN ? (s->last = RPC_TLS_END) : fail(s);
}

void rpc_tls_session_feed(struct rpc_tls_session *session, const uint8_t *data, size_t len)
{
    session->in = data;
    session->in_left = len;
}

enum rpc_tls_event rpc_tls_session_next(struct rpc_tls_session *session, uint8_t *plain,
                                        size_t plain_bytes, size_t *n, struct ltd_bytes *out,
                                        struct ltd_err *err)
{
    enum rpc_tls_event event = session->last;
    if (event != RPC_TLS_END && event != RPC_TLS_FAILED) {
        session->out = out;
        ERR_clear_error();
        event =
            session->is_secure ? read_plain(session, plain, plain_bytes, n) : handshake(session);
        session->out = NULL;
    }
    if (event == RPC_TLS_FAILED && err)
        *err = session->why;
    return event;
}

int rpc_tls_session_write(struct rpc_tls_session *session, const void *data, size_t len,
                          struct ltd_bytes *out, struct ltd_err *err)
{
    size_t written;
    if (len == 0)
        return 0;
    if (!session->is_secure || session->last == RPC_TLS_FAILED)
        return ltd_fail(err, LTD_E_PRECONDITION, "TLS: nothing can be sent any more, or not yet");
    session->out = out;
    ERR_clear_error();
    int rv = SSL_write_ex(session->ssl, data, len, &written);
    if (rv != 1)
        fail(session);
    session->out = NULL;
    if (rv == 1)
        return 0;
    if (err)
        *err = session->why;
    return -1;
}

void rpc_tls_session_close(struct rpc_tls_session *session, struct ltd_bytes *out)
{
    /* OpenSSL forbids it after an error, and there is no connection before the handshake's end. */
    if (!session->is_secure || session->last == RPC_TLS_FAILED)
        return;
    session->out = out;
    ERR_clear_error();
    SSL_shutdown(session->ssl);
    ERR_clear_error();
    session->out = NULL;
}

/* ---- life ---- */

/* A certificate answers for names in its subjectAltName only (RFC 9525 §2), as browsers see it. */
static bool expect_name(SSL *ssl, const char *name)
{
    struct in6_addr number;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (inet_pton(AF_INET, name, &number) == 1 || inet_pton(AF_INET6, name, &number) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct rpc_tls_session *rpc_tls_session_create(const struct rpc_tls *tls, const char *server_name,
                                               struct ltd_err *err)
{
    struct rpc_tls_session *s = calloc(1, sizeof *s);
    ERR_clear_error();
    SSL *ssl = s ? SSL_new(rpc_tls_ctx(tls)) : NULL;
    BIO *bio = ssl ? make_bio(s) : NULL;
    if (!bio) {
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for TLS of a connection");
        goto fail;
    }
    s->ssl = ssl;
    s->is_server = rpc_tls_is_server(tls);
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, s);
    SSL_set_bio(ssl, bio, bio); /* one reference serves both directions */
    if (s->is_server) {
        SSL_set_accept_state(ssl);
        return s;
    }
    SSL_set_connect_state(ssl);
    ltd_assert(server_name != NULL, 0, 0);
    if (expect_name(ssl, server_name))
        return s;
    ltd_fail(err, LTD_E_INVALID, "TLS: '%.100s' cannot be the name of a server", server_name);
fail:
    ERR_clear_error();
    SSL_free(ssl);
    free(s);
    return NULL;
}

void rpc_tls_session_destroy(struct rpc_tls_session *take_session)
{
    if (!take_session)
        return;
    SSL_free(take_session->ssl);
    free(take_session);
}

bool rpc_tls_session_is_secure(const struct rpc_tls_session *session)
{
    return session->is_secure;
}

enum rpc_tls_protocol rpc_tls_session_protocol(const struct rpc_tls_session *session)
{
    return session->protocol;
}

const char *rpc_tls_session_peer_name(const struct rpc_tls_session *session)
{
    return session->peer_name[0] ? session->peer_name : NULL;
}
