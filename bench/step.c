/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/step.c - one recurrent step of a whole model: how long, and what with?
 *
 * The step is the daemon's own: model_core_step over the ranks that mpirun started, activations
 * gathered by cluster/comm.c, the same settings of threads and MPI. What is measured beside it:
 *
 *     products ... rest   the parts of the step (bench/timed.h), of each rank
 *     replay              the products of the step again, with nothing between them
 *
 * so step / replay says what everything but products costs. A cell is a number of positions that
 * step together and what they attend to:
 *
 *     8:512     8 jobs with 512 older positions each, as in decoding
 *     p64:512   64 positions of one job behind 512 older ones: a chunk of a prompt
 *
 * Older positions have keys at `--planes` steps, and are read at the last of them; with --mixed
 * they stopped at different steps, as with an exit rule, and a page is read from several planes.
 *
 * Each round runs every cell once, in rotating order; printed are medians over rounds. `latents` is
 * a hash of what all steps gave, to compare groups of ranks with. With --gate a batch of rounds
 * begins when a byte can be read from PATH.RANK, so that a script can let two programs take turns
 * with both loaded (bench/step.py).
 *
 * usage: [mpirun -n N] bench_step [OPTION]...     CSV on standard output of rank 0; --help
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/size.h"
#include "bench/machine.h"
#include "bench/made_up.h"
#include "bench/timed.h"
#include "cluster/comm.h"
#include "cluster/shard.h"
#include "daemon/startup.h"
#include "kernels/dispatch.h"
#include "model/core.h"
#include "tools/shape.h"

#define MAX_CELLS  32
#define MAX_ROUNDS 101
#define N_NOISE    ((size_t)1 << 20)

/* What is measured per round; the parts come first, in the order of enum timed_part. */
enum column { REST = TIMED_N_PARTS, STEP, REPLAY, STEP_TO_PRODUCTS, STEP_TO_REPLAY, N_COLUMNS };

struct cell {
    bool is_prompt;
    int32_t n_pos, context;
    struct model_slot *slots;
    float *latents, *injected; /* [n_pos][n] */
    double values[N_COLUMNS][MAX_ROUNDS];
};

struct settings {
    const char *like, *model, *tier, *shares, *gate;
    enum kern_format format;
    enum model_kv_format kv_format;
    int32_t n_threads, n_rounds, n_steps, n_planes;
    bool is_mixed;
    struct cell cells[MAX_CELLS];
    int32_t n_cells;
};

struct bench {
    struct settings *settings;
    struct clus_world *world;
    struct model_checkpoint *checkpoint;
    struct model_config config;
    struct kern_ops packing, ops;
    struct kern_ctx kern; /* for the replay: not timed */
    struct model_shard *shards;
    struct clus_gather *gather;
    struct model_core *core;
    struct model_exchange exchange;
    int32_t n_seqs, *seq_pages; /* [n_seqs][pages_per_seq] */
    int32_t pages_per_seq, max_pos;
    float *noise, *x, *y;
    int gate;
};

/* ---- settings ----------------------------------------------------------------------------- */

