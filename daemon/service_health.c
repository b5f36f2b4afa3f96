/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_health.c - grpc.health.v1.Health: is this server serving?
 *
 * One answer for the whole server ("") and for each service that the table of methods names: they
 * start, stall and drain together.
 * Check of an unknown service is NOT_FOUND; Watch of one says SERVICE_UNKNOWN and stays open, as
 * the public protocol asks. A watch is told at once and then on every change.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/service.h"
#include "grpc/health/v1/health.pb-c.h"

struct health_watcher {
    struct service *service;
    struct rpc_call *call;
    bool is_known;
    bool is_owed; /* the newest state found no room */
    struct health_watcher *next, *prev;
};

/* "" is the server as a whole. */
static bool is_known(const struct service *service, const ProtobufCBinaryData *name)
{
    return name->len == 0 || service_offers(service, name->data, name->len);
}

static Grpc__Health__V1__HealthCheckResponse response_of(const struct service *service, bool known)
{
    Grpc__Health__V1__HealthCheckResponse m = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    m.status = !known ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
               : service->is_serving
                   ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                   : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    return m;
}

void health_check(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    Grpc__Health__V1__HealthCheckRequest *m =
        service_unpack(call, &u, &grpc__health__v1__health_check_request__descriptor, request, len);
    if (!m)
        return;
    bool known = is_known(service, &m->service);
    unpack_free(&u);
    Grpc__Health__V1__HealthCheckResponse response = response_of(service, known);
    if (known)
        service_reply(call, &response.base);
    else
        rpc_call_finish(call, LTD_E_NOT_FOUND, "service: no service of this name");
}

/* The newest state is what counts: one that finds no room is sent when there is some, and by then it
 * may be another one. */
static void send_state(struct health_watcher *w)
{
    uint8_t buf[16];
    Grpc__Health__V1__HealthCheckResponse response = response_of(w->service, w->is_known);
    size_t len = protobuf_c_message_get_packed_size(&response.base);
    ltd_assert(len <= sizeof buf, len, sizeof buf);
    protobuf_c_message_pack(&response.base, buf);
    w->is_owed = rpc_call_send(w->call, buf, len, NULL) != 0;
}

static void on_writable(struct rpc_call *call, void *arg)
{
    struct health_watcher *w = arg;
    (void)call;
    if (w->is_owed)
        send_state(w);
}

static void on_end(struct rpc_call *call, void *arg, enum rpc_end reason)
{
    struct health_watcher *w = arg;
    (void)call;
    (void)reason;
    *(w->prev ? &w->prev->next : &w->service->health_watches) = w->next;
    if (w->next)
        w->next->prev = w->prev;
    free(w);
}

void health_watch(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    static const struct rpc_call_ops ops = {.on_end = on_end, .on_writable = on_writable};
    struct service *service = arg;
    struct unpack u;
    Grpc__Health__V1__HealthCheckRequest *m =
        service_unpack(call, &u, &grpc__health__v1__health_check_request__descriptor, request, len);
    if (!m)
        return;
    bool known = is_known(service, &m->service);
    unpack_free(&u);
    struct health_watcher *w = calloc(1, sizeof *w);
    if (!w) {
        rpc_call_finish(call, LTD_E_EXHAUSTED, "no memory for a watch");
        return;
    }
    *w = (struct health_watcher){
        .service = service, .call = call, .is_known = known, .next = service->health_watches};
    if (w->next)
        w->next->prev = w;
    service->health_watches = w;
    rpc_call_set_ops(call, &ops, w);
    send_state(w);
}

bool service_is_ready(const struct service *service, char *reason, size_t size)
{
    struct store_health health = {.reason = ""};
    store_health(service->store, &health);
    if (job_table_is_closed(service->jobs))
        snprintf(reason, size, "draining");
    else if (health.is_stalled)
        snprintf(reason, size, "the log of jobs stalls: %s", health.reason);
    else
        reason[0] = '\0';
    return !reason[0];
}

void service_set_serving(struct service *service, bool is_serving)
{
    if (service->is_serving == is_serving)
        return;
    service->is_serving = is_serving;
    for (struct health_watcher *w = service->health_watches; w; w = w->next)
        if (w->is_known)
            send_state(w);
}

void service_end_health_watches(struct service *service)
{
    for (struct health_watcher *w = service->health_watches; w; w = w->next)
        rpc_call_finish(w->call, LTD_E_UNAVAILABLE, "the service stops");
}
