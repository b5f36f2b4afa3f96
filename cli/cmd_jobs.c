/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_jobs.c - list jobs, newest first, page by page until --limit.
 */
#include "cli/verb.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/link.h"
#include "cli/names.h"
#include "cli/out.h"
#include "cli/table.h"
#include "cli/terminal.h"

/* The daemon's own largest page (proto/latentd/v1: ListJobsRequest.page_size). */
#define PAGE_JOBS 500

/* As many as a screen shows. */
#define DEFAULT_LIMIT 50

struct jobs_args {
    struct cli_common common;
    struct cli_texts states;
    const char *label;
    const char *owner;
    const char *client;
    struct cli_u64 since_ms;
    struct cli_u64 before_ms;
    struct cli_u32 limit;
    bool all;
};

static const struct cli_option rows[] = {
    {"state", CLI_TEXTS, offsetof(struct jobs_args, states), "STATE",
     "only queued, running, succeeded, cancelled or failed ones; repeatable"},
    {"label", CLI_TEXT, offsetof(struct jobs_args, label), "TEXT", "only those with this label"},
    {"owner", CLI_TEXT, offsetof(struct jobs_args, owner), "NAME",
     "only those that NAME submitted; another's need the right admin"},
    {"client", CLI_TEXT, offsetof(struct jobs_args, client), "NAME",
     "only those on this client's account"},
    {"since", CLI_DURATION, offsetof(struct jobs_args, since_ms), "DURATION",
     "only those made in the last DURATION"},
    {"before", CLI_DURATION, offsetof(struct jobs_args, before_ms), "DURATION",
     "only those made longer than DURATION ago"},
    {"limit", CLI_U32, offsetof(struct jobs_args, limit), "N",
     "at most this many, 0 for all; 50 by default"},
    {"all", CLI_FLAG, offsetof(struct jobs_args, all), NULL, "no limit: all pages"},
};

/* Where the jobs go: cells of a table, or items of a JSON array. */
struct listing {
    bool json;
    struct cli_table table;
    struct cli_json j;
    uint64_t n_jobs;
};

static void add_seconds(struct cli_table *table, const Latentd__V1__Job *job)
{
    if (job->start_us <= 0 || job->end_us < job->start_us)
        cli_table_cell(table, "-");
    else
        cli_table_cell(table, "%.1f", (double)(job->end_us - job->start_us) / 1e6);
}

/* What is known of the end: the prediction while there is none, and whether it came in time. */
static void add_end(struct cli_table *table, const Latentd__V1__Job *job)
{
    char predicted[CLI_TIME_BYTES];
    if (job->done)
        cli_table_cell(table, "%s", job->late ? "late" : "-");
    else
        cli_table_cell(table, "%s", cli_time_name(job->predicted_end_us, predicted));
}

static void add_job(struct listing *list, const Latentd__V1__Job *job)
{
    char created[CLI_TIME_BYTES];
    list->n_jobs++;
    if (list->json) {
        cli_json_begin(&list->j, NULL, '{');
        cli_job_fields(&list->j, job);
        cli_json_end(&list->j);
        return;
    }
    cli_table_cell(&list->table, "%.*s", (int)job->name.len, (const char *)job->name.data);
    cli_table_cell(&list->table, "%s", cli_state_name(job->state));
    cli_table_cell(&list->table, "%" PRIu32, job->priority);
    cli_table_cell(&list->table, "%s", cli_time_name(job->create_us, created));
    add_end(&list->table, job);
    add_seconds(&list->table, job);
    cli_table_cell(&list->table, "%" PRIu32, job->prompt_tokens);
    cli_table_cell(&list->table, "%" PRIu64, job->total_steps);
    cli_table_cell(&list->table, "%.*s", (int)job->client.len, (const char *)job->client.data);
    cli_table_cell(&list->table, "%.*s", (int)job->owner.len, (const char *)job->owner.data);
    cli_table_cell(&list->table, "%.*s", (int)job->request_id.len,
                   (const char *)job->request_id.data);
}

