# SPDX-License-Identifier: Apache-2.0
"""A service that is killed and started again, as systemd would, and clients to whom that is only a pause."""
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import grpc

import harness
from harness import Answer, Daemon, latentd_pb2, patience

# What a client retries: the service is away, or was when the answer should have come.
PAUSES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)


class Service:
    """latentd at a fixed address with a durable log; whoever kills it starts it again."""

    def __init__(self, model, options, ranks=0):
        self.dir = tempfile.mkdtemp(prefix="ltd-kept-")
        self.store = os.path.join(self.dir, "jobs.db")
        self.address = "127.0.0.1:%d" % harness.free_port()
        self.model, self.ranks = model, ranks
        self.options = dict(options, store=self.store)
        self.daemon = None
        self.kills = 0
        self.logs = []
        self.is_closed = False

    def start(self, wait=True, environment=None, **changes):
        self.daemon = Daemon(model=self.model, ranks=self.ranks, listen=(self.address,), wait=wait,
                             environment=environment, options=dict(self.options, **changes))
        return self.daemon

    def _end(self):
        """Everything of this daemon is gone, its directory too; its log is kept for a failing test."""
        harness.wait_until(lambda: not self.daemon.members(), "every process of the killed daemon gone", 60)
        self.daemon.process.wait()
        self.logs.append(self.daemon.log())
        self.daemon.kill()

    def kill(self, victim):
        """kill -9 of "coordinator", "worker" or "mpirun"; returns when all is gone."""
        self.kills += 1
        pids = self.daemon.rank_pids()
        try:
            if victim == "mpirun" or not pids:
                os.kill(self.daemon.pid, signal.SIGKILL)
            else:
                # Ranks are started in order, so their process ids rise.
                os.kill(min(pids) if victim == "coordinator" else max(pids), signal.SIGKILL)
        except ProcessLookupError:
            pass  # a drain was faster
        if self.ranks and victim != "mpirun":
            # mpirun ends the others by itself, in its own time; a harder end is a case of its own.
            self.daemon.process.wait(patience(60))
        self._end()

    def drain(self):
        status = self.daemon.stop()
        self._end()
        return status

    def close(self):
        self.is_closed = True
        if self.daemon and self.daemon.process.poll() is None:
            self.daemon.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Client:
    """Submits and follows jobs through any number of restarts. Everything it says twice has a request id."""

    def __init__(self, service, seconds=600):
        self.service = service
        self.deadline = time.monotonic() + patience(seconds)
        self.pauses = 0
        self.channel = None

    def api(self):
        if self.channel is None:
            options = [("grpc.enable_retries", 0), ("grpc.initial_reconnect_backoff_ms", 50),
                       ("grpc.max_reconnect_backoff_ms", 200)]
            self.channel = grpc.insecure_channel(self.service.address, options=harness.MESSAGE_LIMITS + options)
        return harness.Api(self.channel)

    def insist(self, call, what):
        """call(api) until it is answered; anything but a pause is an error."""
        while True:
            try:
                return call(self.api())
            except grpc.RpcError as error:
                if error.code() not in PAUSES or self.service.is_closed or time.monotonic() > self.deadline:
                    raise AssertionError("%s: %s after %d pauses" % (what, error, self.pauses)) from error
                self.pauses += 1
                self.close()
                time.sleep(0.05)

    def submit(self, spec, request_id):
        return self.insist(lambda api: api.submit(spec, request_id), "Submit %s" % request_id)

    def follow(self, name):
        """All events of the job, each once, through every restart."""
        events = []

        def read(api):
            for event in api.watch(name, after_seq=events[-1].seq if events else 0, seconds=600):
                if event.seq:
                    events.append(event)
            return events
        self.insist(read, "Watch %s" % name)
        return events

    def close(self):
        if self.channel is not None:
            self.channel.close()
            self.channel = None


