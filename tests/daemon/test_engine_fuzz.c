/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of daemon/engine, by chance: crowds of jobs that differ in everything, over services that
 * differ in everything and are short of everything, against the same jobs run alone.
 *
 * Each round draws a service (policy, format, overlap, chunk, pages, rows, seats, caches) and a crowd:
 * prompts with common beginnings, all rules of depth, single depths, scores, continuations, priorities
 * that change, holds, cancels, times that run out, elastic neighbours, and sometimes the end of the
 * service or of its ranks in the middle. Whatever happened on the way, each answer is the one that the job has
 * alone. LATENTD_FUZZ="first:count" chooses the rounds.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine_rig.h"

#define N_JOBS     20
#define PROMPT_MAX 60

/* What happens to one job of the crowd. ELASTIC: it is only in the way of the others. */
enum fate { AT_ONCE, CONTINUED, DEEPENED, CANCELLED, ELASTIC, N_FATES };

/* How the round ends. */
enum ending { ALL_DONE, STOPPED, RANKS_LOST, N_ENDINGS };

struct subject {
    int32_t prompt[PROMPT_MAX];
    struct job_spec whole; /* what is asked for in all */
    struct job_spec first; /* what is asked for first */
    struct job_spec more;  /* and then; CONTINUED and DEEPENED */
    int32_t ids[MAX_TOKENS], steps[MAX_TOKENS];
    enum fate fate;
    int32_t n_known;
    bool is_held, is_submitted, has_more, is_over;
    struct result alone;
};

struct crowd {
    uint64_t random;
    uint64_t number;
    struct rig_options options;
    enum ending ending;
    bool is_broken;
    struct engine_stats totals; /* of all rounds: the few that say what was tried at all */
    struct rig rig;
    struct subject subjects[N_JOBS];
};

/* xorshift64*: below n. */
static int32_t draw(struct crowd *crowd, int32_t n)
{
    uint64_t x = crowd->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    crowd->random = x;
    return (int32_t)((x * 0x2545F4914F6CDD1Dull >> 33) % (uint64_t)n);
}

/* ---- drawing ---- */

static void draw_depth(struct crowd *crowd, struct job_spec *spec)
{
    struct spec_depth *depth = &spec->depth;
    depth->rule.max_steps = 3 + draw(crowd, 2);
    if (draw(crowd, 2) == 0) {
        depth->rule.kind = (enum model_exit_kind)draw(crowd, MODEL_N_EXITS);
        depth->rule.max_steps = 1 + draw(crowd, 14);
        depth->rule.min_steps = 1 + draw(crowd, depth->rule.max_steps);
        depth->rule.check_every = 1 + draw(crowd, 3);
        depth->rule.threshold = depth->rule.kind == MODEL_EXIT_ARGMAX_STABILITY ? 2 : 0.08;
    }
    depth->is_tokenwise = draw(crowd, 4) == 0;
    for (int32_t t = 0; t < spec->max_tokens && depth->n_at < 3; t++)
        if (draw(crowd, 8) == 0)
            depth->at[depth->n_at++] = (struct spec_depth_at){t, 1 + draw(crowd, 16)};
}

/* Prompts begin alike in groups, so that pages can be shared. */
static void draw_spec(struct crowd *crowd, struct subject *s)
{
    int32_t n_prompt = 1 + draw(crowd, draw(crowd, 3) ? PROMPT_MAX : 8), family = draw(crowd, 2);
    int32_t n_common = 16 * (1 + draw(crowd, 3));
    for (int32_t p = 0; p < n_prompt; p++)
        s->prompt[p] = p < n_common ? (family * 50 + p * 3) % 97 : draw(crowd, 97);
    s->whole = plain_spec(s->prompt, n_prompt, 1 + draw(crowd, 10), 1);
    draw_depth(crowd, &s->whole);
    s->whole.ignore_eos = draw(crowd, 2);
    s->whole.init_scale = draw(crowd, 3) ? 0.0f : 1.0f;
    s->whole.seed = (uint64_t)draw(crowd, 3);
    if (draw(crowd, 3) == 0)
        s->whole.sampling.temperature = 0.9;
    if (draw(crowd, 5) == 0)
        s->whole.sampling.repetition_penalty = 1.2;
    if (n_prompt > 1 && draw(crowd, 4) == 0) {
        s->whole.kind = SPEC_SCORE;
        s->whole.max_tokens = 1;
        s->whole.score_begin = 1 + draw(crowd, n_prompt - 1);
        s->whole.depth.n_at = 0;
    }
}