static const struct option long_options[] = {
    {"like", required_argument, NULL, 'l'},
    {"model", required_argument, NULL, 'm'},
    {"tier", required_argument, NULL, 't'},
    {"format", required_argument, NULL, 'f'},
    {"kv", required_argument, NULL, 'k'},
    {"threads", required_argument, NULL, 'n'},
    {"rounds", required_argument, NULL, 'r'},
    {"steps", required_argument, NULL, 's'},
    {"planes", required_argument, NULL, 'p'},
    {"mixed", no_argument, NULL, 'x'},
    {"cells", required_argument, NULL, 'c'},
    {"gate", required_argument, NULL, 'g'},
    {"shares", required_argument, NULL, 'w'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "usage: [mpirun -n N] bench_step [OPTION]...\n"
    "  --like NAME      made-up weights of this shape, without a file; huginn-0125\n"
    "  --model DIR      a model directory instead\n"
    "  --tier NAME      auto\n"
    "  --format F       of the weights: bf16\n"
    "  --kv F           of keys and values: f32\n"
    "  --threads N      of each rank: 1\n"
    "  --shares LIST    of the ranks, as the daemon's option: equal\n"
    "  --rounds N       5\n"
    "  --steps N        steps in a row that a round times together: 1; many for a small model\n"
    "  --cells LIST     1:0,8:0,16:0,64:0   positions:context, with a p in front: one prompt\n"
    "  --planes N       steps whose keys older positions keep: 4\n"
    "  --mixed          older positions stopped at different steps\n"
    "  --gate PATH      wait for a byte from PATH.RANK before each batch of rounds\n";

static bool parse_cells(struct settings *s, const char *text)
{
    for (s->n_cells = 0; s->n_cells < MAX_CELLS; text++) {
        struct cell *cell = &s->cells[s->n_cells++];
        int used = 0;
        *cell = (struct cell){.is_prompt = *text == 'p'};
        text += cell->is_prompt;
        if (sscanf(text, "%d:%d%n", &cell->n_pos, &cell->context, &used) < 2 || used == 0 ||
            cell->n_pos < 1 || cell->context < 0)
            return false;
        text += used;
        if (*text != ',')
            return *text == '\0';
    }
    return false;
}

static bool parse_count(const char *text, int32_t most, int32_t *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    *out = (int32_t)value;
    return end != text && *end == '\0' && value >= 1 && value <= most;
}

static bool take_option(struct settings *s, int option, const char *value)
{
    switch (option) {
    case 'l':
        s->like = value;
        return true;
    case 'm':
        s->model = value;
        return true;
    case 't':
        s->tier = value;
        return true;
    case 'w':
        s->shares = value;
        return true;
    case 'g':
        s->gate = value;
        return true;
    case 'x':
        s->is_mixed = true;
        return true;
    case 'f':
        return kern_format_parse(value, &s->format) == 0;
    case 'k':
        return model_kv_format_parse(value, &s->kv_format, NULL) == 0;
    case 'n':
        return parse_count(value, 1024, &s->n_threads);
    case 'r':
        return parse_count(value, MAX_ROUNDS, &s->n_rounds);
    case 's':
        return parse_count(value, 100000, &s->n_steps);
    case 'p':
        return parse_count(value, MODEL_KV_MAX_PLANES, &s->n_planes);
    case 'c':
        return parse_cells(s, value);
    }
    return false;
}

static bool parse(struct settings *s, int argc, char **argv)
{
    int option;
    *s = (struct settings){.like = "huginn-0125",
                           .tier = "auto",
                           .format = KERN_BF16,
                           .kv_format = MODEL_KV_F32,
                           .n_threads = 1,
                           .n_rounds = 5,
                           .n_steps = 1,
                           .n_planes = 4};
    parse_cells(s, "1:0,8:0,16:0,64:0");
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!take_option(s, option, optarg))
            return false;
    return optind == argc;
}

/* ---- the model ---------------------------------------------------------------------------- */

static int32_t widest(const struct model_config *config)
{
    int32_t cols = 2 * config->n_embd;
    return cols > config->intermediate ? cols : config->intermediate;
}

/* Sequence i is as long as the longest cell that has more than i jobs needs. */
static int plan_places(struct bench *b, struct ltd_err *err)
{
    int32_t longest = 1;
    for (int32_t c = 0; c < b->settings->n_cells; c++) {
        const struct cell *cell = &b->settings->cells[c];
        int32_t n_seqs = cell->is_prompt ? 1 : cell->n_pos;
        int32_t length = cell->context + (cell->is_prompt ? cell->n_pos : 1);
        b->n_seqs = n_seqs > b->n_seqs ? n_seqs : b->n_seqs;
        b->max_pos = cell->n_pos > b->max_pos ? cell->n_pos : b->max_pos;
        longest = length > longest ? length : longest;
    }
    if (longest > b->config.max_positions)
        return ltd_fail(err, LTD_E_INVALID, "%d positions, the model has %d", longest,
                        b->config.max_positions);
    b->pages_per_seq = (longest + KERN_PAGE_POSITIONS - 1) / KERN_PAGE_POSITIONS;
    b->seq_pages = calloc((size_t)b->n_seqs * (size_t)b->pages_per_seq, sizeof *b->seq_pages);
    if (!b->seq_pages)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for page tables");
    for (int32_t i = 0; i < b->n_seqs * b->pages_per_seq; i++)
        b->seq_pages[i] = i;
    return 0;
}

static int plan_shards(struct bench *b, struct ltd_err *err)
{
    int32_t n = clus_world_size(b->world);
    const struct clus_shard_shape shape = {b->config.n_heads, b->config.n_embd,
                                           b->config.intermediate};
    double *shares = calloc((size_t)n, sizeof *shares);
    b->shards = calloc((size_t)n, sizeof *b->shards);
    int rc = !shares || !b->shards ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d shards", n)
             : clus_shares_parse(b->settings->shares, n, shares, err) != 0
                 ? -1
                 : clus_shard_plan(&shape, shares, n, b->shards, err);
    free(shares);
    return rc;
}

static int open_model(struct bench *b, struct ltd_err *err)
{
    const struct settings *s = b->settings;
    const struct kern_ops *tier = kern_tier_find(s->tier, err);
    struct model_config shape;
    if (!tier)
        return -1;
    if (!kern_tier_has(tier, s->format))
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "tier %s has no %s", tier->name,
                        kern_format_name(s->format));
    if (s->model)
        b->checkpoint = model_checkpoint_open(s->model, err);
    else if (tool_shape_find(s->like, &shape, err) == 0)
        b->checkpoint = made_up_open(&shape, err);
    if (!b->checkpoint)
        return -1;
    b->config = *model_checkpoint_config(b->checkpoint);
    b->kern = (struct kern_ctx){tier, s->n_threads, KERN_MIN_WORK_DEFAULT};
    b->packing = *tier;
    return s->model ? 0 : made_up_ops(&b->packing, tier, widest(&b->config), err);
}

