/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/notify.h - tell systemd how the service is doing; silent when nobody asked.
 *
 * Under mpirun the process that systemd started is mpirun, so the unit needs NotifyAccess=all, and
 * the watchdog's interval is read from WATCHDOG_USEC itself: the library's question compares
 * WATCHDOG_PID with our own and would say "off". Only rank 0 talks.
 *
 * Threads: any; each call is one datagram.
 * Source: sd_notify(3), systemd.service(5).
 */
#ifndef LATENTD_DAEMON_NOTIFY_H
#define LATENTD_DAEMON_NOTIFY_H

#include <stdint.h>

/* READY=1 with a status line. */
void notify_ready(const char *status);
void notify_status(const char *status);
void notify_stopping(void);
/* WATCHDOG=1: still well. */
void notify_watchdog(void);
/* The start may take `seconds` more, counted from now. */
void notify_extend_timeout(uint32_t seconds);

/* WATCHDOG_USEC, or 0 when there is no watchdog (or no sensible number). */
uint64_t notify_watchdog_usec(void);

#endif
