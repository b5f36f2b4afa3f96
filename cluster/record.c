/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/record.c - see cluster/record.h.
 *
 *     magic u32, version u32, seven limits u32 | length u32, message | length u32, message | ...
 *
 * Invariant: a reader never reserves more than the largest message that the limits allow.
 */
#include "cluster/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_MAGIC 0x5254444Cu /* "LDTR" as bytes: latentd tick record */
#define HEADER_BYTES 36
#define LENGTH_BYTES 4
/* Lengths are u32; a larger tick would not fit a broadcast either. */
#define MESSAGE_MAX (1u << 31)

struct clus_record {
    FILE *file;
    char *path;
};

struct clus_replay {
    FILE *file;
    char *path;
    struct clus_limits limits;
    size_t message_max; /* bytes */
    int64_t n_read;     /* messages */
};

static void put_limits(struct ltd_bytes *out, const struct clus_limits *limits)
{
    ltd_bytes_put_u32(out, (uint32_t)limits->n_embd);
    ltd_bytes_put_u32(out, (uint32_t)limits->block_size);
    ltd_bytes_put_u32(out, (uint32_t)limits->page_positions);
    ltd_bytes_put_u32(out, (uint32_t)limits->n_rows);
    ltd_bytes_put_u32(out, (uint32_t)limits->n_seqs);
    ltd_bytes_put_u32(out, (uint32_t)limits->n_pages);
    ltd_bytes_put_u32(out, (uint32_t)limits->max_batch);
}

static struct clus_limits read_limits(struct ltd_cursor *c)
{
    struct clus_limits limits = {0};
    limits.n_embd = (int32_t)ltd_cursor_u32(c);
    limits.block_size = (int32_t)ltd_cursor_u32(c);
    limits.page_positions = (int32_t)ltd_cursor_u32(c);
    limits.n_rows = (int32_t)ltd_cursor_u32(c);
    limits.n_seqs = (int32_t)ltd_cursor_u32(c);
    limits.n_pages = (int32_t)ltd_cursor_u32(c);
    limits.max_batch = (int32_t)ltd_cursor_u32(c);
    return limits;
}

/* A file for the owner alone: the injected vectors tell the text. */
static FILE *create_private(const char *path, struct ltd_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return ltd_fail_null(err, LTD_E_INTERNAL, "create %s: %s", path, strerror(errno));
    FILE *file = fchmod(fd, 0600) == 0 ? fdopen(fd, "wb") : NULL;
    if (!file) {
        ltd_fail(err, LTD_E_INTERNAL, "create %s: %s", path, strerror(errno));
        close(fd);
    }
    return file;
}

static int write_all(struct clus_record *record, const void *data, size_t len, struct ltd_err *err)
{
    if (len > 0 && fwrite(data, 1, len, record->file) != len)
        return ltd_fail(err, LTD_E_INTERNAL, "write %s: %s", record->path, strerror(errno));
    return 0;
}

static int write_header(struct clus_record *record, const struct clus_limits *limits,
                        struct ltd_err *err)
{
    struct ltd_bytes header;
    ltd_bytes_init(&header);
    ltd_bytes_put_u32(&header, RECORD_MAGIC);
    ltd_bytes_put_u32(&header, CLUS_STREAM_VERSION);
    put_limits(&header, limits);
    int rc = header.failed ? ltd_fail(err, LTD_E_EXHAUSTED, "record %s: no memory", record->path)
                           : write_all(record, header.data, header.len, err);
    ltd_bytes_fini(&header);
    return rc;
}

struct clus_record *clus_record_open(const char *path, const struct clus_limits *limits,
                                     struct ltd_err *err)
{
    struct clus_record *record = calloc(1, sizeof *record);
    if (!record || !(record->path = strdup(path))) {
        free(record);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "record %s: no memory", path);
    }
    record->file = create_private(path, err);
    if (!record->file || write_header(record, limits, err)) {
        clus_record_close(record, NULL);
        return NULL;
    }
    return record;
}

int clus_record_append(struct clus_record *record, const void *message, size_t len,
                       struct ltd_err *err)
{
    if (len >= MESSAGE_MAX)
        return ltd_fail(err, LTD_E_EXHAUSTED, "record %s: message of %zu bytes", record->path, len);
    uint8_t length[LENGTH_BYTES];
    for (int i = 0; i < LENGTH_BYTES; i++)
        length[i] = (uint8_t)(len >> (8 * i));
    return write_all(record, length, sizeof length, err) || write_all(record, message, len, err)
               ? -1
               : 0;
}

