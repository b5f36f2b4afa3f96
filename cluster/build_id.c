/* SPDX-License-Identifier: Apache-2.0 */
/* cluster/build_id.c - finds the linker's build-id note of the running program; see build_id.h. */
#include "cluster/build_id.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define HASH_MAX 32 /* bytes; linkers write 20 or 16 */

struct found {
    uint8_t hash[HASH_MAX];
    size_t len;
};

static size_t align4(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

/* Walk the notes of one segment. Lengths come from our own program, but a note that does not fit
 * its segment still ends the walk. */
static void scan_notes(const uint8_t *at, size_t left, struct found *found)
{
    ElfW(Nhdr) note;
    while (left >= sizeof note) {
        memcpy(&note, at, sizeof note);
        size_t name_bytes = align4(note.n_namesz), body_bytes = align4(note.n_descsz);
        const uint8_t *name = at + sizeof note;
        if (name_bytes > left - sizeof note || body_bytes > left - sizeof note - name_bytes)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(name, "GNU", 4) == 0 &&
            note.n_descsz <= HASH_MAX) {
            memcpy(found->hash, name + name_bytes, note.n_descsz);
            found->len = note.n_descsz;
            return;
        }
        at += sizeof note + name_bytes + body_bytes;
        left -= sizeof note + name_bytes + body_bytes;
    }
}

/* The first object that the loader lists is the program itself. */
static int visit(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct found *found = arg;
    for (int i = 0; i < info->dlpi_phnum && found->len == 0; i++)
        if (info->dlpi_phdr[i].p_type == PT_NOTE)
            scan_notes((const uint8_t *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr,
                       info->dlpi_phdr[i].p_memsz, found);
    return 1;
}

void clus_build_id(char *out, size_t out_bytes)
{
    struct found found = {0};
    char hex[2 * HASH_MAX + 1] = "unknown";
    dl_iterate_phdr(visit, &found);
    for (size_t i = 0; i < found.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", found.hash[i]);
    snprintf(out, out_bytes, "%s compiler %s build %s", CLUS_PROGRAM_VERSION, __VERSION__, hex);
}
