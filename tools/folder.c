/* SPDX-License-Identifier: Apache-2.0 */
/* tools/folder.c - see tools/folder.h. */
#include "tools/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SYNC_EVERY_BYTES ((uint64_t)256 << 20)
#define BLOCK_BYTES      ((size_t)2 << 20)

/* The codes that tell an operator what to do about it. */
static enum ltd_code code_of(int error)
{
    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        return LTD_E_EXHAUSTED;
    if (error == EEXIST || error == ENOTEMPTY)
        return LTD_E_EXISTS;
    if (error == EACCES || error == EPERM || error == EROFS)
        return LTD_E_PERMISSION;
    return error == ENOENT || error == ENOTDIR ? LTD_E_NOT_FOUND : LTD_E_INTERNAL;
}

static int fail_errno(struct ltd_err *err, const char *what, const char *path)
{
    int error = errno;
    return ltd_fail(err, code_of(error), "%s %s: %s", what, path, strerror(error));
}

__attribute__((format(printf, 3, 4))) static int put_path(char out[PATH_MAX], struct ltd_err *err,
                                                          const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, PATH_MAX, fmt, args);
    va_end(args);
    return n < PATH_MAX ? 0 : ltd_fail(err, LTD_E_INVALID, "%.100s...: path is too long", out);
}

/* "a/b//" is a/b in a; "b" is b in "."; "/b" is in "/". */
static int split(struct tool_folder *folder, const char *path, struct ltd_err *err)
{
    if (put_path(folder->path, err, "%s", path) != 0)
        return -1;
    size_t len = strlen(folder->path);
    while (len > 1 && folder->path[len - 1] == '/')
        folder->path[--len] = '\0';
    const char *slash = strrchr(folder->path, '/');
    const char *name = slash ? slash + 1 : folder->path;
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return ltd_fail(err, LTD_E_INVALID, "\"%.200s\": expected the name of a new directory",
                        path);
    int parent_len = slash ? (int)(slash - folder->path) : 0;
    if (put_path(folder->parent, err, "%.*s", parent_len, folder->path) != 0)
        return -1;
    if (!*folder->parent)
        strcpy(folder->parent, slash ? "/" : ".");
    return put_path(folder->work, err, "%s/.%s.partial-XXXXXX", folder->parent, name);
}

static int check_space(const char *parent, uint64_t needed_bytes, struct ltd_err *err)
{
    struct statvfs fs;
    if (statvfs(parent, &fs) != 0)
        return fail_errno(err, "free space of", parent);
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes < needed_bytes)
        return ltd_fail(err, LTD_E_EXHAUSTED,
                        "%s: %" PRIu64 " bytes are free, expected %" PRIu64 " for the new files",
                        parent, free_bytes, needed_bytes);
    return 0;
}

static int make(struct tool_folder *folder, const char *path, uint64_t needed_bytes,
                struct ltd_err *err)
{
    struct stat st;
    if (split(folder, path, err) != 0)
        return -1;
    if (lstat(folder->path, &st) == 0)
        return ltd_fail(err, LTD_E_EXISTS, "%s exists, expected a name that nothing has",
                        folder->path);
    if (check_space(folder->parent, needed_bytes, err) != 0)
        return -1;
    return mkdtemp(folder->work) ? 0 : fail_errno(err, "make directory", folder->work);
}

int tool_folder_begin(struct tool_folder *folder, const char *path, uint64_t needed_bytes,
                      struct ltd_err *err)
{
    int rc = make(folder, path, needed_bytes, err);
    if (rc != 0)
        folder->work[0] = '\0';
    return rc;
}

static int sync_directory(const char *path, struct ltd_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 && fsync(fd) == 0 ? 0 : fail_errno(err, "sync", path);
    if (fd >= 0)
        close(fd);
    return rc;
}

/*
 * Give `from` the name `to` if nothing has it. Where the file system cannot do that in one go, the
 * name is looked up first: a directory that appears in between is then replaced if it is empty.
 */
