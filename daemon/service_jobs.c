/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_jobs.c - latentd.v1.Jobs: submit, follow, look at, list, cancel, forget, go on.
 *
 * Statuses: docs/api.md.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/service.h"
#include "daemon/watch.h"

#define PAGE_DEFAULT 50
#define PAGE_MAX     500

/* The id in "jobs/{id}", or false after the call was ended. */
static bool take_id(struct rpc_call *call, const ProtobufCBinaryData *name,
                    char id[JOB_ID_CHARS + 1])
{
    struct ltd_err err = {0};
    const char *text = (const char *)name->data;
    if (name->len > 5 && memcmp(text, "jobs/", 5) == 0 &&
        job_id_is_valid(text + 5, name->len - 5)) {
        memcpy(id, text + 5, JOB_ID_CHARS);
        id[JOB_ID_CHARS] = '\0';
        return true;
    }
    int shown = name->len > 80 ? 80 : (int)name->len;
    ltd_fail(&err, LTD_E_INVALID, "name: found \"%.*s\", expected jobs/ and %d characters", shown,
             shown ? text : "", JOB_ID_CHARS);
    service_fail(call, &err);
    return false;
}

/* The job that "jobs/{id}" names, or NULL after the call was ended. One of somebody else is told from
 * none by nobody. */
static const struct job *find_named(struct rpc_call *call, struct service *service,
                                    const ProtobufCBinaryData *name)
{
    char id[JOB_ID_CHARS + 1];
    struct ltd_err err = {0};
    if (!take_id(call, name, id))
        return NULL;
    const struct job *job = store_find(service->store, id);
    if (job && service_may_see(call, job))
        return job;
    ltd_fail(&err, LTD_E_NOT_FOUND, "job %s: unknown, or finished and forgotten", id);
    ltd_err_reason(&err, "JOB_NOT_FOUND");
    service_fail(call, &err);
    return NULL;
}

static void reply_job(struct rpc_call *call, struct service *service, const struct job *job,
                      unsigned parts)
{
    struct ltd_bytes bytes;
    struct ltd_err err = {0};
    ltd_bytes_init(&bytes);
    if (wire_put_job(service->store, job, parts, &bytes, &err) != 0)
        service_fail(call, &err);
    else
        service_reply_bytes(call, &bytes);
    ltd_bytes_fini(&bytes);
}

/* The answer of whatever makes or changes a job: the job as it is now. */
static void answer_with_job(void *arg, const struct job *job, const struct ltd_err *err)
{
    struct pending *pending = arg;
    struct service *service = pending->service;
    struct rpc_call *call = pending_take(pending);
    if (!call)
        return;
    if (job)
        reply_job(call, service, job, WIRE_JOB_SPEC | WIRE_JOB_OUTPUT);
    else
        service_fail(call, err);
}

/* ---------------------------------------------------------------------------------- submit */

void jobs_submit(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    char request_id[JOB_REQUEST_ID_CHARS + 1];
    Latentd__V1__SubmitJobRequest *m =
        service_unpack(call, &u, &latentd__v1__submit_job_request__descriptor, request, len);
    if (!m)
        return;
    struct job_spec *spec = NULL;
    if (service_take_request_id(&m->request_id, request_id, &err) == 0)
        spec = service_decode_spec(service, call, m->spec, &err);
    unpack_free(&u);
    struct pending *pending = NULL;
    if (!spec)
        service_fail(call, &err);
    else
        pending = pending_make(call, service);
    struct job_caller caller = service_caller(call);
    if (pending)
        job_table_submit(service->jobs, spec, &caller, request_id, answer_with_job, pending);
    else
        spec_destroy(spec);
}

/* ----------------------------------------------------------------------------------- watch */

void jobs_watch(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    Latentd__V1__WatchJobRequest *m =
        service_unpack(call, &u, &latentd__v1__watch_job_request__descriptor, request, len);
    if (!m)
        return;
    struct watch_options options = {.after_seq = m->after_seq};
    const struct job *job = find_named(call, service, &m->name);
    unpack_free(&u);
    if (!job)
        return;
    if (options.after_seq > job->last_seq) {
        ltd_fail(&err, LTD_E_RANGE,
                 "after_seq: found %llu, expected at most %llu, the last event "
                 "of job %s",
                 (unsigned long long)options.after_seq, (unsigned long long)job->last_seq, job->id);
        service_fail(call, &err);
        return;
    }
    watch_start(service, call, job, &options);
}

/* --------------------------------------------------------------------------- get and list */

void jobs_get(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    Latentd__V1__GetJobRequest *m =
        service_unpack(call, &u, &latentd__v1__get_job_request__descriptor, request, len);
    if (!m)
        return;
    const struct job *job = find_named(call, service, &m->name);
    unpack_free(&u);
    if (job)
        reply_job(call, service, job, WIRE_JOB_SPEC | WIRE_JOB_OUTPUT);
}

