/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/tls_options.h - the options tls_* as a context for rpc/: what the listeners show and ask.
 *
 * Whether the options fit together is decided by daemon/config.c; here their files are read. Only
 * the coordinator has listeners, so only its host needs the files.
 */
#ifndef LATENTD_DAEMON_TLS_OPTIONS_H
#define LATENTD_DAEMON_TLS_OPTIONS_H

#include "base/err.h"
#include "daemon/config.h"
#include "rpc/tls.h"

/*
 * tls_options_open - read certificate, key and CA.
 *
 * out  owned; NULL when no certificate is configured
 *
 * Errors: as rpc_tls_create_server; `out` is NULL then.
 */
int tls_options_open(const struct config *config, struct rpc_tls **out, struct ltd_err *err);

#endif
