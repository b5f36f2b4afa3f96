/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/tls.c - see rpc/tls.h: files to a context of OpenSSL, whole or not at all.
 *
 * Files are read here and parsed from memory, so that who may read a key is judged on the very file
 * that is used, and each mistake can name its file.
 */
#include "rpc/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/bytes.h"
#include "base/log.h"
#include "rpc/tls_session.h"

/* The bundle of all public CAs is 220 KiB. */
#define FILE_BYTES_MAX (1 << 20)

/* What a peer may send as its chain: a dozen certificates. OpenSSL's own limit is 100 KiB. */
#define CHAIN_BYTES_MAX (32 * 1024)

/* Certificates between a peer's and its root; chains of more than three are rare. */
#define CHAIN_DEPTH_MAX 8

#define WARN_BEFORE_SECONDS (7 * 24 * 3600)

struct rpc_tls {
    SSL_CTX *ctx;
    bool is_server, require_peer;
    char *certificate, *key, *ca; /* paths, owned; NULL: not given */
};

/* ---- files ---- */

/* Why OpenSSL refused the last thing. Never NULL. */
static const char *ssl_reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "no reason given";
}

static int check_secret(const char *path, const struct stat *st, struct ltd_err *err)
{
    /* Root's file that we can read although we are not root: an access list gives it to us, and the
     * group's bits show that list's mask. systemd hands out credentials like this. */
    bool by_list = st->st_uid == 0 && st->st_gid == 0 && geteuid() != 0;
    mode_t bad = by_list ? 0027 : 0077;
    if ((st->st_mode & bad) == 0)
        return 0;
    return ltd_fail(err, LTD_E_INVALID,
                    "key %s: its mode is %04o, expected a file that only its owner may read "
                    "(chmod 600)",
                    path, st->st_mode & 07777);
}