/* Texts of a query, which ends before the request does. */
struct list_texts {
    char label[SPEC_LABEL_BYTES + 1];
    char before[JOB_ID_CHARS + 1];
    char client[SPEC_CLIENT_BYTES + 1];
    char owner[JOB_OWNER_BYTES];
};

static int take_text(const char *field, const ProtobufCBinaryData *text, char *out, size_t size,
                     struct ltd_err *err)
{
    if (text->len >= size)
        return ltd_fail(err, LTD_E_INVALID, "%s: found %zu bytes, expected at most %zu", field,
                        text->len, size - 1);
    if (text->len)
        memcpy(out, text->data, text->len);
    out[text->len] = '\0';
    return 0;
}

static int take_states(const Latentd__V1__ListJobsRequest *m, struct store_query *query,
                       struct ltd_err *err)
{
    for (size_t i = 0; i < m->n_states; i++) {
        if ((int)m->states[i] < JOB_QUEUED || (int)m->states[i] > JOB_FAILED)
            return ltd_fail(err, LTD_E_INVALID, "states[%zu]: found %d, expected %d to %d", i,
                            (int)m->states[i], JOB_QUEUED, JOB_FAILED);
        query->states |= 1u << m->states[i];
    }
    return 0;
}

/* Everybody sees his own jobs and those that are nobody's; an admin sees all, or somebody's. */
static int take_owner(const struct rpc_call *call, const struct list_texts *texts,
                      struct store_query *query, struct ltd_err *err)
{
    const char *name = rpc_call_identity(call)->name;
    if (service_is_admin(call)) {
        query->owner = *texts->owner ? texts->owner : NULL;
        return 0;
    }
    query->owner = name;
    query->or_unowned = !*texts->owner;
    if (!*texts->owner || strcmp(texts->owner, name) == 0)
        return 0;
    ltd_fail(err, LTD_E_PERMISSION,
             "owner: found \"%s\", expected \"\" or one's own name without "
             "the right admin",
             texts->owner);
    return ltd_err_reason(err, "ROLE");
}

/* The token of a page is the id of its last job: the next page holds what was made before it. */
static int take_query(const struct rpc_call *call, const Latentd__V1__ListJobsRequest *m,
                      struct list_texts *texts, struct store_query *query, struct ltd_err *err)
{
    if (m->page_size > PAGE_MAX)
        return ltd_fail(err, LTD_E_INVALID, "page_size: found %u, expected at most %d",
                        m->page_size, PAGE_MAX);
    if (m->page_token.len > 0 &&
        !job_id_is_valid((const char *)m->page_token.data, m->page_token.len))
        return ltd_fail(err, LTD_E_INVALID,
                        "page_token: found %zu bytes that no page gave, "
                        "expected the next_page_token of a page",
                        m->page_token.len);
    if (m->created_after_us < 0 || m->created_before_us < 0)
        return ltd_fail(
            err, LTD_E_INVALID, "created_%s_us: found %lld, expected 0 or a time",
            m->created_after_us < 0 ? "after" : "before",
            (long long)(m->created_after_us < 0 ? m->created_after_us : m->created_before_us));
    if (take_text("page_token", &m->page_token, texts->before, sizeof texts->before, err) != 0 ||
        take_text("label", &m->label, texts->label, sizeof texts->label, err) != 0 ||
        take_text("client", &m->client, texts->client, sizeof texts->client, err) != 0 ||
        take_text("owner", &m->owner, texts->owner, sizeof texts->owner, err) != 0 ||
        take_states(m, query, err) != 0)
        return -1;
    query->label = texts->label;
    query->before_id = texts->before;
    query->client = texts->client;
    query->created_after_us = m->created_after_us;
    query->created_before_us = m->created_before_us;
    return take_owner(call, texts, query, err);
}

static void reply_list(struct rpc_call *call, struct service *service,
                       const struct store_query *query, size_t page_size)
{
    const struct job *jobs[PAGE_MAX];
    struct ltd_bytes bytes, one;
    struct ltd_err err = {0};
    bool more;
    size_t n = store_list(service->store, query, jobs, page_size, &more);
    ltd_bytes_init(&bytes);
    ltd_bytes_init(&one);
    for (size_t i = 0; i < n; i++) {
        ltd_bytes_clear(&one);
        wire_put_job(service->store, jobs[i], 0, &one, &err);
        wire_put_field(&bytes, 1, one.data, one.len);
        bytes.failed |= one.failed;
    }
    if (more && n > 0)
        wire_put_field(&bytes, 2, jobs[n - 1]->id, JOB_ID_CHARS);
    service_reply_bytes(call, &bytes);
    ltd_bytes_fini(&bytes);
    ltd_bytes_fini(&one);
}

