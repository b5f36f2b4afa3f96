/* SPDX-License-Identifier: Apache-2.0 */
/* rpc/fields.c - see rpc/fields.h. */
#include "rpc/fields.h"

#include <stdlib.h>
#include <string.h>

#include "rpc/base64.h"

void rpc_fields_fini(struct rpc_fields *fields)
{
    struct rpc_field *next;
    for (struct rpc_field *f = fields->first; f; f = next) {
        next = f->next;
        free(f);
    }
    *fields = (struct rpc_fields){0};
}

/* Where the field of that name hangs, or the end of the list. */
static struct rpc_field **place_of(struct rpc_fields *fields, const void *name, size_t name_len)
{
    struct rpc_field **at = &fields->first;
    while (*at && ((*at)->name_len != name_len || memcmp((*at)->bytes, name, name_len) != 0))
        at = &(*at)->next;
    return at;
}

static int put_at(struct rpc_fields *fields, struct rpc_field **end, const void *name,
                  size_t name_len, const void *value, size_t value_len)
{
    struct rpc_field *f = malloc(sizeof *f + name_len + value_len);
    if (!f)
        return -1;
    f->next = NULL;
    f->name_len = name_len;
    f->value_len = value_len;
    memcpy(f->bytes, name, name_len);
    if (value_len > 0)
        memcpy(f->bytes + name_len, value, value_len);
    *end = f;
    fields->n++;
    fields->bytes += name_len + value_len + RPC_FIELD_OVERHEAD_BYTES;
    return 0;
}

int rpc_fields_put(struct rpc_fields *fields, const void *name, size_t name_len, const void *value,
                   size_t value_len)
{
    struct rpc_field **end = &fields->first;
    while (*end)
        end = &(*end)->next;
    return put_at(fields, end, name, name_len, value, value_len);
}

/* Put "," and more behind the value of *at. */
static int join(struct rpc_fields *fields, struct rpc_field **at, const uint8_t *value, size_t len)
{
    struct rpc_field *f = realloc(*at, sizeof *f + (*at)->name_len + (*at)->value_len + 1 + len);
    if (!f)
        return -1;
    *at = f;
    uint8_t *end = f->bytes + f->name_len + f->value_len;
    *end = ',';
    if (len > 0)
        memcpy(end + 1, value, len);
    f->value_len += len + 1;
    fields->bytes += len + 1;
    return 0;
}

static int add_or_join(struct rpc_fields *fields, const uint8_t *name, size_t name_len,
                       const uint8_t *value, size_t value_len)
{
    struct rpc_field **at = place_of(fields, name, name_len);
    if (*at)
        return join(fields, at, value, value_len);
    return put_at(fields, at, name, name_len, value, value_len);
}

int rpc_fields_receive(struct rpc_fields *fields, const uint8_t *name, size_t name_len,
                       const uint8_t *value, size_t value_len, bool *bad)
{
    *bad = false;
    if (!rpc_field_is_binary(name, name_len))
        return add_or_join(fields, name, name_len, value, value_len);
    uint8_t *raw = malloc(value_len ? value_len : 1);
    int rv = raw ? 0 : -1;
    for (size_t begin = 0; rv == 0 && begin <= value_len;) {
        const uint8_t *comma = memchr(value + begin, ',', value_len - begin);
        size_t end = comma ? (size_t)(comma - value) : value_len;
        ptrdiff_t n = rpc_base64_decode(value + begin, end - begin, raw);
        *bad = n < 0;
        rv = n < 0 ? -1 : add_or_join(fields, name, name_len, raw, (size_t)n);
        begin = end + 1;
    }
    free(raw);
    return rv;
}

const struct rpc_field *rpc_fields_find(const struct rpc_fields *fields, const void *name,
                                        size_t name_len)
{
    for (const struct rpc_field *f = fields->first; f; f = f->next)
        if (f->name_len == name_len && memcmp(f->bytes, name, name_len) == 0)
            return f;
    return NULL;
}

const uint8_t *rpc_field_value(const struct rpc_field *field)
{
    return field->bytes + field->name_len;
}

bool rpc_field_is_binary(const void *name, size_t name_len)
{
    return name_len >= 4 && memcmp((const char *)name + name_len - 4, "-bin", 4) == 0;
}

/* Names that HTTP or gRPC have a use for; asked for every field of every call, so lengths first. */
#define TAKEN(text)                                                                                \
    {                                                                                              \
        sizeof text - 1, text                                                                      \
    }
static const struct {
    size_t len;
    char name[18];
} taken[] = {TAKEN("content-type"),   TAKEN("te"),
             TAKEN("authorization"),  TAKEN("connection"),
             TAKEN("keep-alive"),     TAKEN("proxy-connection"),
             TAKEN("host"),           TAKEN("upgrade"),
             TAKEN("content-length"), TAKEN("transfer-encoding")};

static bool is_taken(const uint8_t *name, size_t len)
{
    if (len >= 5 && memcmp(name, "grpc-", 5) == 0)
        return true;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (taken[i].len == len && memcmp(name, taken[i].name, len) == 0)
            return true;
    return false;
}

bool rpc_field_is_custom(const uint8_t *name, size_t name_len)
{
    if (name_len == 0 || is_taken(name, name_len))
        return false;
    for (size_t i = 0; i < name_len; i++)
        if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') &&
            name[i] != '-' && name[i] != '_' && name[i] != '.')
            return false;
    return true;
}

bool rpc_field_is_ascii(const uint8_t *value, size_t len)
{
    /* HTTP strips spaces at the ends, so a value with them would not arrive as it was sent. */
    if (len > 0 && (value[0] == ' ' || value[len - 1] == ' '))
        return false;
    for (size_t i = 0; i < len; i++)
        if (value[i] < 0x20 || value[i] > 0x7E)
            return false;
    return true;
}
