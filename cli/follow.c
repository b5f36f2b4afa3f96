/* SPDX-License-Identifier: Apache-2.0 */
/* cli/follow.c - see cli/follow.h. */
#include "cli/follow.h"

/*
 * A call that was refused or reset, not lost, may be so for ever: this often in a row. The pauses
 * between sum up to about half a minute.
 */
#define REFUSALS_MAX 10

struct follow {
    struct cli_show *show;
    struct cli_outage *outage;
    uint64_t last_seq; /* resume behind this */
    uint32_t n_tries;  /* in a row, without a new event */
};

static int on_message(void *arg, const uint8_t *data, size_t len)
{
    struct follow *f = arg;
    Latentd__V1__JobEvent *event =
        cli_link_unpack(&latentd__v1__job_event__descriptor, data, len, &f->show->err);
    if (!event)
        return -1;
    cli_outage_over(f->outage);
    if (event->seq != 0 && event->seq <= f->last_seq) {
        cli_link_free(event);
        return 0;
    }
    if (event->seq != 0) {
        f->last_seq = event->seq;
        f->n_tries = 0;
    }
    return cli_show_event(f->show, event);
}

/*
 * What can be resumed although it is no outage: a slow reader that was cut (RESOURCE_EXHAUSTED), a
 * call that somebody between has reset (CANCELLED, and nobody here has asked for it).
 */
static bool is_cut(const struct follow *f, const struct ltd_err *err)
{
    return (err->code == LTD_E_EXHAUSTED || err->code == LTD_E_CANCELLED) &&
           f->n_tries <= REFUSALS_MAX;
}

/* After a failed try: pause, and say whether to try again. */
static bool wait_for_more(struct cli_link *link, const struct follow *f, uint32_t retries,
                          struct ltd_err *err)
{
    struct ltd_err outage = *err;
    if (is_cut(f, err))
        outage.code = LTD_E_UNAVAILABLE;
    if (f->n_tries <= retries && cli_outage_wait(&link->outage, link->deadline_ns, true, &outage))
        return true;
    if (err->code == LTD_E_DEADLINE)
        *err = outage; /* how the outage began, if there is one */
    return false;
}

static int try_once(struct cli_link *link, const char *name, struct follow *f, struct ltd_err *err)
{
    Latentd__V1__WatchJobRequest request = LATENTD__V1__WATCH_JOB_REQUEST__INIT;
    request.name = cli_bytes(name);
    request.after_seq = f->last_seq;
    f->n_tries++;
    return cli_link_stream(link, "/latentd.v1.Jobs/Watch", &request.base, on_message, f, err);
}

/* Until the job has ended, or what came of the last try cannot be mended by another. */
static int follow(struct cli_link *link, const char *name, uint32_t retries, struct follow *f,
                  struct ltd_err *err)
{
    for (;;) {
        int rc = try_once(link, name, f, err);
        if (f->show->err.code != LTD_OK) {
            *err = f->show->err;
            return -1;
        }
        if (f->show->answer.finished)
            return 0;
        if (rc == 0)
            return ltd_fail(err, LTD_E_PEER, "%s: the stream ended before the job did", name);
        if (!wait_for_more(link, f, retries, err))
            return -1;
    }
}

int cli_follow(struct cli_link *link, const char *name, uint64_t after_seq, uint32_t retries,
               struct cli_show *show, struct ltd_err *err)
{
    struct follow f = {.show = show, .outage = &link->outage, .last_seq = after_seq};
    link->outage.progress = &show->progress;
    int rc = follow(link, name, retries, &f, err);
    link->outage.progress = NULL;
    return rc;
}

int cli_follow_shown(struct cli_link *link, const char *name, uint64_t after_seq, uint32_t retries,
                     bool json, struct ltd_err *err)
{
    struct cli_show show;
    struct ltd_err print_err = {.code = LTD_OK};
    cli_show_init(&show, json ? CLI_SHOW_EVENTS : CLI_SHOW_UNSURE);
    cli_show_settle(&show, link);
    int rc = cli_follow(link, name, after_seq, retries, &show, err);
    int printed = json ? 0 : cli_show_end(&show, &print_err);
    if (rc == 0)
        rc = cli_answer_verdict(&show.answer, err);
    if (rc == 0 && printed != 0) {
        *err = print_err;
        rc = -1;
    }
    cli_show_fini(&show);
    return rc;
}
