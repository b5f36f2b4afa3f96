/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/loading.c - see daemon/loading.h. */
#include "daemon/loading.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/notify.h"

#define TELL_NS LTD_NS_PER_S
#define LOG_NS  (5 * LTD_NS_PER_S)

void loading_begin(struct loading *loading, int64_t total, bool is_told)
{
    uint64_t now_ns = ltd_now_ns();
    *loading = (struct loading){.total = total > 0 ? total : 1,
                                .is_told = is_told,
                                .start_ns = now_ns,
                                .told_ns = now_ns,
                                .logged_ns = now_ns};
    if (is_told)
        notify_extend_timeout(LOADING_STEP_SECONDS);
}

int loading_percent(const struct loading *loading)
{
    return loading->done >= loading->total
               ? 100
               : (int)((double)loading->done / (double)loading->total * 100);
}

void loading_note(void *arg, int64_t weights)
{
    struct loading *loading = arg;
    uint64_t now_ns = ltd_now_ns();
    char status[64];
    loading->done += weights;
    if (!loading->is_told || now_ns - loading->told_ns < TELL_NS)
        return;
    loading->told_ns = now_ns;
    snprintf(status, sizeof status, "loading weights: %d %%", loading_percent(loading));
    notify_extend_timeout(LOADING_STEP_SECONDS);
    notify_status(status);
    if (now_ns - loading->logged_ns < LOG_NS)
        return;
    loading->logged_ns = now_ns;
    ltd_info("%s", status);
}

void loading_end(const struct loading *loading)
{
    if (loading->is_told)
        ltd_info("%.0f M weights loaded in %.2f s", (double)loading->done / 1e6,
                 (double)(ltd_now_ns() - loading->start_ns) / 1e9);
}
