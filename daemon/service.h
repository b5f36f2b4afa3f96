/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service.h - the methods of the API: decode, check, call, encode.
 *
 * One row per method (daemon/service.c), one file per service of the contract. A handler unpacks
 * its request, asks the parts below, and answers now or later; it holds no state of its own beyond
 * the call. rpc/ knows no message, the job table knows no call: this is where they meet.
 *
 *     latentd.v1.Inference   service_inference.c   Generate, Score, Tokenize, Detokenize
 *     latentd.v1.Jobs        service_jobs.c        Submit, Watch, Get, List, Cancel, Delete,
 *                                                  Continue, SetPriority
 *     latentd.v1.Cluster     service_cluster.c     GetModel, GetStatus
 *     latentd.v1.Admin       service_admin.c       Drain
 *     grpc.health.v1.Health  service_health.c      Check, Watch
 *     grpc.reflection        service_reflection.c  ServerReflectionInfo of v1 and v1alpha
 *
 * Who calls, and what follows from it, is in service_access.c.
 *
 * Threads: loop thread.
 * Contract: docs/api.md, proto/.
 */
#ifndef LATENTD_DAEMON_SERVICE_H
#define LATENTD_DAEMON_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "base/bytes.h"
#include "daemon/job_table.h"
#include "daemon/served.h"
#include "daemon/store.h"
#include "daemon/unpack.h"
#include "daemon/work.h"
#include "rpc/call.h"
#include "rpc/service.h"

#define SERVICE_N_METHODS 19

struct auth;
struct health_watcher;
struct quota;

/* Everything that handlers reach. Filled by daemon/app.c, alive as long as the rpc server. */
struct service {
    const struct served *served;
    struct store *store;
    struct job_table *jobs;
    struct work_queue *queue;
    struct engine *engine;
    bool is_serving; /* what Health says; set with service_set_serving */
    struct health_watcher *health_watches;
    struct watch *watches; /* all calls that follow a job (daemon/watch.c) */
    uint64_t n_scored;     /* Score calls answered; they count as finished jobs in GetStatus */
    /* The table that service_fill_methods made: Health and reflection name the services in it. */
    const struct rpc_method *methods; /* [n_methods], borrowed */
    size_t n_methods;
    struct auth *auth;   /* borrowed; NULL: nobody is asked who calls */
    struct quota *quota; /* borrowed; NULL with auth NULL */
    struct score *scores; /* Score calls that are not over (service_inference.c) */
    /* Begin to drain; NULL: cannot be. *grace_seconds < 0 stands for the option's value, and on return
     * the one used is there. Errors: LTD_E_PRECONDITION (it drains already). */
    int (*drain)(void *arg, double *grace_seconds, struct ltd_err *err);
    void *drain_arg;
};

/*
 * service_fill_methods - the table for rpc_server_create, SERVICE_N_METHODS rows.
 * prompt_bytes, other_bytes: largest request messages of methods with and without a prompt.
 */
void service_fill_methods(struct service *service, struct rpc_method *methods, size_t prompt_bytes,
                          size_t other_bytes);

/* Whether the table has methods of the service of this whole name, "latentd.v1.Jobs". */
bool service_offers(const struct service *service, const uint8_t *name, size_t len);

/*
 * service_is_ready - whether new jobs are taken: not while draining, nor while the log stalls.
 * reason  out: [size] why not, or ""
 */
bool service_is_ready(const struct service *service, char *reason, size_t size);

/* Tell every Health watcher; SERVING until told otherwise. */
void service_set_serving(struct service *service, bool is_serving);
/* End the Health watches, which would outlive everything else. */
void service_end_health_watches(struct service *service);

/* ------------------------------------------------------------------------------- handlers */

