# SPDX-License-Identifier: Apache-2.0
"""interop_python.py - the public gRPC interoperability cases, driven by python3-grpcio (grpc core).

    run(make_channel, metadata)   every case on channels that make_channel() opens; returns their names

The cases and their numbers are those of the gRPC project's public test descriptions; the text is ours.
"""
import queue
import threading

import grpc
from grpc.testing import empty_pb2, messages_pb2 as m, test_pb2_grpc

LARGE_REQUEST, LARGE_RESPONSE = 271828, 314159
STREAM_REQUESTS = (27182, 8, 1828, 45904)
STREAM_RESPONSES = (31415, 9, 2653, 58979)
CASES = []


def case(function):
    CASES.append(function)
    return function


def expect(got, wanted, what):
    if got != wanted:
        raise AssertionError("%s: got %r, expected %r" % (what, got, wanted))


def fails_with(call, code):
    try:
        call()
    except grpc.RpcError as error:
        expect(error.code(), code, "status")
        return error
    raise AssertionError("the call succeeded, expected %s" % code)


def payload(size):
    return m.Payload(body=bytes(size))


class Client:
    def __init__(self, channel, metadata, seconds):
        self.channel, self.metadata, self.seconds = channel, metadata, seconds
        self.stub = test_pb2_grpc.TestServiceStub(channel)
        self.other = test_pb2_grpc.UnimplementedServiceStub(channel)

    def call(self, method, request, metadata=(), timeout=None, **kwargs):
        return method(request, metadata=self.metadata + tuple(metadata),
                      timeout=timeout or self.seconds, **kwargs)


class Talk:
    """A conversation: requests are put in as the answers come."""

    def __init__(self, client, **kwargs):
        self.requests = queue.Queue()
        self.answers = client.call(client.stub.FullDuplexCall, iter(self.requests.get, None), **kwargs)

    def ask(self, request_size, response_size):
        self.requests.put(m.StreamingOutputCallRequest(
            payload=payload(request_size), response_parameters=[m.ResponseParameters(size=response_size)]))

    def exchange(self, request_size, response_size):
        self.ask(request_size, response_size)
        expect(len(next(self.answers).payload.body), response_size, "answer")

    def end(self):
        self.requests.put(None)
        expect(list(self.answers), [], "what is left")
        expect(self.answers.code(), grpc.StatusCode.OK, "status")


@case
def empty_unary(c):
    expect(c.call(c.stub.EmptyCall, empty_pb2.Empty()), empty_pb2.Empty(), "answer")


def large(c, response_size=LARGE_RESPONSE, **fields):
    request = m.SimpleRequest(response_size=response_size, payload=payload(LARGE_REQUEST), **fields)
    answer = c.call(c.stub.UnaryCall, request)
    expect(answer.payload.body == bytes(response_size), True, "payload of zeros")


@case
def large_unary(c):
    large(c)


@case
def client_compressed_unary(c):
    lie = m.SimpleRequest(response_size=LARGE_RESPONSE, payload=payload(LARGE_REQUEST),
                          expect_compressed=m.BoolValue(value=True))
    fails_with(lambda: c.call(c.stub.UnaryCall, lie), grpc.StatusCode.INVALID_ARGUMENT)
    for compressed in (True, False):
        request = m.SimpleRequest(response_size=LARGE_RESPONSE, payload=payload(LARGE_REQUEST),
                                  expect_compressed=m.BoolValue(value=compressed))
        coding = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
        answer = c.call(c.stub.UnaryCall, request, compression=coding)
        expect(len(answer.payload.body), LARGE_RESPONSE, "payload")


@case
def server_compressed_unary(c):
    for compressed in (True, False):
        large(c, response_compressed=m.BoolValue(value=compressed))


@case
def client_streaming(c):
    requests = (m.StreamingInputCallRequest(payload=payload(n)) for n in STREAM_REQUESTS)
    expect(c.call(c.stub.StreamingInputCall, requests).aggregated_payload_size, 74922, "sum")


@case
def client_compressed_streaming(c):
    lie = m.StreamingInputCallRequest(payload=payload(27182), expect_compressed=m.BoolValue(value=True))
    fails_with(lambda: c.call(c.stub.StreamingInputCall, iter([lie])),
               grpc.StatusCode.INVALID_ARGUMENT)
    requests = [m.StreamingInputCallRequest(payload=payload(n), expect_compressed=m.BoolValue(value=True))
                for n in (27182, 45904)]
    answer = c.call(c.stub.StreamingInputCall, iter(requests), compression=grpc.Compression.Gzip)
    expect(answer.aggregated_payload_size, 73086, "sum")


@case
def server_streaming(c):
    request = m.StreamingOutputCallRequest(
        response_parameters=[m.ResponseParameters(size=n) for n in STREAM_RESPONSES])
    got = [len(a.payload.body) for a in c.call(c.stub.StreamingOutputCall, request)]
    expect(got, list(STREAM_RESPONSES), "sizes")


