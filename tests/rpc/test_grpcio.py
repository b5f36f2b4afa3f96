#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stock gRPC (python3-grpcio, grpc core) against the echo server: calls, streams, ends, drain.

    test_grpcio.py ECHO_SERVER MAKE_CERTS

Everything over TCP, a Unix socket, and TLS that asks for a client certificate.

Generic calls: no generated code, messages are byte strings. Prints TAP; exit status 77 means that
grpcio is not installed, which ctest shows as skipped.
"""
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading

try:
    import grpc
    from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2
    from google.protobuf import message_factory
except ImportError as missing:
    print(f"1..0 # SKIP python3-grpcio or python3-protobuf is not installed: {missing}")
    sys.exit(77)


def richer_error_model():
    """google.rpc.Status and its details as published; Debian has no package with them."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(duration_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="google/rpc/status.proto", package="google.rpc", syntax="proto3",
        dependency=["google/protobuf/any.proto", "google/protobuf/duration.proto"])
    one, many = (descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
                 descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED)
    kinds = descriptor_pb2.FieldDescriptorProto
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, label=one, type=kinds.TYPE_INT32)
    status.field.add(name="message", number=2, label=one, type=kinds.TYPE_STRING)
    status.field.add(name="details", number=3, label=many, type=kinds.TYPE_MESSAGE,
                     type_name=".google.protobuf.Any")
    info = file.message_type.add(name="RetryInfo")
    info.field.add(name="retry_delay", number=1, label=one, type=kinds.TYPE_MESSAGE,
                   type_name=".google.protobuf.Duration")
    reason = file.message_type.add(name="ErrorInfo")
    for number, name in enumerate(("reason", "domain"), 1):
        reason.field.add(name=name, number=number, label=one, type=kinds.TYPE_STRING)
    bad = file.message_type.add(name="BadRequest")
    violation = bad.nested_type.add(name="FieldViolation")
    for number, name in enumerate(("field", "description"), 1):
        violation.field.add(name=name, number=number, label=one, type=kinds.TYPE_STRING)
    bad.field.add(name="field_violations", number=1, label=many, type=kinds.TYPE_MESSAGE,
                  type_name=".google.rpc.BadRequest.FieldViolation")
    pool.Add(file)
    make = message_factory.MessageFactory(pool).GetPrototype
    return [make(pool.FindMessageTypeByName("google.rpc." + name))
            for name in ("Status", "RetryInfo", "ErrorInfo", "BadRequest")]


Status, RetryInfo, ErrorInfo, BadRequest = richer_error_model()

OPTIONS = [("grpc.max_receive_message_length", 64 << 20),
           ("grpc.max_send_message_length", 64 << 20)]
TESTS = []


def test(fn):
    TESTS.append(fn)
    return fn


