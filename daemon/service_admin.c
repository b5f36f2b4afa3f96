/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_admin.c - latentd.v1.Admin: what operators do over the wire.
 */
#include <math.h>

#include "daemon/service.h"

#define GRACE_SECONDS_MAX 86400.0 /* that of the option drain_seconds */

static int take_grace(const Latentd__V1__DrainRequest *m, double *grace_seconds,
                      struct ltd_err *err)
{
    *grace_seconds = -1;
    if (m->grace_seconds_set_case != LATENTD__V1__DRAIN_REQUEST__GRACE_SECONDS_SET_GRACE_SECONDS)
        return 0;
    *grace_seconds = m->grace_seconds;
    if (m->grace_seconds >= 0 && m->grace_seconds <= GRACE_SECONDS_MAX) /* NaN is neither */
        return 0;
    return ltd_fail(err, LTD_E_INVALID, "grace_seconds: found %g, expected 0 to %g",
                    m->grace_seconds, GRACE_SECONDS_MAX);
}

void admin_drain(struct rpc_call *call, const uint8_t *request, size_t len, void *arg)
{
    struct service *service = arg;
    struct unpack u;
    struct ltd_err err = {0};
    double grace_seconds;
    Latentd__V1__DrainResponse response = LATENTD__V1__DRAIN_RESPONSE__INIT;
    Latentd__V1__DrainRequest *m =
        service_unpack(call, &u, &latentd__v1__drain_request__descriptor, request, len);
    if (!m)
        return;
    int rc = take_grace(m, &grace_seconds, &err);
    unpack_free(&u);
    response.jobs_queued = job_table_n_queued(service->jobs);
    response.jobs_running = job_table_n_live(service->jobs) - response.jobs_queued;
    if (rc == 0 && !service->drain)
        rc = ltd_fail(&err, LTD_E_UNIMPLEMENTED, "this service cannot be drained over the wire");
    if (rc == 0)
        rc = service->drain(service->drain_arg, &grace_seconds, &err);
    response.grace_seconds = grace_seconds;
    if (rc == 0)
        service_reply(call, &response.base);
    else
        service_fail(call, &err);
}