static int read_all(int fd, struct ltd_bytes *out)
{
    for (;;) {
        uint8_t *at = ltd_bytes_reserve(out, 16 * 1024);
        ssize_t n = at ? read(fd, at, 16 * 1024) : -1;
        if (n < 0 && at && errno == EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        out->len += (size_t)n;
        if (out->len > FILE_BYTES_MAX) {
            errno = EFBIG;
            return -1;
        }
    }
}

/* `what` is "certificate", "key" or "CA", for the messages. */
static int read_file(const char *what, const char *path, bool is_secret, struct ltd_bytes *out,
                     struct ltd_err *err)
{
    struct stat st;
    /* A pipe that is given by mistake must not hold the start up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return ltd_fail(err, LTD_E_INVALID, "%s %s: %s", what, path, strerror(errno));
    int rv = 0;
    if (fstat(fd, &st) != 0)
        rv = ltd_fail(err, LTD_E_INVALID, "%s %s: %s", what, path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        rv = ltd_fail(err, LTD_E_INVALID, "%s %s: no regular file", what, path);
    else if (is_secret && check_secret(path, &st, err) != 0)
        rv = -1;
    else if (read_all(fd, out) != 0)
        rv = ltd_fail(err, LTD_E_INVALID, "%s %s: %s", what, path, strerror(errno));
    close(fd);
    return rv;
}

/* Keys do not stay in memory that is given back. */
static void wipe(struct ltd_bytes *bytes)
{
    if (bytes->data)
        OPENSSL_cleanse(bytes->data, bytes->capacity);
    ltd_bytes_fini(bytes);
}

/* Every certificate of the text, in order; what stands between them is passed over. */
static STACK_OF(X509) * parse_certificates(const struct ltd_bytes *text)
{
    BIO *bio = BIO_new_mem_buf(text->data ? (const void *)text->data : "", (int)text->len);
    STACK_OF(X509) *all = sk_X509_new_null();
    X509 *one;
    ERR_clear_error();
    while (bio && all && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        if (sk_X509_push(all, one) <= 0)
            X509_free(one);
    BIO_free(bio);
    return all;
}

/* The file's certificates, at least one. Owned. */
static STACK_OF(X509) * load_certificates(const char *what, const char *path, struct ltd_err *err)
{
    struct ltd_bytes text = {0};
    STACK_OF(X509) *all = NULL;
    if (read_file(what, path, false, &text, err) != 0)
        goto out;
    all = parse_certificates(&text);
    /* Parsing ends at something that is no beginning of a certificate, or at a broken one. */
    if (!all)
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %s %s", what, path);
    else if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        ltd_fail(err, LTD_E_INVALID, "%s %s: certificate %d of the file cannot be read: %s", what,
                 path, sk_X509_num(all) + 1, ssl_reason());
    else if (sk_X509_num(all) == 0)
        ltd_fail(err, LTD_E_INVALID, "%s %s: found no certificate in it, expected PEM", what, path);
    else
        goto out;
    sk_X509_pop_free(all, X509_free);
    all = NULL;
out:
    ERR_clear_error();
    ltd_bytes_fini(&text);
    return all;
}

static int no_passphrase(char *out, int out_bytes, int for_writing, void *arg)
{
    (void)out;
    (void)out_bytes;
    (void)for_writing;
    (void)arg;
    return -1;
}

static EVP_PKEY *load_key(const char *path, struct ltd_err *err)
{
    struct ltd_bytes text = {0};
    EVP_PKEY *key = NULL;
    if (read_file("key", path, true, &text, err) != 0)
        goto out;
    BIO *bio = BIO_new_mem_buf(text.data ? (const void *)text.data : "", (int)text.len);
    ERR_clear_error();
    if (bio)
        key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (!key)
        ltd_fail(err, LTD_E_INVALID,
                 "key %s: found no private key in it (%s), expected PEM without a passphrase", path,
                 ssl_reason());
    ERR_clear_error();
out:
    wipe(&text);
    return key;
}

/* ---- judging ---- */

static void print_time(const ASN1_TIME *when, char out[32])
{
    struct tm tm;
    if (ASN1_TIME_to_tm(when, &tm) != 1 || strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        memcpy(out, "an unreadable date", sizeof "an unreadable date");
}

/* Warnings are a server's: a client is a library in somebody's program, and has no log. */
static int check_dates(const char *path, const X509 *leaf, bool is_server, struct ltd_err *err)
{
    char text[32];
    time_t soon = time(NULL) + WARN_BEFORE_SECONDS;
    print_time(X509_get0_notAfter(leaf), text);
    if (X509_cmp_current_time(X509_get0_notAfter(leaf)) <= 0)
        return ltd_fail(err, LTD_E_INVALID, "certificate %s: expired at %s", path, text);
    if (!is_server)
        return 0;
    if (X509_cmp_time(X509_get0_notAfter(leaf), &soon) <= 0)
        ltd_warning("tls: certificate %s expires at %s", path, text);
    if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0) {
        print_time(X509_get0_notBefore(leaf), text);
        ltd_warning("tls: certificate %s is not valid before %s", path, text);
    }
    return 0;
}

static int use_pair(SSL_CTX *ctx, const struct rpc_tls *tls, STACK_OF(X509) * chain, EVP_PKEY *key,
                    struct ltd_err *err)
{
    X509 *leaf = sk_X509_value(chain, 0);
    if (X509_check_private_key(leaf, key) != 1)
        return ltd_fail(err, LTD_E_INVALID, "key %s: it does not belong to the certificate in %s",
                        tls->key, tls->certificate);
    if (check_dates(tls->certificate, leaf, tls->is_server, err) != 0)
        return -1;
    sk_X509_shift(chain); /* the leaf is ours now; the rest goes behind it */
    int rv = SSL_CTX_use_cert_and_key(ctx, leaf, key, chain, 1);
    X509_free(leaf);
    if (rv != 1)
        return ltd_fail(err, LTD_E_INVALID, "certificate %s: %s", tls->certificate, ssl_reason());
    return 0;
}

static int load_pair(SSL_CTX *ctx, const struct rpc_tls *tls, struct ltd_err *err)
{
    if (!tls->certificate && !tls->key && !tls->is_server)
        return 0;
    if (!tls->certificate || !tls->key)
        return ltd_fail(err, LTD_E_INVALID, "a %s is given without a %s: %s",
                        tls->key ? "key" : "certificate", tls->key ? "certificate" : "key",
                        tls->key           ? tls->key
                        : tls->certificate ? tls->certificate
                                           : "neither is there");
    STACK_OF(X509) *chain = load_certificates("certificate", tls->certificate, err);
    EVP_PKEY *key = chain ? load_key(tls->key, err) : NULL;
    int rv = key ? use_pair(ctx, tls, chain, key, err) : -1;
    EVP_PKEY_free(key);
    sk_X509_pop_free(chain, X509_free);
    return rv;
}

/* Trust these and no others. */
static int trust(SSL_CTX *ctx, const char *path, bool is_server, struct ltd_err *err)
{
    STACK_OF(X509) *all = load_certificates("CA", path, err);
    if (!all)
        return -1;
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    int rv = 0;
    for (int i = 0; i < sk_X509_num(all) && rv == 0; i++) {
        X509 *one = sk_X509_value(all, i);
        bool good = X509_STORE_add_cert(store, one) == 1;
        if (good && is_server)
            good = SSL_CTX_add_client_CA(ctx, one) == 1;
        if (!good)
            rv = ltd_fail(err, LTD_E_INVALID, "CA %s: certificate %d: %s", path, i + 1,
                          ssl_reason());
    }
    sk_X509_pop_free(all, X509_free);
    return rv;
}

/* ---- context ---- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned int in_len, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1"; /* best first */
    unsigned char *chosen;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* What holds whatever the files are. */
static bool set_rules(SSL_CTX *ctx, bool is_server)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ctx, CHAIN_BYTES_MAX);
    SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH_MAX);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1)
        return false;
    if (is_server) {
        SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
        return SSL_CTX_set_num_tickets(ctx, 0) == 1;
    }
    return SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2", 3) == 0;
}

