// SPDX-License-Identifier: Apache-2.0
//
// bench/rpc/echo_cpp.cc - the other side of bench/rpc/ab.py: grpc.testing.TestService on the stock
// C++ server, with its callback API, which is the cheapest that it offers.
//
//     echo_cpp ADDRESS [CERTIFICATE KEY]     prints "listening PORT", serves until it is killed
//
// It does what latentd does with the option test_service for the two methods that are measured:
// UnaryCall answers so many bytes, StreamingOutputCall sends answers with pauses. No authentication,
// no limits, no metrics: everything that latentd has switched on is missing here, in its favour.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include "grpc/testing/test.grpc.pb.h"

namespace {

using grpc::testing::StreamingOutputCallRequest;
using grpc::testing::StreamingOutputCallResponse;

// One stream: the answers of its request, each behind its pause. Deletes itself in OnDone.
class Paced final : public grpc::ServerWriteReactor<StreamingOutputCallResponse> {
public:
    explicit Paced(const StreamingOutputCallRequest &request) : request_(request)
    {
        Next();
    }

    void OnWriteDone(bool ok) override
    {
        if (ok)
            Next();
        else
            Finish(grpc::Status::CANCELLED);
    }

    void OnDone() override
    {
        delete this;
    }

private:
    void Next()
    {
        if (sent_ == request_.response_parameters_size()) {
            Finish(grpc::Status::OK);
            return;
        }
        const auto &parameters = request_.response_parameters(sent_++);
        answer_.mutable_payload()->set_body(std::string(parameters.size(), '\0'));
        if (parameters.interval_us() == 0) {
            StartWrite(&answer_);
            return;
        }
        due_ = std::max(due_, std::chrono::system_clock::now()) +
               std::chrono::microseconds(parameters.interval_us());
        alarm_.Set(due_, [this](bool) { StartWrite(&answer_); });
    }

    const StreamingOutputCallRequest request_;
    StreamingOutputCallResponse answer_;
    grpc::Alarm alarm_;
    std::chrono::system_clock::time_point due_;
    int sent_ = 0;
};

class Service final : public grpc::testing::TestService::CallbackService {
    grpc::ServerUnaryReactor *UnaryCall(grpc::CallbackServerContext *context,
                                        const grpc::testing::SimpleRequest *request,
                                        grpc::testing::SimpleResponse *answer) override
    {
        if (request->response_size() > 0)
            answer->mutable_payload()->set_body(std::string(request->response_size(), '\0'));
        auto *reactor = context->DefaultReactor();
        reactor->Finish(grpc::Status::OK);
        return reactor;
    }

    grpc::ServerWriteReactor<StreamingOutputCallResponse> *
    StreamingOutputCall(grpc::CallbackServerContext *,
                        const StreamingOutputCallRequest *request) override
    {
        return new Paced(*request);
    }
};

std::string Contents(const char *path)
{
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

std::shared_ptr<grpc::ServerCredentials> Credentials(int argc, char **argv)
{
    if (argc < 4)
        return grpc::InsecureServerCredentials();
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({Contents(argv[3]), Contents(argv[2])});
    return grpc::SslServerCredentials(options);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 4) {
        std::fprintf(stderr, "usage: echo_cpp ADDRESS [CERTIFICATE KEY]\n");
        return 2;
    }
    Service service;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(argv[1], Credentials(argc, argv), &port);
    builder.RegisterService(&service);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server || port == 0) {
        std::fprintf(stderr, "echo_cpp: cannot listen on %s\n", argv[1]);
        return 1;
    }
    std::printf("listening %d\n", port);
    std::fflush(stdout);
    server->Wait();
    return 0;
}
