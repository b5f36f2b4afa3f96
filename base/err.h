/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/err.h - one error value for the whole program: a code and a sentence.
 *
 * Every function that can fail takes `struct ltd_err *err` as its last argument and returns -1 or
 * NULL. The lowest function that knows writes the sentence: what was found, what was expected,
 * where. Callers may put context in front of it; whoever gives up logs it, once.
 * Codes mirror gRPC's canonical set, so that one table (this file's .c) serves the RPC status,
 * the exit status of the command line, and the question "how much must be torn down".
 *
 * Threads: values are plain memory, one per call chain; nothing is shared.
 */
#ifndef LATENTD_BASE_ERR_H
#define LATENTD_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ltd_code {
    LTD_OK = 0,
    LTD_E_CANCELLED,
    LTD_E_INVALID,       /* the caller's input is wrong, whatever the state of the service */
    LTD_E_DEADLINE,      /* time ran out */
    LTD_E_NOT_FOUND,     /* no such job, model, file */
    LTD_E_EXISTS,        /* an idempotency key was used again with other contents */
    LTD_E_EXHAUSTED,     /* queue, pages, memory, message size: a limit was met */
    LTD_E_PRECONDITION,  /* right input, wrong state */
    LTD_E_RANGE,         /* a cursor points behind the end of what exists */
    LTD_E_UNIMPLEMENTED, /* a feature that this build or model lacks */
    LTD_E_UNAVAILABLE,   /* starting, draining, restarting: try again later */
    LTD_E_CORRUPT,       /* stored bytes contradict themselves */
    LTD_E_INTERNAL, /* a bug of ours, or the operating system refused something it should not */
    LTD_E_PEER,     /* the other end of a connection broke the protocol or went away */
    LTD_E_RANK,     /* a rank was lost, or ranks disagree */
    LTD_E_UNAUTHENTICATED, /* nobody knows who is asking */
    LTD_E_PERMISSION,      /* who is asking is known, and may not */
    LTD_N_CODES
};

/* How much of the program an error takes with it, from least to most. */
enum ltd_radius {
    LTD_RADIUS_CALL,
    LTD_RADIUS_JOB,
    LTD_RADIUS_CONNECTION,
    LTD_RADIUS_RANK_GROUP,
    LTD_RADIUS_PROCESS,
};

#define LTD_ERR_MSG_BYTES 480

struct ltd_err {
    enum ltd_code code;          /* LTD_OK when untouched */
    char msg[LTD_ERR_MSG_BYTES]; /* one line, no newline, valid UTF-8, fit to show an operator */
    uint32_t retry_after_ms; /* how long to wait before the same may succeed; 0 = says nothing */
    const char *reason;      /* static text: "QUEUE_FULL"; what a program may act upon, or NULL */
};

/*
 * ltd_fail - fill `err` (may be NULL) and return -1.
 *
 * A message that does not fit is cut at a code point. Control characters, which could come from a
 * broken file, are replaced by '?', so a message is always one line.
 */
int ltd_fail(struct ltd_err *err, enum ltd_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ltd_fail_null - like ltd_fail, for functions that return a pointer. Returns NULL. */
void *ltd_fail_null(struct ltd_err *err, enum ltd_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ltd_err_context - put "context: " in front of the message of a failed call. Returns -1. */
int ltd_err_context(struct ltd_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * ltd_err_retry_after - say of a failure when the same may succeed: in `ms`, at the earliest.
 *
 * To be called behind ltd_fail, which forgets an older hint; a context in front of the message keeps
 * it. A client that has asked over RPC is told too (rpc/status_details.h). Returns -1.
 */
int ltd_err_retry_after(struct ltd_err *err, uint32_t ms);

/*
 * ltd_err_reason - say of a failure which one it is, finer than its code.
 *
 * reason  static text in the form "QUEUE_FULL"; docs/api.md lists those that exist. It is told over
 *         RPC as google.rpc.ErrorInfo.reason, so it is part of the public contract.
 *
 * To be called behind ltd_fail, which forgets an older one; a context keeps it. Returns -1.
 */
int ltd_err_reason(struct ltd_err *err, const char *reason);

/* ltd_err_clear - back to LTD_OK, an empty message, no hint and no reason. */
void ltd_err_clear(struct ltd_err *err);

/* The name of a code as it stands in logs, for example "not found". Never NULL. */
const char *ltd_code_name(enum ltd_code code);

/* The gRPC status number (0..16) that stands for a code on the wire. */
int ltd_code_grpc(enum ltd_code code);

/* The code that stands for a gRPC status number; unknown numbers give LTD_E_INTERNAL. */
enum ltd_code ltd_code_from_grpc(int status);

/* The exit status of a program that gives up with this code; docs/latentctl.md lists them. */
int ltd_code_exit_status(enum ltd_code code);

enum ltd_radius ltd_code_radius(enum ltd_code code);

/*
 * ltd_assert - our own invariant; stays on in release builds. Never for input.
 * Prints the expression and the two values that a reader wants to see, then aborts.
 */
#define ltd_assert(cond, a, b)                                                                     \
    do {                                                                                           \
        if (!(cond))                                                                               \
            ltd_assert_failed(__FILE__, __LINE__, #cond, (long long)(a), (long long)(b));          \
    } while (0)

_Noreturn void ltd_assert_failed(const char *file, int line, const char *cond, long long a,
                                 long long b);

#endif