static int load(struct bench *b, struct ltd_err *err)
{
    const struct settings *s = b->settings;
    if (plan_places(b, err) != 0 || plan_shards(b, err) != 0 ||
        timed_init(b->config.n_core, s->n_steps, err) != 0)
        return -1;
    timed_ops(&b->ops, &b->packing);
    b->gather = clus_gather_create(b->world, &b->config, b->shards, b->max_pos, err);
    if (!b->gather)
        return -1;
    b->exchange = timed_exchange(clus_gather_exchange(b->gather));
    const struct model_core_options options = {
        .shard = b->shards[clus_world_rank(b->world)],
        .max_slots = b->max_pos,
        .max_positions = b->pages_per_seq * KERN_PAGE_POSITIONS < b->config.max_positions
                             ? b->pages_per_seq * KERN_PAGE_POSITIONS
                             : b->config.max_positions,
        .n_pages = b->n_seqs * b->pages_per_seq,
        .policy = {.n_planes = s->n_planes, .anchor = true, .holes = MODEL_KV_LATEST},
        .kv_format = s->kv_format,
        .format = s->format,
    };
    const struct kern_ctx ctx = {&b->ops, s->n_threads, KERN_MIN_WORK_DEFAULT};
    b->core = model_core_create(b->checkpoint, &ctx, &options, err);
    made_up_forget();
    return b->core ? 0 : -1;
}

/* ---- what positions attend to ------------------------------------------------------------- */

static int make_noise(struct bench *b, struct ltd_err *err)
{
    size_t n_x = (size_t)b->max_pos * (size_t)widest(&b->config);
    size_t n_y = (size_t)b->max_pos * 2 * (size_t)widest(&b->config);
    uint64_t state = 5;
    b->noise = ltd_alloc(N_NOISE, sizeof *b->noise);
    b->x = ltd_alloc(n_x, sizeof *b->x);
    b->y = ltd_alloc(n_y, sizeof *b->y);
    if (!b->noise || !b->x || !b->y)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d positions", b->max_pos);
    for (size_t i = 0; i < N_NOISE; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        b->noise[i] = ((float)(state >> 40) * 0x1p-24f - 0.5f) * 3.0f;
    }
    for (size_t i = 0; i < n_x; i++)
        b->x[i] = b->noise[i % N_NOISE];
    return 0;
}

