/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cluster/mpi_group_test.c - one rank of a real group; mpi_test.sh starts several by mpirun.
 *
 *     mpi_group_test answers DIR THREADS SHARES [RECORD]   hash of a mixed stream, golden tokens
 *     mpi_group_test replay DIR THREADS SHARES RECORD      hash of a recorded stream's replies
 *     mpi_group_test group DIR                             outstanding ticks, refusals, deadlines
 *     mpi_group_test idle DIR                              processor time asleep, time to wake
 *     mpi_group_test refuse DIR WHAT                       rank 2 differs in WHAT
 *     mpi_group_test leave DIR                             rank 0 vanishes while others sleep
 *     mpi_group_test strangers DIR                         others connect to rank 0's control port
 *     mpi_group_test norecord DIR                          rank 0 cannot open its recording
 *     mpi_group_test settings DIR                          the environment that MPI was given
 *
 * Rank 0 prints results on standard output, one line each; a failure is a line on standard error
 * and exit status 1. Everything goes the way the daemon goes: world, handshake, agreement, group.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/comm.h"
#include "cluster/executor.h"
#include "cluster/group.h"
#include "cluster/handshake.h"
#include "cluster/record.h"
#include "cluster/shard.h"
#include "cluster/world.h"
#include "driver.h"
#include "kernels/dispatch.h"
#include "kernels/fingerprint.h"
#include "model/safetensors.h"

#define N_PROMPT  11
#define N_NEW     20
#define KV_FORMAT MODEL_KV_F32

/* Everything one rank has. */
struct seat {
    const char *dir, *shares, *record_path;
    int32_t n_threads;
    struct clus_world *world;
    struct model_checkpoint *ckpt;
    struct kern_ctx ctx;
    struct clus_limits limits;
    struct model_shard shards[CLUS_MAX_RANKS];
    struct model_core *core;
    struct model_border *border; /* rank 0 */
    struct clus_gather *gather;
    struct clus_executor *executor;
    struct clus_group *group; /* rank 0 */
    uint64_t all_replies;     /* hash over every reply of the group */
};

static volatile sig_atomic_t n_signals;

static void count_signal(int number)
{
    (void)number;
    n_signals++;
}

