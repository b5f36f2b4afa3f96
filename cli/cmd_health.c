/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/cmd_health.c - is it serving: one word and an exit status, for probes and scripts.
 */
#include "cli/verb.h"

#include "cli/json_out.h"
#include "cli/link.h"
#include "cli/out.h"
#include "grpc/health/v1/health.pb-c.h"

/* A probe that waits long is a probe that hangs. */
#define HEALTH_TIMEOUT_MS 5000

struct health_args {
    struct cli_common common;
    const char *service;
};

static const struct cli_option rows[] = {
    {"service", CLI_TEXT, offsetof(struct health_args, service), "NAME",
     "the service that is meant, the same as the word"},
};

static const char *status_name(Grpc__Health__V1__HealthCheckResponse__ServingStatus status)
{
    switch (status) {
    case GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING:
        return "serving";
    case GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING:
        return "not serving";
    case GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN:
        return "service unknown";
    case GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__UNKNOWN:
    case _GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS_IS_INT_SIZE:
        break;
    }
    return "unknown";
}

static int print_status(const char *service, const char *name, bool json, struct ltd_err *err)
{
    if (!json) {
        cli_out_printf("%s\n", name);
        return cli_out_flush(err);
    }
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_str(&j, "service", service);
    cli_json_str(&j, "status", name);
    cli_json_end(&j);
    return cli_json_print(&j, err);
}

static int run(const struct cli_words *words, const void *verb_args, struct ltd_err *err)
{
    const struct health_args *args = verb_args;
    const struct cli_common *common = &args->common;
    const char *service = words->n > 0 ? words->items[0] : args->service ? args->service : "";
    if (words->n > 0 && args->service)
        return ltd_fail(err, LTD_E_INVALID, "--service and the word \"%s\": expected one of them",
                        words->items[0]);
    struct cli_link link;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = cli_bytes(service);
    int rc = cli_link_open_once(&link, common, HEALTH_TIMEOUT_MS, err);
    if (rc == 0) {
        Grpc__Health__V1__HealthCheckResponse *answer =
            cli_link_ask(&link, "/grpc.health.v1.Health/Check", &request.base,
                         &grpc__health__v1__health_check_response__descriptor, err);
        rc = answer ? print_status(service, status_name(answer->status), common->json, err) : -1;
        if (rc == 0 &&
            answer->status != GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
            rc = 1;
        cli_link_free(answer);
    }
    cli_link_close(&link);
    return rc;
}

const struct cli_verb cli_health = {
    .name = "health",
    .synopsis = "[OPTION]... [SERVICE]",
    .summary = "is the daemon, or one of its services, serving",
    .details =
        "Prints \"serving\" or \"not serving\". SERVICE is a full name such as "
        "latentd.v1.Inference; without one the daemon as a whole is meant.\n\n"
        "A probe waits for nothing: a service that is away is exit status 4 at once.\n\n"
        "Exit status: 0 serving, 1 not serving (loading, draining), 3 no such service, 4 nobody "
        "answers, 6 no answer in time. With --json one object: service, status. --timeout is 5 s "
        "by default.",
    .groups = {{rows, sizeof rows / sizeof rows[0], 0}, CLI_COMMON_GROUP},
    .args_bytes = sizeof(struct health_args),
    .min_words = 0,
    .max_words = 1,
    .run = run,
};