def check_events(test, events, name):
    """Numbers rise, by the tokens of each message, without a gap."""
    last = 0
    for event in events:
        tokens = len(event.tokens.ids) if event.WhichOneof("event") == "tokens" else 1
        test.assertEqual(event.seq, last + tokens, "%s: event %d behind %d holds %d" % (name, event.seq, last, tokens))
        last = event.seq
    kinds = [event.WhichOneof("event") for event in events]
    test.assertEqual(kinds.count("queued"), 1, name)
    test.assertEqual(kinds.count("started"), 1, name)
    test.assertEqual(kinds[-1], "finished", name)


def told_by_events(events):
    """Kinds, tokens and numbers of a job's events, however tokens were put together on the way."""
    tokens = [token for event in events if event.WhichOneof("event") == "tokens" for token in event.tokens.ids]
    kinds = [event.WhichOneof("event") for event in events if event.WhichOneof("event") != "tokens"]
    return kinds, tokens, events[-1].seq


def told_by_tool(out):
    """The same of what `latentctl watch --json` printed; an event that came twice or not at all is seen."""
    lines = [line for line in map(json.loads, out.splitlines()) if line["seq"]]
    last = 0
    for line in lines:
        if line["seq"] != last + len(line.get("tokens", "1")):
            return "event %d behind %d" % (line["seq"], last)
        last = line["seq"]
    tokens = [token for line in lines for token in line.get("tokens", ())]
    return [line["event"] for line in lines if line["event"] != "tokens"], tokens, last


class Load:
    """Clients, latentctl among them, that submit and follow jobs until all specs have been used; what each job
    wrote, by request id."""

    def __init__(self, service, specs, n_clients, duplicates):
        self.service, self.specs, self.duplicates = service, specs, duplicates
        self.answers, self.names, self.events, self.errors = {}, {}, {}, []
        self.lock = threading.Lock()
        self.next = 0
        self.pauses = self.submits = self.n_tools = 0
        self.threads = [threading.Thread(target=self._client, args=(i,)) for i in range(n_clients)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def is_done(self):
        return not any(thread.is_alive() for thread in self.threads) or bool(self.errors)

    def join(self):
        for thread in self.threads:
            thread.join()

    def _take(self):
        with self.lock:
            if self.next >= len(self.specs) or self.errors:
                return None
            self.next += 1
            return self.next - 1

    def _submit(self, client, index, rng):
        request_id = "request-%d" % index
        names = set()
        for _ in range(1 + rng.randrange(self.duplicates + 1)):
            names.add(client.submit(self.specs[index], request_id).name)
            self.submits += 1
        if len(names) != 1:
            raise AssertionError("%s gave the jobs %s" % (request_id, sorted(names)))
        return request_id, names.pop()

    def _follow(self, client, index, name):
        """Some jobs are followed by latentctl as well, from here to the end, by itself through every restart."""
        if index % 3:
            return client.follow(name)
        tool = subprocess.Popen([harness.CTL, "watch", "--server", self.service.address, "--json", name],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        try:
            events = client.follow(name)
            out, err = tool.communicate(timeout=max(1, client.deadline - time.monotonic()))
        finally:
            tool.kill()
            tool.wait()
        if tool.returncode != 0 or err or told_by_tool(out) != told_by_events(events):
            raise AssertionError("latentctl watch of %s ended with %d: %s\n%s\nexpected %s"
                                 % (name, tool.returncode, err, out, told_by_events(events)))
        with self.lock:
            self.n_tools += 1
        return events

    def _client(self, number):
        client = Client(self.service)
        rng = random.Random(number)
        try:
            index = self._take()
            while index is not None:
                request_id, name = self._submit(client, index, rng)
                events = self._follow(client, index, name)
                if rng.randrange(3) == 0:  # a client that lost the answer, long after
                    self._submit(client, index, rng)
                with self.lock:
                    self.names[index], self.events[index] = name, events
                    self.answers[index] = Answer.of_events(events)
                index = self._take()
        except Exception as error:  # noqa: the test reports it
            with self.lock:
                self.errors.append(error)
        finally:
            self.pauses += client.pauses
            client.close()
