/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc/fields.h - header fields that belong to a call: its metadata, and what its answer adds.
 *
 * A list in order of arrival; a call has few of them. gRPC's rules for values are kept here: a name
 * that ends in "-bin" holds octets, base64 on the wire and raw in memory; any other holds printable
 * ASCII.
 *
 * Pure but for malloc. One owner at a time.
 * Source: gRPC over HTTP/2, "Custom-Metadata".
 */
#ifndef LATENTD_RPC_FIELDS_H
#define LATENTD_RPC_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_field {
    struct rpc_field *next;
    size_t name_len, value_len;
    uint8_t bytes[]; /* name, then value */
};

struct rpc_fields {
    struct rpc_field *first; /* owned; all zeros is an empty list */
    size_t n;
    size_t bytes; /* as HTTP/2 counts them: name + value + 32 each */
};

/* RFC 9113 §6.5.2: a field counts its octets and 32 more. */
#define RPC_FIELD_OVERHEAD_BYTES 32

void rpc_fields_fini(struct rpc_fields *fields);

/* rpc_fields_put - append a copy. Returns -1 without memory. */
int rpc_fields_put(struct rpc_fields *fields, const void *name, size_t name_len, const void *value,
                   size_t value_len);

/*
 * rpc_fields_receive - keep a field of a request, as it came on the wire.
 *
 * A name that is there already gets "," and the new value behind the old one; a "-bin" value is
 * decoded, part for part where it has commas itself.
 *
 * Returns 0, or -1 when there is no memory or a "-bin" value is no base64 (`bad` says which).
 */
int rpc_fields_receive(struct rpc_fields *fields, const uint8_t *name, size_t name_len,
                       const uint8_t *value, size_t value_len, bool *bad);

/* The field of that name, or NULL. */
const struct rpc_field *rpc_fields_find(const struct rpc_fields *fields, const void *name,
                                        size_t name_len);

const uint8_t *rpc_field_value(const struct rpc_field *field);

/* Does the name end in "-bin"? */
bool rpc_field_is_binary(const void *name, size_t name_len);

/* Is this a name that an application may use: [0-9a-z_.-]+, and not one of HTTP's or gRPC's own? */
bool rpc_field_is_custom(const uint8_t *name, size_t name_len);

/* Octets 0x20..0x7E, none of the spaces at an end: what a value that is not binary may hold. */
bool rpc_field_is_ascii(const uint8_t *value, size_t len);

#endif