static int rename_to_new(const char *from, const char *to, struct ltd_err *err)
{
    struct stat st;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS) {
        if (lstat(to, &st) == 0)
            errno = EEXIST;
        else if (rename(from, to) == 0)
            return 0;
    }
    return fail_errno(err, "rename to", to);
}

/* mkdtemp makes a directory for its owner alone; a model is as readable as any new directory. */
static int open_up(const char *path, struct ltd_err *err)
{
    mode_t mask = umask(0);
    umask(mask);
    return chmod(path, 0777 & ~mask) == 0 ? 0 : fail_errno(err, "change mode of", path);
}

int tool_folder_commit(struct tool_folder *folder, struct ltd_err *err)
{
    if (open_up(folder->work, err) != 0 || sync_directory(folder->work, err) != 0 ||
        rename_to_new(folder->work, folder->path, err) != 0)
        return -1;
    folder->work[0] = '\0';
    return sync_directory(folder->parent, err);
}

void tool_folder_drop(struct tool_folder *folder)
{
    if (!folder->work[0])
        return;
    DIR *dir = opendir(folder->work);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(folder->work);
    folder->work[0] = '\0';
}

static int create(struct tool_file *file, struct ltd_err *err)
{
    file->block = NULL;
    file->held_bytes = 0;
    file->unsynced_bytes = 0;
    file->fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return file->fd >= 0 ? 0 : fail_errno(err, "create", file->path);
}

int tool_file_create(struct tool_file *file, const struct tool_folder *folder, const char *name,
                     struct ltd_err *err)
{
    file->fd = -1;
    if (put_path(file->path, err, "%s/%s", folder->work, name) != 0)
        return -1;
    return create(file, err);
}

static int write_held(struct tool_file *file, struct ltd_err *err)
{
    const uint8_t *at = file->block;
    for (size_t left = file->held_bytes; left > 0;) {
        ssize_t n = write(file->fd, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, "write", file->path);
        at += n;
        left -= (size_t)n;
    }
    file->unsynced_bytes += file->held_bytes;
    file->held_bytes = 0;
    if (file->unsynced_bytes < SYNC_EVERY_BYTES)
        return 0;
    file->unsynced_bytes = 0;
    return fdatasync(file->fd) == 0 ? 0 : fail_errno(err, "sync", file->path);
}

int tool_file_write(struct tool_file *file, const void *data, size_t bytes, struct ltd_err *err)
{
    const uint8_t *at = data;
    if (!file->block && !(file->block = malloc(BLOCK_BYTES)))
        return ltd_fail(err, LTD_E_EXHAUSTED, "write %s: no memory", file->path);
    while (bytes > 0) {
        size_t room = BLOCK_BYTES - file->held_bytes, n = bytes < room ? bytes : room;
        memcpy(file->block + file->held_bytes, at, n);
        file->held_bytes += n;
        at += n;
        bytes -= n;
        if (n == room && write_held(file, err) != 0)
            return -1;
    }
    return 0;
}

int tool_file_close(struct tool_file *file, struct ltd_err *err)
{
    if (write_held(file, err) != 0)
        return -1;
    int rc = fsync(file->fd) == 0 ? 0 : fail_errno(err, "sync", file->path);
    int closed = close(file->fd);
    file->fd = -1;
    free(file->block);
    file->block = NULL;
    return rc != 0 || closed == 0 ? rc : fail_errno(err, "close", file->path);
}

void tool_file_abandon(struct tool_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
    free(file->block);
    file->block = NULL;
}

int tool_file_publish(const char *dir, const char *name, const void *data, size_t bytes,
                      struct ltd_err *err)
{
    struct tool_file file = {.fd = -1};
    char to[PATH_MAX];
    if (put_path(to, err, "%s/%s", dir, name) != 0 ||
        put_path(file.path, err, "%s/.%s.partial-%ld", dir, name, (long)getpid()) != 0 ||
        create(&file, err) != 0)
        return -1;
    if (tool_file_write(&file, data, bytes, err) == 0 && tool_file_close(&file, err) == 0 &&
        rename_to_new(file.path, to, err) == 0)
        return sync_directory(dir, err);
    tool_file_abandon(&file);
    unlink(file.path);
    return -1;
}
