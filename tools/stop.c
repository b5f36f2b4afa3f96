/* SPDX-License-Identifier: Apache-2.0 */
/* tools/stop.c - see tools/stop.h. */
#include "tools/stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t came;

static void note(int signum)
{
    came = signum;
}

void tool_stop_init(void)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    /* The handler is there once: the second signal finds the default, which ends the program. */
    struct sigaction once = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        struct sigaction old;
        /* Under nohup a lost terminal is no reason to stop. */
        if (sigaction(stops[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(stops[i], &once, NULL);
    }
    sigaction(SIGPIPE, &ignore, NULL);
}

int tool_stop_signal(void)
{
    return came;
}

int tool_stop_check(struct ltd_err *err)
{
    return came ? ltd_fail(err, LTD_E_CANCELLED, "interrupted by signal %d", (int)came) : 0;
}