/* As the daemon's workers: signals that mpirun forwards interrupt, and nothing more. */
static void catch_signals(void)
{
    const int numbers[] = {SIGUSR1, SIGUSR2, SIGCONT, SIGTERM};
    struct sigaction action = {.sa_handler = count_signal};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

static int complain(const struct seat *seat, const char *what, const struct ltd_err *err)
{
    fprintf(stderr, "rank %d: %s: %s\n", clus_world_rank(seat->world), what, err->msg);
    return -1;
}

/* ---- start, as a daemon does it ----------------------------------------------------------- */

static int list_tiers(const struct seat *seat, struct clus_offer *offer, struct ltd_err *err)
{
    for (int32_t i = 0; i < kern_tier_count() && i < CLUS_MAX_TIERS; i++) {
        struct kern_tier_info info;
        kern_tier_describe(i, &info);
        if (!info.available)
            continue;
        struct clus_tier_offer *tier = &offer->tiers[offer->n_tiers++];
        const struct kern_ctx ctx = {kern_tier_find(info.name, err), seat->n_threads, 0};
        if (!ctx.ops || kern_fingerprint(&ctx, &tier->fingerprint, err))
            return -1;
        snprintf(tier->name, sizeof tier->name, "%s", info.name);
        kern_tier_id(ctx.ops, tier->what, sizeof tier->what);
    }
    return 0;
}

static int make_offer(struct seat *seat, struct clus_offer *offer, struct ltd_err *err)
{
    char hash[MODEL_HASH_HEX_BYTES];
    clus_offer_init(offer);
    seat->ckpt = model_checkpoint_open(seat->dir, err);
    if (!seat->ckpt || model_checkpoint_hash(seat->ckpt, hash, err) || list_tiers(seat, offer, err))
        return -1;
    seat->limits = driver_limits(model_checkpoint_config(seat->ckpt));
    offer->limits = seat->limits;
    snprintf(offer->model_hash, sizeof offer->model_hash, "%s", hash);
    clus_offer_set_shares(offer, seat->shares);
    snprintf(offer->numerics, sizeof offer->numerics, "f32 %s", DRIVER_POLICY);
    snprintf(offer->kv_format, sizeof offer->kv_format, "%s", model_kv_format_name(KV_FORMAT));
    return 0;
}

/* What the tests of refusal change on rank 2. */
static void spoil(struct clus_offer *offer, const char *what)
{
    if (strcmp(what, "model") == 0)
        snprintf(offer->model_hash, sizeof offer->model_hash, "feedbeef");
    else if (strcmp(what, "version") == 0)
        offer->stream_version = 99;
    else if (strcmp(what, "build") == 0)
        snprintf(offer->build, sizeof offer->build, "another build");
    else if (strcmp(what, "tier") == 0)
        offer->n_tiers = 0;
    else if (strcmp(what, "kv") == 0)
        snprintf(offer->kv_format, sizeof offer->kv_format, "%s",
                 model_kv_format_name(MODEL_KV_BF16));
    else if (strcmp(what, "pages") == 0)
        offer->limits.n_pages = 5;
    else if (strcmp(what, "load") == 0)
        ltd_fail(&offer->status, LTD_E_NOT_FOUND, "/models/gone/config.json: no such file");
}

static int meet(struct seat *seat, const char *spoiled, struct ltd_err *err)
{
    struct clus_offer offer;
    struct clus_tier_offer tier;
    struct ltd_err status = {0};
    if (make_offer(seat, &offer, &status))
        offer.status = status;
    if (spoiled && clus_world_rank(seat->world) == 2)
        spoil(&offer, spoiled);
    if (clus_handshake(seat->world, &offer, &tier, err))
        return -1;
    if (clus_world_rank(seat->world) == 0 && !spoiled)
        printf("tier %s\n", tier.what);
    seat->ctx = (struct kern_ctx){kern_tier_find(tier.name, err), seat->n_threads, 0};
    return seat->ctx.ops ? 0 : -1;
}

static int load(struct seat *seat, struct ltd_err *err)
{
    const struct model_config *config = model_checkpoint_config(seat->ckpt);
    const struct clus_shard_shape shape = {config->n_heads, config->n_embd, config->intermediate};
    int32_t rank = clus_world_rank(seat->world), size = clus_world_size(seat->world);
    static double shares[CLUS_MAX_RANKS];
    if (clus_shares_parse(seat->shares, size, shares, err) ||
        clus_shard_plan(&shape, shares, size, seat->shards, err))
        return -1;
    struct model_core_options options = {.shard = seat->shards[rank],
                                         .max_slots = seat->limits.max_batch,
                                         .max_positions = seat->limits.block_size,
                                         .n_pages = seat->limits.n_pages,
                                         .kv_format = KV_FORMAT};
    const struct model_border_options border = {.max_batch = seat->limits.max_batch,
                                                .max_positions = seat->limits.block_size,
                                                .n_pages = seat->limits.n_pages,
                                                .kv_format = KV_FORMAT};
    if (model_kv_policy_parse(DRIVER_POLICY, config->n_core, DRIVER_MAX_STEPS, &options.policy,
                              err) ||
        !(seat->core = model_core_create(seat->ckpt, &seat->ctx, &options, err)) ||
        (rank == 0 &&
         !(seat->border = model_border_create(seat->ckpt, &seat->ctx, &border, err))) ||
        !(seat->gather =
              clus_gather_create(seat->world, config, seat->shards, seat->limits.max_batch, err)))
        return -1;
    const struct clus_executor_config executor = {.core = seat->core,
                                                  .exchange = clus_gather_exchange(seat->gather),
                                                  .limits = seat->limits,
                                                  .shard = seat->shards[rank],
                                                  .n_threads = seat->n_threads};
    seat->executor = clus_executor_create(&executor, err);
    return seat->executor ? 0 : -1;
}

static void vacate(struct seat *seat)
{
    clus_executor_destroy(seat->executor);
    clus_gather_destroy(seat->gather);
    model_border_destroy(seat->border);
    model_core_destroy(seat->core);
    model_checkpoint_close(seat->ckpt);
}

static struct clus_rank_config rank_config(const struct seat *seat)
{
    return (struct clus_rank_config){.world = seat->world,
                                     .executor = seat->executor,
                                     .linger_ns = CLUS_LINGER_DEFAULT_NS,
                                     .n_threads = seat->n_threads,
                                     .weight_bytes = model_core_weight_bytes(seat->core)};
}

/* ---- rank 0's scripts --------------------------------------------------------------------- */

static int run_tick(void *arg, const struct clus_tick *tick, struct clus_reply *reply,
                    struct ltd_err *err)
{
    struct seat *seat = arg;
    if (clus_group_submit(seat->group, tick, err))
        return -1;
    int rc = clus_group_wait(seat->group, reply, ltd_deadline_ns(60000), err);
    if (rc > 0)
        return ltd_fail(err, LTD_E_DEADLINE, "no reply in 60 s");
    return rc ? rc : driver_hash_reply(&seat->limits, reply, &seat->all_replies, err);
}

static int read_prompt(const struct seat *seat, int32_t *prompt, struct ltd_err *err)
{
    char path[512];
    snprintf(path, sizeof path, "%s/golden.safetensors", seat->dir);
    struct model_safetensors *golden = model_safetensors_open(path, err);
    if (!golden)
        return -1;
    const struct model_tensor *tensor = model_safetensors_find(golden, "gen.prompt");
    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = (int32_t)tensor->data[8 * i] | (int32_t)tensor->data[8 * i + 1] << 8;
    model_safetensors_close(golden);
    return 0;
}

static int answers(struct seat *seat, struct ltd_err *err)
{
    const struct driver_port port = {.run = run_tick, .arg = seat};
    uint64_t hash;
    int32_t prompt[N_PROMPT], tokens[N_NEW], n_ranks;
    const struct driver_generation what = {prompt, N_PROMPT, N_NEW, 8, 4};
    if (driver_mixed(&port, &seat->limits, 2, 100, &hash, err) || read_prompt(seat, prompt, err) ||
        driver_generate(&port, &seat->limits, seat->border, &what, tokens, err))
        return -1;
    printf("hash %016" PRIx64 "\ntokens", hash);
    for (int i = 0; i < N_NEW; i++)
        printf(" %d", tokens[i]);
    printf("\nreplies %016" PRIx64 "\n", seat->all_replies);
    const struct clus_rank_info *infos = clus_group_info(seat->group, &n_ranks);
    if (n_ranks != clus_world_size(seat->world) ||
        infos[n_ranks - 1].embd_end != seat->limits.n_embd || infos[0].pid != getpid())
        return ltd_fail(err, LTD_E_INTERNAL, "rank infos: %d ranks, last row %d, pid %lld", n_ranks,
                        infos[n_ranks - 1].embd_end, (long long)infos[0].pid);
    return 0;
}

static int replay(struct seat *seat, struct ltd_err *err)
{
    struct ltd_bytes bytes;
    struct clus_tick_buf buf;
    struct clus_tick tick;
    struct clus_reply reply;
    enum clus_msg_kind kind;
    int64_t n_ticks = 0;
    struct clus_replay *file = clus_replay_open(seat->record_path, err);
    if (!file)
        return -1;
    ltd_bytes_init(&bytes);
    clus_tick_buf_init(&buf);
    int rc;
    while ((rc = clus_replay_next(file, &bytes, err)) > 0) {
        if (clus_msg_kind(bytes.data, bytes.len, &kind, err))
            rc = -1;
        else if (kind == CLUS_MSG_STOP)
            break;
        else if (clus_tick_decode(bytes.data, bytes.len, clus_replay_limits(file), &buf, &tick,
                                  err) ||
                 run_tick(seat, &tick, &reply, err))
            rc = -1;
        if (rc < 0)
            break;
        n_ticks++;
    }
    if (rc == 0)
        rc = ltd_fail(err, LTD_E_CORRUPT, "the recording has no STOP");
    printf("ticks %" PRId64 "\nreplies %016" PRIx64 "\n", n_ticks, seat->all_replies);
    ltd_bytes_fini(&bytes);
    clus_tick_buf_fini(&buf);
    clus_replay_close(file);
    return rc < 0 ? -1 : 0;
}

static int expect(bool is_so, const char *what, struct ltd_err *err)
{
    return is_so ? 0 : ltd_fail(err, LTD_E_INTERNAL, "not so: %s", what);
}

static int group_contract(struct seat *seat, struct ltd_err *err)
{
    const struct clus_entry bad = {.row = 3};
    struct clus_tick tick = {0};
    struct clus_reply reply;
    struct ltd_err why = {0};
    if (expect(clus_group_wait(seat->group, &reply, 0, &why) == -1 &&
                   why.code == LTD_E_PRECONDITION,
               "waiting without a tick is a precondition error", err))
        return -1;
    for (int i = 0; i < CLUS_GROUP_MAX_OUTSTANDING; i++) {
        tick.tick_id = 100 + (uint64_t)i;
        tick.entries = &bad;
        tick.n_entries = i == 3; /* one of them is refused */
        if (clus_group_submit(seat->group, &tick, err))
            return -1;
    }
    if (expect(clus_group_submit(seat->group, &tick, &why) == -1 && why.code == LTD_E_EXHAUSTED,
               "one tick too many is refused", err))
        return -1;
    for (int i = 0; i < CLUS_GROUP_MAX_OUTSTANDING; i++) {
        if (clus_group_wait(seat->group, &reply, ltd_deadline_ns(60000), err) ||
            expect(reply.tick_id == 100 + (uint64_t)i, "replies keep the order", err) ||
            expect((reply.err.code != LTD_OK) == (i == 3), "only the bad tick is refused", err))
            return -1;
    }
    if (expect(clus_group_outstanding(seat->group) == 0, "all were collected", err))
        return -1;
    printf("group contract holds\n");
    return 0;
}

/* ---- idle --------------------------------------------------------------------------------- */

/* State letter and processor time in clock ticks of a process. */
static int read_stat(int64_t pid, char *letter, long *ticks, struct ltd_err *err)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    FILE *file = fopen(path, "r");
    char *got = file ? fgets(line, sizeof line, file) : NULL;
    if (file)
        fclose(file);
    const char *after = got ? strrchr(line, ')') : NULL;
    long user, system;
    if (!after || sscanf(after + 2, "%c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld %ld", letter,
                         &user, &system) != 3)
        return ltd_fail(err, LTD_E_INTERNAL, "read %s: %s", path, strerror(errno));
    *ticks = user + system;
    return 0;
}

