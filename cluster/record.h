/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/record.h - a tick stream in a file, to be replayed on another group.
 *
 * The file holds a header (magic, version, the limits of the group) and then every message with its
 * length in front. It contains what jobs say in another form, so it is created readable by its
 * owner only. Written by rank 0's rank thread when recording is asked for; read by tests and tools.
 *
 * Threads: one owner at a time.
 */
#ifndef LATENTD_CLUSTER_RECORD_H
#define LATENTD_CLUSTER_RECORD_H

#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"
#include "cluster/tick.h"

struct clus_record;
struct clus_replay;

/* Creates or replaces `path`. Errors: LTD_E_INTERNAL with the system's reason. */
struct clus_record *clus_record_open(const char *path, const struct clus_limits *limits,
                                     struct ltd_err *err);
int clus_record_append(struct clus_record *record, const void *message, size_t len,
                       struct ltd_err *err);
/* Writes what is buffered and closes. NULL is accepted. */
int clus_record_close(struct clus_record *take_record, struct ltd_err *err);

/* Errors: LTD_E_NOT_FOUND, LTD_E_CORRUPT naming the file and what was found. */
struct clus_replay *clus_replay_open(const char *path, struct ltd_err *err);
void clus_replay_close(struct clus_replay *take_replay); /* accepts NULL */
const struct clus_limits *clus_replay_limits(const struct clus_replay *replay);

/*
 * clus_replay_next - the next message into `out` (cleared first): 1, or 0 at the end of the file.
 * Errors: LTD_E_CORRUPT when the file ends inside a message or a length is impossible.
 */
int clus_replay_next(struct clus_replay *replay, struct ltd_bytes *out, struct ltd_err *err);

#endif
