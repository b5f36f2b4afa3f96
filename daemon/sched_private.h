/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/sched_private.h - what the files of the scheduler share.
 *
 *     sched.c         life of a job: added, admitted, yielded, removed
 *     sched_queue.c   who waits and who is next: classes, clients, lanes, yielding
 *     sched_plan.c    what a tick holds: decode, prompts and their credit, charging
 *     sched_pace.c    how long things take: a turn, a step of a call, the rest of a job
 *     sched_load.c    how much depth everybody gives up for those in line
 *     sched_depth.c   how deep one job may think, and when it will be ready
 *
 * A waiting job stands in the lane of its class and client. A running job stands in `running`,
 * which is ordered by class, client, due time and age, so that the jobs of one class and client are
 * neighbours. A client's `served` is its virtual time: steps served, raised to that of the others
 * when it starts to compete, so that absence earns nothing.
 */
#ifndef LATENTD_DAEMON_SCHED_PRIVATE_H
#define LATENTD_DAEMON_SCHED_PRIVATE_H

#include "daemon/sched.h"

#define SCHED_CLIENT_BUCKETS 256
#define SCHED_IDLE_CLIENTS   1024 /* gone, but remembered because they were served more than others */

/* What a seat will be worth: steps that a client is expected to take on each seat it holds. Large
 * against the rounding of a job, so that clients share seats and not only sums. */
#define SCHED_SEAT_STEPS 1024

/* A job that is never due is ordered as if it were after so many ageing_ns, so that a stream of
 * urgent ones cannot starve it. */
#define SCHED_PATIENCE 32

/* Waiting jobs that the load looks at, first in line first. */
#define SCHED_LOOKAHEAD 512

struct sched_queue {
    struct sched_job *first, *last;
};

/* Waiting jobs of one client in one class, each queue in order of key_ns, then number. */
struct sched_lane {
    struct sched_client *client;
    struct sched_queue timed, untimed;
    int32_t n;
    struct sched_lane *next, *prev; /* of the class, while n > 0 */
    struct sched_job *walk[2];      /* next timed, untimed of sched_queue_list */
};

struct sched_client {
    struct sched_client *next, *prev; /* of all */
    struct sched_client *next_in_bucket;
    uint64_t number;     /* order of creation */
    uint64_t served;     /* virtual time, steps */
    uint64_t steps;      /* since it was last idle */
    uint64_t short_turn; /* last turn in which a tick had no room for all it had */
    uint64_t committed;  /* steps expected of its running jobs; scratch of sched_queue_first */
    int32_t n_waiting, n_held, n_running;
    struct sched_lane lanes[SCHED_PRIORITIES];
    char name[];
};

struct sched_class {
    struct sched_lane *lanes; /* that have jobs */
    int32_t n;
    uint64_t queue_ns; /* last admission, or since when somebody waits */
    uint64_t tick_ns;  /* last tick with one of its jobs, or since when one runs */
};

/* Running jobs of one class and client: running[begin, end). Scratch of sched_plan. */
struct sched_group {
    struct sched_client *client;
    int32_t begin, end, prompt, decode; /* the last two: where to look for the next one */
    uint64_t served;
};

/* Turns after which predictions are worth something. */
#define SCHED_LEARNED 8

/* What is left of a job: fixed_ns + (steps - step_idx) * step_ns + steps * rest_ns. */
struct sched_outlook {
    double step_ns;  /* one step of the call at hand */
    double rest_ns;  /* one step of each later call, together */
    double fixed_ns; /* whatever the depth */
    double lane_ns;  /* one step, when prompts queue up for their share of the time */
    double step_idx; /* steps done of the call at hand */
    double min_steps, max_steps;
    /* sched_load.c's */
    double aim_steps; /* of the running: that bring it to its aim */
    double end_ns;    /* in line: from now, when it should be ready, or HUGE_VAL */
    bool is_counted;  /* in line: could still be in time */
    bool is_ordinary; /* of default priority or more */
};

struct sched_pace {
    double turn_ns;          /* in which every decoding job takes a step */
    double prompt_positions; /* of all prompts in one turn, beside those that decode */
    double inverse_steps;    /* mean of 1 / steps: tokens per position and turn */
    bool is_alone;           /* nobody decodes: prompts have the tick for themselves */
};

/* Time as it was and as the cost lines say, faded sums. */
struct sched_ratio {
    double was_ns, model_ns;
};

/* The last plan. */
struct sched_planned {
    int32_t n_decoding;        /* jobs that decode */
    int32_t n_ready;           /* of them, that could take a step */
    int32_t n_positions;       /* of them, that do */
    int32_t n_prelude, n_coda; /* positions of prompts and long calls */
    double prompt_ns;          /* what prompts and long calls add, as foreseen */
    double worth_ns;           /* what a turn without them earns */
    bool is_charged;           /* the credit paid for them, as predicted */
};

/* Who comes and how long they stay, for the number of jobs that a new one will have beside it. */
struct sched_traffic {
    double per_ns;              /* admissions, faded; as of last_ns */
    double life_ns;             /* of a running job, faded; 0: none has ended */
    uint64_t first_ns, last_ns; /* admissions */
};

struct sched {
    struct sched_config config;
    struct sched_class classes[SCHED_PRIORITIES];
    struct sched_client *clients, *buckets[SCHED_CLIENT_BUCKETS];
    uint64_t n_clients_made, n_jobs_made;
    uint64_t floor;             /* virtual time that a newcomer starts with, at least */
    struct sched_job **running; /* [max_running] */
    int32_t n_running, n_waiting, n_held;