static const float *noise_at(const struct bench *b, size_t i, size_t length)
{
    return b->noise + i * 7919 % (N_NOISE - length);
}

static struct model_place place_of(const struct bench *b, int32_t seq, int32_t position)
{
    return (struct model_place){.pages = b->seq_pages + (size_t)seq * (size_t)b->pages_per_seq,
                                .n_pages = b->pages_per_seq,
                                .position = position,
                                .step_idx = b->settings->n_planes};
}

/* Until the position has keys at `depth` steps. Memory is only touched at the last of them: that is
 * where a reader looks. */
static int deepen(struct bench *b, struct model_place place, int32_t depth, struct ltd_err *err)
{
    struct model_kv *kv = model_core_kv(b->core);
    int32_t page = place.pages[place.position / KERN_PAGE_POSITIONS];
    size_t own = (size_t)model_kv_spec_of(kv)->n_heads * (size_t)b->config.head_dim;
    for (int32_t present = model_kv_present(kv, page, place.position); present < depth; present++) {
        place.step_idx = present;
        if (model_kv_start(kv, &place, 1, err) != 0)
            return -1;
    }
    place.step_idx = depth - 1;
    /* Ranks have their heads' part of one long vector, so that all groups attend to the same. */
    size_t at =
        (size_t)b->shards[clus_world_rank(b->world)].head_begin * (size_t)b->config.head_dim;
    size_t whole = (size_t)b->config.n_embd, i = 5 * (size_t)place.position;
    for (int32_t layer = 0; layer < b->config.n_core && own > 0; layer++)
        model_kv_store(kv, layer, &place, noise_at(b, i + (size_t)layer, whole) + at,
                       noise_at(b, i + (size_t)layer + 77, whole) + at);
    return 0;
}

static int fill_context(struct bench *b, const struct cell *cell, struct ltd_err *err)
{
    int32_t n_seqs = cell->is_prompt ? 1 : cell->n_pos, n_planes = b->settings->n_planes;
    for (int32_t seq = 0; seq < n_seqs; seq++)
        for (int32_t j = 0; j < cell->context; j++) {
            struct model_place place = place_of(b, seq, j);
            int32_t page = place.pages[j / KERN_PAGE_POSITIONS];
            if (model_kv_present(model_core_kv(b->core), page, j) > 0)
                continue; /* an earlier cell has been there */
            int32_t depth = b->settings->is_mixed ? 1 + (j * 7 + j / 3) % n_planes : n_planes;
            if (deepen(b, place, depth, err) != 0)
                return -1;
        }
    return 0;
}

static int prepare_cell(struct bench *b, struct cell *cell, struct ltd_err *err)
{
    size_t n = (size_t)b->config.n_embd, count = (size_t)cell->n_pos;
    cell->slots = calloc(count, sizeof *cell->slots);
    cell->latents = ltd_alloc(count * n, sizeof *cell->latents);
    cell->injected = ltd_alloc(count * n, sizeof *cell->injected);
    if (!cell->slots || !cell->latents || !cell->injected)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d positions", cell->n_pos);
    if (fill_context(b, cell, err) != 0)
        return -1;
    for (int32_t i = 0; i < cell->n_pos; i++) {
        struct model_place place =
            cell->is_prompt ? place_of(b, 0, cell->context + i) : place_of(b, i, cell->context);
        float *latent = cell->latents + (size_t)i * n, *e = cell->injected + (size_t)i * n;
        if (deepen(b, place, b->settings->n_planes, err) != 0)
            return -1;
        memcpy(latent, noise_at(b, (size_t)i + 1000, n), n * sizeof *latent);
        memcpy(e, noise_at(b, (size_t)i + 2000, n), n * sizeof *e);
        cell->slots[i] = (struct model_slot){.place = place, .latent = latent, .e = e};
    }
    return 0;
}

/* ---- measuring ---------------------------------------------------------------------------- */

static int meet(struct bench *b, struct ltd_err *err)
{
    uint64_t mine = 0, all[CLUS_MAX_RANKS];
    return clus_comm_all_gather(b->world, &mine, all, sizeof mine, err);
}

static double ms_of(uint64_t ns, int32_t n_steps)
{
    return (double)ns / 1e6 / n_steps;
}

