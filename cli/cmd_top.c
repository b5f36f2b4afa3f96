/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_top.c - how the daemon is doing, again and again.
 *
 * On a terminal one screen is drawn over; with --batch, --once or --json the same is printed as
 * text, one after the other. A screen outlives the daemon: while nobody answers it shows the last
 * status and the reason, because the moment of a failure is when somebody looks at it.
 */
#include "cli/verb.h"

#include "base/clock.h"
#include "cli/interrupt.h"
#include "cli/link.h"
#include "cli/names.h"
#include "cli/out.h"
#include "cli/rates.h"
#include "cli/status_out.h"
#include "cli/terminal.h"
#include "cli/top_screen.h"

struct top_args {
    struct cli_common common;
    struct cli_number interval_s;
    struct cli_u64 count;
    bool once;
    bool batch;
};

static const struct cli_option rows[] = {
    {"interval", CLI_NUMBER, offsetof(struct top_args, interval_s), "SECONDS",
     "from one status to the next, 0.1 to 3600; 1 by default"},
    {"count", CLI_U64, offsetof(struct top_args, count), "N", "end after so many; 0 is no end"},
    {"once", CLI_FLAG, offsetof(struct top_args, once), NULL,
     "one status as text, with rates since the daemon's start"},
    {"batch", CLI_FLAG, offsetof(struct top_args, batch), NULL,
     "text without a terminal, a blank line between one status and the next"},
};

/* A status is answered from memory, so a daemon that takes longer is in trouble. */
#define CALL_MS 5000

struct top {
    struct cli_link link;
    uint64_t deadline_ns; /* of the whole command; link.deadline_ns is that of the call at hand */
    uint32_t interval_ms;
    uint64_t n_left; /* statuses to show; UINT64_MAX without an end */
    Latentd__V1__Model *model;
    Latentd__V1__ClusterStatus *before, *now;
    struct cli_rates rates;
};

static int set_pace(const struct top_args *args, struct top *top, struct ltd_err *err)
{
    double s = args->interval_s.set ? args->interval_s.value : 1;
    if (!(s >= 0.1 && s <= 3600))
        return ltd_fail(err, LTD_E_INVALID, "--interval: %g, expected 0.1 to 3600 seconds", s);
    if (args->once && args->count.value > 1)
        return ltd_fail(err, LTD_E_INVALID, "--once and --count: give one of them");
    top->interval_ms = (uint32_t)(s * 1000 + 0.5);
    top->n_left = args->once ? 1 : args->count.value > 0 ? args->count.value : UINT64_MAX;
    return 0;
}

static void *ask(struct top *top, const char *path, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *answer, struct ltd_err *err)
{
    uint64_t call_ns = ltd_deadline_ns(CALL_MS);
    top->link.deadline_ns = call_ns < top->deadline_ns ? call_ns : top->deadline_ns;
    return cli_link_ask(&top->link, path, request, answer, err);
}

/* Until the next status is due, or the command's time is over; a key as cli_terminal_wait has it. */
static char pause_until_next(const struct top *top, bool has_terminal)
{
    uint64_t now_ns = ltd_now_ns();
    uint64_t left_ms = now_ns < top->deadline_ns ? (top->deadline_ns - now_ns) / LTD_NS_PER_MS : 0;
    uint32_t ms = left_ms < top->interval_ms ? (uint32_t)left_ms + 1 : top->interval_ms;
    if (has_terminal)
        return cli_terminal_wait(ms);
    cli_interrupt_pause(ms);
    return 0;
}

/* The next status, and what happened since the one before. On failure the last one stays. */
static int sample(struct top *top, struct ltd_err *err)
{
    Latentd__V1__GetStatusRequest status_request = LATENTD__V1__GET_STATUS_REQUEST__INIT;
    Latentd__V1__GetModelRequest model_request = LATENTD__V1__GET_MODEL_REQUEST__INIT;
    if (ltd_now_ns() >= top->deadline_ns)
        return ltd_fail(err, LTD_E_DEADLINE, "the time of --timeout is over");
    if (!top->model)
        top->model = ask(top, "/latentd.v1.Cluster/GetModel", &model_request.base,
                         &latentd__v1__model__descriptor, err);
    if (!top->model)
        return -1;
    Latentd__V1__ClusterStatus *next =
        ask(top, "/latentd.v1.Cluster/GetStatus", &status_request.base,
            &latentd__v1__cluster_status__descriptor, err);
    if (!next) {
        /* Who answers after an outage may serve another model. */
        cli_link_free(top->model);
        top->model = NULL;
        return -1;
    }
    cli_link_free(top->before);
    top->before = top->now;
    top->now = next;
    cli_rates_between(top->before, top->now, &top->rates);
    return 0;
}

