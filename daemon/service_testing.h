/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/service_testing.h - grpc.testing.TestService: what stock interoperability clients call.
 *
 * The public gRPC interoperability tests drive one service with simple rules: answer so many bytes,
 * in so many messages, compressed or not, with this status. It costs whoever may call it memory and
 * bandwidth without any use, so it is there only with the option test_service, which refuses
 * listeners that other hosts can reach.
 *
 * Threads: loop thread.
 * Source: "Interoperability Test Case Descriptions" of the gRPC project; proto/grpc/testing.
 */
#ifndef LATENTD_DAEMON_SERVICE_TESTING_H
#define LATENTD_DAEMON_SERVICE_TESTING_H

#include <stddef.h>

#include <uv.h>

#include "base/err.h"
#include "rpc/server.h"
#include "rpc/service.h"

#define SERVICE_TESTING_N_METHODS 6

/*
 * service_testing_fill_methods - the rows of the service, to be put behind the others.
 *
 * methods            [SERVICE_TESTING_N_METHODS]
 * max_request_bytes  of each
 * loop               for answers that shall wait; borrowed for the server's life
 */
void service_testing_fill_methods(struct rpc_method *methods, size_t max_request_bytes,
                                  uv_loop_t *loop);

/*
 * service_testing_check - that none of the first n_listeners can be reached from another host.
 *
 * Errors: LTD_E_INVALID naming the first one that can.
 */
int service_testing_check(const struct rpc_server *server, size_t n_listeners, struct ltd_err *err);

#endif