def expect(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, expected {wanted!r}")


def expect_code(call, code):
    try:
        call()
    except grpc.RpcError as error:
        expect(error.code(), code, "status")
        return error
    raise AssertionError(f"the call succeeded, expected {code}")


class Peer:
    """One channel and the two kinds of calls on it."""

    def __init__(self, address, credentials=None):
        if credentials:
            self.channel = grpc.secure_channel(address.removeprefix("tls:"), credentials,
                                               options=OPTIONS)
        else:
            self.channel = grpc.insecure_channel(address, options=OPTIONS)

    def unary(self, method, data=b"", **kwargs):
        return self.channel.unary_unary("/test.Echo/" + method)(data, **{"timeout": 30, **kwargs})

    def stream(self, method, data=b"", **kwargs):
        return self.channel.unary_stream("/test.Echo/" + method)(data, **{"timeout": 60, **kwargs})

    def ends(self):
        return dict(item.split("=") for item in self.unary("Ends").decode().split())

    def wait_for_end(self, name, at_least):
        """The counters reach a value: asked again until they do, within the call's patience."""
        for _ in range(2000):
            if int(self.ends()[name]) >= at_least:
                return
        raise AssertionError(f"{name}: {self.ends()}, expected at least {at_least}")


@test
def unary_brings_back_what_was_sent(p):
    for size in (0, 1, 100, 16384, 65536, 1 << 20, 8 << 20):
        data = random.Random(size).randbytes(size)
        expect(p.unary("Unary", data) == data, True, f"echo of {size} bytes")


@test
def too_large_is_resource_exhausted(p):
    expect_code(lambda: p.unary("Small", b"x" * 1025), grpc.StatusCode.RESOURCE_EXHAUSTED)
    expect_code(lambda: p.unary("Unary", b"x" * ((8 << 20) + 1)),
                grpc.StatusCode.RESOURCE_EXHAUSTED)
    expect(p.unary("Small", b"x" * 1024), b"x" * 1024, "the limit itself")


@test
def a_stream_of_ten_thousand_arrives_in_order(p):
    n = 0
    for message in p.stream("Stream", b"10000 100"):
        expect(message.rstrip(b"\0"), str(n).encode(), "message")
        n += 1
    expect(n, 10000, "messages")


@test
def a_stream_of_large_messages_arrives(p):
    sizes = [len(m) for m in p.stream("Stream", b"40 1000000")]
    expect(sizes, [1000000] * 40, "sizes")


@test
def an_empty_stream_is_ok(p):
    call = p.stream("Stream", b"0 0")
    expect(list(call), [], "messages")
    expect(call.code(), grpc.StatusCode.OK, "status")


@test
def unknown_methods_are_unimplemented(p):
    expect_code(lambda: p.unary("Nothing"), grpc.StatusCode.UNIMPLEMENTED)
    expect_code(lambda: p.channel.unary_unary("/a.B/C")(b""), grpc.StatusCode.UNIMPLEMENTED)


@test
def every_status_and_a_special_message_come_through(p):
    text = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608 100%\t\n"
    for code in grpc.StatusCode:
        if code == grpc.StatusCode.OK:
            continue
        error = expect_code(lambda: p.unary("Fail", f"{code.value[0]} {text}".encode()), code)
        expect(error.details(), text, "message")


def retry_delay_ms(error):
    """What google.rpc's own messages read in a failed call, or None without a detail."""
    found = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if found is None:
        return None
    status = Status.FromString(found)
    expect(status.code, error.code().value[0], "code of the details")
    expect(status.message, error.details(), "message of the details")
    expect([d.type_url for d in status.details], ["type.googleapis.com/google.rpc.RetryInfo"],
           "types of the details")
    delay = RetryInfo.FromString(status.details[0].value).retry_delay
    return delay.seconds * 1000 + delay.nanos / 1000000


@test
def a_failure_says_when_to_try_again(p):
    for ms in (1, 999, 1000, 1500, 86400001, 2**32 - 1):
        for messages in (0, 1, 3):
            error = expect_code(lambda: list(p.stream("Later", f"{messages} {ms}".encode())),
                                grpc.StatusCode.RESOURCE_EXHAUSTED)
            expect(retry_delay_ms(error), ms, f"delay behind {messages} messages")
    error = expect_code(lambda: p.unary("Later", b"0 0"), grpc.StatusCode.RESOURCE_EXHAUSTED)
    expect(retry_delay_ms(error), None, "delay of an error without one")


@test
def a_deadline_is_seen_by_both(p):
    expect_code(lambda: p.unary("Hang", timeout=0.05), grpc.StatusCode.DEADLINE_EXCEEDED)
    expect_code(lambda: list(p.stream("Beat", b"x", timeout=0.05)),
                grpc.StatusCode.DEADLINE_EXCEEDED)
    for _ in range(2000):
        ends = p.ends()
        if ends["live"] == "0":
            break
    expect(ends["live"], "0", "live calls")
    expect(p.unary("Sleep", b"5"), b"slept", "a call within its deadline")


@test
def a_cancelled_stream_ends_on_the_server(p):
    before = int(p.ends()["cancelled"])
    call = p.stream("Stream", b"100000000 1000")
    for _ in range(5):
        next(call)
    call.cancel()
    p.wait_for_end("cancelled", before + 1)
    expect(p.ends()["live"], "0", "live calls")


@test
def a_slow_reader_costs_one_queue(p):
    call = p.stream("Stream", b"3000 10000")
    total = 0
    for i, message in enumerate(call):
        total += len(message)
        if i < 50:
            p.unary("Unary", b"another call passes the slow stream")
    expect(total, 3000 * 10000, "bytes")
    queued = int(p.ends()["max_queued"])
    # One message may overshoot the queue's 128 KiB; the largest of the tests above has 1,000,000.
    expect(queued <= 131072 + 1000005, True, f"{queued} bytes queued at most")


@test
def fifty_calls_at_once(p):
    errors = []

    def work(i):
        data = bytes([i]) * (1000 + 997 * i)
        for _ in range(10):
            if p.unary("Unary", data) != data:
                errors.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(errors, [], "calls with a wrong answer")


@test
def two_hundred_calls_wait_their_turn_for_a_hundred_slots(p):
    futures = [p.channel.unary_unary("/test.Echo/Sleep").future(b"20", timeout=30)
               for _ in range(200)]
    expect({f.result() for f in futures}, {b"slept"}, "answers")


@test
def deadline_and_peer_are_known_to_the_handler(p):
    name, ms = p.unary("Peer", timeout=20).decode().split()
    expect(name.startswith("127.0.0.1:") or name.startswith("unix:uid="), True, name)
    # grpc core rounds a timeout up, to a tenth of a second at this size.
    expect(0 < int(ms) <= 20200, True, f"{ms} ms")


@test
def metadata_of_the_caller_does_no_harm(p):
    metadata = [("x-text", "v" * 4000), ("x-data-bin", bytes(range(256)))]
    expect(p.unary("Unary", b"m", metadata=metadata), b"m", "answer")
    expect_code(lambda: p.unary("Unary", b"m", metadata=[("x-big", "v" * 20000)]),
                grpc.StatusCode.RESOURCE_EXHAUSTED)


@test
def compressed_messages_go_both_ways(p):
    for coding in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        expect(p.unary("Unary", b"z" * 500000, compression=coding), b"z" * 500000, "echo")
        talk = p.channel.stream_stream("/test.Echo/Chat")
        expect(list(talk(iter([b"z" * 5000] * 50), compression=coding, timeout=30)),
               [b"z" * 5000] * 50, "conversation")
    expect(p.unary("Squeeze", b"3000000"), bytes(3000000), "compressed answer")
    expect_code(lambda: p.unary("Small", bytes(1025), compression=grpc.Compression.Gzip),
                grpc.StatusCode.RESOURCE_EXHAUSTED)
    expect(len(p.unary("Small", bytes(1024), compression=grpc.Compression.Gzip)), 1024, "limit")


@test
def an_error_tells_its_reason_its_field_and_when_to_try_again(p):
    error = expect_code(lambda: p.unary("Wrong", b"FIELD_INVALID 1500 spec.stop[2]: found 0 bytes"),
                        grpc.StatusCode.INVALID_ARGUMENT)
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    expect((status.code, status.message), (3, error.details()), "code and message")
    found = {d.type_url.rpartition(".")[2]: d.value for d in status.details}
    expect(sorted(found), ["BadRequest", "ErrorInfo", "RetryInfo"], "details")
    reason = ErrorInfo.FromString(found["ErrorInfo"])
    expect((reason.reason, reason.domain), ("FIELD_INVALID", "latentd"), "ErrorInfo")
    field, = BadRequest.FromString(found["BadRequest"]).field_violations
    expect((field.field, field.description), ("spec.stop[2]", "found 0 bytes"), "BadRequest")
    delay = RetryInfo.FromString(found["RetryInfo"]).retry_delay
    expect((delay.seconds, delay.nanos), (1, 500000000), "RetryInfo")
    error = expect_code(lambda: p.unary("Wrong", b"FIELD_INVALID 0 no field is named here"),
                        grpc.StatusCode.INVALID_ARGUMENT)
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    expect([d.type_url.rpartition(".")[2] for d in status.details], ["ErrorInfo"], "details")


@test
def a_conversation_goes_back_and_forth(p):
    talk = p.channel.stream_stream("/test.Echo/Chat")
    expect(b"".join(talk(iter([b"a", b"", b"bc" * 50000, b"d"]), timeout=30)),
           b"a" + b"bc" * 50000 + b"d", "what came back")
    said = queue.Queue()
    call = talk(iter(said.get, None), timeout=30)
    for i in range(200):  # each waits for the answer to the one before
        said.put(b"ping %d" % i)
        expect(next(call), b"ping %d" % i, "answer")
    said.put(None)
    expect(list(call), [], "what is left")
    expect(call.code(), grpc.StatusCode.OK, "status")


@test
def a_conversation_larger_than_every_window_is_complete(p):
    talk = p.channel.stream_stream("/test.Echo/Chat")
    n = sum(len(m) for m in talk((bytes(100000) for _ in range(300)), timeout=60))
    expect(n, 30000000, "bytes that came back")


@test
def the_server_may_end_a_conversation(p):
    talk = p.channel.stream_stream("/test.Echo/Chat")
    said = queue.Queue()
    call = talk(iter(said.get, None), timeout=30)
    said.put(b"one")
    expect(next(call), b"one", "answer")
    said.put(b"bye!")
    expect_code(lambda: next(call), grpc.StatusCode.ABORTED)
    said.put(None)


@test
def a_client_may_stream_and_get_one_answer(p):
    collect = p.channel.stream_unary("/test.Echo/Collect")
    expect(collect((bytes(i) for i in (27182, 8, 1828, 45904)), timeout=30),
           b"4 messages, 74922 bytes", "answer")


@test
def metadata_goes_both_ways(p):
    sent = (("x-echo", "plain text"), ("x-echo-bin", bytes(range(256))))
    call = p.channel.unary_unary("/test.Echo/Meta").with_call(b"x", metadata=sent, timeout=30)[1]
    for got, suffix in ((call.initial_metadata(), "header"), (call.trailing_metadata(), "trailer")):
        got = dict(got)
        expect(got.get(f"x-{suffix}"), "plain text", "ascii")
        expect(got.get(f"x-{suffix}-bin"), bytes(range(256)), "binary")


def credentials(directory, ca="ca", name=None):
    """Of a client that trusts `ca` and shows the certificate called `name`, if any."""
    def read(file):
        with open(f"{directory}/{file}", "rb") as f:
            return f.read()
    if name is None:
        return grpc.ssl_channel_credentials(read(f"{ca}.pem"))
    return grpc.ssl_channel_credentials(read(f"{ca}.pem"), read(f"{name}.key"), read(f"{name}.pem"))


def only_accepted_certificates_get_in(directory, address):
    for ca, name in (("ca", None), ("ca", "stranger"), ("stranger-ca", "alice")):
        peer = Peer(address, credentials(directory, ca, name))
        expect_code(lambda: peer.unary("Unary", b"x", timeout=10), grpc.StatusCode.UNAVAILABLE)
        peer.channel.close()
    peer = Peer(address)
    expect_code(lambda: peer.unary("Unary", b"x", timeout=10), grpc.StatusCode.UNAVAILABLE)
    peer.channel.close()


def drains_while_a_stream_runs(server, address):
    peer = Peer(address)
    call = peer.stream("Stream", b"2000 10000")
    next(call)
    server.send_signal(signal.SIGTERM)
    n = 1
    for _ in call:
        n += 1
    expect(n, 2000, "messages of the stream that was running")
    expect_code(lambda: Peer(address).unary("Unary", b"new", timeout=5),
                grpc.StatusCode.UNAVAILABLE)
    expect(server.wait(20), 0, "exit status")


def free_port():
    while True:
        port = random.randint(15000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def main():
    failed = 0
    n = 0

    def run(name, fn):
        nonlocal failed, n
        n += 1
        try:
            fn()
            print(f"ok {n} - {name}")
        except Exception as error:  # a failing test prints what it compared, the others go on
            failed += 1
            print(f"not ok {n} - {name}\n# {type(error).__name__}: {error}")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([sys.argv[2], directory], check=True)
        tcp, unix = f"127.0.0.1:{free_port()}", f"unix:{directory}/sock"
        tls = f"tls:localhost:{free_port()}"
        server = subprocess.Popen(
            [sys.argv[1], "--tls", f"{directory}/server.pem", f"{directory}/server.key",
             "--tls-client", f"{directory}/ca.pem", tcp, unix, tls],
            stdout=subprocess.PIPE, text=True)
        for address in (tcp, unix, tls.replace("localhost", "127.0.0.1")):
            expect(server.stdout.readline().strip(), f"listening {address}", "server")
        try:
            for address in (tcp, unix, tls):
                peer = Peer(address, credentials(directory, name="alice") if address == tls
                            else None)
                for fn in TESTS:
                    run(f"{address.split(':')[0]}: {fn.__name__}", lambda: fn(peer))
                peer.channel.close()
            run("only_accepted_certificates_get_in",
                lambda: only_accepted_certificates_get_in(directory, tls))
            run("drains_while_a_stream_runs", lambda: drains_while_a_stream_runs(server, tcp))
        finally:
            if server.poll() is None:
                server.kill()
            server.wait()
    print(f"1..{n}")
    sys.stdout.flush()
    os._exit(1 if failed else 0)  # grpc's own threads are not waited for


main()
