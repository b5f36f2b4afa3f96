/* SPDX-License-Identifier: Apache-2.0 */
/* cli/token.c - see cli/token.h. */
#include "cli/token.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <openssl/evp.h>

#define RANDOM_BYTES 32

/* Names have 1 to 48 characters: docs/access.md. */
#define NAME_MAX_BYTES 48

/* base64 without padding, in the alphabet that needs no escaping anywhere. Returns the end. */
static char *put_base64url(const uint8_t *data, size_t len, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t bits = (uint32_t)data[i] << 16;
        bits |= n > 1 ? (uint32_t)data[i + 1] << 8 : 0;
        bits |= n > 2 ? data[i + 2] : 0;
        for (size_t k = 0; k <= n; k++)
            *out++ = digits[bits >> (18 - 6 * k) & 63];
    }
    *out = '\0';
    return out;
}

int cli_token_make(char out[CLI_TOKEN_BYTES], struct ltd_err *err)
{
    uint8_t raw[RANDOM_BYTES];
    if (getrandom(raw, sizeof raw, 0) != sizeof raw)
        return ltd_fail(err, LTD_E_INTERNAL, "no random bytes: %s", strerror(errno));
    memcpy(out, "ltd_", 4);
    put_base64url(raw, sizeof raw, out + 4);
    return 0;
}

int cli_token_hash(const char *token, size_t len, char out[CLI_TOKEN_HASH_BYTES],
                   struct ltd_err *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_Digest(token, len, digest, &n, EVP_sha256(), NULL) != 1)
        return ltd_fail(err, LTD_E_INTERNAL, "SHA-256 cannot be computed");
    for (unsigned i = 0; i < n && 2 * i + 2 < CLI_TOKEN_HASH_BYTES; i++)
        snprintf(out + 2 * (size_t)i, 3, "%02x", (unsigned)digest[i]);
    return 0;
}

int cli_token_check(const char *token, const char *what, struct ltd_err *err)
{
    size_t len = strlen(token);
    if (len == 0)
        return ltd_fail(err, LTD_E_INVALID, "%s holds no token", what);
    if (len > CLI_TOKEN_MAX_BYTES)
        return ltd_fail(err, LTD_E_INVALID, "%s: %zu bytes, expected a token of at most %d", what,
                        len, CLI_TOKEN_MAX_BYTES);
    for (size_t i = 0; i < len; i++)
        if (token[i] <= ' ' || token[i] > '~')
            return ltd_fail(err, LTD_E_INVALID,
                            "%s: character %zu cannot be part of a token: expected one line of "
                            "printable ASCII without blanks",
                            what, i + 1);
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int cli_token_read(int fd, const char *what, char out[CLI_TOKEN_MAX_BYTES + 1], struct ltd_err *err)
{
    char text[CLI_TOKEN_MAX_BYTES + 64];
    size_t len = 0;
    while (len + 1 < sizeof text) {
        ssize_t n = read(fd, text + len, sizeof text - 1 - len);
        if (n < 0)
            return ltd_fail(err, LTD_E_INVALID, "%s: %s", what, strerror(errno));
        if (n == 0)
            break;
        len += (size_t)n;
    }
    if (memchr(text, '\0', len))
        return ltd_fail(err, LTD_E_INVALID, "%s holds binary data, expected a token", what);
    size_t first = 0;
    while (len > 0 && is_blank(text[len - 1]))
        len--;
    while (first < len && is_blank(text[first]))
        first++;
    text[len] = '\0';
    if (cli_token_check(text + first, what, err) != 0)
        return -1;
    memcpy(out, text + first, len - first + 1);
    return 0;
}

static bool is_name_character(char c, bool is_first)
{
    bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return is_word || (!is_first && c != '\0' && strchr("._-@", c));
}

int cli_token_check_name(const char *name, struct ltd_err *err)
{
    size_t len = strlen(name);
    bool ok = len >= 1 && len <= NAME_MAX_BYTES;
    for (size_t i = 0; ok && i < len; i++)
        ok = is_name_character(name[i], i == 0);
    if (ok)
        return 0;
    return ltd_fail(err, LTD_E_INVALID,
                    "name \"%s\", expected 1 to %d letters, digits and, behind the first, any of "
                    ". _ - @",
                    name, NAME_MAX_BYTES);
}

int cli_token_check_right(const char *right, struct ltd_err *err)
{
    static const char *const rights[] = {"inference", "jobs", "cluster", "metrics", "admin"};
    for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++)
        if (strcmp(rights[i], right) == 0)
            return 0;
    return ltd_fail(err, LTD_E_INVALID,
                    "right \"%s\", expected inference, jobs, cluster, metrics or admin", right);
}