static void pause_ms(long ms)
{
    const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* Until every worker was seen sleeping three times in a row; a spinning one is running. */
static int await_sleep(struct seat *seat, struct ltd_err *err)
{
    int32_t n_ranks;
    const struct clus_rank_info *infos = clus_group_info(seat->group, &n_ranks);
    uint64_t deadline_ns = ltd_deadline_ns(30000);
    for (int n_quiet = 0; n_quiet < 3;) {
        n_quiet++;
        for (int32_t i = 1; i < n_ranks; i++) {
            char letter;
            long ticks;
            if (read_stat(infos[i].pid, &letter, &ticks, err))
                return -1;
            if (letter != 'S')
                n_quiet = 0;
        }
        if (ltd_now_ns() > deadline_ns)
            return ltd_fail(err, LTD_E_DEADLINE, "workers still run 30 s after the last tick");
        pause_ms(5);
    }
    return 0;
}

static int worker_ticks(struct seat *seat, long *sum, struct ltd_err *err)
{
    int32_t n_ranks;
    const struct clus_rank_info *infos = clus_group_info(seat->group, &n_ranks);
    *sum = 0;
    for (int32_t i = 1; i < n_ranks; i++) {
        char letter;
        long ticks;
        if (read_stat(infos[i].pid, &letter, &ticks, err))
            return -1;
        *sum += ticks;
    }
    return 0;
}

static void signal_workers(const struct seat *seat)
{
    const int numbers[] = {SIGUSR1, SIGUSR2, SIGCONT, SIGTERM};
    int32_t n_ranks;
    const struct clus_rank_info *infos = clus_group_info(seat->group, &n_ranks);
    for (int32_t i = 1; i < n_ranks; i++)
        for (size_t s = 0; s < sizeof numbers / sizeof numbers[0]; s++)
            kill((pid_t)infos[i].pid, numbers[s]);
}

/* One position, one step: every rank must take part in its gathers. */
static int step_once(struct seat *seat, int32_t step, uint64_t *ns, struct ltd_err *err)
{
    static const float injected[1024];
    const struct clus_page page = {0, 0, 0, false};
    const struct clus_start start = {.injected = injected};
    const struct clus_entry entry = {.step_idx = step};
    const struct clus_tick tick = {.tick_id = (uint64_t)step,
                                   .pages = &page,
                                   .n_pages = step == 0,
                                   .starts = &start,
                                   .n_starts = step == 0,
                                   .entries = &entry,
                                   .n_entries = 1};
    struct clus_reply reply;
    uint64_t begin = ltd_now_ns();
    if (run_tick(seat, &tick, &reply, err))
        return -1;
    *ns = ltd_now_ns() - begin;
    return reply.err.code == LTD_OK ? 0 : ltd_fail(err, LTD_E_INTERNAL, "%s", reply.err.msg);
}

static int compare_u64(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* Medians of `n` steps, each after the workers fell asleep, or one straight after the other. */
static int time_steps(struct seat *seat, bool asleep, int32_t *step, struct ltd_err *err)
{
    enum { N = 15 };
    uint64_t ns[N];
    for (int i = 0; i < N; i++) {
        if (asleep && await_sleep(seat, err))
            return -1;
        if (step_once(seat, (*step)++, &ns[i], err))
            return -1;
    }
    qsort(ns, N, sizeof ns[0], compare_u64);
    printf("%s: median %" PRIu64 " us, longest %" PRIu64 " us\n",
           asleep ? "tick to sleeping workers" : "tick to waiting workers", ns[N / 2] / 1000,
           ns[N - 1] / 1000);
    return 0;
}

static int idle(struct seat *seat, struct ltd_err *err)
{
    const long idle_ms = 2000;
    int32_t step = 0;
    long before, after;
    uint64_t ns;
    if (step_once(seat, step++, &ns, err) || await_sleep(seat, err) ||
        worker_ticks(seat, &before, err))
        return -1;
    pause_ms(idle_ms);
    if (worker_ticks(seat, &after, err))
        return -1;
    double share = (double)(after - before) / (double)sysconf(_SC_CLK_TCK) * 1e5 / (double)idle_ms;
    printf("workers asleep use %.2f %% of a core in all\n", share);
    if (share > 1.0)
        return ltd_fail(err, LTD_E_INTERNAL, "workers asleep use %.2f %%, expected below 1", share);
    signal_workers(seat);
    if (await_sleep(seat, err) || time_steps(seat, true, &step, err) ||
        time_steps(seat, false, &step, err))
        return -1;
    signal_workers(seat);
    return step_once(seat, step, &ns, err);
}

/* ---- strangers ---------------------------------------------------------------------------- */

/* More than rank 0 listens to at once, so that some have to go before the first worker is heard. */
#define N_STRANGERS 40

static bool has_strangers; /* the next connect() is the worker's to rank 0 */

/*
 * This program's own connect(): before the first worker's connection come others to the same port,
 * half of them silent for ever, half of them talking nonsense. So they stand in front of it.
 */
int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    static const char nonsense[] = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    for (int i = 0; has_strangers && i < N_STRANGERS; i++) {
        int stranger = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (stranger < 0 || syscall(SYS_connect, stranger, address, len) != 0 ||
            (i % 2 && send(stranger, nonsense, sizeof nonsense, MSG_NOSIGNAL) < 0))
            fprintf(stderr, "stranger %d: %s\n", i, strerror(errno));
        /* Left open: it ends with the process. */
    }
    has_strangers = false;
    return (int)syscall(SYS_connect, fd, address, len);
}

/* Rank 0, when the group has started: it answers a tick, and has hung up on every stranger. */
static int strangers(struct seat *seat, struct ltd_err *err)
{
    uint64_t ns;
    int32_t n_connections = 0;
    if (step_once(seat, 0, &ns, err))
        return -1;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *at; dir && (at = readdir(dir));) {
        struct sockaddr_in peer = {0};
        socklen_t len = sizeof peer;
        n_connections += getpeername(atoi(at->d_name), (struct sockaddr *)&peer, &len) == 0 &&
                         peer.sin_family == AF_INET;
    }
    if (dir)
        closedir(dir);
    printf("connections %d\n", n_connections);
    return 0;
}