/* The job that comes first, and its last token's depth in the whole where that is to grow. */
static void draw_fate(struct crowd *crowd, struct subject *s, int32_t number)
{
    s->fate = (enum fate)draw(crowd, N_FATES);
    s->first = s->whole;
    if (s->whole.kind == SPEC_SCORE && s->fate != CANCELLED)
        s->fate = AT_ONCE;
    if (s->fate == CANCELLED && draw(crowd, 3) == 0)
        s->first.max_run_ms = 1 + (uint64_t)draw(crowd, 100);
    if (s->fate == ELASTIC) {
        s->first.depth.is_range = s->first.depth.rule.kind == MODEL_EXIT_FIXED;
        s->first.depth.rule.max_steps += 4;
        s->first.budget.total_ms = 1 + (uint64_t)draw(crowd, 300);
        s->first.budget.token_ms = (uint64_t)draw(crowd, 20);
    }
    if (s->fate == CONTINUED && s->whole.max_tokens == 1)
        s->fate = DEEPENED;
    if (s->fate == DEEPENED)
        s->first.max_tokens = 1 + draw(crowd, s->whole.max_tokens);
    if (s->fate == CONTINUED)
        s->first.max_tokens = 1 + draw(crowd, s->whole.max_tokens - 1);
    while (s->first.depth.n_at > 0 &&
           s->first.depth.at[s->first.depth.n_at - 1].token >= s->first.max_tokens)
        s->first.depth.n_at--;
    if (s->fate == DEEPENED)
        s->whole.depth.n_at = s->first.depth.n_at;
    snprintf(s->first.key, sizeof s->first.key, "job-%d", number);
}

static void draw_options(struct crowd *crowd)
{
    static const char *const policies[] = {"latest-m4",
                                           "full",
                                           "latest-m4",
                                           "compress-s4",
                                           "latest-m4-compress-s16",
                                           "compress-anchor",
                                           "full",
                                           "latest-m4-compress-anchor"};
    struct rig_options *o = &crowd->options;
    *o = (struct rig_options){.kv_policy = policies[draw(crowd, 8)],
                              .n_pages = 5 + draw(crowd, 3) * draw(crowd, 14),
                              .n_rows = PROMPT_MAX + 10 + draw(crowd, 2) * draw(crowd, 100),
                              .n_seqs = 1 + draw(crowd, 6),
                              .max_batch = 1 + draw(crowd, 2) * draw(crowd, 30),
                              .n_cached_pages = draw(crowd, 3) ? draw(crowd, 40) : 0,
                              .n_held_jobs = draw(crowd, 3) ? draw(crowd, 6) : 0,
                              .overlap = draw(crowd, 2),
                              .n_end_tokens = draw(crowd, 2) * 3,
                              .kv_format = draw(crowd, 3) ? MODEL_KV_F32 : MODEL_KV_BF16};
    o->prefill_chunk = 1 + draw(crowd, o->max_batch);
    crowd->ending = draw(crowd, 4) ? ALL_DONE : (enum ending)draw(crowd, N_ENDINGS);
}

/* ---- alone ---- */

/* Where the last token of the first job is to be deeper, the whole is known when that is known. */
static void run_alone(struct crowd *crowd)
{
    struct rig_options o = roomy;
    o.kv_policy = crowd->options.kv_policy;
    o.kv_format = crowd->options.kv_format;
    o.n_end_tokens = crowd->options.n_end_tokens;
    rig_open(&crowd->rig, &o);
    for (int32_t i = 0; i < N_JOBS; i++) {
        struct subject *s = &crowd->subjects[i];
        if (s->fate == DEEPENED) {
            struct spec_depth *depth = &s->whole.depth;
            const struct result *first = run_job(&crowd->rig, N_JOBS, &s->first);
            int32_t last = first->n_tokens - 1;
            while (depth->n_at > 0 && depth->at[depth->n_at - 1].token >= last)
                depth->n_at--;
            depth->at[depth->n_at++] =
                (struct spec_depth_at){last, first->steps[last] + 1 + draw(crowd, 9)};
            memset(&crowd->rig.results[N_JOBS], 0, sizeof(struct result));
        }
        if (s->fate != ELASTIC)
            s->alone = *run_job(&crowd->rig, (uint64_t)i, &s->whole);
    }
    rig_close(&crowd->rig);
}

