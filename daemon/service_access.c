/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_access.c - what a caller's name means: whose jobs he sees, on whose account he
 * computes, how much he may have, and what he is told when something fails.
 *
 * The identity was found before a handler ran (daemon/auth.h); where nobody is asked it is zeros,
 * which is nobody in particular: he sees what is nobody's, and that is everything then.
 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/auth.h"
#include "daemon/quota.h"
#include "daemon/service.h"

#define PAGE_JOBS 256

int service_open_access(struct service *service, const char *path, struct ltd_err *err)
{
    service->auth = auth_create(path, err);
    service->quota = service->auth ? quota_create(err) : NULL;
    return service->quota ? 0 : -1;
}

void service_close_access(struct service *service)
{
    auth_destroy(service->auth);
    quota_destroy(service->quota);
    service->auth = NULL;
    service->quota = NULL;
}

/* ------------------------------------------------------------------------------------ names */

bool service_is_admin(const struct rpc_call *call)
{
    return rpc_call_identity(call)->rights & AUTH_ADMIN;
}

bool service_may_see(const struct rpc_call *call, const struct job *job)
{
    return !*job->owner || strcmp(job->owner, rpc_call_identity(call)->name) == 0 ||
           service_is_admin(call);
}

struct job_caller service_caller(const struct rpc_call *call)
{
    return (struct job_caller){.owner = rpc_call_identity(call)->name};
}

int service_check_right(const struct service *service, const struct rpc_call *call, uint32_t right,
                        const char *what, struct ltd_err *err)
{
    const struct rpc_identity *who = rpc_call_identity(call);
    char text[AUTH_RIGHTS_TEXT_BYTES];
    if (!service->auth || !auth_is_on(service->auth) || (who->rights & right) == right)
        return 0;
    auth_rights_text(right & ~who->rights, text);
    ltd_fail(err, LTD_E_PERMISSION, "%s: %s lacks the right %s", what, who->name, text);
    return ltd_err_reason(err, "ROLE");
}

/* --------------------------------------------------------------------------------- accounts */

/* "NAME/client" into the spec, unless it is NAME's account already. */
static int prefix_client(struct job_spec *spec, const char *name, struct ltd_err *err)
{
    char text[SPEC_CLIENT_BYTES + 1];
    size_t n_name = strlen(name), n_client = strlen(spec->client);
    bool is_own = strncmp(spec->client, name, n_name) == 0 &&
                  (spec->client[n_name] == '\0' || spec->client[n_name] == '/');
    if (is_own)
        return 0;
    if (n_name + 1 + n_client > SPEC_CLIENT_BYTES)
        return ltd_fail(err, LTD_E_INVALID,
                        "spec.client: found %zu characters, expected at most %zu behind \"%s/\"",
                        n_client, SPEC_CLIENT_BYTES - n_name - 1, name);
    memcpy(text, spec->client, n_client + 1);
    memcpy(spec->client, name, n_name);
    spec->client[n_name] = '/';
    memcpy(spec->client + n_name + 1, text, n_client + 1);
    return 0;
}

int service_set_client(const struct rpc_call *call, struct job_spec *spec, struct ltd_err *err)
{
    const char *name = rpc_call_identity(call)->name;
    if (!spec->client[0]) {
        snprintf(spec->client, sizeof spec->client, "%s", *name ? name : rpc_call_peer_host(call));
        return 0;
    }
    return *name && !service_is_admin(call) ? prefix_client(spec, name, err) : 0;
}

/* ----------------------------------------------------------------------------------- quotas */

static uint32_t max_running(void *arg, const char *owner)
{
    const struct service *service = arg;
    struct quota_limits limits;
    auth_limits(service->auth, owner, &limits);
    return limits.max_running;
}

static void charge(void *arg, const struct job *job)
{
    service_charge(arg, job->owner, job->total_steps, job->end_us);
}