int clus_record_close(struct clus_record *record, struct ltd_err *err)
{
    int rc = 0;
    if (!record)
        return 0;
    if (record->file && fclose(record->file) != 0)
        rc = ltd_fail(err, LTD_E_INTERNAL, "write %s: %s", record->path, strerror(errno));
    free(record->path);
    free(record);
    return rc;
}

/* The largest message that an encoder can make under these limits; saturates. */
static size_t largest_message(const struct clus_limits *limits)
{
    size_t vector = (size_t)limits->n_embd * sizeof(float);
    size_t bytes = 64 + (size_t)limits->n_seqs * 4 + (size_t)limits->n_pages * 4 +
                   (size_t)clus_limits_max_assigned(limits) * 16 +
                   (size_t)limits->max_batch * (24 + 2 * vector + 20);
    return bytes < MESSAGE_MAX ? bytes : MESSAGE_MAX;
}

static int read_header(struct clus_replay *replay, struct ltd_err *err)
{
    uint8_t header[HEADER_BYTES];
    size_t got = fread(header, 1, sizeof header, replay->file);
    if (got != sizeof header)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: %zu bytes, expected a header of %d", replay->path,
                        got, HEADER_BYTES);
    struct ltd_cursor c = ltd_cursor_init(header, sizeof header);
    uint32_t magic = ltd_cursor_u32(&c), version = ltd_cursor_u32(&c);
    if (magic != RECORD_MAGIC)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: magic %08x, expected %08x", replay->path, magic,
                        RECORD_MAGIC);
    if (version != CLUS_STREAM_VERSION)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: stream version %u, expected %d", replay->path,
                        version, CLUS_STREAM_VERSION);
    replay->limits = read_limits(&c);
    if (clus_limits_check(&replay->limits, err)) {
        if (err)
            err->code = LTD_E_CORRUPT;
        return ltd_err_context(err, "%s", replay->path);
    }
    replay->message_max = largest_message(&replay->limits);
    return 0;
}

struct clus_replay *clus_replay_open(const char *path, struct ltd_err *err)
{
    struct clus_replay *replay = calloc(1, sizeof *replay);
    if (!replay || !(replay->path = strdup(path))) {
        free(replay);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "replay %s: no memory", path);
    }
    replay->file = fopen(path, "rbe");
    if (!replay->file)
        ltd_fail(err, LTD_E_NOT_FOUND, "open %s: %s", path, strerror(errno));
    if (!replay->file || read_header(replay, err)) {
        clus_replay_close(replay);
        return NULL;
    }
    return replay;
}

void clus_replay_close(struct clus_replay *replay)
{
    if (!replay)
        return;
    if (replay->file)
        fclose(replay->file);
    free(replay->path);
    free(replay);
}

const struct clus_limits *clus_replay_limits(const struct clus_replay *replay)
{
    return &replay->limits;
}

int clus_replay_next(struct clus_replay *replay, struct ltd_bytes *out, struct ltd_err *err)
{
    uint8_t prefix[LENGTH_BYTES];
    size_t got = fread(prefix, 1, sizeof prefix, replay->file);
    long long message = (long long)replay->n_read + 1;
    ltd_bytes_clear(out);
    if (got == 0 && feof(replay->file))
        return 0;
    struct ltd_cursor c = ltd_cursor_init(prefix, got);
    size_t len = ltd_cursor_u32(&c);
    if (c.bad)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: ends inside the length of message %lld",
                        replay->path, message);
    if (len > replay->message_max)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: message %lld of %zu bytes, at most %zu possible",
                        replay->path, message, len, replay->message_max);
    uint8_t *at = ltd_bytes_reserve(out, len);
    if (!at && len > 0)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for message %lld of %zu bytes",
                        replay->path, message, len);
    out->len = len > 0 ? fread(at, 1, len, replay->file) : 0;
    if (out->len != len)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: ends inside message %lld, %zu of %zu bytes",
                        replay->path, message, out->len, len);
    replay->n_read++;
    return 1;
}
