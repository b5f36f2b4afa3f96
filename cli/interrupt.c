/* SPDX-License-Identifier: Apache-2.0 */
/* cli/interrupt.c - see cli/interrupt.h. */
#include "cli/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

/* A handler has no argument: what it needs must stand at file scope. */
static _Atomic(latentd_client *) active;
static _Atomic(void (*)(void)) active_undo;
static volatile sig_atomic_t came;

static void on_signal(int signal_number)
{
    latentd_client *client = atomic_load(&active);
    void (*undo)(void) = atomic_load(&active_undo);
    struct sigaction plain = {.sa_handler = SIG_DFL};
    if (came == 0 && client) {
        came = signal_number;
        latentd_client_cancel(client);
        return;
    }
    if (undo)
        undo();
    /* Blocked until this handler returns, then it ends the program the way the shell expects. */
    sigaction(signal_number, &plain, NULL);
    raise(signal_number);
}

void cli_interrupt_init(void)
{
    /* No SA_RESTART: a read of standard input or a pause ends when the signal comes. */
    struct sigaction act = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&act.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

void cli_interrupt_set_client(latentd_client *client)
{
    atomic_store(&active, client);
}

int cli_interrupt_signal(void)
{
    return came;
}

void cli_interrupt_set_undo(void (*undo)(void))
{
    atomic_store(&active_undo, undo);
}

bool cli_interrupt_wait(int fd, uint32_t ms)
{
    /* Blocked while `came` is looked at and let through by ppoll: no gap to miss a signal in. */
    sigset_t block, old;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, &old);
    struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    struct pollfd in = {.fd = fd, .events = POLLIN};
    bool can_read = came == 0 && ppoll(&in, fd >= 0, &wait, &old) > 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    return can_read;
}

void cli_interrupt_pause(uint32_t ms)
{
    cli_interrupt_wait(-1, ms);
}
