/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latentd/client.h - call a latentd from C or C++: blocking calls, or many at once from one thread.
 *
 * Messages are byte strings: encode and decode them with whatever protobuf library you like
 * (proto/latentd/v1 is the contract).
 *
 *     latentd_error err;
 *     latentd_client *c = latentd_client_open("127.0.0.1:7470", 5000, &err);
 *     latentd_request req = {.path = "/latentd.v1.Cluster/GetStatus", .timeout_ms = 5000};
 *     latentd_bytes answer;
 *     if (c && latentd_client_unary(c, &req, &answer, &err) == 0) {
 *         … decode answer.data, answer.len …
 *         latentd_bytes_free(&answer);
 *     }
 *     latentd_client_close(c);
 *
 * Over TLS, and to a latentd that asks who calls: latentd_client_open_with.
 *
 * Several at once: start calls with latentd_call_start, then latentd_client_run; callbacks run
 * inside it and may start further calls, so a window of N calls keeps itself full.
 *
 * A client holds one HTTP/2 connection. When the connection is lost, the calls on it fail with
 * UNAVAILABLE and the next call connects anew; nothing is sent twice behind the caller's back.
 *
 * Threads: a client belongs to one thread at a time. Only latentd_client_cancel may be called from
 * any thread and from a signal handler. No global state; several clients are independent.
 * Signals: writing to a dead connection never raises SIGPIPE.
 */
#ifndef LATENTD_CLIENT_H
#define LATENTD_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct latentd_client latentd_client;
typedef struct latentd_call latentd_call;

/* The status numbers of gRPC. */
enum latentd_status {
    LATENTD_OK = 0,
    LATENTD_CANCELLED = 1,
    LATENTD_UNKNOWN = 2,
    LATENTD_INVALID_ARGUMENT = 3,
    LATENTD_DEADLINE_EXCEEDED = 4,
    LATENTD_NOT_FOUND = 5,
    LATENTD_ALREADY_EXISTS = 6,
    LATENTD_PERMISSION_DENIED = 7,
    LATENTD_RESOURCE_EXHAUSTED = 8,
    LATENTD_FAILED_PRECONDITION = 9,
    LATENTD_ABORTED = 10,
    LATENTD_OUT_OF_RANGE = 11,
    LATENTD_UNIMPLEMENTED = 12,
    LATENTD_INTERNAL = 13,
    LATENTD_UNAVAILABLE = 14,
    LATENTD_DATA_LOSS = 15,
    LATENTD_UNAUTHENTICATED = 16
};

/* How something ended: a status, and one line for people (decoded, valid UTF-8, may be empty). */
typedef struct latentd_error {
    int status;      /* enum latentd_status; LATENTD_OK when untouched */
    int from_server; /* 1: the server sent this status; 0: this library found out by itself */
    uint32_t
        retry_after_ms; /* the server says that the same may succeed after so long; 0: nothing */
    char message[480];
    char reason[64]; /* which failure it was, finer than `status` and fit for programs: "QUEUE_FULL"
                        (google.rpc.ErrorInfo; docs/api.md lists them); "": the server says none */
} latentd_error;

typedef struct latentd_bytes {
    uint8_t *data; /* owned; latentd_bytes_free. Never NULL after success, even when len is 0 */
    size_t len;
} latentd_bytes;

typedef struct latentd_request {
    const char *path; /* "/latentd.v1.Jobs/GetJob" */
    const void *data; /* one encoded message; copied, may be NULL when len is 0 */
    size_t len;
    uint32_t timeout_ms;       /* of the whole call, sent to the server as well; 0: no limit */
    size_t max_response_bytes; /* of one message; 0: 64 MiB. Larger: RESOURCE_EXHAUSTED */
} latentd_request;

/* "NOT_FOUND" for 5. Never NULL. */
const char *latentd_status_name(int status);

/*
 * latentd_client_open - connect to a latentd.
 *
 * address     "host:port", "[v6]:port", either behind "tls:", or "unix:/path"
 * timeout_ms  for resolving and connecting, now and whenever the client must connect again; 0: 10 s
 *
 * Returns an owned client or NULL. `err` is filled when it is not NULL, here and below.
 * Errors:  INVALID_ARGUMENT (cannot be an address), UNAVAILABLE (refused, unreachable, unknown
 *          name), UNAUTHENTICATED (a certificate is not accepted, by either side),
 *          DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED (memory, file descriptors).
 */
latentd_client *latentd_client_open(const char *address, uint32_t timeout_ms, latentd_error *err);

