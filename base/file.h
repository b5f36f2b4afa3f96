/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/file.h - open a file that somebody else has put there, without being held up by it.
 *
 * Whoever gives a path may give a pipe, a socket, a device or a directory by mistake. Opening a
 * pipe waits for a writer that never comes, and a device may have no end; so what is no regular
 * file is refused, and nothing is waited for.
 *
 * Every message names the path, what was found there and what was expected.
 * Not here: writing, and files that grow while they are read.
 *
 * Threads: no shared state.
 */
#ifndef LATENTD_BASE_FILE_H
#define LATENTD_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * ltd_file_open - a regular file, for reading; *bytes is its size.
 * Returns a descriptor (close), or -1: LTD_E_NOT_FOUND when it cannot be opened, LTD_E_INVALID when
 * it is no regular file.
 */
int ltd_file_open(const char *path, size_t *bytes, struct ltd_err *err);

/*
 * ltd_file_read - the whole of a regular file of at most `max_bytes`; *len is its size.
 * Returns an owned block (free) with a NUL behind the last byte, or NULL: as ltd_file_open, and
 * LTD_E_INVALID when it is larger, LTD_E_CORRUPT when it ends early, LTD_E_EXHAUSTED.
 */
char *ltd_file_read(const char *path, size_t max_bytes, size_t *len, struct ltd_err *err);

/*
 * ltd_file_is_absent - true when nothing has this name. A link that leads nowhere is something:
 * the file that belongs behind it is lost, which is no reason to go on without it.
 */
bool ltd_file_is_absent(const char *path);

#endif