static int print_json(const struct top *top, struct ltd_err *err)
{
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_bytes(&j, "model", top->model->name);
    cli_rates_field(&j, &top->rates);
    cli_status_field(&j, top->now);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

static int print_text(const struct top *top, bool is_first, struct ltd_err *err)
{
    const struct cli_top_view view = {
        .model = top->model, .status = top->now, .rates = &top->rates};
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    if (!is_first)
        ltd_bytes_put_str(&text, "\n");
    cli_top_screen(&view, &text);
    int rc = text.failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the status") : 0;
    if (rc == 0)
        cli_out_text(text.data, text.len);
    ltd_bytes_fini(&text);
    return rc == 0 ? cli_out_flush(err) : -1;
}

static int print_batch(struct top *top, bool json, struct ltd_err *err)
{
    for (bool is_first = true; top->n_left > 0; is_first = false) {
        if (sample(top, err) != 0)
            return -1;
        if ((json ? print_json(top, err) : print_text(top, is_first, err)) != 0)
            return -1;
        if (top->n_left != UINT64_MAX)
            top->n_left--;
        if (top->n_left > 0)
            pause_until_next(top, false);
        if (cli_interrupt_signal() != 0)
            break;
    }
    return 0;
}

static int paint(const struct top *top, const struct ltd_err *failure, struct ltd_err *err)
{
    const struct cli_top_view view = {
        .model = top->model, .status = top->now, .rates = &top->rates, .failure = failure};
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    cli_top_screen(&view, &text);
    int rc = cli_terminal_paint(&text, err);
    ltd_bytes_fini(&text);
    return rc;
}

/* Whether a later call may succeed where this one did not. */
static bool may_pass(const struct top *top, const struct ltd_err *why)
{
    if (cli_interrupt_signal() != 0 || ltd_now_ns() >= top->deadline_ns)
        return false;
    return why->code == LTD_E_UNAVAILABLE || why->code == LTD_E_DEADLINE ||
           why->code == LTD_E_EXHAUSTED;
}

/* The first status is fetched before the screen is taken, so that a mistake is seen as usual. */
static int run_screen(struct top *top, struct ltd_err *err)
{
    struct ltd_err failure = {.code = LTD_OK};
    if (sample(top, err) != 0 || cli_terminal_open(err) != 0)
        return -1;
    int rc = 0;
    for (char key = 0; rc == 0 && key != 'q' && key != 'Q';) {
        rc = paint(top, &failure, err);
        if (top->n_left != UINT64_MAX && --top->n_left == 0)
            break;
        if (rc == 0)
            key = pause_until_next(top, true);
        if (cli_interrupt_signal() != 0)
            break;
        ltd_err_clear(&failure);
        if (sample(top, &failure) != 0 && !may_pass(top, &failure)) {
            *err = failure;
            rc = -1;
        }
    }
    cli_terminal_close();
    return rc;
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    (void)words;
    const struct top_args *args = verb_args;
    bool is_batch = args->once || args->batch || args->common.json;
    struct top top = {.n_left = 0};
    if (set_pace(args, &top, err) != 0)
        return -1;
    int rc = cli_link_open_once(&top.link, &args->common, CLI_TIMEOUT_NONE_MS, err);
    top.deadline_ns = top.link.deadline_ns;
    if (rc == 0)
        rc = is_batch ? print_batch(&top, args->common.json, err) : run_screen(&top, err);
    cli_link_free(top.model);
    cli_link_free(top.before);
    cli_link_free(top.now);
    cli_link_close(&top.link);
    return rc;
}

const struct cli_verb cli_top = {
    .name = "top",
    .synopsis = "[OPTION]...",
    .summary = "how the daemon is doing, again and again",
    .details =
        "Asks for the status every second and shows it on a screen that is drawn over: jobs, who "
        "waits at which priority, load, positions per tick against the most that a tick can hold, "
        "what they were (decode, prefill, replay), percentiles of tick and queue time, tokens and "
        "their mean depth, the cost of exit checks, KV pages, what the scheduler takes things to "
        "cost, and tokens by exit reason and depth. Rates are those of the time since the screen "
        "before; percentiles are bounds, <=8 or >1000. q or Ctrl-C ends it.\n\n"
        "While nobody answers the last status stays, with the reason, and the daemon is asked "
        "again. The first call must succeed.\n\n"
        "With --batch or --once the same is printed as text, and with --json as one object per "
        "status and line: model, rates, status. The first ones have rates since the daemon's "
        "start. "
        "There is no time limit unless --timeout sets one.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct top_args),
    .min_words = 0,
    .max_words = 0,
    .run = run,
};