/* ---- leaks -------------------------------------------------------------------------------- */

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>

/* Open MPI keeps blocks until its end and after it, in modules that are unloaded by then. So the
 * check is made before MPI_Finalize, where its modules still have names, and not again. The stack
 * of its vasprintf() is cut short inside libc; nothing of ours calls that. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libmpi.so\nleak:libopen-pal.so\nleak:libopen-rte.so\nleak:libpmix.so\n"
           "leak:libhwloc\nleak:libevent\nleak:mca_\nleak:pmix_mca_\nleak:__vasprintf_internal\n";
}

static int find_leaks(void)
{
    return __lsan_do_recoverable_leak_check();
}
#else
static int find_leaks(void)
{
    return 0;
}
#endif

/* ---- the ranks ---------------------------------------------------------------------------- */

static void print_settings(void)
{
    const char *const names[] = {"OMPI_MCA_ess_singleton_isolated", "OMPI_MCA_pml",
                                 "OMPI_MCA_mpi_yield_when_idle", "HWLOC_COMPONENTS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        printf("%s%s", value ? value : "unset", i < 3 ? " " : "\n");
    }
}

static int lead(struct seat *seat, const char *mode, struct ltd_err *err)
{
    const char *no_record = strcmp(mode, "norecord") == 0 ? "/nowhere/stream" : NULL;
    const struct clus_group_config config = {
        .rank = rank_config(seat),
        .record_path = strcmp(mode, "answers") == 0 ? seat->record_path : no_record};
    const struct {
        const char *mode;
        int (*run)(struct seat *seat, struct ltd_err *err);
    } scripts[] = {{"answers", answers}, {"replay", replay},       {"group", group_contract},
                   {"idle", idle},       {"strangers", strangers}, {"leave", await_sleep}};
    seat->all_replies = DRIVER_HASH_BEGIN;
    seat->group = clus_group_start(&config, err);
    if (!seat->group)
        return -1;
    int rc = ltd_fail(err, LTD_E_INVALID, "unknown mode %s", mode);
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++)
        if (strcmp(mode, scripts[i].mode) == 0)
            rc = scripts[i].run(seat, err);
    if (rc == 0 && strcmp(mode, "leave") == 0)
        _exit(9); /* as a crash would: no STOP, no farewell */
    struct ltd_err stopped = {0};
    if (clus_group_stop(seat->group, &stopped) && rc == 0) {
        *err = stopped;
        rc = -1;
    }
    return rc;
}