    /* sched_next */
    bool is_settled;             /* the first in line does not fit, and nothing has changed */
    struct sched_places settled; /* ... with these places */
    int32_t n_seats; /* jobs that can run at once, as the last one that did not fit shows */
    int32_t n_yielding;
    struct sched_job **victims; /* [max_running] scratch */

    /* sched_plan */
    struct sched_group *groups; /* [max_running] scratch */
    struct sched_group **heap;  /* [max_running] scratch */
    uint64_t turn;
    double credit_ns; /* time that prompts may still take */
    struct sched_planned planned;

    /* pace, load, depth */
    struct cost_line costs[SCHED_N_COSTS];
    bool has_plain_ticks; /* measured: of decoding jobs, without prompts */
    struct sched_ratio fast, slow, alone, dear;
    double thrift; /* part of max_steps that fixed exit rules use, mean */
    struct sched_pace pace;
    int32_t n_ticked; /* turns measured, up to SCHED_LEARNED */
    struct sched_traffic traffic;
    double load;
    bool is_load_stale;
    uint64_t load_turn;             /* of the last look */
    uint64_t seat_ns;               /* when a new ordinary job would get a seat, as of then */
    struct sched_outlook *outlooks; /* [max_running + SCHED_LOOKAHEAD] scratch */
    const struct sched_job **line;  /* [SCHED_LOOKAHEAD] scratch */
    double *seats;                  /* [max_running] scratch */
};

/* ---- sched_queue.c ---- */

/* The client of that name, made if need be and `make`; NULL: unknown, or no memory. */
struct sched_client *sched_client_find(struct sched *sched, const char *name, bool make);

/* A client without jobs is forgotten, unless it was served more than others. */
void sched_client_settle(struct sched *sched, struct sched_client *client);

void sched_queue_push(struct sched *sched, struct sched_job *job, uint64_t now_ns);
void sched_queue_remove(struct sched *sched, struct sched_job *job);

/* Nobody waits: nobody has to make room, and all seats are worth trying. */
void sched_queue_relax(struct sched *sched);

/* The first `most` waiting jobs, about in the order of admission; how many. Held jobs never. */
int32_t sched_queue_list(struct sched *sched, const struct sched_job **out, int32_t most);

/* Order of jobs inside a class and client: due first, then older. */
bool sched_job_is_before(const struct sched_job *a, const struct sched_job *b);

/* When a class gets its turn: the smaller key goes first, between equals the higher class. */
uint64_t sched_class_key(const struct sched *sched, int32_t priority, uint64_t last_ns);

/* ---- sched_pace.c ---- */

void sched_pace_init(struct sched *sched);

/* The pace of now; call when jobs start or leave. O(1). */
void sched_pace_refresh(struct sched *sched);

/* Once per plan and job that decodes or has a prompt: is a call finished since the last plan? */
void sched_pace_watch(struct sched *sched, struct sched_job *job);

/* The turn of the last plan took so long. */
void sched_pace_learn(struct sched *sched, uint64_t turn_ns);

/* What a position of a prompt adds to a tick beside decoding jobs. */
double sched_prompt_each_ns(const struct sched *sched);

/* A turn of `n` decoding positions, as many of them as a tick holds, without any prompts. */
double sched_pace_alone_ns(const struct sched *sched, int32_t n);

/* The time in which each of `n` takes a step, by the cost lines alone; tokens per position and turn
 * given. */
double sched_pace_step_ns(const struct sched *sched, int32_t n, double inverse_steps);

/* What turns take more than the lines say, in the long run. */
double sched_pace_correction(const struct sched *sched);

/* What the prompt at hand adds to the ticks of others until it is through `steps`. */
double sched_prompt_ns(const struct sched *sched, const struct sched_job *job, double steps);

/* Of an elastic job: max_steps, or as many as the budget per token pays for now, but min_steps. */
double sched_token_steps(const struct sched *sched, const struct sched_job *job);

/* Of any other: its fixed depth, or what its exit rule is expected to need. */
double sched_expected_steps(const struct sched *sched, const struct sched_job *job);

/* At a pace of `turn_ns`. What sched_load.c adds is left zero. */
struct sched_outlook sched_outlook_of(const struct sched *sched, const struct sched_job *job,
                                      double turn_ns);
double sched_outlook_ns(const struct sched_outlook *look, double steps);

/* Steps that fit in `ns`: any number, also a negative one. */
double sched_outlook_steps(const struct sched_outlook *look, double ns);
double sched_outlook_clamp(const struct sched_outlook *look, double steps);

/* ---- sched_load.c ---- */

/* Looks anew if it is time to, or something happened. */
void sched_load_refresh(struct sched *sched, uint64_t now_ns);

/* ---- sched_depth.c ---- */

/* Nanoseconds from now, negative when it has passed, HUGE_VAL for LTD_NEVER; and back again. */
double sched_until(uint64_t at_ns, uint64_t now_ns);
uint64_t sched_from_now(uint64_t now_ns, double ns);

/* Until the job should be ready: a little before it is due. */
double sched_until_wanted(const struct sched *sched, const struct sched_job *job, uint64_t now_ns);

double sched_under_load(const struct sched_job *job, double load);

/* A job has been admitted; one that ran is out. For predictions. */
void sched_traffic_admitted(struct sched *sched, uint64_t now_ns);
void sched_traffic_left(struct sched *sched, const struct sched_job *job, uint64_t now_ns);

/* Set aim_ns and steer_ns of a job that runs. */
void sched_depth_aim(struct sched *sched, struct sched_job *job, uint64_t now_ns);

#endif