@case
def server_compressed_streaming(c):
    request = m.StreamingOutputCallRequest(response_parameters=[
        m.ResponseParameters(size=n, compressed=m.BoolValue(value=compressed))
        for n, compressed in ((31415, True), (92653, False), (58979, True))])
    got = [len(a.payload.body) for a in c.call(c.stub.StreamingOutputCall, request)]
    expect(got, [31415, 92653, 58979], "sizes")


@case
def ping_pong(c):
    talk = Talk(c)
    for request_size, response_size in zip(STREAM_REQUESTS, STREAM_RESPONSES):
        talk.exchange(request_size, response_size)
    talk.end()


@case
def empty_stream(c):
    Talk(c).end()


@case
def half_duplex(c):
    requests = (m.StreamingOutputCallRequest(response_parameters=[m.ResponseParameters(size=n)])
                for n in STREAM_RESPONSES)
    got = [len(a.payload.body) for a in c.call(c.stub.HalfDuplexCall, requests)]
    expect(got, list(STREAM_RESPONSES), "sizes")


@case
def custom_metadata(c):
    sent = (("x-grpc-test-echo-initial", "test_initial_metadata_value"),
            ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"))

    def came_back(call):
        expect(dict(call.initial_metadata()).get(sent[0][0]), sent[0][1], "initial metadata")
        expect(dict(call.trailing_metadata()).get(sent[1][0]), sent[1][1], "trailing metadata")

    request = m.SimpleRequest(response_size=LARGE_RESPONSE, payload=payload(LARGE_REQUEST))
    came_back(c.call(c.stub.UnaryCall.with_call, request, metadata=sent)[1])
    talk = Talk(c, metadata=sent)
    talk.exchange(LARGE_REQUEST, LARGE_RESPONSE)
    talk.end()
    came_back(talk.answers)


@case
def status_code_and_message(c):
    status = m.EchoStatus(code=2, message="test status message")
    error = fails_with(lambda: c.call(c.stub.UnaryCall, m.SimpleRequest(response_status=status)),
                       grpc.StatusCode.UNKNOWN)
    expect(error.details(), status.message, "message")
    requests = iter([m.StreamingOutputCallRequest(response_status=status)])
    error = fails_with(lambda: list(c.call(c.stub.FullDuplexCall, requests)), grpc.StatusCode.UNKNOWN)
    expect(error.details(), status.message, "message")


@case
def special_status_message(c):
    text = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
    request = m.SimpleRequest(response_status=m.EchoStatus(code=2, message=text))
    error = fails_with(lambda: c.call(c.stub.UnaryCall, request), grpc.StatusCode.UNKNOWN)
    expect(error.details(), text, "message")


@case
def unimplemented_method(c):
    fails_with(lambda: c.call(c.stub.UnimplementedCall, empty_pb2.Empty()),
               grpc.StatusCode.UNIMPLEMENTED)


@case
def unimplemented_service(c):
    fails_with(lambda: c.call(c.other.UnimplementedCall, empty_pb2.Empty()),
               grpc.StatusCode.UNIMPLEMENTED)


@case
def cancel_after_begin(c):
    requests = queue.Queue()
    call = c.call(c.stub.StreamingInputCall.future, iter(requests.get, None))
    call.cancel()
    expect(call.code(), grpc.StatusCode.CANCELLED, "status")
    requests.put(None)


@case
def cancel_after_first_response(c):
    talk = Talk(c)
    talk.exchange(27182, 31415)
    talk.answers.cancel()
    expect(talk.answers.code(), grpc.StatusCode.CANCELLED, "status")
    talk.requests.put(None)


@case
def timeout_on_sleeping_server(c):
    talk = Talk(c, timeout=0.001)
    talk.requests.put(m.StreamingOutputCallRequest(
        payload=payload(27182),
        response_parameters=[m.ResponseParameters(size=31415, interval_us=50 * 1000 * 1000)]))
    fails_with(lambda: next(talk.answers), grpc.StatusCode.DEADLINE_EXCEEDED)
    talk.requests.put(None)


@case
def concurrent_large_unary(c):
    failures = []

    def worker():
        try:
            for _ in range(10):
                large(c)
        except Exception as error:  # told by the case, not lost in a thread
            failures.append(error)

    workers = [threading.Thread(target=worker) for _ in range(30)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    expect(failures, [], "failures of 300 calls")


def run(make_channel, metadata=(), seconds=60):
    for function in CASES:
        channel = make_channel()
        try:
            function(Client(channel, tuple(metadata), seconds))
        except Exception as error:
            raise AssertionError("%s: %s: %s" % (function.__name__, type(error).__name__, error)) from error
        finally:
            channel.close()
    return [function.__name__ for function in CASES]