/* ---- in the crowd ---- */

static void begin_more(struct crowd *crowd, struct subject *s, int32_t number)
{
    const struct result *first = &crowd->rig.results[number];
    s->n_known = first->n_tokens - (s->fate == DEEPENED);
    memcpy(s->ids, first->tokens, sizeof s->ids);
    memcpy(s->steps, first->steps, sizeof s->steps);
    s->more = s->whole;
    s->more.known = (struct spec_known){.n = s->n_known, .ids = s->ids, .steps = s->steps};
    s->more.priority = 1 + draw(crowd, 31);
    snprintf(s->more.key, sizeof s->more.key, "more-%d", number);
    snprintf(s->more.continues, sizeof s->more.continues, "%s", s->first.key);
    s->has_more = true;
    submit(&crowd->rig, (uint64_t)(N_JOBS + number), &s->more);
}

static bool is_same_bits(const struct result *whole, const struct result *part, int32_t n_known)
{
    for (int32_t i = 0; i < part->n_tokens; i++) {
        int32_t w = n_known + i;
        if (whole->tokens[w] != part->tokens[i] || whole->steps[w] != part->steps[i] ||
            whole->exits[w] != part->exits[i] ||
            memcmp(&whole->values[w], &part->values[i], sizeof(double)) != 0 ||
            memcmp(&whole->logprobs[w], &part->logprobs[i], sizeof(float)) != 0)
            return false;
    }
    size_t n = (size_t)part->n_scores;
    return memcmp(whole->scores, part->scores, n * sizeof *part->scores) == 0 &&
           memcmp(whole->greedy, part->greedy, n * sizeof *part->greedy) == 0 &&
           memcmp(whole->score_steps, part->score_steps, n * sizeof *part->score_steps) == 0;
}

static void fail_round(const struct crowd *crowd, int32_t number, const char *what)
{
    const struct rig_options *o = &crowd->options;
    const struct subject *s = &crowd->subjects[number];
    const struct model_exit_rule *rule = &s->whole.depth.rule;
    const struct result *part = &crowd->rig.results[number + (s->has_more ? N_JOBS : 0)];
    print_error(
        "LATENTD_FUZZ=%llu:1, %s %s, %d pages, %d rows, %d seqs, batch %d, chunk %d, cached "
        "%d, held %d, overlap %d\n",
        (unsigned long long)crowd->number, o->kv_policy, model_kv_format_name(o->kv_format),
        o->n_pages, o->n_rows, o->n_seqs, o->max_batch, o->prefill_chunk, o->n_cached_pages,
        o->n_held_jobs, o->overlap);
    print_error(
        "job %d: kind %d fate %d, prompt %d, first %d of %d tokens, rule %s %d..%d every %d, "
        "tokenwise %d, %d depths, known %d\n",
        number, s->whole.kind, s->fate, s->whole.n_prompt, s->first.max_tokens, s->whole.max_tokens,
        model_exit_name(rule->kind), rule->min_steps, rule->max_steps, rule->check_every,
        s->whole.depth.is_tokenwise, s->whole.depth.n_at, s->n_known);
    for (int32_t i = 0; i < s->alone.n_tokens; i++)
        print_error("alone: token %d, %d steps, exit %d, value %g, logprob %.9g\n",
                    s->alone.tokens[i], s->alone.steps[i], s->alone.exits[i], s->alone.values[i],
                    (double)s->alone.logprobs[i]);
    for (int32_t i = 0; i < part->n_tokens; i++)
        print_error("crowd: token %d, %d steps, exit %d, value %g, logprob %.9g\n", part->tokens[i],
                    part->steps[i], part->exits[i], part->values[i], (double)part->logprobs[i]);
    print_error("alone: finish %d, %llu steps; crowd: finish %d, %llu steps, '%s'\n",
                s->alone.finish, (unsigned long long)s->alone.total_steps, part->finish,
                (unsigned long long)part->total_steps, part->error.msg);
    fail_msg("round %llu, job %d: %s", (unsigned long long)crowd->number, number, what);
}

