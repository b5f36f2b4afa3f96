/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/notify_rig.h - a socket as systemd gives it to a service, and what arrives there.
 *
 * One per test program; NOTIFY_SOCKET names it between open and close. Reads wait 10 seconds.
 */
#ifndef LATENTD_TESTS_DAEMON_NOTIFY_RIG_H
#define LATENTD_TESTS_DAEMON_NOTIFY_RIG_H

extern int notify_rig_fd; /* to look for more than the next datagram */

/* Set-up and tear-down of a group of cmocka tests. */
int notify_rig_open(void **state);
int notify_rig_close(void **state);

/* The next datagram is this text, or the test fails. */
void notify_rig_expect(const char *expected);

#endif
