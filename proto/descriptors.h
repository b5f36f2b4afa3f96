/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/descriptors.h - the published contract as data: what server reflection hands out.
 *
 * Every .proto file that is served, with what it imports, as protoc describes it: the files of the
 * source tree with their own names and types, not the copies that the C side is made from. The
 * tables are constants made at build (proto/describe/): a file that is added to the contract is
 * here without anybody remembering it.
 *
 * Threads: any; constants.
 */
#ifndef LATENTD_PROTO_DESCRIPTORS_H
#define LATENTD_PROTO_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

struct proto_file {
    const char *name;    /* as imports say it: "latentd/v1/job.proto" */
    const uint8_t *data; /* [len] a packed google.protobuf.FileDescriptorProto */
    size_t len;
    const uint16_t *imports; /* [n_imports] indices of files */
    size_t n_imports;
};

extern const struct proto_file proto_files[]; /* [proto_n_files] */
extern const size_t proto_n_files;

/* A full name: message, field, oneof, enum, value of an enum, service or method. */
struct proto_symbol {
    const char *name;
    uint16_t file; /* index of the file that defines it */
};

extern const struct proto_symbol
    proto_symbols[]; /* [proto_n_symbols], by name as strcmp orders it */
extern const size_t proto_n_symbols;

/* Index of a file by its name, or of the file that defines a name; -1 when there is none. `name` is
 * compared whole; bytes of any kind may come from a client. */
int proto_find_file(const char *name, size_t len);
int proto_find_symbol(const char *name, size_t len);

#endif