/* The last job of the subject has ended: it is the whole, or its beginning if it was cancelled. */
static void check_subject(struct crowd *crowd, int32_t number)
{
    const struct subject *s = &crowd->subjects[number];
    const struct result *r = &crowd->rig.results[number + (s->has_more ? N_JOBS : 0)];
    const struct result *whole = &s->alone;
    int32_t n_known = s->has_more ? s->n_known : 0;
    bool is_lost = crowd->is_broken && r->finish == ENGINE_FINISH_ERROR;
    bool is_stopped = crowd->rig.is_stopped && r->finish == ENGINE_FINISH_CANCELLED;
    bool is_cancelled = r->finish == ENGINE_FINISH_CANCELLED || r->finish == ENGINE_FINISH_DEADLINE;
    bool is_cut = is_cancelled || is_lost;
    if (is_cancelled && s->fate != CANCELLED && !is_stopped)
        fail_round(crowd, number, "nobody cancelled it");
    if (r->finish == ENGINE_FINISH_ERROR && !is_lost)
        fail_round(crowd, number, "an error");
    if (s->fate == ELASTIC) {
        const struct model_exit_rule *rule = &s->first.depth.rule;
        for (int32_t i = 0; i < r->n_tokens; i++)
            if (s->first.depth.n_at == 0 &&
                (r->steps[i] < rule->min_steps || r->steps[i] > rule->max_steps))
                fail_round(crowd, number, "a depth out of its range");
        return;
    }
    if (n_known + r->n_tokens > whole->n_tokens || !is_same_bits(whole, r, n_known))
        fail_round(crowd, number, "another answer than alone");
    if (is_cut)
        return;
    if (r->n_started != 1 || n_known + r->n_tokens != whole->n_tokens ||
        r->n_scores != whole->n_scores || r->finish != whole->finish ||
        r->total_steps != whole->total_steps)
        fail_round(crowd, number, "another end than alone");
}

/* Every job that has ended goes on, or is checked. Returns how many subjects are over. */
static int32_t look_around(struct crowd *crowd)
{
    int32_t n_over = 0;
    for (int32_t i = 0; i < N_JOBS; i++) {
        struct subject *s = &crowd->subjects[i];
        const struct result *first = &crowd->rig.results[i], *more = first + N_JOBS;
        bool goes_on = s->fate == CONTINUED || s->fate == DEEPENED;
        bool is_done = first->finish == ENGINE_FINISH_LENGTH ||
                       (s->fate == DEEPENED && first->finish == ENGINE_FINISH_EOS);
        if (s->is_submitted && !s->is_over && first->n_finished && !s->has_more && goes_on &&
            is_done && !crowd->rig.is_stopped)
            begin_more(crowd, s, i);
        if (goes_on && !s->has_more && crowd->rig.is_stopped)
            s->is_over = first->n_finished > 0; /* too late to go on */
        if (s->is_submitted && !s->is_over && (s->has_more ? more : first)->n_finished) {
            s->is_over = true;
            check_subject(crowd, i);
        }
        n_over += s->is_over;
    }
    return n_over;
}

/* Somebody cancels, holds, lets go, or changes a priority. */
static void meddle(struct crowd *crowd, bool may_hold)
{
    int32_t i = draw(crowd, N_JOBS);
    struct subject *s = &crowd->subjects[i];
    uint64_t job = (uint64_t)(i + (s->has_more ? N_JOBS : 0));
    if (!s->is_submitted)
        return;
    switch (draw(crowd, 4)) {
    case 0:
        if (s->fate == CANCELLED)
            engine_cancel(crowd->rig.engine, job, ENGINE_FINISH_CANCELLED);
        break;
    case 1:
        if (may_hold && !s->has_more)
            engine_set_priority(crowd->rig.engine, job, SPEC_PRIORITY_HOLD);
        s->is_held |= may_hold && !s->has_more;
        break;
    case 2:
        engine_set_priority(crowd->rig.engine, job, 1 + draw(crowd, 31));
        s->is_held = false;
        break;
    }
}

