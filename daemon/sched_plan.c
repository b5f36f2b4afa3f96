/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/sched_plan.c - what the next tick holds, and who pays for it.
 *
 * Two kinds of work meet in a tick. Decoding jobs take one position each. Prompts, replays and the
 * coda of long calls can be cut anywhere; they get what is left, as far as their credit goes:
 *
 *     cost of prompts  = how much longer a decoding job waits for its step because of them
 *     credit, per tick = T * share / (1 - share), T = the turn of the decoding jobs alone
 *
 * so over any stretch of time decoding jobs lose at most `share` of their pace. A cost can be longer
 * ticks, or decoding positions that had to stay out: both are time to them. What a tick with prompts
 * took beyond the prediction is charged afterwards (sched_measure), so a wrong prediction delays
 * prompts, never the others for long.
 *
 * When everything fits nothing is ordered and the plan is O(n). When something must stay out, jobs
 * are picked class by class, and in a class from the client who was served least.
 */
#include "daemon/sched_private.h"

/* What a tick under construction holds. */
struct mix {
    int32_t n_decode;  /* positions of jobs that decode */
    int32_t n_prompt;  /* positions of prompts that take a step */
    int32_t n_prelude; /* of those, at step 0 */
    int32_t n_coda;    /* of long calls */
    double decode_ns;  /* the turn of the decoding jobs alone; 0: there are none */
};

struct plan {
    struct sched *sched;
    struct sched_share *shares;
    int32_t n_shares, room;
    struct mix mix;
    int32_t n_ready;      /* positions that could decode now */
    int32_t n_prompts;    /* jobs that have something to cut */
    bool is_closed;       /* no more credit */
    bool is_prompts_only; /* decoding jobs are in already */
    bool is_forced;       /* one prompt goes in, whatever the credit */
    double need_ns;       /* what the first prompt that had to wait would cost */
};

static bool is_prompt(const struct sched_job *job)
{
    return job->n_coda > 0 || (job->is_prefill && job->n_ready > 0);
}

static bool is_decode(const struct sched_job *job)
{
    return !job->is_prefill && job->n_coda == 0 && job->n_ready > 0;
}

/* ---- credit ---- */

/* What a tick without prompts earns. */
static double worth_of(const struct plan *plan, const struct mix *mix)
{
    double share = plan->sched->config.prefill_share;
    return mix->decode_ns * share / (1 - share);
}