void inference_generate(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void inference_score(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void inference_tokenize(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void inference_detokenize(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);

void jobs_submit(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void jobs_watch(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void jobs_get(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void jobs_list(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void jobs_cancel(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void jobs_delete(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void jobs_continue(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void jobs_set_priority(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);

/* Score calls of this owner that wait to start. */
uint32_t inference_n_waiting_scores(const struct service *service, const char *owner);

void cluster_get_model(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void cluster_get_status(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);

void admin_drain(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);

void health_check(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);
void health_watch(struct rpc_call *call, const uint8_t *request, size_t len, void *arg);

/* The client streams; one answer for each request. */
void reflection_open(struct rpc_call *call, void *arg);

/* ---------------------------------------------------------- what the handlers' files share */

/* Unpack a request or end the call: NULL means that the call has been answered. */
void *service_unpack(struct rpc_call *call, struct unpack *u,
                     const ProtobufCMessageDescriptor *descriptor, const uint8_t *request,
                     size_t len);

/* A spec as a job of this call: spec_decode, and the account that it goes on. */
struct job_spec *service_decode_spec(const struct service *service, const struct rpc_call *call,
                                     const Latentd__V1__JobSpec *message, struct ltd_err *err);

/* End a call with an error, its reason (docs/api.md lists them), and for a bug of ours a number that
 * is in the log, too. */
void service_fail(struct rpc_call *call, const struct ltd_err *err);
/* The reason of an error that has none of its own. */
const char *service_reason_of(enum ltd_code code);

/* Answer a unary call with a generated message, or with bytes that may have failed. */
void service_reply(struct rpc_call *call, const ProtobufCMessage *message);
void service_reply_bytes(struct rpc_call *call, const struct ltd_bytes *bytes);

/*
 * An answer that comes later: the call may be gone by then. The handler makes one and hands it out
 * as `arg`; pending_take gives the call back (NULL when it is gone) and frees the record.
 */
struct pending {
    struct rpc_call *call; /* NULL: it ended early */
    struct service *service;
    bool keeps_job; /* Generate: the job goes on without the call */
};
/* NULL after the call was ended for lack of memory. */
struct pending *pending_make(struct rpc_call *call, struct service *service);
struct rpc_call *pending_take(struct pending *pending);

/* ------------------------------------------------------------- who calls (service_access.c) */

/* The caller as the job table wants him; borrows from the call. */
struct job_caller service_caller(const struct rpc_call *call);
/* Whether a job exists for this caller: his own, nobody's, or any for an admin. */
bool service_may_see(const struct rpc_call *call, const struct job *job);
bool service_is_admin(const struct rpc_call *call);
/* LTD_E_PERMISSION, reason ROLE, for `what` (a field) without these rights (daemon/auth.h). */
int service_check_right(const struct service *service, const struct rpc_call *call, uint32_t right,
                        const char *what, struct ltd_err *err);

/*
 * service_set_client - the account of a spec: what it says, as a part of the caller's own when he has
 * a name and is no admin; when it says nothing, his name, or the address that the call came from.
 * Errors: LTD_E_INVALID when name and client together are too long.
 */
int service_set_client(const struct rpc_call *call, struct job_spec *spec, struct ltd_err *err);

/*
 * service_open_access - read the access file (path "": none) and begin the accounts of owners.
 * Errors: as auth_create. service_close_access ends both; no call may come any more.
 */
int service_open_access(struct service *service, const char *path, struct ltd_err *err);
void service_close_access(struct service *service);

/* Limits of owners for the job table; they are asked for when `auth` and `quota` are there. */
void service_fill_hooks(struct service *service, struct job_table_config *config);
/* The same for Score, which is no job, but waits in the same queue. */
int service_may_score(struct service *service, const struct rpc_call *call, struct ltd_err *err);
void service_charge(struct service *service, const char *owner, uint64_t steps, int64_t at_us);
/* Owners' hours from the jobs of the log, after a restart; before the first submit. */
void service_restore_quota(struct service *service);

/* 1..JOB_REQUEST_ID_CHARS printable ASCII characters, or none; LTD_E_INVALID otherwise. */
int service_take_request_id(const ProtobufCBinaryData *field, char out[JOB_REQUEST_ID_CHARS + 1],
                            struct ltd_err *err);

#endif
