/* SPDX-License-Identifier: Apache-2.0 */
/* proto/descriptors.c - finding things in the tables that proto/describe/describe.c writes. */
#include "proto/descriptors.h"

#include <string.h>

/* As strcmp orders two texts; `a` is not terminated, and `b` has no NUL inside. */
static int compare(const char *a, size_t a_len, const char *b)
{
    size_t b_len = strlen(b);
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    if (order != 0)
        return order;
    return a_len < b_len ? -1 : a_len > b_len;
}

int proto_find_file(const char *name, size_t len)
{
    for (size_t i = 0; i < proto_n_files; i++)
        if (len > 0 && compare(name, len, proto_files[i].name) == 0)
            return (int)i;
    return -1;
}

int proto_find_symbol(const char *name, size_t len)
{
    size_t begin = 0, end = len > 0 ? proto_n_symbols : 0;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        int order = compare(name, len, proto_symbols[middle].name);
        if (order == 0)
            return proto_symbols[middle].file;
        if (order < 0)
            end = middle;
        else
            begin = middle + 1;
    }
    return -1;
}
