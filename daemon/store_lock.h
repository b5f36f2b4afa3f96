/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/store_lock.h - one daemon per job log.
 *
 * A lock on PATH.lock, which holds the process id of whoever has it and stays behind when he goes: to
 * delete it would let two processes lock two files of the same name. The kernel lets go of the lock
 * with the process, however that ends.
 */
#ifndef LATENTD_DAEMON_STORE_LOCK_H
#define LATENTD_DAEMON_STORE_LOCK_H

#include "base/err.h"

/* A descriptor to close with store_lock_release. Errors: LTD_E_EXISTS naming who has it,
 * LTD_E_INVALID when the file cannot be made. */
int store_lock_acquire(const char *path, struct ltd_err *err);
void store_lock_release(int fd); /* accepts -1 */

#endif