static int may_submit(void *arg, const char *owner, const struct quota_use *use,
                      struct ltd_err *err)
{
    const struct service *service = arg;
    struct quota_use all = *use;
    struct quota_limits limits;
    struct store_usage usage = {0};
    auth_limits(service->auth, owner, &limits);
    if (limits.max_queued)
        all.n_queued += inference_n_waiting_scores(service, owner);
    if (limits.max_stored_bytes) {
        store_usage(service->store, owner, &usage);
        all.stored_bytes = usage.bytes;
    }
    return quota_may_submit(service->quota, owner, &limits, &all,
                            work_queue_wait_ms(service->queue), ltd_wall_us(), err);
}

void service_fill_hooks(struct service *service, struct job_table_config *config)
{
    config->may_submit = may_submit;
    config->max_running = max_running;
    config->on_finished = charge;
    config->hook_arg = service;
}

int service_may_score(struct service *service, const struct rpc_call *call, struct ltd_err *err)
{
    if (!service->auth)
        return 0;
    return job_table_may_submit(service->jobs, rpc_call_identity(call)->name, err);
}

void service_charge(struct service *service, const char *owner, uint64_t steps, int64_t at_us)
{
    if (service->quota && *owner)
        quota_charge_steps(service->quota, owner, steps, at_us);
}

void service_restore_quota(struct service *service)
{
    const struct job *jobs[PAGE_JOBS];
    char before[JOB_ID_CHARS + 1] = "";
    struct store_query query = {
        .states = 1u << JOB_SUCCEEDED | 1u << JOB_CANCELLED | 1u << JOB_FAILED,
        .before_id = before,
    };
    bool more = true;
    while (more) {
        size_t n = store_list(service->store, &query, jobs, PAGE_JOBS, &more);
        for (size_t i = 0; i < n; i++)
            charge(service, jobs[i]);
        if (n == 0)
            return;
        memcpy(before, jobs[n - 1]->id, sizeof before);
    }
}

/* ----------------------------------------------------------------------------------- errors */

/* Where the code says it all. Finer ones stand where the error is made. */
const char *service_reason_of(enum ltd_code code)
{
    switch (code) {
    case LTD_OK:
        break;
    case LTD_E_CANCELLED:
        return "CANCELLED";
    case LTD_E_INVALID:
        return "FIELD_INVALID";
    case LTD_E_DEADLINE:
        return "JOB_DEADLINE";
    case LTD_E_NOT_FOUND:
        return "JOB_NOT_FOUND";
    case LTD_E_EXISTS:
        return "REQUEST_ID_REUSED";
    case LTD_E_EXHAUSTED:
        return "MEMORY";
    case LTD_E_PRECONDITION:
        return "STATE";
    case LTD_E_RANGE:
        return "SEQ_AHEAD";
    case LTD_E_UNIMPLEMENTED:
        return "UNSUPPORTED";
    case LTD_E_UNAVAILABLE:
        return "DRAINING";
    case LTD_E_CORRUPT:
        return "LOG_CORRUPT";
    case LTD_E_INTERNAL:
        return "BUG";
    case LTD_E_PEER:
        return "CONNECTION";
    case LTD_E_RANK:
        return "RANK_LOST";
    case LTD_E_UNAUTHENTICATED:
        return "TOKEN_MISSING";
    case LTD_E_PERMISSION:
        return "ROLE";
    case LTD_N_CODES:
        break;
    }
    return "BUG";
}

/* What is told and what is in the log can be brought together by a number that means nothing. */
static void name_incident(const struct rpc_call *call, struct ltd_err *err)
{
    uint32_t id = 0;
    if (getrandom(&id, sizeof id, GRND_NONBLOCK) != (ssize_t)sizeof id)
        id = (uint32_t)ltd_now_ns();
    ltd_error("incident %08x: %s: %s", id, rpc_call_path(call), err->msg);
    ltd_err_context(err, "incident %08x", id);
}

void service_fail(struct rpc_call *call, const struct ltd_err *err)
{
    struct ltd_err told = *err;
    if (told.code == LTD_E_INTERNAL && !told.reason)
        name_incident(call, &told);
    if (!told.reason)
        ltd_err_reason(&told, service_reason_of(told.code));
    rpc_call_finish_err(call, &told);
}