/* The products of the steps just made, once more. */
static int replay(struct bench *b, struct cell *cell, int32_t round, struct ltd_err *err)
{
    int32_t n_calls;
    const struct timed_call *calls = timed_calls(&n_calls);
    if (meet(b, err) != 0)
        return -1;
    uint64_t begin = ltd_now_ns();
    for (int32_t i = 0; i < n_calls; i++)
        b->kern.ops->matmul(&b->kern, b->y, calls[i].mat, b->x, calls[i].n_pos);
    cell->values[REPLAY][round] = ms_of(ltd_now_ns() - begin, b->settings->n_steps);
    return 0;
}

static int measure(struct bench *b, struct cell *cell, int32_t round, struct ltd_err *err)
{
    uint64_t ns[TIMED_N_PARTS];
    int32_t n_steps = b->settings->n_steps;
    double rest;
    timed_begin();
    if (meet(b, err) != 0)
        return -1;
    uint64_t begin = ltd_now_ns();
    for (int32_t i = 0; i < n_steps; i++)
        if (model_core_step(b->core, cell->slots, cell->n_pos, &b->exchange, err) != 0)
            return -1;
    cell->values[STEP][round] = rest = ms_of(ltd_now_ns() - begin, n_steps);
    if (timed_end(b->world, ns, err) != 0)
        return -1;
    for (int p = 0; p < TIMED_N_PARTS; p++)
        rest -= cell->values[p][round] = ms_of(ns[p], n_steps);
    cell->values[REST][round] = rest;
    if (replay(b, cell, round, err) != 0)
        return -1;
    cell->values[STEP_TO_PRODUCTS][round] =
        cell->values[STEP][round] / cell->values[TIMED_PRODUCTS][round];
    cell->values[STEP_TO_REPLAY][round] = cell->values[STEP][round] / cell->values[REPLAY][round];
    return 0;
}

static int ascending(const void *a, const void *b)
{
    double u = *(const double *)a, v = *(const double *)b;
    return u < v ? -1 : u > v;
}

