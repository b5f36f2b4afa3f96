/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/token.h - access tokens: made, read from a file, hashed.
 *
 * A token is "ltd_" and 43 characters of base64url that hold 32 random bytes. Any other text without
 * blanks, printable ASCII of at most 4096 bytes, is taken as a token too. What the rules are for and
 * what the daemon does with them: docs/access.md.
 *
 * Threads: any; no state.
 */
#ifndef LATENTD_CLI_TOKEN_H
#define LATENTD_CLI_TOKEN_H

#include <stddef.h>

#include "base/err.h"

/* A token that cli_token_make made, with its NUL. */
#define CLI_TOKEN_BYTES 48

/* Of any token, without the NUL. */
#define CLI_TOKEN_MAX_BYTES 4096

/* A SHA-256 in hex, with its NUL. */
#define CLI_TOKEN_HASH_BYTES 65

/* cli_token_make - a new one. LTD_E_INTERNAL when the system gives no random bytes. */
int cli_token_make(char out[CLI_TOKEN_BYTES], struct ltd_err *err);

/* cli_token_hash - SHA-256 of `len` bytes as hex digits. */
int cli_token_hash(const char *token, size_t len, char out[CLI_TOKEN_HASH_BYTES],
                   struct ltd_err *err);

/*
 * cli_token_read - the token that can be read from `fd`; blanks and line ends around it are dropped.
 *
 * what  names where it comes from, for messages
 * Errors:  LTD_E_INVALID: unreadable, empty, too long, or text that cannot be a token; the token
 *          itself is never part of the message.
 */
int cli_token_read(int fd, const char *what, char out[CLI_TOKEN_MAX_BYTES + 1],
                   struct ltd_err *err);

/* cli_token_check - the same rules for a token that is text already. */
int cli_token_check(const char *token, const char *what, struct ltd_err *err);

/* cli_token_check_name, cli_token_check_right - words of a line of the access file. LTD_E_INVALID. */
int cli_token_check_name(const char *name, struct ltd_err *err);
int cli_token_check_right(const char *right, struct ltd_err *err);

#endif