static int take_part(struct seat *seat, const char *mode, struct ltd_err *err)
{
    if (clus_world_rank(seat->world) == 0)
        return lead(seat, mode, err);
    const struct clus_rank_config config = rank_config(seat);
    has_strangers = strcmp(mode, "strangers") == 0 && clus_world_rank(seat->world) == 1;
    int rc = clus_rank_run(&config, err);
    if (rc == 0 && strcmp(mode, "norecord") == 0)
        printf("rank %d was told to stop\n", clus_world_rank(seat->world));
    if (rc == 0 && strcmp(mode, "idle") == 0)
        printf("rank %d lived through %s signals\n", clus_world_rank(seat->world),
               n_signals >= 4 ? "its" : "no");
    return rc;
}

int main(int argc, char **argv)
{
    static struct seat seat;
    struct ltd_err err = {0}, status = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: see the head of tests/cluster/mpi_group_test.c\n");
        return 2;
    }
    const char *mode = argv[1];
    bool is_refusal = strcmp(mode, "refuse") == 0;
    seat.dir = argv[2];
    seat.n_threads = argc > 3 && !is_refusal ? atoi(argv[3]) : 1;
    seat.shares = argc > 4 ? argv[4] : "";
    seat.record_path = argc > 5 ? argv[5] : NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    catch_signals();
    seat.world = clus_world_open(&err);
    if (!seat.world) {
        fprintf(stderr, "world: %s\n", err.msg);
        return 1;
    }
    if (strcmp(mode, "settings") == 0) {
        print_settings();
        fflush(stdout);
        clus_world_close(seat.world);
        _exit(0);
    }
    int rc = meet(&seat, is_refusal ? argv[3] : NULL, &err);
    if (is_refusal) {
        printf("rank %d hears: %s\n", clus_world_rank(seat.world), rc ? err.msg : "welcome");
    } else if (rc == 0) {
        load(&seat, &status);
        rc = clus_agree(seat.world, &status, &err) || take_part(&seat, mode, &err) ? -1 : 0;
    }
    vacate(&seat);
    fflush(stdout);
    if (rc && !is_refusal) {
        complain(&seat, mode, &err);
        _exit(1);
    }
    if (find_leaks())
        _exit(1);
    clus_world_close(seat.world);
    _exit(0);
}