void jobs_list(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    struct store_query query = {0};
    struct list_texts texts;
    Latentd__V1__ListJobsRequest *m =
        service_unpack(call, &u, &latentd__v1__list_jobs_request__descriptor, request, len);
    if (!m)
        return;
    size_t page_size = m->page_size ? m->page_size : PAGE_DEFAULT;
    int rc = take_query(call, m, &texts, &query, &err);
    unpack_free(&u);
    if (rc != 0)
        service_fail(call, &err);
    else
        reply_list(call, service, &query, page_size);
}

/* --------------------------------------------------------------------------- cancel, delete */

void jobs_cancel(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    Latentd__V1__CancelJobRequest *m =
        service_unpack(call, &u, &latentd__v1__cancel_job_request__descriptor, request, len);
    if (!m)
        return;
    const struct job *job = find_named(call, service, &m->name);
    unpack_free(&u);
    struct pending *pending = job ? pending_make(call, service) : NULL;
    if (pending)
        job_table_cancel(service->jobs, job, ENGINE_FINISH_CANCELLED, answer_with_job, pending);
}

static void answer_deleted(void *arg, const struct job *job, const struct ltd_err *err)
{
    struct rpc_call *call = pending_take(arg);
    Latentd__V1__DeleteJobResponse response = LATENTD__V1__DELETE_JOB_RESPONSE__INIT;
    (void)job;
    if (!call)
        return;
    if (err->code == LTD_OK)
        service_reply(call, &response.base);
    else
        service_fail(call, err);
}

void jobs_delete(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    Latentd__V1__DeleteJobRequest *m =
        service_unpack(call, &u, &latentd__v1__delete_job_request__descriptor, request, len);
    if (!m)
        return;
    const struct job *job = find_named(call, service, &m->name);
    unpack_free(&u);
    struct pending *pending = job ? pending_make(call, service) : NULL;
    if (pending)
        job_table_delete(service->jobs, job, answer_deleted, pending);
}

/* ------------------------------------------------------------------- continue, set priority */

struct decoding {
    const struct service *service;
    const struct rpc_call *call;
};

static struct job_spec *decode_for(void *arg, const Latentd__V1__JobSpec *message,
                                   struct ltd_err *err)
{
    const struct decoding *decoding = arg;
    return service_decode_spec(decoding->service, decoding->call, message, err);
}

static void continue_job(struct service *service, struct pending *pending, const char *id,
                         const struct continuation_ask *ask, const char *request_id)
{
    const struct job *job = store_find(service->store, id);
    struct job_caller caller = service_caller(pending->call);
    if (!job || !service_may_see(pending->call, job)) {
        struct job_continue_again again = {
            .old_id = id, .ask = *ask, .owner = caller.owner, .request_id = request_id};
        job_table_continue_again(service->jobs, &again, answer_with_job, pending);
        return;
    }
    struct decoding decoding = {service, pending->call};
    struct job_continue how = {
        .job = job,
        .ask = *ask,
        .caller = &caller,
        .request_id = request_id,
        .decode = decode_for,
        .decode_arg = &decoding,
    };
    job_table_continue(service->jobs, &how, answer_with_job, pending);
}

void jobs_continue(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    char request_id[JOB_REQUEST_ID_CHARS + 1], id[JOB_ID_CHARS + 1];
    Latentd__V1__ContinueJobRequest *m =
        service_unpack(call, &u, &latentd__v1__continue_job_request__descriptor, request, len);
    if (!m)
        return;
    struct continuation_ask ask = {.more_tokens = m->more_tokens, .more_steps = m->more_steps};
    bool is_good = service_take_request_id(&m->request_id, request_id, &err) == 0;
    if (!is_good)
        service_fail(call, &err);
    is_good = is_good && take_id(call, &m->name, id);
    unpack_free(&u);
    struct pending *pending = is_good ? pending_make(call, service) : NULL;
    if (pending)
        continue_job(service, pending, id, &ask, request_id);
}

void jobs_set_priority(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    Latentd__V1__SetJobPriorityRequest *m =
        service_unpack(call, &u, &latentd__v1__set_job_priority_request__descriptor, request, len);
    if (!m)
        return;
    uint32_t priority = m->priority;
    const struct job *job = NULL;
    if (priority > SPEC_PRIORITY_MAX) {
        ltd_fail(&err, LTD_E_INVALID, "priority: found %u, expected 0 to %d", priority,
                 SPEC_PRIORITY_MAX);
        service_fail(call, &err);
    } else {
        job = find_named(call, service, &m->name);
    }
    unpack_free(&u);
    struct pending *pending = job ? pending_make(call, service) : NULL;
    if (pending)
        job_table_set_priority(service->jobs, job, priority, answer_with_job, pending);
}