static double median(const double *values, int32_t n)
{
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static uint64_t hash_of(const float *values, size_t n)
{
    const uint8_t *bytes = (const uint8_t *)values;
    uint64_t hash = 14695981039346656037ull;
    for (size_t i = 0; i < n * sizeof *values; i++)
        hash = (hash ^ bytes[i]) * 1099511628211ull;
    return hash;
}

/* A line for each rank, by rank 0. */
static int report(struct bench *b, const struct cell *cell, struct ltd_err *err)
{
    const struct settings *s = b->settings;
    int32_t n_ranks = clus_world_size(b->world);
    double mine[N_COLUMNS + 1], *all = calloc((size_t)n_ranks, sizeof mine);
    if (!all)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d ranks", n_ranks);
    for (int i = 0; i < N_COLUMNS; i++)
        mine[i] = median(cell->values[i], s->n_rounds);
    mine[N_COLUMNS] = (double)model_core_weight_bytes(b->core) / mine[TIMED_PRODUCTS] / 1e6;
    int rc = clus_comm_all_gather(b->world, mine, all, sizeof mine, err);
    for (int32_t r = 0; r < n_ranks && rc == 0 && clus_world_rank(b->world) == 0; r++) {
        const double *v = all + (size_t)r * (N_COLUMNS + 1);
        printf("%s,%s,%s,%s,%d,%d,%d,%s%d,%d,%s,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.3f,"
               "%.3f,%.2f,%016llx\n",
               s->model ? s->model : s->like, b->kern.ops->name, kern_format_name(s->format),
               model_kv_format_name(s->kv_format), n_ranks, s->n_threads, r,
               cell->is_prompt ? "p" : "", cell->n_pos, cell->context,
               s->is_mixed ? "mixed" : "one", v[STEP], v[TIMED_PRODUCTS], v[TIMED_ATTENTION],
               v[TIMED_NORMS], v[TIMED_ELEMENTWISE], v[TIMED_WAIT], v[TIMED_GATHER], v[REST],
               v[REPLAY], v[STEP_TO_PRODUCTS], v[STEP_TO_REPLAY], v[N_COLUMNS],
               (unsigned long long)hash_of(cell->latents,
                                           (size_t)cell->n_pos * (size_t)b->config.n_embd));
    }
    free(all);
    fflush(stdout);
    return rc;
}

/* False when the gate was closed. */
static bool wait_for_gate(const struct bench *b)
{
    char byte;
    return b->gate < 0 || read(b->gate, &byte, 1) == 1;
}

static int run(struct bench *b, struct ltd_err *err)
{
    struct settings *s = b->settings;
    for (int32_t c = 0; c < s->n_cells; c++) {
        /* Once to no account: memory is touched, threads are made. */
        if (prepare_cell(b, &s->cells[c], err) != 0 || measure(b, &s->cells[c], 0, err) != 0)
            return -1;
    }
    if (s->gate && clus_world_rank(b->world) == 0) {
        printf("# ready\n");
        fflush(stdout);
    }
    while (wait_for_gate(b)) {
        for (int32_t round = 0; round < s->n_rounds; round++)
            for (int32_t i = 0; i < s->n_cells; i++)
                if (measure(b, &s->cells[(i + round) % s->n_cells], round, err) != 0)
                    return -1;
        for (int32_t c = 0; c < s->n_cells; c++)
            if (report(b, &s->cells[c], err) != 0)
                return -1;
        if (!s->gate)
            break;
    }
    return 0;
}

/* ---- start and end ------------------------------------------------------------------------ */

static void print_head(int argc, char **argv)
{
    bench_print_machine(argc, argv);
    printf("model,tier,format,kv,ranks,threads,rank,positions,context,planes,step_ms,products_ms,"
           "attention_ms,norms_ms,elementwise_ms,wait_ms,gather_ms,rest_ms,replay_ms,"
           "step_to_products,step_to_replay,weight_gb_per_s,latents\n");
    fflush(stdout);
}

static int open_gate(struct bench *b, struct ltd_err *err)
{
    char path[4096];
    b->gate = -1;
    if (!b->settings->gate)
        return 0;
    snprintf(path, sizeof path, "%s.%d", b->settings->gate, clus_world_rank(b->world));
    b->gate = open(path, O_RDONLY | O_CLOEXEC);
    return b->gate >= 0 ? 0 : ltd_fail(err, LTD_E_NOT_FOUND, "%s: %s", path, strerror(errno));
}

static void close_all(struct bench *b)
{
    for (int32_t c = 0; c < b->settings->n_cells; c++) {
        free(b->settings->cells[c].slots);
        ltd_free(b->settings->cells[c].latents);
        ltd_free(b->settings->cells[c].injected);
    }
    model_core_destroy(b->core);
    clus_gather_destroy(b->gather);
    model_checkpoint_close(b->checkpoint);
    made_up_forget();
    timed_fini();
    free(b->shards);
    free(b->seq_pages);
    ltd_free(b->noise);
    ltd_free(b->x);
    ltd_free(b->y);
    if (b->gate >= 0)
        close(b->gate);
}

static int run_rank(struct bench *b, int argc, char **argv, struct ltd_err *err)
{
    if (!clus_world_is_one_host(b->world))
        return ltd_fail(err, LTD_E_INVALID, "ranks on several hosts have no common clock");
    if (clus_world_rank(b->world) == 0)
        print_head(argc, argv);
    if (open_gate(b, err) != 0 || open_model(b, err) != 0 || load(b, err) != 0 ||
        make_noise(b, err) != 0)
        return -1;
    return run(b, err);
}

int main(int argc, char **argv)
{
    static struct settings settings;
    struct ltd_err err = {0};
    startup_tame_libraries(argv);
    if (!parse(&settings, argc, argv)) {
        fputs(help_text, stderr);
        return 2;
    }
    struct bench b = {.settings = &settings, .gate = -1, .world = clus_world_open(&err)};
    int rc = b.world ? run_rank(&b, argc, argv, &err) : -1;
    if (rc != 0)
        fprintf(stderr, "bench_step: %s\n", err.msg);
    close_all(&b);
    if (rc == 0)
        clus_world_close(b.world);
    else
        clus_world_abandon(b.world);
    return rc == 0 ? 0 : 1;
}