static void ask_for_peer(SSL_CTX *ctx, const struct rpc_tls *tls)
{
    if (!tls->is_server)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    else if (tls->ca)
        SSL_CTX_set_verify(
            ctx, SSL_VERIFY_PEER | (tls->require_peer ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
            rpc_tls_verify_client);
}

static SSL_CTX *make_ctx(const struct rpc_tls *tls, struct ltd_err *err)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(tls->is_server ? TLS_server_method() : TLS_client_method());
    if (!ctx || !set_rules(ctx, tls->is_server)) {
        ltd_fail(err, LTD_E_EXHAUSTED, "TLS context: %s", ssl_reason());
        goto fail;
    }
    if (load_pair(ctx, tls, err) != 0)
        goto fail;
    if (tls->ca && trust(ctx, tls->ca, tls->is_server, err) != 0)
        goto fail;
    if (!tls->ca && !tls->is_server && SSL_CTX_set_default_verify_paths(ctx) != 1) {
        ltd_fail(err, LTD_E_INTERNAL, "the system's certificates: %s", ssl_reason());
        goto fail;
    }
    ask_for_peer(ctx, tls);
    return ctx;
fail:
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return NULL;
}

/* ---- life ---- */

static bool copy_path(char **out, const char *path)
{
    *out = path ? strdup(path) : NULL;
    return !path || *out;
}

static struct rpc_tls *create(const struct rpc_tls_config *config, bool is_server,
                              struct ltd_err *err)
{
    if (config->require_peer && !config->ca)
        return ltd_fail_null(err, LTD_E_INVALID,
                             "client certificates are required, but no CA that signs them is "
                             "given");
    struct rpc_tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for TLS");
    tls->is_server = is_server;
    tls->require_peer = config->require_peer;
    bool good = copy_path(&tls->certificate, config->certificate);
    good = copy_path(&tls->key, config->key) && good;
    good = copy_path(&tls->ca, config->ca) && good;
    if (!good)
        ltd_fail(err, LTD_E_EXHAUSTED, "no memory for TLS");
    else
        tls->ctx = make_ctx(tls, err);
    if (tls->ctx)
        return tls;
    rpc_tls_destroy(tls);
    return NULL;
}

struct rpc_tls *rpc_tls_create_server(const struct rpc_tls_config *config, struct ltd_err *err)
{
    return create(config, true, err);
}

struct rpc_tls *rpc_tls_create_client(const struct rpc_tls_config *config, struct ltd_err *err)
{
    return create(config, false, err);
}

int rpc_tls_reload(struct rpc_tls *tls, struct ltd_err *err)
{
    SSL_CTX *ctx = make_ctx(tls, err);
    if (!ctx)
        return -1;
    SSL_CTX_free(tls->ctx); /* the sessions that use it hold on to it */
    tls->ctx = ctx;
    return 0;
}

void rpc_tls_destroy(struct rpc_tls *take_tls)
{
    if (!take_tls)
        return;
    SSL_CTX_free(take_tls->ctx);
    free(take_tls->certificate);
    free(take_tls->key);
    free(take_tls->ca);
    free(take_tls);
}

SSL_CTX *rpc_tls_ctx(const struct rpc_tls *tls)
{
    return tls->ctx;
}

bool rpc_tls_is_server(const struct rpc_tls *tls)
{
    return tls->is_server;
}