static void open_listing(struct listing *list, bool json)
{
    static const char *const heads[] = {"NAME",   "STATE",   "PRIO",      "CREATED",
                                        "ENDS",   "SECONDS", "PROMPT",    "STEPS",
                                        "CLIENT", "OWNER",   "REQUEST-ID"};
    *list = (struct listing){.json = json};
    cli_json_init(&list->j);
    cli_table_init(&list->table, "llrllrrrlll");
    cli_json_begin(&list->j, NULL, '{');
    cli_json_begin(&list->j, "jobs", '[');
    if (isatty(STDOUT_FILENO) == 1) {
        size_t n_rows;
        cli_terminal_size(&list->table.max_width, &n_rows);
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        cli_table_cell(&list->table, "%s", heads[i]);
}

static int print_listing(struct listing *list, struct ltd_err *err)
{
    if (!list->json)
        return cli_table_print(&list->table, err) == 0 ? cli_out_flush(err) : -1;
    cli_json_end(&list->j);
    cli_json_end(&list->j);
    return cli_json_print(&list->j, err);
}

static uint32_t page_size(uint32_t limit, uint64_t n_jobs)
{
    uint64_t left = limit == 0 ? PAGE_JOBS : limit - n_jobs;
    return left < PAGE_JOBS ? (uint32_t)left : PAGE_JOBS;
}

/* All pages. A page may be short; only an empty token says that it was the last one. */
static int collect(struct cli_link *link, Latentd__V1__ListJobsRequest *request, uint32_t limit,
                   struct listing *list, struct ltd_err *err)
{
    Latentd__V1__ListJobsResponse *page = NULL;
    for (;;) {
        request->page_size = page_size(limit, list->n_jobs);
        Latentd__V1__ListJobsResponse *next =
            cli_link_ask(link, "/latentd.v1.Jobs/List", &request->base,
                         &latentd__v1__list_jobs_response__descriptor, err);
        cli_link_free(page);
        page = next;
        if (!page)
            return -1;
        for (size_t i = 0; i < page->n_jobs && (limit == 0 || list->n_jobs < limit); i++)
            add_job(list, page->jobs[i]);
        if (page->next_page_token.len == 0 || (limit != 0 && list->n_jobs >= limit))
            break;
        request->page_token = page->next_page_token;
    }
    cli_link_free(page);
    return 0;
}

static int list_jobs(const struct jobs_args *args, Latentd__V1__ListJobsRequest *request,
                     struct ltd_err *err)
{
    struct cli_link link;
    struct listing list;
    uint32_t limit = args->all ? 0 : args->limit.set ? args->limit.value : DEFAULT_LIMIT;
    open_listing(&list, args->common.json);
    int rc = cli_link_open(&link, &args->common, CLI_TIMEOUT_ASK_MS, err);
    if (rc == 0)
        rc = collect(&link, request, limit, &list, err);
    if (rc == 0)
        rc = print_listing(&list, err);
    cli_table_fini(&list.table);
    cli_json_fini(&list.j);
    cli_link_close(&link);
    return rc;
}

/* `ms` ago, by this host's clock; never before 1970. */
static int64_t moment_us(uint64_t ms)
{
    int64_t now_us = ltd_wall_us();
    return ms >= (uint64_t)now_us / 1000 ? 1 : now_us - (int64_t)ms * 1000;
}

static int fill_request(const struct jobs_args *args, Latentd__V1__ListJobsRequest *request,
                        struct ltd_err *err)
{
    if (args->all && args->limit.set)
        return ltd_fail(err, LTD_E_INVALID, "--all and --limit: expected one of them");
    if (args->label)
        request->label = cli_bytes(args->label);
    if (args->owner)
        request->owner = cli_bytes(args->owner);
    if (args->client)
        request->client = cli_bytes(args->client);
    if (args->since_ms.set)
        request->created_after_us = moment_us(args->since_ms.value);
    if (args->before_ms.set)
        request->created_before_us = moment_us(args->before_ms.value);
    for (; request->n_states < args->states.n; request->n_states++) {
        const char *name = args->states.items[request->n_states];
        request->states[request->n_states] = cli_state_find(name);
        if (request->states[request->n_states] == LATENTD__V1__JOB_STATE__JOB_STATE_UNSPECIFIED)
            return ltd_fail(err, LTD_E_INVALID,
                            "--state: \"%s\", expected queued, running, succeeded, cancelled or "
                            "failed",
                            name);
    }
    return 0;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    (void)words;
    const struct jobs_args *args = verb_args;
    Latentd__V1__ListJobsRequest request = LATENTD__V1__LIST_JOBS_REQUEST__INIT;
    request.states = calloc(args->states.n + 1, sizeof *request.states);
    if (!request.states)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu states", args->states.n);
    int rc = fill_request(args, &request, err);
    if (rc == 0)
        rc = list_jobs(args, &request, err);
    free(request.states);
    return rc;
}

const struct cli_verb cli_jobs = {
    .name = "jobs",
    .synopsis = "[OPTION]...",
    .summary = "list jobs, newest first",
    .details =
        "One line per job: name, state, priority, when it was created (UTC), when a running one "
        "will end as predicted at its start, or \"late\" for one whose time budget was over when "
        "it ended, how many seconds it ran, tokens of its prompt, recurrent steps over all "
        "positions, client, owner, request id. On a terminal columns that do not fit are left out, "
        "from the right; into files and pipes go all of them.\n\n"
        "Filters go together: a job is listed when all of them let it through. --since and "
        "--before count from this host's clock.\n\n"
        "With --json one object: {\"jobs\": [...]}. --timeout is 30 s by default.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct jobs_args),
    .min_words = 0,
    .max_words = 0,
    .run = run,
};
