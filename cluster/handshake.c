/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/handshake.c - offers as bytes, and the verdict over them; see cluster/handshake.h.
 *
 *     magic u32, stream version u32 | build, model hash, limits, shares, numerics, KV format,
 *     the same place in all versions  tiers, status: as this version has them
 *
 * Invariant: a block has CLUS_BLOCK_BYTES in every version, so that ranks of two versions finish
 * the collective and can tell each other so.
 */
#include "cluster/handshake.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "cluster/build_id.h"
#include "cluster/comm.h"
#include "cluster/world.h"

#define OFFER_MAGIC  0x4F44544Cu /* "LTDO" as bytes: latentd offer */
#define STATUS_MAGIC 0x5344544Cu

void clus_offer_init(struct clus_offer *offer)
{
    *offer = (struct clus_offer){.stream_version = CLUS_STREAM_VERSION};
    clus_build_id(offer->build, sizeof offer->build);
}

/* FNV-1a, 64 bits. */
static uint64_t hash_text(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash;
}

void clus_offer_set_shares(struct clus_offer *offer, const char *shares)
{
    if (strlen(shares) < sizeof offer->shares)
        snprintf(offer->shares, sizeof offer->shares, "%s", shares);
    else
        snprintf(offer->shares, sizeof offer->shares, "%.100s... hash %016" PRIx64, shares,
                 hash_text(shares));
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* A text field has its full size on the wire, the rest of it zero. */
static void put_text(struct ltd_bytes *out, const char *text, size_t field_bytes)
{
    char field[LTD_ERR_MSG_BYTES] = {0};
    ltd_assert(field_bytes <= sizeof field, field_bytes, sizeof field);
    snprintf(field, field_bytes, "%s", text);
    ltd_bytes_put(out, field, field_bytes);
}

static void take_text(struct ltd_cursor *c, char *text, size_t field_bytes)
{
    const uint8_t *at = ltd_cursor_take(c, field_bytes);
    memset(text, 0, field_bytes);
    if (at)
        memcpy(text, at, field_bytes - 1);
}

static void put_status(struct ltd_bytes *out, const struct ltd_err *status)
{
    ltd_bytes_put_u32(out, (uint32_t)status->code);
    put_text(out, status->msg, LTD_ERR_MSG_BYTES);
}

static void take_status(struct ltd_cursor *c, struct ltd_err *status)
{
    uint32_t code = ltd_cursor_u32(c);
    status->code = code < LTD_N_CODES ? (enum ltd_code)code : LTD_E_INTERNAL;
    take_text(c, status->msg, LTD_ERR_MSG_BYTES);
}

/* The limits as a list, for the wire and for comparison. */
#define N_LIMITS 7
struct limit_row {
    const char *name;
    int32_t *value;
};

static void list_limits(struct clus_limits *limits, struct limit_row rows[N_LIMITS])
{
    const struct limit_row all[N_LIMITS] = {
        {"n_embd", &limits->n_embd},
        {"block_size", &limits->block_size},
        {"page_positions", &limits->page_positions},
        {"n_rows", &limits->n_rows},
        {"n_seqs", &limits->n_seqs},
        {"n_pages", &limits->n_pages},
        {"max_batch", &limits->max_batch},
    };
    memcpy(rows, all, sizeof all);
}

static void put_offer(struct ltd_bytes *out, const struct clus_offer *offer)
{
    struct clus_limits limits = offer->limits;
    struct limit_row rows[N_LIMITS];
    list_limits(&limits, rows);
    ltd_bytes_put_u32(out, OFFER_MAGIC);
    ltd_bytes_put_u32(out, offer->stream_version);
    put_text(out, offer->build, CLUS_BUILD_BYTES);
    put_text(out, offer->model_hash, CLUS_MODEL_HASH_BYTES);
    for (int i = 0; i < N_LIMITS; i++)
        ltd_bytes_put_u32(out, (uint32_t)*rows[i].value);
    put_text(out, offer->shares, CLUS_PLAN_TEXT_BYTES);
    put_text(out, offer->numerics, CLUS_PLAN_TEXT_BYTES);
    put_text(out, offer->kv_format, CLUS_KV_FORMAT_BYTES);
    ltd_bytes_put_u32(out, (uint32_t)offer->n_tiers);
    for (int i = 0; i < CLUS_MAX_TIERS; i++) {
        put_text(out, offer->tiers[i].name, CLUS_TIER_NAME_BYTES);
        put_text(out, offer->tiers[i].what, CLUS_TIER_WHAT_BYTES);
        ltd_bytes_put_u64(out, offer->tiers[i].fingerprint);
    }
    put_text(out, offer->pinned_tier, CLUS_TIER_NAME_BYTES);
    put_status(out, &offer->status);
}

static void take_tiers(struct ltd_cursor *c, struct clus_offer *offer)
{
    uint32_t n_tiers = ltd_cursor_u32(c);
    offer->n_tiers = n_tiers <= CLUS_MAX_TIERS ? (int32_t)n_tiers : 0;
    for (int i = 0; i < CLUS_MAX_TIERS; i++) {
        take_text(c, offer->tiers[i].name, CLUS_TIER_NAME_BYTES);
        take_text(c, offer->tiers[i].what, CLUS_TIER_WHAT_BYTES);
        offer->tiers[i].fingerprint = ltd_cursor_u64(c);
    }
    take_text(c, offer->pinned_tier, CLUS_TIER_NAME_BYTES);
}

/* An offer of another version is known by its version only. */
static void take_offer(const void *block, struct clus_offer *offer)
{
    struct ltd_cursor c = ltd_cursor_init(block, CLUS_BLOCK_BYTES);
    struct limit_row rows[N_LIMITS];
    *offer = (struct clus_offer){0};
    if (ltd_cursor_u32(&c) != OFFER_MAGIC)
        return;
    offer->stream_version = ltd_cursor_u32(&c);
    if (offer->stream_version != CLUS_STREAM_VERSION)
        return;
    take_text(&c, offer->build, CLUS_BUILD_BYTES);
    take_text(&c, offer->model_hash, CLUS_MODEL_HASH_BYTES);
    list_limits(&offer->limits, rows);
    for (int i = 0; i < N_LIMITS; i++)
        *rows[i].value = (int32_t)ltd_cursor_u32(&c);
    take_text(&c, offer->shares, CLUS_PLAN_TEXT_BYTES);
    take_text(&c, offer->numerics, CLUS_PLAN_TEXT_BYTES);
    take_text(&c, offer->kv_format, CLUS_KV_FORMAT_BYTES);
    take_tiers(&c, offer);
    take_status(&c, &offer->status);
}

/* ---- verdict ------------------------------------------------------------------------------ */

/* Whose offers are compared. */
struct panel {
    const struct clus_offer *offers;
    const char *const *hosts;
    int32_t n_ranks;
};

static int differs(struct ltd_err *err, const struct panel *panel, int32_t rank, const char *what,
                   const char *found, const char *expected)
{
    return ltd_fail(err, LTD_E_RANK, "rank %d on host %s: %s \"%s\", expected \"%s\" of rank 0",
                    rank, panel->hosts[rank], what, found, expected);
}

static int judge_status(const struct panel *panel, struct ltd_err *err)
{
    for (int32_t rank = 0; rank < panel->n_ranks; rank++) {
        const struct ltd_err *status = &panel->offers[rank].status;
        if (status->code != LTD_OK)
            return ltd_fail(err, status->code, "rank %d on host %s: %s", rank, panel->hosts[rank],
                            status->msg);
    }
    return 0;
}

static int judge_versions(const struct panel *panel, struct ltd_err *err)
{
    uint32_t expected = panel->offers[0].stream_version;
    for (int32_t rank = 1; rank < panel->n_ranks; rank++) {
        uint32_t found = panel->offers[rank].stream_version;
        if (found != expected)
            return ltd_fail(err, LTD_E_RANK,
                            "rank %d on host %s: stream version %u, expected %u of rank 0", rank,
                            panel->hosts[rank], found, expected);
    }
    return 0;
}

static int judge_texts(const struct panel *panel, struct ltd_err *err)
{
    const struct clus_offer *first = &panel->offers[0];
    for (int32_t rank = 1; rank < panel->n_ranks; rank++) {
        const struct clus_offer *offer = &panel->offers[rank];
        const struct {
            const char *what, *found, *expected;
        } rows[] = {
            {"build", offer->build, first->build},
            {"model hash", offer->model_hash, first->model_hash},
            {"numerics", offer->numerics, first->numerics},
            {"KV format", offer->kv_format, first->kv_format},
            {"shares", offer->shares, first->shares},
        };
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            if (strcmp(rows[i].found, rows[i].expected) != 0)
                return differs(err, panel, rank, rows[i].what, rows[i].found, rows[i].expected);
    }
    return 0;
}

static int judge_limits(const struct panel *panel, struct ltd_err *err)
{
    struct clus_limits first = panel->offers[0].limits;
    struct limit_row expected[N_LIMITS], found[N_LIMITS];
    list_limits(&first, expected);
    for (int32_t rank = 1; rank < panel->n_ranks; rank++) {
        struct clus_limits limits = panel->offers[rank].limits;
        list_limits(&limits, found);
        for (int i = 0; i < N_LIMITS; i++)
            if (*found[i].value != *expected[i].value)
                return ltd_fail(
                    err, LTD_E_RANK, "rank %d on host %s: limit %s %d, expected %d of rank 0", rank,
                    panel->hosts[rank], found[i].name, *found[i].value, *expected[i].value);
    }
    return 0;
}

static const struct clus_tier_offer *find_tier(const struct clus_offer *offer, const char *name)
{
    for (int32_t i = 0; i < offer->n_tiers; i++)
        if (strcmp(offer->tiers[i].name, name) == 0)
            return &offer->tiers[i];
    return NULL;
}

static const char *tier_names(const struct clus_offer *offer, char *out, size_t out_bytes)
{
    size_t used = 0;
    snprintf(out, out_bytes, "none");
    for (int32_t i = 0; i < offer->n_tiers && used < out_bytes; i++)
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", i ? ", " : "",
                                 offer->tiers[i].name);
    return out;
}

