/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/credentials.h - how to reach a daemon, and as whom: TLS files and an access token.
 *
 * Options come first, then the environment: a shell that always talks to one service sets
 * LATENTD_SERVER, LATENTD_TLS_CA and LATENTD_TOKEN_FILE once. The variables for TLS count only for
 * addresses "tls:…", so that the same shell can ask a daemon on a Unix socket too; an option that
 * does not fit its address is a mistake and is reported as one (rpc/client.h).
 *
 * A token never stands on a command line, where everybody on the host can read it. It is wiped from
 * memory here as soon as the client has its copy.
 *
 * Threads: plain memory, main thread.
 */
#ifndef LATENTD_CLI_CREDENTIALS_H
#define LATENTD_CLI_CREDENTIALS_H

#include "base/err.h"
#include "cli/token.h"
#include "cli/verb.h"
#include "rpc/client.h"

struct cli_credentials {
    latentd_options options; /* for latentd_client_open_with; points into this and into argv */
    char token[CLI_TOKEN_MAX_BYTES + 1]; /* "" = none */
};

/*
 * cli_credentials_read - what the options and the environment say, for the daemon at `address`.
 *
 * Errors:  LTD_E_INVALID: a token's file cannot be read, can be read by everybody, or holds no
 *          token; $LATENTD_TOKEN is none.
 */
int cli_credentials_read(struct cli_credentials *out, const struct cli_common *common,
                         const char *address, struct ltd_err *err);

/* cli_credentials_wipe - forget the token. */
void cli_credentials_wipe(struct cli_credentials *credentials);

#endif
