/* SPDX-License-Identifier: Apache-2.0 */
/* cli/outage.c - see cli/outage.h. */
#include "cli/outage.h"

#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/interrupt.h"
#include "cli/progress.h"

void cli_outage_init(struct cli_outage *outage, const struct cli_common *common)
{
    *outage = (struct cli_outage){.is_off = common->no_retry,
                                  .is_verbose = common->verbose,
                                  .has_notice = !common->json && !common->verbose &&
                                                isatty(STDERR_FILENO) == 1};
}

uint32_t cli_outage_pause_ms(uint32_t n_tries, uint32_t hint_ms, uint32_t random)
{
    uint32_t ms = CLI_OUTAGE_FIRST_PAUSE_MS;
    for (uint32_t i = 1; i < n_tries && ms < CLI_OUTAGE_LONGEST_PAUSE_MS; i++)
        ms *= 2;
    if (ms > CLI_OUTAGE_LONGEST_PAUSE_MS)
        ms = CLI_OUTAGE_LONGEST_PAUSE_MS;
    ms -= random % (ms / 2 + 1);
    return ms < hint_ms ? hint_ms : ms;
}

/* Without randomness the pauses are merely not jittered. */
static uint32_t some_number(void)
{
    uint32_t number = 0;
    return getrandom(&number, sizeof number, GRND_NONBLOCK) == sizeof number ? number : 0;
}

/* How much longer this outage may last, in milliseconds. */
static uint64_t left_ms(const struct cli_outage *outage, uint64_t deadline_ns, bool may_last)
{
    uint64_t end_ns = deadline_ns;
    if (end_ns == LTD_NEVER && !may_last)
        end_ns = outage->begin_ns + CLI_OUTAGE_LIMIT_MS * LTD_NS_PER_MS;
    uint64_t now_ns = ltd_now_ns();
    if (end_ns == LTD_NEVER)
        return UINT64_MAX;
    return now_ns >= end_ns ? 0 : (end_ns - now_ns) / LTD_NS_PER_MS;
}

static void tell(struct cli_outage *outage, uint32_t ms, const struct ltd_err *err)
{
    if (outage->is_verbose)
        fprintf(stderr, "latentctl: %s; next try in %.1f s\n", err->msg, ms / 1e3);
    if (!outage->has_notice)
        return;
    if (outage->progress && outage->progress->on)
        cli_progress_draw_text(outage->progress, "[connection lost, waiting for the service...]");
    else if (outage->n_tries == 1)
        fprintf(stderr, "latentctl: %s; waiting for the service...\n", err->msg);
}

bool cli_outage_wait(struct cli_outage *outage, uint64_t deadline_ns, bool may_last,
                     struct ltd_err *err)
{
    if (outage->is_off || cli_interrupt_signal() != 0)
        return false;
    if (err->code != LTD_E_UNAVAILABLE) {
        /* A try that the command's own time limit has cut short is not what went wrong. */
        if (err->code == LTD_E_DEADLINE && outage->n_tries > 0)
            *err = outage->first;
        return false;
    }
    if (outage->n_tries == 0) {
        outage->first = *err;
        outage->begin_ns = ltd_now_ns();
    }
    uint64_t left = left_ms(outage, deadline_ns, may_last);
    if (left == 0) {
        *err = outage->first;
        return false;
    }
    outage->n_tries++;
    uint32_t ms = cli_outage_pause_ms(outage->n_tries, err->retry_after_ms, some_number());
    if (ms > left)
        ms = (uint32_t)left;
    tell(outage, ms, err);
    cli_interrupt_pause(ms);
    return cli_interrupt_signal() == 0;
}

void cli_outage_over(struct cli_outage *outage)
{
    if (outage->n_tries == 0)
        return;
    if (outage->is_verbose)
        fprintf(stderr, "latentctl: the service answers again after %.1f s\n",
                (double)(ltd_now_ns() - outage->begin_ns) / (double)LTD_NS_PER_S);
    if (outage->progress)
        cli_progress_erase(outage->progress);
    outage->n_tries = 0;
}