/* How to reach a latentd, and as whom. Fields may be added at the end: begin with zeros. */
typedef struct latentd_options {
    uint32_t timeout_ms; /* as in latentd_client_open */

    /* TLS, for addresses of the form "tls:…"; PEM files, read once, when the client is opened. */
    const char
        *ca_file; /* who signs the server's certificate; NULL: those that the system trusts */
    const char *certificate_file; /* our own, its chain behind it; NULL: none */
    const char *key_file;         /* of that certificate; a file that only its owner may read */
    const char *server_name;      /* name or IP that the server's certificate must hold among its
                                alternative names; NULL: the address's host */

    /* Sent with every call as "authorization: Bearer …"; visible ASCII; copied. Over a plaintext
     * connection it goes to this host only, by loopback or a Unix socket: to any other the
     * connection is refused with FAILED_PRECONDITION before anything is sent, */
    const char *token;
    int allow_plaintext_token; /* unless this is not 0: anybody on the way can then use the token */
} latentd_options;

/*
 * latentd_client_open_with - connect to a latentd over TLS, with a token, or both.
 *
 * options  copied; may be NULL
 *
 * The server of a "tls:" address is always verified. Files that only TLS needs are an error with a
 * plaintext TCP address, so that a forgotten "tls:" is not taken for an encrypted connection; with
 * a Unix socket they are not looked at.
 *
 * Errors:  as latentd_client_open; INVALID_ARGUMENT also for files and tokens that cannot be used.
 */
latentd_client *latentd_client_open_with(const char *address, const latentd_options *options,
                                         latentd_error *err);

/* latentd_client_close - calls still running end with CANCELLED first. NULL is fine. */
void latentd_client_close(latentd_client *client);

/*
 * latentd_client_unary - one request, exactly one response; blocks until it is there.
 *
 * response  filled on success only; free with latentd_bytes_free
 * Returns 0, or -1 with the status of the server or of the transport. An OK status with no message
 * or with two is INTERNAL.
 */
int latentd_client_unary(latentd_client *client, const latentd_request *request,
                         latentd_bytes *response, latentd_error *err);

/*
 * latentd_message_fn - one response message of a stream.
 *
 * data  [len] bytes, borrowed until the callback returns
 * Return 0 to go on; anything else cancels the call, which then ends with CANCELLED.
 */
typedef int (*latentd_message_fn)(void *arg, const uint8_t *data, size_t len);

/*
 * latentd_client_stream - one request, any number of responses; blocks until the stream is over.
 *
 * The stream is read only as fast as `on_message` returns. Returns 0 when the status was OK.
 */
int latentd_client_stream(latentd_client *client, const latentd_request *request,
                          latentd_message_fn on_message, void *arg, latentd_error *err);

void latentd_bytes_free(latentd_bytes *bytes);

/*
 * latentd_client_cancel - cancel every call of this client, from any thread or a signal handler.
 *
 * The calls end with CANCELLED and the server hears of it. It works on the calls that run when
 * the client's thread next looks, so a Ctrl-C just before a call starts still hits that call; it
 * also ends a latentd_client_run that is connecting. Async-signal-safe.
 */
void latentd_client_cancel(latentd_client *client);

/* What happens to a call that was started with latentd_call_start. */
typedef struct latentd_call_events {
    latentd_message_fn on_message; /* may be NULL: messages are dropped */
    /* May be NULL. Comes exactly once; the call handle is dead when it returns. */
    void (*on_done)(void *arg, const latentd_error *result);
} latentd_call_events;

/*
 * latentd_call_start - begin a call; its callbacks run inside latentd_client_run.
 *
 * events  copied; `arg` is handed to both callbacks. Callbacks may start and cancel calls of this
 *         client; they may not run, close or make blocking calls on it.
 *
 * Returns a handle that is valid until on_done, or NULL: INVALID_ARGUMENT, RESOURCE_EXHAUSTED.
 * There is no limit here on how many calls are started; those over the server's limit wait inside
 * the client in order of starting.
 */
latentd_call *latentd_call_start(latentd_client *client, const latentd_request *request,
                                 const latentd_call_events *events, void *arg, latentd_error *err);

/* latentd_call_cancel - the call ends with CANCELLED; on_done comes from latentd_client_run. */
void latentd_call_cancel(latentd_call *call);

/* latentd_client_run - until no call is left, those that callbacks started included. */
void latentd_client_run(latentd_client *client);

#ifdef __cplusplus
}
#endif

#endif
