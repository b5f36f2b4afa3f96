/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/unpack.h - request bytes to a protobuf-c message that can be trusted to be well formed.
 *
 * What a generated parser lets through is refused here, once for all messages: text that is no
 * UTF-8, fields that this build does not know (they could change what is asked), and input whose
 * memory or time is out of proportion to its size. Two bytes of a hostile field can unpack to a whole
 * message with its block of memory; so values, messages and bytes have a budget.
 *
 *     struct unpack u;
 *     Latentd__V1__GetJobRequest *req =
 *         unpack_request(&u, &latentd__v1__get_job_request__descriptor, data, len, &err);
 *     …
 *     unpack_free(&u);
 *
 * Threads: plain values; loop thread.
 */
#ifndef LATENTD_DAEMON_UNPACK_H
#define LATENTD_DAEMON_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"

struct unpack {
    ProtobufCMessage *message; /* owned; NULL after failure */
    ProtobufCAllocator allocator;
    size_t budget_bytes; /* still to be had */
    size_t total_bytes;  /* the whole budget, for the message */
    bool is_over_budget; /* an allocation was refused */
};

/*
 * unpack_request - parse and check; returns u->message, or NULL.
 *
 * Errors: LTD_E_INTERNAL when the bytes are no such message (gRPC's own convention; reason
 *         REQUEST_MALFORMED), LTD_E_EXHAUSTED for more than 65,536 values or 16,384 messages in it, or
 *         when unpacking takes more than 16 times its size and 64 KiB (REQUEST_TOO_COMPLEX),
 *         LTD_E_UNIMPLEMENTED naming an unknown field (FIELD_UNKNOWN), LTD_E_INVALID naming a text
 *         that is no UTF-8, or a message that stands twice.
 */
void *unpack_request(struct unpack *u, const ProtobufCMessageDescriptor *descriptor,
                     const uint8_t *data, size_t len, struct ltd_err *err);

void unpack_free(struct unpack *u);

#endif
