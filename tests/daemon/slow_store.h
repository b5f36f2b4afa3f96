/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/daemon/slow_store.h - a log whose appends wait until the test lets them through.
 *
 * Stands in for a log that commits to disk: it keeps the stored form of an event, and only when the
 * test says so hands it to a log in memory and calls `done`. Reads show accepted events only.
 */
#ifndef LATENTD_TESTS_DAEMON_SLOW_STORE_H
#define LATENTD_TESTS_DAEMON_SLOW_STORE_H

#include <stddef.h>

#include "daemon/store.h"

struct store *slow_store_create(void);

/* Appends that wait. */
size_t slow_store_n_waiting(const struct store *store);

/* Accept the oldest append, or refuse it with `code`; appends of its job that wait behind a refused
 * one will be refused too, whatever is said then. */
void slow_store_release(struct store *store, enum ltd_code code);
/* Accept what waits, and what comes meanwhile. */
void slow_store_release_all(struct store *store);
/* From now on appends are answered before they return, as by the log in memory. */
void slow_store_hurry(struct store *store);

#endif
