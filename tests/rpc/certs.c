/* SPDX-License-Identifier: Apache-2.0 */
/* tests/rpc/certs.c - see tests/rpc/certs.h. */
#include "certs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define HOUR  3600L
#define MONTH (30 * 24 * HOUR)

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "certs: %s: %s\n", what, ERR_reason_error_string(ERR_peek_last_error()));
    exit(1);
}

static FILE *open_file(const char *dir, const char *name, const char *suffix, const char *mode)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s%s", dir, name, suffix);
    if (*mode == 'w')
        unlink(path); /* another one of that name: a reload */
    int fd = open(path, *mode == 'w' ? O_WRONLY | O_CREAT | O_EXCL : O_RDONLY, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, mode);
    check(file != NULL, path);
    return file;
}

static void add_name(X509_NAME *subject, const char *cn, size_t cn_bytes)
{
    if (cn)
        check(X509_NAME_add_entry_by_txt(subject, "CN", V_ASN1_UTF8STRING,
                                         (const unsigned char *)cn, cn_bytes ? (int)cn_bytes : -1,
                                         -1, 0) == 1,
              "common name");
}

static void add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    check(ext && X509_add_ext(x, ext, -1) == 1, value);
    X509_EXTENSION_free(ext);
}

static X509 *make_unsigned(const struct cert *cert, EVP_PKEY *key)
{
    X509 *x = X509_new();
    unsigned char serial[8];
    bool is_ca = strcmp(cert->file, cert->issuer) == 0;
    RAND_bytes(serial, sizeof serial);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), *(uint64_t *)(void *)serial >> 1);
    X509_set_version(x, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(x), cert->from_s ? cert->from_s : -HOUR);
    X509_gmtime_adj(X509_getm_notAfter(x), cert->to_s ? cert->to_s : MONTH);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "O", MBSTRING_UTF8,
                               (const unsigned char *)"latentd tests", -1, -1, 0);
    add_name(X509_get_subject_name(x), cert->cn, cert->cn_bytes);
    add_name(X509_get_subject_name(x), cert->cn2, 0);
    add_extension(x, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "CA:FALSE");
    add_extension(x, NID_subject_key_identifier, "hash");
    if (cert->san)
        add_extension(x, NID_subject_alt_name, cert->san);
    return x;
}

void certs_issue(const char *dir, const struct cert *cert)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    check(key != NULL, "key");
    X509 *x = make_unsigned(cert, key);
    X509 *issuer = NULL;
    EVP_PKEY *issuer_key = NULL;
    if (strcmp(cert->file, cert->issuer) != 0) {
        FILE *file = open_file(dir, cert->issuer, ".pem", "r");
        issuer = PEM_read_X509(file, NULL, NULL, NULL);
        fclose(file);
        file = open_file(dir, cert->issuer, ".key", "r");
        issuer_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
        fclose(file);
        check(issuer && issuer_key, cert->issuer);
    }
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    check(X509_sign(x, issuer_key ? issuer_key : key, EVP_sha256()) > 0, "sign");
    FILE *file = open_file(dir, cert->file, ".pem", "w");
    check(PEM_write_X509(file, x) == 1 && fclose(file) == 0, "write certificate");
    file = open_file(dir, cert->file, ".key", "w");
    check(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0,
          "write key");
    X509_free(x);
    X509_free(issuer);
    EVP_PKEY_free(key);
    EVP_PKEY_free(issuer_key);
}

void certs_make(const char *dir)
{
    static const struct cert all[] = {
        {.file = "ca", .issuer = "ca", .cn = "test CA"},
        {.file = "server",
         .issuer = "ca",
         .cn = "localhost",
         .san = "DNS:localhost,IP:127.0.0.1,IP:::1"},
        {.file = "alice", .issuer = "ca", .cn = "alice"},
        {.file = "stranger-ca", .issuer = "stranger-ca", .cn = "another CA"},
        {.file = "stranger", .issuer = "stranger-ca", .cn = "alice"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        certs_issue(dir, &all[i]);
}