/* The service ends, or its ranks do: everybody hears of it once, and nobody hears more. */
static void end_early(struct crowd *crowd)
{
    if (crowd->ending == RANKS_LOST) {
        crowd->is_broken = true;
        rig_break_gather();
        return;
    }
    engine_stop(crowd->rig.engine);
    crowd->rig.is_stopped = true;
    pump(&crowd->rig);
    look_around(crowd);
    for (int32_t i = 0; i < N_JOBS; i++)
        if (crowd->subjects[i].is_submitted && !crowd->subjects[i].is_over)
            fail_round(crowd, i, "the engine stopped and did not say so");
}

static void close_crowd(struct crowd *crowd)
{
    struct engine_stats stats;
    engine_get_stats(crowd->rig.engine, &stats);
    crowd->totals.preemptions += stats.preemptions;
    crowd->totals.replay_positions += stats.replay_positions;
    crowd->totals.prefix_positions += stats.prefix_positions;
    crowd->totals.check_positions += stats.check_positions;
    rig_close(&crowd->rig);
}

static void run_crowd(struct crowd *crowd)
{
    uint64_t deadline = ltd_deadline_ns(TEST_MS);
    int32_t n_submitted = 0;
    rig_open(&crowd->rig, &crowd->options);
    while (look_around(crowd) < N_JOBS) {
        for (int32_t n = draw(crowd, 4); n > 0 && n_submitted < N_JOBS; n--) {
            struct subject *s = &crowd->subjects[n_submitted];
            s->first.priority = 1 + draw(crowd, 31);
            s->is_submitted = true;
            submit(&crowd->rig, (uint64_t)n_submitted++, &s->first);
        }
        meddle(crowd, n_submitted < N_JOBS);
        if (crowd->ending != ALL_DONE && n_submitted > N_JOBS / 2 && draw(crowd, 6) == 0) {
            end_early(crowd);
            if (crowd->rig.is_stopped)
                break;
            crowd->ending = ALL_DONE;
        }
        for (int32_t i = 0; i < N_JOBS && n_submitted == N_JOBS; i++)
            if (crowd->subjects[i].is_held) {
                crowd->subjects[i].is_held = false;
                engine_set_priority(crowd->rig.engine, (uint64_t)i, 7);
            }
        struct pollfd fd = {.fd = crowd->rig.wake, .events = POLLIN};
        uint64_t count;
        if (poll(&fd, 1, n_submitted < N_JOBS ? 1 : 50) > 0)
            (void)!read(crowd->rig.wake, &count, sizeof count);
        pump(&crowd->rig);
        if (ltd_now_ns() >= deadline)
            for (int32_t i = 0; i < N_JOBS; i++)
                if (!crowd->subjects[i].is_over)
                    fail_round(crowd, i, "it never ends");
    }
    close_crowd(crowd);
}

static void every_answer_is_the_one_that_the_job_has_alone(void **state)
{
    (void)state;
    static struct crowd crowd;
    unsigned long long first = 1, count = 12;
    const char *chosen = getenv("LATENTD_FUZZ");
    if (chosen)
        assert_int_equal(sscanf(chosen, "%llu:%llu", &first, &count), 2);
    for (unsigned long long round = first; round < first + count; round++) {
        struct engine_stats totals = crowd.totals;
        memset(&crowd, 0, sizeof crowd);
        crowd.totals = totals;
        crowd.number = round;
        crowd.random = round * 0x9E3779B97F4A7C15ull;
        draw_options(&crowd);
        for (int32_t i = 0; i < N_JOBS; i++) {
            draw_spec(&crowd, &crowd.subjects[i]);
            draw_fate(&crowd, &crowd.subjects[i], i);
        }
        run_alone(&crowd);
        run_crowd(&crowd);
    }
    print_message(
        "%llu rounds: %llu preemptions, %llu positions replayed, %llu shared, %llu checked\n",
        count, (unsigned long long)crowd.totals.preemptions,
        (unsigned long long)crowd.totals.replay_positions,
        (unsigned long long)crowd.totals.prefix_positions,
        (unsigned long long)crowd.totals.check_positions);
    if (!chosen)
        assert_true(crowd.totals.preemptions && crowd.totals.replay_positions &&
                    crowd.totals.prefix_positions && crowd.totals.check_positions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_is_the_one_that_the_job_has_alone),
    };
    return cmocka_run_group_tests(tests, rig_set_up, rig_tear_down);
}
