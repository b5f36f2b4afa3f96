/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cli/fake_server.h - a daemon that computes nothing: canned answers over the real protocol.
 *
 * It is rpc/server.h with handlers that build real messages, in a thread of the test program. What
 * a call asks for decides what it gets:
 *
 *     Generate, by prompt text
 *       "echo…"      one token; the text is the request as the server writes it down
 *       "status N"   the call ends with gRPC status N before any event
 *       "broken N"   queued, one token, Finished(error), then status N
 *       "hang"       queued, started, one token "part", then nothing until the call ends
 *       "think"      thinking events, then text with a held-back tail
 *       "busy MS"    RESOURCE_EXHAUSTED that says to come again in MS milliseconds
 *       "long"       the log of tests/cli/fake_long.h
 *       "hasty"      a token that time cut short, and an end that is late
 *       "late"       one token, Finished(deadline), then status DEADLINE_EXCEEDED
 *       "nothing"    ends with OK and no Finished
 *       "garbage"    a message that is none of the contract
 *       "quiet"      an end token and no text
 *       "Dn:ANSWER"  an evaluation's question: ANSWER at depth n or more, else "no"; answered a
 *                    little later, and refused RESOURCE_EXHAUSTED over fake_set_window
 *     Generate, by token prompt: ids 7, 8, 9 and no text
 *     Watch, by name
 *       "jobs/whole" all events
 *       "jobs/flaky" loses the call behind seq 2, once, and repeats seq 2
 *       "jobs/cut"   the server itself goes away behind seq 2 and comes back
 *       "jobs/moved" its priority changes; its token is cut short by time; its end is late
 *       "jobs/long"  the log of tests/cli/fake_long.h
 *       "jobs/slow"  the same, one event per call, which then is cut for one reason or another
 *       "jobs/gone"  the call is UNAVAILABLE whenever it is made
 *       "jobs/failed", "jobs/cancelled" end so;  others are NOT_FOUND
 *     Get "jobs/whole", "jobs/running", "jobs/failed", "jobs/ids"
 *     Continue: the new job is "jobs/tTOKENSsSTEPS", or "jobs/whole" when that one goes on;
 *       "jobs/running" is FAILED_PRECONDITION
 *     Submit: "jobs/long" for the prompt "long", else "jobs/new1"; request ids are remembered
 *     Delete of "jobs/once" does it and takes the server away without an answer, the first time
 *     SetPriority of "jobs/running"
 *     GetStatus: moves on by the same second of work with every call
 *
 * Threads: start, stop and the counters belong to the test's thread; handlers run in their own.
 */
#ifndef LATENTD_TESTS_CLI_FAKE_SERVER_H
#define LATENTD_TESTS_CLI_FAKE_SERVER_H

#include <stdbool.h>
#include <stdint.h>

struct fake;

struct fake *fake_start(const char *address);
void fake_stop(struct fake *fake);

/* Where it listens. */
const char *fake_address(const struct fake *fake);

/* How many "Dn:" questions may wait at once; others are refused. */
void fake_set_window(struct fake *fake, uint32_t window);

/* Whether the model it claims to serve has a tokenizer. */
void fake_set_tokenizer(struct fake *fake, bool has_tokenizer);

/* What the health service says: 1 serving, 2 not serving. */
void fake_set_health(struct fake *fake, int status);

/* The next status is the first one again. */
void fake_rewind_status(struct fake *fake);

/* How many statuses were answered since then. */
uint64_t fake_n_statuses(const struct fake *fake);

/* While true, GetStatus is UNAVAILABLE. */
void fake_set_away(struct fake *fake, bool is_away);

/* Calls whose peer cancelled them, and the largest number of questions that waited at once. */
uint32_t fake_n_cancelled(const struct fake *fake);
uint32_t fake_most_waiting(const struct fake *fake);
uint32_t fake_n_refused(const struct fake *fake);
uint32_t fake_n_watches(const struct fake *fake);
uint32_t fake_n_generates(const struct fake *fake);

/* Calls of Submit, and how many jobs they made: one per request id, one per call without. */
uint32_t fake_n_submits(const struct fake *fake);
uint32_t fake_n_submissions(const struct fake *fake);

#endif
