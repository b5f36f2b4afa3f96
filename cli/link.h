/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/link.h - one connection to a daemon, in messages and errors instead of bytes and statuses.
 *
 * A link owns the client, the time limit of the whole command, and what is known of an outage
 * (cli/outage.h). Every call gets the time that is left, so --timeout holds across several calls,
 * retries included.
 *
 * Opening and asking survive a service that is away for a while: they try again until the time limit.
 * So whatever is asked with cli_link_ask must be harmless when it is done twice; requests that make
 * something carry a request id, with which the daemon does it once.
 *
 * Threads: main thread.
 */
#ifndef LATENTD_CLI_LINK_H
#define LATENTD_CLI_LINK_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/bytes.h"
#include "base/err.h"
#include "cli/outage.h"
#include "cli/verb.h"
#include "rpc/client.h"

/* Defaults of --timeout: a short question, and a call that lasts as long as it lasts. */
#define CLI_TIMEOUT_ASK_MS  30000
#define CLI_TIMEOUT_NONE_MS 0

struct cli_link {
    latentd_client *client; /* owned */
    const char *address;    /* borrowed: from the command line, the environment, or the default */
    uint64_t deadline_ns;   /* of the command; LTD_NEVER without a limit */
    struct cli_outage outage;
    uint32_t n_repeats; /* how often the last cli_link_ask had to send its request again */
};

/*
 * cli_link_open - connect to the daemon that the options name.
 *
 * default_ms  time limit when --timeout is absent; 0 = none
 * Errors:  LTD_E_INVALID (address, --timeout), LTD_E_UNAVAILABLE (nobody answers), LTD_E_DEADLINE;
 *          LTD_E_UNAUTHENTICATED (a certificate is not accepted), LTD_E_PRECONDITION (a token would
 *          leave this host in clear text); those of cli_credentials_read.
 */
int cli_link_open(struct cli_link *link, const struct cli_common *common, uint32_t default_ms,
                  struct ltd_err *err);

/* cli_link_open_once - the same, for verbs to which an outage is news: nothing is tried again. */
int cli_link_open_once(struct cli_link *link, const struct cli_common *common, uint32_t default_ms,
                       struct ltd_err *err);

/* cli_link_close - also after a failed open. */
void cli_link_close(struct cli_link *link);

/* cli_link_pack - `message` as bytes appended to `out`. LTD_E_EXHAUSTED without memory. */
int cli_link_pack(const ProtobufCMessage *message, struct ltd_bytes *out, struct ltd_err *err);

/*
 * cli_link_unpack - `len` bytes as a message of kind `kind`; `what` names it in the message.
 * Returns an owned message, freed by cli_link_free; NULL with LTD_E_PEER when it cannot be read.
 */
void *cli_link_unpack(const ProtobufCMessageDescriptor *kind, const void *data, size_t len,
                      struct ltd_err *err);

/* cli_link_free - a message that cli_link_unpack or cli_link_ask returned; NULL is fine. */
void cli_link_free(void *message);

/*
 * cli_link_ask - one request, one answer; sent again when the service was away.
 *
 * path    "/latentd.v1.Jobs/Get"
 * answer  what the answer is
 * Returns an owned message (cli_link_free) or NULL with the status of the server.
 */
void *cli_link_ask(struct cli_link *link, const char *path, const ProtobufCMessage *request,
                   const ProtobufCMessageDescriptor *answer, struct ltd_err *err);

/*
 * cli_link_stream - one request, many answers, each handed to `on_message` as bytes; sent once.
 * `on_message` returns 0 to go on; anything else ends the call with LTD_E_CANCELLED.
 */
int cli_link_stream(struct cli_link *link, const char *path, const ProtobufCMessage *request,
                    latentd_message_fn on_message, void *arg, struct ltd_err *err);

/* cli_link_left_ms - what is left of the time limit: 0 = no limit, 1 when it has passed. */
uint32_t cli_link_left_ms(const struct cli_link *link);

/*
 * cli_link_fail - a status of the client library as an error. Returns -1.
 *
 * A status that the library found out by itself and that only says that connecting took too long is
 * LTD_E_UNAVAILABLE as long as the command has time: nobody answers.
 */
int cli_link_fail(const struct cli_link *link, const latentd_error *status, struct ltd_err *err);

/* A string constant or a NUL-terminated string as the bytes field of a message. */
ProtobufCBinaryData cli_bytes(const char *text);

/*
 * cli_job_name - "jobs/X" for "X" and for "jobs/X". Returns a string to free; NULL without memory.
 */
char *cli_job_name(const char *word, struct ltd_err *err);

/*
 * cli_request_id - `given`, or when it is NULL a random one (a UUID) written to `buf`. With a request
 * id a request can be sent again and is still carried out once.
 */
#define CLI_REQUEST_ID_BYTES 37
const char *cli_request_id(const char *given, char buf[CLI_REQUEST_ID_BYTES]);

#endif
