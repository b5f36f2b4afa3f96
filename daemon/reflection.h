/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/reflection.h - the answers of server reflection: bytes of a request in, bytes of a response
 * out.
 *
 * What can be asked for is what is built in (proto/descriptors.h); what is listed is what the table
 * of methods has, so a service that is switched off is not offered. Both versions of the protocol are
 * the same octets, and one set of messages serves both.
 *
 * A stream is one asker: the file that is asked for is always sent, and what it imports once, since
 * the asker keeps what it has.
 *
 * Does not: know calls (daemon/service_reflection.c).
 * Threads: loop thread.
 */
#ifndef LATENTD_DAEMON_REFLECTION_H
#define LATENTD_DAEMON_REFLECTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "daemon/service.h"

/* What one stream has been told. */
struct reflection {
    const struct service *service; /* borrowed */
    uint8_t *is_sent;              /* owned [proto_n_files] */
};

/* Errors: LTD_E_EXHAUSTED. */
int reflection_init(struct reflection *reflection, const struct service *service,
                    struct ltd_err *err);
void reflection_fini(struct reflection *reflection);

/*
 * reflection_answer - append the packed ServerReflectionResponse of one packed request to `out`.
 *
 * What cannot be found is said in the response. Errors, which end the stream: those of
 * unpack_request, and LTD_E_EXHAUSTED without memory.
 */
int reflection_answer(struct reflection *reflection, const uint8_t *request, size_t len,
                      struct ltd_bytes *out, struct ltd_err *err);

#endif