static int32_t least_of(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/*
 * Time that decoding jobs lose by what the mix holds of prompts. A turn serves a part of them; what
 * it takes beyond that part of a turn without prompts is lost, and so is the credit that those who
 * stayed out would have earned.
 */
static double cost_of(const struct plan *plan, const struct mix *mix)
{
    const struct cost_line *costs = plan->sched->costs;
    int32_t max_batch = plan->sched->config.max_batch;
    int32_t alone = least_of(mix->n_decode, max_batch);
    int32_t beside = least_of(alone, max_batch - mix->n_prompt);
    double served = (double)beside / alone;
    double turn = mix->decode_ns + (beside - alone) * costs[SCHED_TICK].each_ns +
                  mix->n_prompt * sched_prompt_each_ns(plan->sched) +
                  cost_line_ns(&costs[SCHED_PRELUDE], mix->n_prelude) +
                  cost_line_ns(&costs[SCHED_CODA], mix->n_coda);
    return turn - served * mix->decode_ns + (1 - served) * worth_of(plan, mix);
}

static struct mix with(const struct mix *mix, const struct sched_job *job, int32_t n)
{
    struct mix more = *mix;
    if (job->n_coda > 0) {
        more.n_coda += n;
        return more;
    }
    more.n_prompt += n;
    more.n_prelude += job->step_idx == 0 ? n : 0;
    return more;
}

/*
 * A pass of the prelude or coda reads all their weights, for one position or many. The fewest
 * positions for which that is worth it: as many as cost as much again.
 */
static int32_t least_portion(const struct plan *plan, const struct sched_job *job, int32_t most)
{
    const struct cost_line *costs = plan->sched->costs;
    bool is_coda = job->n_coda > 0, is_start = !is_coda && job->step_idx == 0;
    if (is_coda ? plan->mix.n_coda > 0 : !is_start || plan->mix.n_prelude > 0)
        return 1;
    const struct cost_line *pass = &costs[is_coda ? SCHED_CODA : SCHED_PRELUDE];
    double each = pass->each_ns + (is_coda ? 0 : sched_prompt_each_ns(plan->sched));
    return pass->fixed_ns < each * most ? 1 + (int32_t)(pass->fixed_ns / each) : most;
}

/* How many of `most` positions of the job the credit pays for; 0 closes the plan to prompts. */
static int32_t affordable(struct plan *plan, const struct sched_job *job, int32_t most)
{
    double credit = plan->sched->credit_ns;
    if (!(plan->mix.decode_ns > 0))
        return most;
    struct mix all = with(&plan->mix, job, most);
    if (cost_of(plan, &all) <= credit)
        return most;
    int32_t can = 0, cannot = most;
    while (cannot - can > 1) {
        int32_t n = can + (cannot - can) / 2;
        struct mix more = with(&plan->mix, job, n);
        *(cost_of(plan, &more) <= credit ? &can : &cannot) = n;
    }
    plan->is_closed = true;
    int32_t least = least_portion(plan, job, most);
    if (can >= least)
        return can;
    struct mix more = with(&plan->mix, job, least);
    plan->need_ns = cost_of(plan, &more);
    return 0;
}

/* What was not used is kept for the next tick: one tick's worth, or as much as the next in line
 * needs to move at all. */
static void spend(struct plan *plan)
{
    double worth = worth_of(plan, &plan->mix), credit = plan->sched->credit_ns;
    double most = worth > plan->need_ns ? worth : plan->need_ns;
    struct sched_planned *planned = &plan->sched->planned;
    planned->worth_ns = worth;
    planned->is_charged = plan->mix.decode_ns > 0 && plan->mix.n_prompt + plan->mix.n_coda > 0;
    if (planned->is_charged)
        credit -= cost_of(plan, &plan->mix);
    plan->sched->credit_ns = credit < most ? credit : most;
}

/* ---- shares ---- */

static void give(struct plan *plan, struct sched_job *job, int32_t n_positions, int32_t n_coda)
{
    plan->shares[plan->n_shares++] = (struct sched_share){job, n_positions, n_coda};
    plan->room -= n_positions;
}

/* Returns the positions that went in; 0 when the job has to wait. */
static int32_t give_prompt(struct plan *plan, struct sched_job *job)
{
    int32_t chunk = plan->sched->config.prefill_chunk;
    int32_t most = job->n_coda > 0 ? job->n_coda : job->n_ready;
    most = most < chunk ? most : chunk;
    if (job->n_coda == 0 && most > plan->room)
        most = plan->room;
    int32_t n = most > 0 ? affordable(plan, job, most) : 0;
    if (n == 0)
        return 0;
    plan->mix = with(&plan->mix, job, n);
    plan->is_closed |= plan->is_forced;
    give(plan, job, job->n_coda > 0 ? 0 : n, job->n_coda > 0 ? n : 0);
    return n;
}

/* Calls that are not prompts go in whole, unless no tick could ever hold them. */
static int32_t give_decode(struct plan *plan, struct sched_job *job)
{
    int32_t n = job->n_ready;
    if (n > plan->sched->config.max_batch)
        n = plan->room;
    if (n > plan->room || n == 0)
        return 0;
    give(plan, job, n, 0);
    return n;
}

/* ---- picking, when not everything fits ---- */

static int32_t make_groups(struct sched *sched)
{
    int32_t n = 0;
    for (int32_t i = 0; i < sched->n_running; i++) {
        const struct sched_job *job = sched->running[i];
        struct sched_group *last = n > 0 ? &sched->groups[n - 1] : NULL;
        bool is_same = last && last->client == job->client &&
                       sched->running[last->begin]->priority == job->priority;
        if (!is_same) {
            sched->groups[n++] = (struct sched_group){.client = job->client,
                                                      .begin = i,
                                                      .prompt = i,
                                                      .decode = i,
                                                      .served = job->client->served};
            last = &sched->groups[n - 1];
        }
        last->end = i + 1;
    }
    return n;
}

static bool group_is_before(const struct sched_group *a, const struct sched_group *b)
{
    return a->served != b->served ? a->served < b->served : a->begin < b->begin;
}

static void sift_down(struct sched_group **heap, int32_t n, int32_t at)
{
    struct sched_group *moved = heap[at];
    for (int32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && group_is_before(heap[child + 1], heap[child]))
            child++;
        if (!group_is_before(heap[child], moved))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* The group's next job into the plan: prompts first, their credit is their limit. Returns the
 * positions served, -1 when the group has nothing more that goes in. */
static int32_t pick(struct plan *plan, struct sched_group *group)
{
    struct sched_job **running = plan->sched->running;
    for (; group->prompt < group->end && !plan->is_closed; group->prompt++) {
        struct sched_job *job = running[group->prompt];
        int32_t n = is_prompt(job) ? give_prompt(plan, job) : 0;
        if (n > 0) {
            group->prompt++;
            return job->n_coda > 0 ? 0 : n;
        }
        if (is_prompt(job))
            group->client->short_turn = plan->sched->turn;
    }
    for (; group->decode < group->end && !plan->is_prompts_only; group->decode++) {
        struct sched_job *job = running[group->decode];
        int32_t n = is_decode(job) ? give_decode(plan, job) : 0;
        if (n > 0) {
            group->decode++;
            return n;
        }
        if (is_decode(job))
            group->client->short_turn = plan->sched->turn;
    }
    return -1;
}

/* One class: from the client with the fewest steps, those of this tick counted, until all are in or
 * stay out. */
static void pick_class(struct plan *plan, struct sched_group *groups, int32_t n)
{
    struct sched_group **heap = plan->sched->heap;
    for (int32_t i = 0; i < n; i++)
        heap[i] = &groups[i];
    for (int32_t i = n / 2 - 1; i >= 0; i--)
        sift_down(heap, n, i);
    while (n > 0) {
        int32_t served = pick(plan, heap[0]);
        if (served >= 0)
            heap[0]->served += (uint64_t)served;
        else
            heap[0] = heap[--n];
        if (n > 0)
            sift_down(heap, n, 0);
    }
}

/* [begin, end) of groups that make up one class. */
struct span {
    int32_t begin, end;
    uint64_t key;
};

static int32_t spans_in_order(const struct sched *sched, int32_t n_groups, struct span *out)
{
    int32_t n = 0;
    for (int32_t begin = 0, end; begin < n_groups; begin = end) {
        int32_t priority = sched->running[sched->groups[begin].begin]->priority;
        for (end = begin + 1; end < n_groups; end++)
            if (sched->running[sched->groups[end].begin]->priority != priority)
                break;
        struct span span = {begin, end,
                            sched_class_key(sched, priority, sched->classes[priority].tick_ns)};
        int32_t at = n++;
        for (; at > 0 && span.key < out[at - 1].key; at--)
            out[at] = out[at - 1];
        out[at] = span;
    }
    return n;
}

static void pick_all(struct plan *plan)
{
    struct span spans[SCHED_PRIORITIES];
    int32_t n_groups = make_groups(plan->sched);
    int32_t n = spans_in_order(plan->sched, n_groups, spans);
    for (int32_t i = 0; i < n; i++)
        pick_class(plan, plan->sched->groups + spans[i].begin, spans[i].end - spans[i].begin);
}

/* ---- the plan ---- */

/* Positions that prompts would take if they had all the credit they have now. */
static int32_t prompt_wish(const struct plan *plan, int32_t n_wanted)
{
    struct mix mix = plan->mix;
    if (!(mix.decode_ns > 0))
        return n_wanted;
    int32_t can = 0, cannot = n_wanted + 1;
    while (cannot - can > 1) {
        mix.n_prompt = can + (cannot - can) / 2;
        *(cost_of(plan, &mix) <= plan->sched->credit_ns ? &can : &cannot) = mix.n_prompt;
    }
    return can;
}

static void add_decoding(struct plan *plan)
{
    for (int32_t i = 0; i < plan->sched->n_running; i++)
        if (is_decode(plan->sched->running[i]))
            give_decode(plan, plan->sched->running[i]);
}

/* The credit is short, but there is nothing else to do. */
static void add_something(struct plan *plan)
{
    plan->mix.decode_ns = 0;
    plan->is_closed = false;
    plan->is_forced = true;
    pick_all(plan);
}

/* What is ready, into the mix. Returns the positions that prompts could take. */
static int32_t survey(struct plan *plan)
{
    struct sched *sched = plan->sched;
    struct sched_planned planned = {0};
    int32_t n_wanted = 0, chunk = sched->config.prefill_chunk;
    for (int32_t i = 0; i < sched->n_running; i++) {
        struct sched_job *job = sched->running[i];
        bool decodes = !job->is_prefill && job->n_coda == 0;
        sched_pace_watch(sched, job);
        planned.n_decoding += decodes;
        planned.n_ready += decodes && job->n_ready > 0;
        if (is_prompt(job)) {
            plan->n_prompts++;
            int32_t n = job->n_coda > 0 ? 0 : job->n_ready;
            n_wanted += n < chunk ? n : chunk;
        } else if (is_decode(job)) {
            plan->n_ready += job->n_ready;
        }
    }
    /* Jobs that decode but are not ready now (their coda overlaps this tick) must not be kept
     * waiting for a long tick of prompts either. */
    plan->mix.n_decode = plan->n_ready > planned.n_decoding ? plan->n_ready : planned.n_decoding;
    if (plan->mix.n_decode > 0)
        plan->mix.decode_ns = sched_pace_alone_ns(sched, plan->mix.n_decode);
    sched->pace.is_alone = planned.n_decoding == 0;
    sched->planned = planned;
    return n_wanted < plan->room ? n_wanted : plan->room;
}

/* For the pace: what this turn should take. */
static void note_plan(const struct plan *plan)
{
    const struct cost_line *costs = plan->sched->costs;
    struct sched_planned *planned = &plan->sched->planned;
    for (int32_t i = 0; i < plan->n_shares; i++)
        if (is_decode(plan->shares[i].job))
            planned->n_positions += plan->shares[i].n_positions;
    planned->n_prelude = plan->mix.n_prelude;
    planned->n_coda = plan->mix.n_coda;
    planned->prompt_ns = plan->mix.n_prompt * sched_prompt_each_ns(plan->sched) +
                         cost_line_ns(&costs[SCHED_PRELUDE], plan->mix.n_prelude) +
                         cost_line_ns(&costs[SCHED_CODA], plan->mix.n_coda);
}

int32_t sched_plan(struct sched *sched, struct sched_share *shares, uint64_t now_ns)
{
    struct plan plan = {.sched = sched, .shares = shares, .room = sched->config.max_batch};
    sched_load_refresh(sched, now_ns);
    sched->turn++;
    int32_t n_wanted = survey(&plan);
    sched->credit_ns += worth_of(&plan, &plan.mix);
    if (plan.n_ready + prompt_wish(&plan, n_wanted) > plan.room) {
        pick_all(&plan);
    } else {
        add_decoding(&plan);
        plan.is_prompts_only = true;
        if (plan.n_prompts > 0)
            pick_all(&plan);
    }
    spend(&plan);
    if (plan.n_shares == 0 && plan.n_prompts > 0)
        add_something(&plan);
    note_plan(&plan);
    return plan.n_shares;
}

/* ---- afterwards ---- */

void sched_ticked(struct sched *sched, const struct sched_share *shares, int32_t n_shares,
                  uint64_t turn_ns, uint64_t now_ns)
{
    uint32_t classes = 0;
    for (int32_t i = 0; i < n_shares; i++) {
        const struct sched_job *job = shares[i].job;
        if (job->state == SCHED_OUT)
            continue;
        job->client->served += (uint64_t)shares[i].n_positions;
        job->client->steps += (uint64_t)shares[i].n_positions;
        classes |= UINT32_C(1) << job->priority;
    }
    for (; classes; classes &= classes - 1)
        sched->classes[__builtin_ctz(classes)].tick_ns = now_ns;
    bool was_learned = sched->n_ticked >= SCHED_LEARNED;
    sched_pace_learn(sched, turn_ns);
    if (!was_learned && sched->n_ticked >= SCHED_LEARNED)
        for (int32_t i = 0; i < sched->n_running; i++) /* what they were told was a guess */
            sched_depth_aim(sched, sched->running[i], now_ns);
}