/* Can all ranks run this tier with equal bits? `err` says who cannot and why. */
static int judge_tier(const struct panel *panel, const struct clus_tier_offer *wanted,
                      struct ltd_err *err)
{
    char names[CLUS_MAX_TIERS * (CLUS_TIER_NAME_BYTES + 2)];
    for (int32_t rank = 1; rank < panel->n_ranks; rank++) {
        const struct clus_offer *offer = &panel->offers[rank];
        const struct clus_tier_offer *own = find_tier(offer, wanted->name);
        if (!own)
            return ltd_fail(
                err, LTD_E_RANK, "rank %d on host %s: tiers %s, expected %s of rank 0 among them",
                rank, panel->hosts[rank], tier_names(offer, names, sizeof names), wanted->name);
        if (own->fingerprint != wanted->fingerprint)
            return ltd_fail(err, LTD_E_RANK,
                            "rank %d on host %s: tier %s (%s) computes other bits, fingerprint "
                            "%016" PRIx64 ", expected %016" PRIx64 " of rank 0 (%s)",
                            rank, panel->hosts[rank], own->name, own->what, own->fingerprint,
                            wanted->fingerprint, wanted->what);
    }
    return 0;
}

static int judge_pinned(const struct panel *panel, const char *pinned, struct clus_tier_offer *tier,
                        struct ltd_err *err)
{
    char names[CLUS_MAX_TIERS * (CLUS_TIER_NAME_BYTES + 2)];
    const struct clus_tier_offer *own = find_tier(&panel->offers[0], pinned);
    if (!own)
        return ltd_fail(err, LTD_E_RANK, "rank 0 on host %s: tiers %s, expected the pinned tier %s",
                        panel->hosts[0], tier_names(&panel->offers[0], names, sizeof names),
                        pinned);
    if (judge_tier(panel, own, err))
        return -1;
    *tier = *own;
    return 0;
}

