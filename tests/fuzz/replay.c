/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/replay.c - a target run over the files of its corpora, in builds without libFuzzer.
 *
 *     fuzz_TARGET DIRECTORY_OR_FILE...
 *
 * Every file is given as it is, and then in variations that any cut or broken connection makes:
 * shortened in several places and with single bytes changed. Variations are a function of the file
 * alone, so a failure comes again. The last line counts what was run; no file at all is a failure,
 * because a test without input proves nothing.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/fuzz/fuzz.h"

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define N_CUTS         8
#define N_CHANGES      24

static char now_running[512]; /* for the message when the target aborts */
static size_t n_files, n_runs;

static void tell_file(int signo)
{
    static const char text[] = "\nreplay: the input was ";
    (void)signo;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0 ||
        write(STDERR_FILENO, now_running, strlen(now_running)) < 0 ||
        write(STDERR_FILENO, "\n", 1) < 0)
        _exit(1);
}

static void run(const char *path, const char *variation, size_t at, const uint8_t *data, size_t len)
{
    snprintf(now_running, sizeof now_running, "%s, %s %zu", path, variation, at);
    uint8_t *copy = fuzz_copy(data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    n_runs++;
}

static void run_file(const char *path)
{
    struct ltd_err err = {0};
    size_t len;
    uint8_t *data = (uint8_t *)ltd_file_read(path, FILE_MAX_BYTES, &len, &err);
    FUZZ_CHECK(data, "%s", err.msg);
    run(path, "whole,", len, data, len);
    for (size_t i = 0; i < N_CUTS && len > 1; i++)
        run(path, "cut at", len * i / N_CUTS, data, len * i / N_CUTS);
    uint32_t seed = (uint32_t)len;
    for (size_t i = 0; i < N_CHANGES && len > 0; i++) {
        size_t at = fuzz_piece(&seed, len) - 1;
        uint8_t was = data[at];
        data[at] = (uint8_t)(was ^ (1u << i % 8));
        run(path, "changed at", at, data, len);
        data[at] = was;
    }
    free(data);
    n_files++;
}

static void run_all(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return; /* not every target has seeds of all kinds; none at all is noticed at the end */
    if (!S_ISDIR(st.st_mode)) {
        run_file(path);
        return;
    }
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort);
    FUZZ_CHECK(n >= 0, "%s: cannot be listed", path);
    for (int i = 0; i < n; i++) {
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            run_file(child);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv)
{
    signal(SIGABRT, tell_file);
    for (int i = 1; i < argc; i++)
        run_all(argv[i]);
    printf("%zu files, %zu runs\n", n_files, n_runs);
    return n_files > 0 ? 0 : 1;
}
