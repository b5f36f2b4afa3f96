#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What tools need that know nothing of ours: reflection, plain pages, metrics, health by service."""
import hashlib
import http.client
import os
import re
import shutil
import socket
import struct
import tempfile
import threading
import unittest

import grpc
import hpack
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import harness
import prometheus
from harness import Answer, health_pb2, make_spec, patience, wait_until
from grpc.reflection.v1 import reflection_pb2, reflection_pb2_grpc
from grpc.reflection.v1alpha import reflection_pb2 as alpha_pb2
from grpc.reflection.v1alpha import reflection_pb2_grpc as alpha_pb2_grpc

SERVICES = {"latentd.v1.Inference", "latentd.v1.Jobs", "latentd.v1.Cluster", "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
PROMPT = [59, 79, 62, 76, 19, 27]


def fetch(address, path, method="GET", headers=None):
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=patience())
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode("utf-8")
    finally:
        connection.close()


class Asker:
    """A reflection client of either version; one stream per call of `ask`."""

    def __init__(self, channel, messages, stubs):
        self.messages = messages
        self.stub = stubs.ServerReflectionStub(channel)

    def ask(self, *questions):
        requests = [self.messages.ServerReflectionRequest(host="h", **q) for q in questions]
        answers = list(self.stub.ServerReflectionInfo(iter(requests), timeout=patience()))
        assert len(answers) == len(questions), (len(answers), len(questions))
        for request, answer in zip(requests, answers):
            assert answer.original_request == request, answer
            assert answer.valid_host == "h", answer
        return answers


def file_names(answer):
    files = answer.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(data).name for data in files]


def load_pool(asker, symbol):
    """A pool with everything that `symbol` needs, from reflection alone."""
    answer, = asker.ask({"file_containing_symbol": symbol})
    files = {}
    for data in answer.file_descriptor_response.file_descriptor_proto:
        file = descriptor_pb2.FileDescriptorProto.FromString(data)
        files[file.name] = file
    pool, added = descriptor_pool.DescriptorPool(), set()

    def add(name):
        for dependency in files[name].dependency:
            if dependency not in added:
                add(dependency)
        pool.Add(files[name])
        added.add(name)

    for name in files:
        if name not in added:
            add(name)
    return pool


class Reflection(harness.Case):
    def askers(self, daemon):
        channel = daemon.channel()
        return [Asker(channel, reflection_pb2, reflection_pb2_grpc), Asker(channel, alpha_pb2, alpha_pb2_grpc)]

    def test_both_versions_list_the_services_and_describe_each_method_of_them(self):
        daemon = self.daemon()
        for asker in self.askers(daemon):
            answer, = asker.ask({"list_services": ""})
            names = [service.name for service in answer.list_services_response.service]
            self.assertLessEqual(SERVICES, set(names))
            self.assertEqual(len(names), len(set(names)), names)
            for name in names:
                service = load_pool(asker, name).FindServiceByName(name)
                self.assertTrue(service.methods)
                for method in service.methods:
                    answer, = asker.ask({"file_containing_symbol": method.full_name})
                    self.assertEqual(file_names(answer)[0], service.file.name)
        self.assert_stops_cleanly(daemon)

    def test_a_client_without_any_proto_of_ours_asks_the_model_a_question(self):
        daemon = self.daemon()
        pool = load_pool(self.askers(daemon)[0], "latentd.v1.Inference")
        method = pool.FindServiceByName("latentd.v1.Inference").FindMethodByName("Generate")
        factory = message_factory.MessageFactory(pool)
        request = factory.GetPrototype(method.input_type)()
        request.spec.prompt.text = "3+4="
        request.spec.depth.fixed_steps = 8
        call = daemon.channel().unary_stream("/latentd.v1.Inference/Generate",
                                             request_serializer=lambda m: m.SerializeToString(),
                                             response_deserializer=factory.GetPrototype(method.output_type).FromString)
        text = "".join(event.tokens.text for event in call(request, timeout=patience())
                       if event.WhichOneof("event") == "tokens")
        self.assertEqual(text, "7")
        self.assert_stops_cleanly(daemon)

    def test_what_is_not_there_is_an_answer_and_the_stream_goes_on(self):
        daemon = self.daemon()
        for asker in self.askers(daemon):
            extension = asker.messages.ExtensionRequest(containing_type="latentd.v1.Job", extension_number=100)
            answers = asker.ask({"file_by_filename": "nothing.proto"}, {"file_containing_symbol": "latentd.v1.Nothing"},
                                {"file_containing_extension": extension},
                                {"all_extension_numbers_of_type": "latentd.v1.Job"},
                                {"file_by_filename": "latentd/v1/latentd.proto"},
                                {"file_by_filename": "latentd/v1/latentd.proto"},
                                {"file_by_filename": "latentd/v1/job.proto"})
            for answer in answers[:4]:
                self.assertEqual(answer.error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0], answer)
            # What is imported comes once in a stream; what is asked for always.
            self.assertEqual(file_names(answers[4]), ["latentd/v1/latentd.proto", "latentd/v1/job.proto"])
            self.assertEqual(file_names(answers[5]), ["latentd/v1/latentd.proto"])
            self.assertEqual(file_names(answers[6]), ["latentd/v1/job.proto"])
        self.assert_stops_cleanly(daemon)

    def test_an_asker_that_does_not_read_is_not_read_from_and_loses_nothing(self):
        daemon = self.daemon()
        stub = reflection_pb2_grpc.ServerReflectionStub(daemon.channel(options=[("grpc.http2.lookahead_bytes", 65536)]))
        n, sent = 4000, []

        def requests():
            for i in range(n):
                sent.append(i)
                yield reflection_pb2.ServerReflectionRequest(host=str(i), file_by_filename="latentd/v1/latentd.proto")

        call = stub.ServerReflectionInfo(requests(), timeout=patience(300))
        first = next(call)
        size = first.ByteSize()
        # All answers together are far more than the server may keep for one call.
        self.assertGreater(n * size, 20 << 20)
        before, stalls = -1, 0
        while stalls < 5:  # nothing moves any more, or everything is sent
            threading.Event().wait(0.05)
            stalls = stalls + 1 if len(sent) == before else 0
            before = len(sent)
        families = prometheus.parse(fetch(daemon.address, "/metrics")[2])
        self.assertLess(families["latentd_rpc_buffered_bytes"].value(), 1 << 20)
        hosts = [first.valid_host] + [answer.valid_host for answer in call]
        self.assertEqual(hosts, [str(i) for i in range(n)])
        self.assert_stops_cleanly(daemon)


