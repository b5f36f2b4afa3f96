/* SPDX-License-Identifier: Apache-2.0 */
/* cli/caches.c - see cli/caches.h. */
#include "cli/caches.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More kinds of caches than any processor has. */
#define MAX_INDEXES 16

/* The first word of FOLDER/cpuN/cache/indexI/NAME; false when there is no such file. */
static bool read_word(const char *folder, unsigned cpu, unsigned idx, const char *name,
                      char out[64])
{
    char path[512];
    snprintf(path, sizeof path, "%s/cpu%u/cache/index%u/%s", folder, cpu, idx, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool has_word = fscanf(file, "%63s", out) == 1;
    fclose(file);
    return has_word;
}

/* "512K" or "32M" or plain bytes; 0 when it is none of these. */
static uint64_t size_of(const char *text)
{
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (end == text || errno != 0 || n > UINT64_MAX >> shift)
        return 0;
    return n << shift;
}

/* The lists are sorted, so a cache belongs to the processor that its list begins with. */
static bool is_owner(const char *shared_cpu_list, unsigned cpu)
{
    return strtoul(shared_cpu_list, NULL, 10) == cpu;
}

static void add_cpu(const char *folder, unsigned cpu, struct cli_caches *out)
{
    char level[64], type[64], size[64], list[64];
    for (unsigned idx = 0; idx < MAX_INDEXES; idx++) {
        if (!read_word(folder, cpu, idx, "level", level) ||
            !read_word(folder, cpu, idx, "type", type) ||
            !read_word(folder, cpu, idx, "size", size) ||
            !read_word(folder, cpu, idx, "shared_cpu_list", list))
            continue;
        uint32_t depth = (uint32_t)strtoul(level, NULL, 10);
        if (strcmp(type, "Instruction") == 0 || depth < out->level || !is_owner(list, cpu))
            continue;
        if (depth > out->level)
            *out = (struct cli_caches){.level = depth};
        out->n_instances++;
        out->bytes += size_of(size);
    }
}

int cli_caches_read(const char *folder, struct cli_caches *out, struct ltd_err *err)
{
    struct cli_caches found = {.level = 0};
    DIR *dir = opendir(folder);
    if (!dir)
        return ltd_fail(err, LTD_E_NOT_FOUND, "open %s: %s", folder, strerror(errno));
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        unsigned cpu;
        char rest;
        if (sscanf(entry->d_name, "cpu%u%c", &cpu, &rest) == 1)
            add_cpu(folder, cpu, &found);
    }
    closedir(dir);
    if (found.bytes == 0)
        return ltd_fail(err, LTD_E_NOT_FOUND, "%s: lists no data cache", folder);
    *out = found;
    return 0;
}
