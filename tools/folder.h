/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/folder.h - a directory that is there whole, or not at all.
 *
 *     tool_folder_begin ── tool_file_create ── tool_file_write ... ── tool_file_close ──┐
 *                               ▲                                                       │
 *                               └───────────────────────────────────────────────────────┤
 *                     tool_folder_drop (any failure)  ◄── or ──►  tool_folder_commit  ◄─┘
 *
 * Files are written into PARENT/.NAME.partial-XXXXXX. Commit forces everything to disk and then
 * gives the directory its name, which nothing may have by then; so whoever sees the name sees all
 * of it, after a power failure too. A process that is killed leaves the partial directory behind,
 * which nobody takes for a model.
 *
 * Every message names the path. Threads: one owner.
 */
#ifndef LATENTD_TOOLS_FOLDER_H
#define LATENTD_TOOLS_FOLDER_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tool_folder {
    char path[PATH_MAX];   /* the name that it will have */
    char parent[PATH_MAX]; /* the directory that it will be in */
    char work[PATH_MAX];   /* where it is until then; "" = nothing to drop */
};

struct tool_file {
    int fd;         /* -1: none is open */
    uint8_t *block; /* owned; [0, held_bytes) is not written yet */
    size_t held_bytes;
    uint64_t unsynced_bytes; /* written since the disk was last waited for */
    char path[PATH_MAX];
};

/*
 * tool_folder_begin - make the partial directory.
 *
 * path          where the directory shall be; its parent must exist
 * needed_bytes  of all files together; refused when the file system has not so much left
 * Errors: LTD_E_EXISTS, LTD_E_EXHAUSTED (space), LTD_E_NOT_FOUND (parent), LTD_E_INVALID.
 */
int tool_folder_begin(struct tool_folder *folder, const char *path, uint64_t needed_bytes,
                      struct ltd_err *err);

/* tool_folder_commit - LTD_E_EXISTS when the name was taken meanwhile; then, as after every error,
 * the folder is to be dropped. */
int tool_folder_commit(struct tool_folder *folder, struct ltd_err *err);

/* tool_folder_drop - remove what is partial; nothing after a commit. Cannot fail visibly. */
void tool_folder_drop(struct tool_folder *folder);

/* tool_file_create - a new file in the partial directory. */
int tool_file_create(struct tool_file *file, const struct tool_folder *folder, const char *name,
                     struct ltd_err *err);

/*
 * tool_file_write - append. Bytes go to the system in blocks of 2 MiB: a file that is written so may
 * lie in huge pages of the page cache, where a daemon that maps it finds them. Waits for the disk
 * every 256 MiB, so that a progress bar tells the truth and a large file does not fill the memory of
 * the machine with pages that wait to be written.
 */
int tool_file_write(struct tool_file *file, const void *data, size_t bytes, struct ltd_err *err);

/* tool_file_close - write what is held, force all to disk and close. After an error: abandon it. */
int tool_file_close(struct tool_file *file, struct ltd_err *err);

/* tool_file_abandon - close it after an error; accepts a closed one. */
void tool_file_abandon(struct tool_file *file);

/*
 * tool_file_publish - the whole of a small new file DIR/NAME, at once or not at all.
 * Errors: LTD_E_EXISTS when there is one of that name.
 */
int tool_file_publish(const char *dir, const char *name, const void *data, size_t bytes,
                      struct ltd_err *err);

#endif