class Pages(harness.Case):
    def scrape(self, address):
        status, headers, body = fetch(address, "/metrics")
        self.assertEqual(status, 200)
        self.assertEqual(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        return prometheus.parse(body)

    def test_metrics_are_well_formed_under_load_never_fall_and_are_exact_at_the_end(self):
        daemon = self.daemon(model=harness.TINY, options={"max_steps": 64, "max_jobs_running": 3})
        n_callers, n_calls, n_tokens = 6, 5, 8
        texts = [self.scrape(daemon.address)]
        running = threading.Event()

        def ask(seed):
            spec = make_spec(PROMPT, depth=16, max_tokens=n_tokens, seed=seed, ignore_eos=True)
            return [Answer.of_events(daemon.api().generate(spec)) for _ in range(n_calls)]

        def scrape():
            while not running.is_set():
                texts.append(self.scrape(daemon.address))

        scraper = threading.Thread(target=scrape, daemon=True)
        scraper.start()
        answers = harness.run_together([lambda seed=s: ask(seed) for s in range(n_callers)])
        running.set()
        scraper.join(patience())
        self.assertTrue(all(len(a.ids) == n_tokens for some in answers for a in some))
        n = n_callers * n_calls
        name = {"service": "latentd.v1.Inference", "method": "Generate"}

        def all_counted():  # a call is counted when its last byte has left
            texts.append(self.scrape(daemon.address))
            return texts[-1]["latentd_rpc_handling_seconds"].value("_count", **name) == n
        wait_until(all_counted, "the last call counted")
        for before, after in zip(texts, texts[1:]):
            prometheus.check_monotone(before, after)
        last = texts[-1]
        self.assertGreater(len(texts), 3)
        self.assertEqual(last["latentd_rpc_handled_total"].value(code="OK", **name), n)
        self.assertEqual(last["latentd_jobs_ended_total"].value(state="succeeded"), n)
        self.assertEqual(last["latentd_tokens_total"].value(), n * n_tokens)
        self.assertEqual(last["latentd_prompt_tokens_total"].value(), n * len(PROMPT))
        self.assertEqual(last["latentd_token_steps"].value("_count", exit="fixed"), n * n_tokens)
        self.assertEqual(last["latentd_token_steps"].value("_sum", exit="fixed"), n * n_tokens * 16)
        for family in ("latentd_queue_seconds", "latentd_first_token_seconds", "latentd_job_seconds"):
            self.assertEqual(last[family].value("_count"), n, family)
        self.assertEqual(last["latentd_next_token_seconds"].value("_count"), n * (n_tokens - 1))
        ticks = last["latentd_ticks_total"].value()
        self.assertEqual(last["latentd_tick_seconds"].value("_count"), ticks)
        self.assertEqual(last["latentd_batch_positions"].value("_sum"),
                         sum(last["latentd_steps_total"].samples.values()))
        self.assertEqual(last["latentd_jobs"].value(state="running"), 0)
        # A token is part of its job: what readers waited for adds up to no more than the jobs' time.
        waits = sum(last[f].value("_sum") for f in ("latentd_first_token_seconds", "latentd_next_token_seconds"))
        self.assertLessEqual(waits, last["latentd_job_seconds"].value("_sum") * (1 + 1e-9))
        self.assert_stops_cleanly(daemon)

    def test_a_log_on_disk_is_counted_and_the_next_process_finds_its_jobs(self):
        folder = tempfile.mkdtemp(prefix="ltd-e2e-")
        self.addCleanup(shutil.rmtree, folder)
        options = {"store": os.path.join(folder, "jobs.db")}
        daemon = self.daemon(options=options)
        events = daemon.api().generate(make_spec("3+4=", depth=8))
        last_seq = max(event.seq for event in events)

        def committed():
            return self.scrape(daemon.address)["latentd_store_events_total"].value() == last_seq
        wait_until(committed, "%d events committed" % last_seq)
        found = self.scrape(daemon.address)
        self.assertEqual((found["latentd_store_durable"].value(), found["latentd_store_jobs"].value(),
                          found["latentd_store_stalled"].value(), found["latentd_store_events_waiting"].value()),
                         (1, 1, 0, 0))
        self.assertGreaterEqual(found["latentd_store_commits_total"].value(), 1)
        self.assertLessEqual(found["latentd_store_commits_total"].value(), last_seq)
        self.assertGreater(found["latentd_store_bytes"].value(), 0)
        self.assertGreater(found["latentd_store_commit_seconds_max"].value(), 0)
        self.assert_stops_cleanly(daemon)
        daemon = self.daemon(options=options)
        found = self.scrape(daemon.address)
        self.assertEqual((found["latentd_store_jobs"].value(), found["latentd_store_events_total"].value()), (1, 0))
        self.assert_stops_cleanly(daemon)

    def test_the_pages_are_on_the_port_of_the_calls_and_on_one_of_their_own(self):
        daemon = self.daemon(options={"metrics_listen": "127.0.0.1:0"})
        self.assertEqual(len(daemon.addresses), 2, daemon.addresses)
        for address in daemon.addresses:
            self.assertEqual(fetch(address, "/healthz")[::2], (200, "ok\n"))
            self.assertEqual(fetch(address, "/readyz?verbose=1")[::2], (200, "ready\n"))
            status, headers, body = fetch(address, "/")
            self.assertEqual((status, "models/demo" in body, "/metrics" in body), (200, True, True), body)
            self.assertTrue(headers["Content-Type"].startswith("text/plain"), headers)
            self.assertEqual(fetch(address, "/metrics", method="HEAD")[::2], (200, ""))
            self.assertEqual(fetch(address, "/nothing")[0], 404)
            self.scrape(address)
        api = daemon.api(daemon.addresses[1])
        with self.assertRaises(grpc.RpcError) as caught:
            api.status()
        self.assertNotEqual(caught.exception.code(), grpc.StatusCode.OK)
        self.assertEqual(daemon.api().status().state, "serving")
        self.assert_stops_cleanly(daemon)


class Access(harness.Case):
    def test_with_an_access_file_metrics_need_their_right_and_probes_need_none(self):
        def entry(token, rights):
            return "token sha256:%s %s %s\n" % (hashlib.sha256(token.encode()).hexdigest(), token, rights)

        folder = tempfile.mkdtemp(prefix="ltd-e2e-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "access")
        with open(path, "w", encoding="utf-8") as file:
            file.write(entry("scraper", "metrics") + entry("caller", "inference jobs") + entry("boss", "admin"))
        daemon = self.daemon(options={"access_file": path, "metrics_listen": "127.0.0.1:0"})
        for address in daemon.addresses:
            for page in ("/healthz", "/readyz"):
                self.assertEqual(fetch(address, page)[0], 200, page)
            found = {(page, token): fetch(address, page, headers={"Authorization": "Bearer " + token} if token else {})[0]
                     for page in ("/metrics", "/") for token in ("", "wrong", "caller", "scraper", "boss")}
            self.assertEqual(found, {
                ("/metrics", ""): 401, ("/metrics", "wrong"): 401, ("/metrics", "caller"): 403,
                ("/metrics", "scraper"): 200, ("/metrics", "boss"): 200,
                ("/", ""): 401, ("/", "wrong"): 401, ("/", "caller"): 403, ("/", "scraper"): 403, ("/", "boss"): 200})
        text = fetch(daemon.address, "/metrics", headers={"Authorization": "Bearer scraper"})[2]
        refused = prometheus.parse(text)["latentd_access_refused_total"]
        self.assertEqual((refused.value(reason="unauthenticated"), refused.value(reason="denied")), (8, 6))
        # Probes and tools that describe come without a token.
        health = daemon.api().health.Check(health_pb2.HealthCheckRequest(), timeout=patience())
        self.assertEqual(health.status, health_pb2.HealthCheckResponse.SERVING)
        answer, = Asker(daemon.channel(), reflection_pb2, reflection_pb2_grpc).ask({"list_services": ""})
        self.assertTrue(answer.list_services_response.service)
        self.assert_stops_cleanly(daemon)


class Manual(harness.Case):
    def test_the_manual_names_every_metric_and_none_that_is_not_there(self):
        with open(os.path.join(harness.SOURCE, "docs/operations.md"), encoding="utf-8") as file:
            written = set(re.findall(r"latentd_[a-z_]+", file.read().split("## Metrics", 1)[1].split("\n## ", 1)[0]))
        daemon = self.daemon()
        families = prometheus.parse(fetch(daemon.address, "/metrics")[2])
        known = set(families) | {f.name + s for f in families.values() for s, _ in f.samples}
        self.assertEqual(set(families) - written, set(), "not in docs/operations.md")
        self.assertEqual(written - known, set(), "in docs/operations.md alone")
        self.assert_stops_cleanly(daemon)


class Health(harness.Case):
    def test_each_service_has_a_health_and_no_other(self):
        daemon = self.daemon()
        health = daemon.api().health
        for name in SERVICES | {""}:
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=patience())
            self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING, name)
        for name in ("latentd.v1", "latentd.v1.Jobs/Get", "nothing"):
            with self.assertRaises(grpc.RpcError) as caught:
                health.Check(health_pb2.HealthCheckRequest(service=name), timeout=patience())
            self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND, name)
            watch = health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=patience())
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            watch.cancel()
        self.assert_stops_cleanly(daemon)

    def read_frames(self, connection):
        """(type, stream, payload) of each frame until the server closes."""
        data = b""
        while True:
            while len(data) >= 9:
                length = int.from_bytes(data[:3], "big")
                if len(data) < 9 + length:
                    break
                yield data[3], int.from_bytes(data[5:9], "big") & 0x7FFFFFFF, data[9:9 + length]
                data = data[9 + length:]
            more = connection.recv(65536)
            if not more:
                return
            data += more

    def test_a_watcher_hears_of_a_drain_before_its_connection_is_told_to_go(self):
        """On the wire, where the order is to be seen: DATA with NOT_SERVING, then GOAWAY."""
        daemon = self.daemon()
        host, port = daemon.address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=patience())
        self.addCleanup(connection.close)
        fields = [(":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Watch"),
                  (":authority", "x"), ("content-type", "application/grpc"), ("te", "trailers")]
        block = hpack.Encoder().encode(fields)

        def frame(kind, flags, stream, payload):
            return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, block)
                           + frame(0, 1, 1, bytes(5)))
        heard = []
        for kind, stream, payload in self.read_frames(connection):
            if kind == 0 and stream == 1:
                heard.append("state %d" % payload[-1])
                if len(heard) == 1:
                    daemon.ask_to_stop()
            elif kind == 7:
                heard.append("goaway")
            elif kind == 4 and payload:
                connection.sendall(frame(4, 1, 0, b""))
            elif kind == 6:
                connection.sendall(frame(6, 1, 0, payload))
        self.assertEqual(heard[:3], ["state 1", "state 2", "goaway"], heard)
        self.assertEqual(daemon.wait(), 0, daemon.log())


if __name__ == "__main__":
    harness.main()
