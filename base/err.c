/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/err.c - the table of error codes and the three ways to write a message.
 *
 * Invariant: the row index in `codes` is the enum value; tests/base/test_err.c walks all rows.
 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static const struct {
    const char *name;
    int grpc;
    int exit_status;
    enum ltd_radius radius;
} codes[LTD_N_CODES] = {
    [LTD_OK] = {"ok", 0, 0, LTD_RADIUS_CALL},
    [LTD_E_CANCELLED] = {"cancelled", 1, 7, LTD_RADIUS_JOB},
    [LTD_E_INVALID] = {"invalid", 3, 2, LTD_RADIUS_CALL},
    [LTD_E_DEADLINE] = {"deadline", 4, 6, LTD_RADIUS_JOB},
    [LTD_E_NOT_FOUND] = {"not found", 5, 3, LTD_RADIUS_CALL},
    [LTD_E_EXISTS] = {"exists", 6, 3, LTD_RADIUS_CALL},
    [LTD_E_EXHAUSTED] = {"exhausted", 8, 5, LTD_RADIUS_CALL},
    [LTD_E_PRECONDITION] = {"precondition", 9, 3, LTD_RADIUS_CALL},
    [LTD_E_RANGE] = {"out of range", 11, 2, LTD_RADIUS_CALL},
    [LTD_E_UNIMPLEMENTED] = {"unimplemented", 12, 2, LTD_RADIUS_CALL},
    [LTD_E_UNAVAILABLE] = {"unavailable", 14, 4, LTD_RADIUS_CALL},
    [LTD_E_CORRUPT] = {"corrupt", 15, 8, LTD_RADIUS_JOB},
    [LTD_E_INTERNAL] = {"internal", 13, 1, LTD_RADIUS_CALL},
    [LTD_E_PEER] = {"peer", 14, 4, LTD_RADIUS_CONNECTION},
    [LTD_E_RANK] = {"rank", 14, 4, LTD_RADIUS_RANK_GROUP},
    [LTD_E_UNAUTHENTICATED] = {"unauthenticated", 16, 9, LTD_RADIUS_CALL},
    [LTD_E_PERMISSION] = {"permission", 7, 9, LTD_RADIUS_CALL},
};

__attribute__((format(printf, 3, 0))) static void fill(struct ltd_err *err, enum ltd_code code,
                                                       const char *fmt, va_list args)
{
    if (!err)
        return;
    err->code = code;
    err->retry_after_ms = 0;
    err->reason = NULL;
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    ltd_utf8_tidy(err->msg);
}

int ltd_fail(struct ltd_err *err, enum ltd_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(err, code, fmt, args);
    va_end(args);
    return -1;
}

void *ltd_fail_null(struct ltd_err *err, enum ltd_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(err, code, fmt, args);
    va_end(args);
    return NULL;
}

int ltd_err_context(struct ltd_err *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    char old[LTD_ERR_MSG_BYTES];
    memcpy(old, err->msg, sizeof old);
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    size_t used = strlen(err->msg);
    snprintf(err->msg + used, sizeof err->msg - used, ": %s", old);
    ltd_utf8_tidy(err->msg);
    return -1;
}

int ltd_err_retry_after(struct ltd_err *err, uint32_t ms)
{
    if (err)
        err->retry_after_ms = ms;
    return -1;
}

int ltd_err_reason(struct ltd_err *err, const char *reason)
{
    if (err)
        err->reason = reason;
    return -1;
}

void ltd_err_clear(struct ltd_err *err)
{
    err->code = LTD_OK;
    err->retry_after_ms = 0;
    err->reason = NULL;
    err->msg[0] = '\0';
}

const char *ltd_code_name(enum ltd_code code)
{
    return (unsigned)code < LTD_N_CODES ? codes[code].name : "unknown";
}

int ltd_code_grpc(enum ltd_code code)
{
    return (unsigned)code < LTD_N_CODES ? codes[code].grpc : 2;
}

enum ltd_code ltd_code_from_grpc(int status)
{
    for (int i = 0; i < LTD_N_CODES; i++)
        if (codes[i].grpc == status)
            return (enum ltd_code)i;
    return LTD_E_INTERNAL;
}

int ltd_code_exit_status(enum ltd_code code)
{
    return (unsigned)code < LTD_N_CODES ? codes[code].exit_status : 1;
}

enum ltd_radius ltd_code_radius(enum ltd_code code)
{
    return (unsigned)code < LTD_N_CODES ? codes[code].radius : LTD_RADIUS_PROCESS;
}

void ltd_assert_failed(const char *file, int line, const char *cond, long long a, long long b)
{
    fprintf(stderr, "latentd: broken invariant at %s:%d: %s (%lld, %lld)\n", file, line, cond, a,
            b);
    abort();
}
