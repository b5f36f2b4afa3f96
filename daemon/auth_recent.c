/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/auth_recent.c - see daemon/auth_recent.h. */
#include "daemon/auth_recent.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <openssl/crypto.h>

#define N_SLOTS 16

/* A token has one slot that it may be in; whoever comes last has it. */
struct slot {
    const struct auth_entry *entry; /* NULL: free */
    uint16_t len;
    char token[AUTH_RECENT_TOKEN_BYTES];
};

struct auth_recent {
    struct slot slots[N_SLOTS];
};

static_assert(sizeof(struct slot) <= 256, "the slots fill one page");

struct auth_recent *auth_recent_create(void)
{
    struct auth_recent *recent =
        mmap(NULL, sizeof *recent, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (recent == MAP_FAILED)
        return NULL;
    /* A kernel that cannot promise these leaves the page as safe as the rest of the memory. */
    madvise(recent, sizeof *recent, MADV_DONTDUMP);
    madvise(recent, sizeof *recent, MADV_WIPEONFORK);
    return recent;
}

void auth_recent_destroy(struct auth_recent *recent)
{
    if (!recent)
        return;
    auth_recent_forget(recent);
    munmap(recent, sizeof *recent);
}

/* FNV-1a: spreads; nothing depends on its being hard to guess. */
static size_t slot_of(const char *token, size_t len)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)token[i]) * 16777619u;
    return (hash ^ hash >> 16) % N_SLOTS;
}

const struct auth_entry *auth_recent_find(const struct auth_recent *recent, const char *token,
                                          size_t len)
{
    if (!recent || len > AUTH_RECENT_TOKEN_BYTES)
        return NULL;
    const struct slot *slot = &recent->slots[slot_of(token, len)];
    if (!slot->entry || slot->len != len || CRYPTO_memcmp(slot->token, token, len) != 0)
        return NULL;
    return slot->entry;
}

void auth_recent_put(struct auth_recent *recent, const char *token, size_t len,
                     const struct auth_entry *entry)
{
    if (!recent || len > AUTH_RECENT_TOKEN_BYTES)
        return;
    struct slot *slot = &recent->slots[slot_of(token, len)];
    OPENSSL_cleanse(slot->token, sizeof slot->token);
    memcpy(slot->token, token, len);
    slot->len = (uint16_t)len;
    slot->entry = entry;
}

void auth_recent_forget(struct auth_recent *recent)
{
    if (recent)
        OPENSSL_cleanse(recent, sizeof *recent);
}