static int choose_tier(const struct panel *panel, struct clus_tier_offer *tier, struct ltd_err *err)
{
    const struct clus_offer *first = &panel->offers[0];
    struct ltd_err why = {0};
    if (first->pinned_tier[0] != '\0')
        return judge_pinned(panel, first->pinned_tier, tier, err);
    for (int32_t i = 0; i < first->n_tiers; i++)
        if (judge_tier(panel, &first->tiers[i], &why) == 0) {
            *tier = first->tiers[i];
            return 0;
        }
    return ltd_fail(err, LTD_E_RANK, "no tier that all ranks share: %s",
                    first->n_tiers ? why.msg : "rank 0 has none");
}

int clus_handshake_judge(const struct clus_offer *offers, const char *const *hosts, int32_t n_ranks,
                         struct clus_tier_offer *tier, struct ltd_err *err)
{
    const struct panel panel = {.offers = offers, .hosts = hosts, .n_ranks = n_ranks};
    if (judge_versions(&panel, err) || judge_status(&panel, err) || judge_texts(&panel, err) ||
        judge_limits(&panel, err) || choose_tier(&panel, tier, err))
        return -1;
    return 0;
}

/* ---- collectives -------------------------------------------------------------------------- */

/* Fill a block of fixed size; what is not written is zero. */
static void seal(struct ltd_bytes *bytes, uint8_t block[CLUS_BLOCK_BYTES])
{
    ltd_assert(bytes->len <= CLUS_BLOCK_BYTES, bytes->len, CLUS_BLOCK_BYTES);
    memset(block, 0, CLUS_BLOCK_BYTES);
    if (!bytes->failed && bytes->len > 0)
        memcpy(block, bytes->data, bytes->len);
}

