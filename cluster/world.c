/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/world.c - see cluster/world.h.
 *
 * The settings below go through the environment before MPI_Init, and never replace what a user or
 * mpirun has put there. The times were measured with Open MPI 4.1.4 on two cores.
 */
#include "cluster/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mpi.h>

#include "cluster/shard.h"

struct clus_world {
    int32_t rank, size;
    bool is_one_host;
    char (*hosts)[CLUS_HOST_BYTES]; /* [size] */
    uint8_t *blocks;                /* [size][CLUS_BLOCK_BYTES] */
};

static const struct setting {
    const char *name, *value;
    bool only_alone;
} settings[] = {
    /* Without a launcher the default is to start one beside us: 450 ms instead of 65-100. */
    {"OMPI_MCA_ess_singleton_isolated", "1", true},
    /* All isolated processes of a user would share one session directory, and two that start or end
     * in the same moment fail on it. One rank needs none. */
    {"OMPI_MCA_orte_create_session_dirs", "0", true},
    /* Names the transport (TCP and shared memory) instead of probing for others: 200 ms less. */
    {"OMPI_MCA_pml", "ob1", false},
    /* One more runnable thread than cores makes a 4 us gather take 20-48 ms if nobody yields. Open
     * MPI yields by itself only when it knows of too many ranks; it cannot know of our threads. */
    {"OMPI_MCA_mpi_yield_when_idle", "1", false},
    /* Keeps hwloc from knocking at X displays on TCP ports 6000 to 6009. */
    {"HWLOC_COMPONENTS", "-gl", false},
};

static void apply_settings(void)
{
    bool is_alone = !getenv("OMPI_COMM_WORLD_SIZE") && !getenv("PMIX_RANK");
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (is_alone || !settings[i].only_alone)
            setenv(settings[i].name, settings[i].value, 0);
}

static const char *level_name(int level)
{
    switch (level) {
    case MPI_THREAD_SINGLE:
        return "single";
    case MPI_THREAD_FUNNELED:
        return "funneled";
    case MPI_THREAD_SERIALIZED:
        return "serialized";
    case MPI_THREAD_MULTIPLE:
        return "multiple";
    }
    return "unknown";
}

static int start_mpi(struct ltd_err *err)
{
    int provided = MPI_THREAD_SINGLE, is_started = 0;
    MPI_Initialized(&is_started);
    if (is_started)
        return ltd_fail(err, LTD_E_INTERNAL, "MPI was already started in this process");
    apply_settings();
    int rc = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
    if (rc != MPI_SUCCESS)
        return ltd_fail(err, LTD_E_RANK, "MPI_Init_thread: error %d", rc);
    /* Errors come back as values: a sentence in our log is worth more than an abort. */
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_SERIALIZED)
        return ltd_fail(err, LTD_E_RANK, "MPI provides thread level %s, expected serialized",
                        level_name(provided));
    return 0;
}

/* Every rank's host name, so that each can name any other in a message. */
static int learn_hosts(struct clus_world *world, struct ltd_err *err)
{
    char mine[CLUS_HOST_BYTES] = {0};
    if (gethostname(mine, sizeof mine - 1) != 0 || mine[0] == '\0')
        strcpy(mine, "unknown");
    int rc = MPI_Allgather(mine, sizeof mine, MPI_BYTE, world->hosts, sizeof mine, MPI_BYTE,
                           MPI_COMM_WORLD);
    if (rc != MPI_SUCCESS)
        return ltd_fail(err, LTD_E_RANK, "gather host names: MPI error %d", rc);
    world->is_one_host = true;
    for (int32_t i = 0; i < world->size; i++)
        if (strcmp(world->hosts[i], world->hosts[0]) != 0)
            world->is_one_host = false;
    return 0;
}

struct clus_world *clus_world_open(struct ltd_err *err)
{
    if (start_mpi(err))
        return NULL;
    struct clus_world *world = calloc(1, sizeof *world);
    if (!world)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "world: no memory");
    int rank = 0, size = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    world->rank = rank;
    world->size = size;
    world->hosts = calloc((size_t)size, sizeof *world->hosts);
    world->blocks = calloc((size_t)size, CLUS_BLOCK_BYTES);
    if (!world->hosts || !world->blocks || size > CLUS_MAX_RANKS) {
        ltd_fail(err, LTD_E_RANK, "world of %d ranks: %s, at most %d", size,
                 size > CLUS_MAX_RANKS ? "too many" : "no memory", CLUS_MAX_RANKS);
        clus_world_abandon(world);
        return NULL;
    }
    if (learn_hosts(world, err)) {
        clus_world_abandon(world);
        return NULL;
    }
    return world;
}

void clus_world_close(struct clus_world *world)
{
    if (!world)
        return;
    MPI_Finalize();
    clus_world_abandon(world);
}

void clus_world_abandon(struct clus_world *world)
{
    int saved = errno;
    if (world) {
        free(world->hosts);
        free(world->blocks);
    }
    free(world);
    errno = saved;
}

int32_t clus_world_rank(const struct clus_world *world)
{
    return world->rank;
}

int32_t clus_world_size(const struct clus_world *world)
{
    return world->size;
}

const char *clus_world_host(const struct clus_world *world)
{
    return world->hosts[world->rank];
}

const char *clus_world_host_of(const struct clus_world *world, int32_t rank)
{
    ltd_assert(rank >= 0 && rank < world->size, rank, world->size);
    return world->hosts[rank];
}

bool clus_world_is_one_host(const struct clus_world *world)
{
    return world->is_one_host;
}

uint8_t *clus_world_blocks(struct clus_world *world)
{
    return world->blocks;
}
