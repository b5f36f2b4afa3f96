/* SPDX-License-Identifier: Apache-2.0 */
/* cli/follow.c - see cli/follow.h. */
#include "cli/follow.h"

#include "base/clock.h"
#include "cli/interrupt.h"

#define FIRST_PAUSE_MS   250
#define LONGEST_PAUSE_MS 5000

struct follow {
    struct cli_show *show;
    uint64_t last_seq;   /* resume behind this */
    bool has_progressed; /* a new event came since the last try */
};

static int on_message(void *arg, const uint8_t *data, size_t len)
{
    struct follow *f = arg;
    Latentd__V1__JobEvent *event =
        cli_link_unpack(&latentd__v1__job_event__descriptor, data, len, &f->show->err);
    if (!event)
        return -1;
    if (event->seq != 0 && event->seq <= f->last_seq) {
        cli_link_free(event);
        return 0;
    }
    if (event->seq != 0) {
        f->last_seq = event->seq;
        f->has_progressed = true;
    }
    return cli_show_event(f->show, event);
}

/* Lost, going away, or cut because this end was slow: all of them can be resumed. */
static bool can_resume(const struct ltd_err *err)
{
    return err->code == LTD_E_UNAVAILABLE || err->code == LTD_E_EXHAUSTED;
}

static int try_once(struct cli_link *link, const char *name, struct follow *f, struct ltd_err *err)
{
    Latentd__V1__WatchJobRequest request = LATENTD__V1__WATCH_JOB_REQUEST__INIT;
    request.name = cli_bytes(name);
    request.after_seq = f->last_seq;
    f->has_progressed = false;
    return cli_link_stream(link, "/latentd.v1.Jobs/Watch", &request.base, on_message, f, err);
}

/*
 * As long as the pauses have grown, or as long as the daemon said. False when the time limit of the
 * command ends before the pause does.
 */
static bool pause_before_retry(const struct cli_link *link, uint32_t n_tries, uint32_t hint_ms)
{
    uint32_t ms = FIRST_PAUSE_MS;
    for (uint32_t i = 1; i < n_tries && ms < LONGEST_PAUSE_MS; i++)
        ms *= 2;
    if (ms > LONGEST_PAUSE_MS)
        ms = LONGEST_PAUSE_MS;
    if (ms < hint_ms)
        ms = hint_ms;
    uint32_t left_ms = cli_link_left_ms(link);
    if (left_ms != 0 && left_ms <= ms)
        return false;
    cli_interrupt_pause(ms);
    return true;
}

int cli_follow(struct cli_link *link, const char *name, uint64_t after_seq, uint32_t retries,
               struct cli_show *show, struct ltd_err *err)
{
    struct follow f = {.show = show, .last_seq = after_seq};
    for (uint32_t n_tries = 1;; n_tries++) {
        int rc = try_once(link, name, &f, err);
        if (show->err.code != LTD_OK) {
            *err = show->err;
            return -1;
        }
        if (show->answer.finished)
            return 0;
        if (rc == 0)
            return ltd_fail(err, LTD_E_PEER, "%s: the stream ended before the job did", name);
        if (f.has_progressed)
            n_tries = 1;
        if (cli_interrupt_signal() != 0 || !can_resume(err) || n_tries > retries ||
            !pause_before_retry(link, n_tries, err->retry_after_ms))
            return -1;
    }
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
