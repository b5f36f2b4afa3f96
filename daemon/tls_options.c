/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/tls_options.c - see daemon/tls_options.h. */
#include "daemon/tls_options.h"

#include <string.h>

int tls_options_open(const struct config *config, struct rpc_tls **out, struct ltd_err *err)
{
    const struct rpc_tls_config files = {
        .certificate = config->tls_certificate,
        .key = config->tls_key,
        .ca = *config->tls_client_ca ? config->tls_client_ca : NULL,
        .require_peer = strcmp(config->tls_client, "require") == 0,
    };
    *out = NULL;
    if (!*config->tls_certificate)
        return 0;
    *out = rpc_tls_create_server(&files, err);
    return *out ? 0 : -1;
}