/* An operator should know why a group runs slower kernels than rank 0 could. */
static void warn_of_tiers(const struct panel *panel, const struct clus_tier_offer *chosen)
{
    const struct clus_offer *first = &panel->offers[0];
    for (int32_t i = 0; i < first->n_tiers && first->pinned_tier[0] == '\0'; i++) {
        struct ltd_err why = {0};
        if (strcmp(first->tiers[i].name, chosen->name) == 0)
            return;
        judge_tier(panel, &first->tiers[i], &why);
        ltd_warning("tier %s is not used: %s", first->tiers[i].name, why.msg);
    }
}

static int judge_blocks(struct clus_world *world, const uint8_t *blocks, struct clus_offer *offers,
                        const char **hosts, struct clus_tier_offer *tier, struct ltd_err *err)
{
    int32_t size = clus_world_size(world);
    for (int32_t rank = 0; rank < size; rank++) {
        take_offer(blocks + (size_t)rank * CLUS_BLOCK_BYTES, &offers[rank]);
        hosts[rank] = clus_world_host_of(world, rank);
    }
    if (clus_handshake_judge(offers, hosts, size, tier, err))
        return -1;
    const struct panel panel = {.offers = offers, .hosts = hosts, .n_ranks = size};
    if (clus_world_rank(world) == 0)
        warn_of_tiers(&panel, tier);
    return 0;
}

int clus_handshake(struct clus_world *world, const struct clus_offer *offer,
                   struct clus_tier_offer *tier, struct ltd_err *err)
{
    uint8_t block[CLUS_BLOCK_BYTES], *blocks = clus_world_blocks(world);
    size_t size = (size_t)clus_world_size(world);
    struct clus_offer own = *offer;
    struct ltd_bytes bytes;
    /* Everything that can fail here fails before the collective and is told in it. */
    struct clus_offer *offers = calloc(size, sizeof *offers);
    const char **hosts = calloc(size, sizeof *hosts);
    ltd_bytes_init(&bytes);
    if ((!offers || !hosts || !ltd_bytes_reserve(&bytes, CLUS_BLOCK_BYTES)) &&
        own.status.code == LTD_OK)
        ltd_fail(&own.status, LTD_E_EXHAUSTED, "handshake: no memory");
    put_offer(&bytes, &own);
    seal(&bytes, block);
    int rc = clus_comm_all_gather(world, block, blocks, sizeof block, err);
    if (rc == 0 && offers && hosts)
        rc = judge_blocks(world, blocks, offers, hosts, tier, err);
    else if (rc == 0)
        rc = ltd_fail(err, own.status.code, "rank %d on host %s: %s", clus_world_rank(world),
                      clus_world_host(world), own.status.msg);
    ltd_bytes_fini(&bytes);
    free(offers);
    free(hosts);
    return rc;
}

int clus_agree(struct clus_world *world, const struct ltd_err *status, struct ltd_err *err)
{
    uint8_t block[CLUS_BLOCK_BYTES], *blocks = clus_world_blocks(world);
    struct ltd_bytes bytes;
    ltd_bytes_init(&bytes);
    ltd_bytes_put_u32(&bytes, STATUS_MAGIC);
    put_status(&bytes, status);
    seal(&bytes, block);
    ltd_bytes_fini(&bytes);
    if (clus_comm_all_gather(world, block, blocks, sizeof block, err))
        return -1;
    for (int32_t rank = 0; rank < clus_world_size(world); rank++) {
        struct ltd_err theirs;
        struct ltd_cursor c =
            ltd_cursor_init(blocks + (size_t)rank * CLUS_BLOCK_BYTES, CLUS_BLOCK_BYTES);
        bool is_status = ltd_cursor_u32(&c) == STATUS_MAGIC;
        take_status(&c, &theirs);
        if (!is_status)
            ltd_fail(&theirs, LTD_E_RANK, "no status, it had no memory or is at another step");
        if (theirs.code != LTD_OK)
            return ltd_fail(err, theirs.code, "rank %d on host %s: %s", rank,
                            clus_world_host_of(world, rank), theirs.msg);
    }
    return 0;
}
