/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/pages_http.c - see daemon/pages_http.h. */
#include "daemon/pages_http.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "daemon/auth.h"

static void print(struct ltd_bytes *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print(struct ltd_bytes *out, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ltd_bytes_put_str(out, text);
}

/* That it is answered is the answer. */
static void make_healthz(void *arg, struct rpc_page_answer *answer)
{
    (void)arg;
    print(&answer->body, "ok\n");
}

static void make_readyz(void *arg, struct rpc_page_answer *answer)
{
    const struct http_pages *pages = arg;
    char reason[300];
    if (service_is_ready(pages->metrics.service, reason, sizeof reason)) {
        print(&answer->body, "ready\n");
        return;
    }
    answer->status = 503;
    print(&answer->body, "not ready: %s\n", reason);
}

static void make_metrics(void *arg, struct rpc_page_answer *answer)
{
    const struct http_pages *pages = arg;
    answer->content_type = METRICS_CONTENT_TYPE;
    metrics_write(&pages->metrics, &answer->body);
}

static void make_front(void *arg, struct rpc_page_answer *answer)
{
    const struct http_pages *pages = arg;
    const struct service *service = pages->metrics.service;
    const struct served *served = service->served;
    struct ltd_bytes *out = &answer->body;
    char reason[300];
    bool is_ready = service_is_ready(service, reason, sizeof reason);
    uint32_t queued = work_queue_n_unstarted(service->queue);
    print(out, "latentd %s, up %llu s\n\n", LATENTD_VERSION,
          (unsigned long long)((ltd_now_ns() - served->start_ns) / LTD_NS_PER_S));
    print(out, "%s%s\n", is_ready ? "ready" : "not ready: ", reason);
    print(out, "model %s, tier %s, %d rank%s\n", served->name, served->tier_id, served->n_ranks,
          served->n_ranks == 1 ? "" : "s");
    print(out, "jobs  %u running, %u queued\n\n", work_queue_n_unfinished(service->queue) - queued,
          queued);
    print(out, "/healthz  is it alive\n"
               "/readyz   does it take jobs\n"
               "/metrics  for Prometheus\n\n"
               "Calls are gRPC, on this port or another; server reflection describes them.\n");
}

void http_pages_init(struct http_pages *pages, const struct service *service,
                     const struct rpc_server *server)
{
    *pages = (struct http_pages){
        .metrics = {.service = service, .server = server},
        .rows = {{.path = "/healthz", .make = make_healthz, .arg = pages},
                 {.path = "/readyz", .make = make_readyz, .arg = pages},
                 {.path = "/metrics", .make = make_metrics, .arg = pages, .rights = AUTH_METRICS},
                 {.path = "/", .make = make_front, .arg = pages, .rights = AUTH_CLUSTER}},
    };
}
