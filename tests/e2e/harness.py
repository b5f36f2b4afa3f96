# SPDX-License-Identifier: Apache-2.0
"""harness.py - what every end-to-end test stands on: daemons that run, answers that can be compared.

A test asks for `Daemon(...)`, talks to it with the stock gRPC client, and stops it; what it started
is ended in any case, by process id, and nothing else is. Every wait is for an event and has a
deadline; deadlines only bound how long a failure takes, so they are generous and grow with
LATENTD_TIME_SCALE (sanitizer builds). No test asserts how long something took unless it says so.

From the environment, set by tests/e2e/CMakeLists.txt:
    LATENTD_BIN, LATENTCTL_BIN   the programs
    LATENTD_SOURCE               the source tree
    LATENTD_STUBS                Python stubs generated from proto/
    LATENTD_SANITIZE             "", "address,undefined" or "thread"
"""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc

BIN = os.environ["LATENTD_BIN"]
CTL = os.environ["LATENTCTL_BIN"]
SOURCE = os.environ["LATENTD_SOURCE"]
STUBS = os.environ["LATENTD_STUBS"]
SANITIZE = os.environ.get("LATENTD_SANITIZE", "")
SCALE = float(os.environ.get("LATENTD_TIME_SCALE", "1"))

sys.path.insert(0, STUBS)
# The generated health stubs live in the package `grpc`, as the protocol wants it; so does grpcio.
grpc.__path__.append(os.path.join(STUBS, "grpc"))
from grpc.health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from latentd.rpc import status_details_pb2  # noqa: E402
from latentd.v1 import job_pb2, latentd_pb2, latentd_pb2_grpc  # noqa: E402

DEMO = os.path.join(SOURCE, "models/demo")
GOLDEN = os.path.join(SOURCE, "tests/data/golden")
TINY = os.path.join(GOLDEN, "tiny-p2r4c2")
TINY_BF16 = os.path.join(GOLDEN, "tiny-p1r2c1-bf16")

MESSAGE_LIMITS = [("grpc.max_receive_message_length", 64 << 20)]


def patience(seconds=60):
    """A deadline for something that takes well under a second: only a hang may reach it."""
    return seconds * SCALE


def wait_until(condition, what, seconds=60):
    """Poll for states that nobody sends an event for (files, /proc); returns the true value."""
    end = time.monotonic() + patience(seconds)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("%s: not within %.0f s" % (what, patience(seconds)))
        time.sleep(0.005)


def free_port():
    """A port below 32768: above it, an outgoing connection of anybody may take it meanwhile."""
    for _ in range(1000):
        port = 20000 + int.from_bytes(os.urandom(2), "little") % 12000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port in 20000..31999")


# ------------------------------------------------------------------------------- processes, shared memory


def proc_stat(pid):
    """Fields of /proc/PID/stat behind the program's name, or None when it is gone."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def session_members(session):
    """Processes of a session that are alive; mpirun gives each rank a group, but not a session."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = proc_stat(int(name))
            if stat and int(stat[3]) == session and stat[0] not in "ZX":
                found.append(int(name))
    return found


def program_of(pid):
    try:
        return os.readlink("/proc/%d/exe" % pid)
    except OSError:
        return ""


def cpu_ticks(pid):
    """User and system time of a process with all its threads, in clock ticks."""
    stat = proc_stat(pid)
    return int(stat[11]) + int(stat[12]) if stat else 0


def rss_kib(pid):
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


def shared_memory():
    """Entries of /dev/shm, but for the directories that unit tests of the job log make there meanwhile."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("latentd-store-")}


def mapped_shared_memory():
    """Entries of /dev/shm that some living process maps or holds open."""
    used = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/maps" % name) as maps:
                used.update(re.findall(r"/dev/shm/(\S+)", maps.read()))
            for fd in os.listdir("/proc/%s/fd" % name):
                target = os.readlink("/proc/%s/fd/%s" % (name, fd))
                if target.startswith("/dev/shm/"):
                    used.add(target[len("/dev/shm/"):])
        except OSError:
            continue
    return used


# ---------------------------------------------------------------------------------------------- the daemon


class Daemon:
    """latentd, alone (ranks=0) or under `mpirun -n ranks`, ready to serve when the constructor returns."""

    running = []  # for logs of a failing test, and for the clean-up behind it

    def __init__(self, model=DEMO, ranks=0, options=None, arguments=(), environment=None,
                 listen=("127.0.0.1:0",), wait=True, ready_seconds=120, default_shm=False):
        self.dir = tempfile.mkdtemp(prefix="ltd-e2e-")
        self.ready_file = os.path.join(self.dir, "ready")
        self.log_path = os.path.join(self.dir, "log")
        self.ranks = ranks
        self.shm_before = shared_memory()
        self.default_shm = default_shm
        command = self._launcher() + [BIN]
        if model:
            command += ["--model", model]
        for address in listen:
            command += ["--listen", address]
        options = dict(options or {}, ready_file=self.ready_file)
        if "thread" in SANITIZE:
            options["threads"] = 1  # libgomp is not instrumented: its barriers look like races
        for key, value in options.items():
            command += ["--set", "%s=%s" % (key, value)]
        self.command = command + list(arguments)
        self.environment = self._environment(environment or {})
        self.started = time.monotonic()
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment, cwd=self.dir,
                                            start_new_session=True)
        self.pid = self.process.pid
        self.channels = []
        Daemon.running.append(self)
        if wait:
            self.wait_ready(ready_seconds)

    def _launcher(self):
        if not self.ranks:
            return []
        launcher = ["mpirun", "--bind-to", "none", "--oversubscribe", "-n", str(self.ranks)]
        return launcher + (["--allow-run-as-root"] if os.geteuid() == 0 else [])

    def _environment(self, extra):
        environment = dict(os.environ, TMPDIR=self.dir, HWLOC_COMPONENTS="-gl",
                           OMPI_MCA_pml="ob1", OMPI_MCA_mpi_yield_when_idle="1")
        if not self.default_shm:
            environment["OMPI_MCA_btl_vader_backing_directory"] = self.dir
            environment["OMPI_MCA_osc_sm_backing_directory"] = self.dir
        environment.update(extra)
        return environment

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def wait_ready(self, seconds=120):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError("latentd ended with %s before it was ready:\n%s"
                                     % (self.process.returncode, self.log()))
            try:
                with open(self.ready_file) as file:
                    return file.read().endswith("\n")
            except OSError:
                return False
        wait_until(ready, "latentd ready (%s)" % self.ready_file, seconds)
        self.ready_seconds = time.monotonic() - self.started
        with open(self.ready_file) as file:
            self.addresses = file.read().split()
        self.address = self.addresses[0]

    def channel(self, address=None, options=()):
        channel = grpc.insecure_channel(address or self.address,
                                        options=MESSAGE_LIMITS + list(options))
        self.channels.append(channel)
        return channel

    def api(self, address=None):
        return Api(self.channel(address))

    def members(self):
        return session_members(self.pid)

    def rank_pids(self):
        """Processes that run latentd itself; mpirun is not one of them."""
        return [pid for pid in self.members() if program_of(pid) == os.path.realpath(BIN)]

    def signal(self, number):
        os.kill(self.pid, number)

    def ask_to_stop(self):
        """SIGTERM for a process of our own; mpirun kills its ranks on that, so SIGUSR1 there."""
        self.signal(signal.SIGUSR1 if self.ranks else signal.SIGTERM)

    def wait(self, seconds=60):
        try:
            return self.process.wait(patience(seconds))
        except subprocess.TimeoutExpired:
            raise AssertionError("latentd did not end within %.0f s; its log:\n%s"
                                 % (patience(seconds), self.log())) from None

    def stop(self, seconds=60):
        """Orderly stop. Returns the exit status; the caller compares it (0 unless it says why)."""
        self.close_channels()
        self.ask_to_stop()
        status = self.wait(seconds)
        wait_until(lambda: not self.members(), "every process of the daemon gone")
        return status

    def close_channels(self):
        for channel in self.channels:
            channel.close()
        self.channels = []

    def left_behind(self):
        """Entries of /dev/shm that came since the start and that no living process uses."""
        return shared_memory() - self.shm_before - mapped_shared_memory()

    def kill(self):
        """End whatever is left of this daemon, and only of it. For clean-up, never to pass a test."""
        self.close_channels()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.members():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            if self.process.poll() is None:
                try:
                    self.process.wait(5)
                except subprocess.TimeoutExpired:
                    pass
        shutil.rmtree(self.dir, ignore_errors=True)
        if self in Daemon.running:
            Daemon.running.remove(self)


# ---------------------------------------------------------------------------------------------- the client


class Api:
    """The three services and health over one channel."""

    def __init__(self, channel):
        self.channel = channel
        self.inference = latentd_pb2_grpc.InferenceStub(channel)
        self.jobs = latentd_pb2_grpc.JobsStub(channel)
        self.cluster = latentd_pb2_grpc.ClusterStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)

    def generate(self, spec, seconds=120, **fields):
        request = latentd_pb2.GenerateRequest(spec=spec, **fields)
        return list(self.inference.Generate(request, timeout=patience(seconds)))

    def submit(self, spec, request_id="", seconds=60):
        request = latentd_pb2.SubmitJobRequest(spec=spec, request_id=request_id)
        return self.jobs.Submit(request, timeout=patience(seconds))

    def watch(self, name, after_seq=0, seconds=120):
        request = latentd_pb2.WatchJobRequest(name=name, after_seq=after_seq)
        return self.jobs.Watch(request, timeout=patience(seconds))

    def get(self, name):
        return self.jobs.Get(latentd_pb2.GetJobRequest(name=name), timeout=patience())

    def cancel(self, name):
        return self.jobs.Cancel(latentd_pb2.CancelJobRequest(name=name), timeout=patience())

    def continue_job(self, name, more_tokens=0, more_steps=0, request_id=""):
        request = latentd_pb2.ContinueJobRequest(name=name, more_tokens=more_tokens, more_steps=more_steps,
                                                 request_id=request_id)
        return self.jobs.Continue(request, timeout=patience())

    def set_priority(self, name, priority):
        return self.jobs.SetPriority(latentd_pb2.SetJobPriorityRequest(name=name, priority=priority),
                                     timeout=patience())

    def delete(self, name):
        return self.jobs.Delete(latentd_pb2.DeleteJobRequest(name=name), timeout=patience())

    def score(self, context, continuation, depth, init_scale=None, seed=None, seconds=120):
        """Log-probabilities of token ids behind token ids; `depth` is a Depth, or as in make_spec."""
        request = latentd_pb2.ScoreRequest(depth=make_depth(depth))
        request.context.tokens.ids.extend(context)
        request.continuation.tokens.ids.extend(continuation)
        if init_scale is not None:
            request.init_scale = init_scale
        if seed is not None:
            request.seed = seed
        return self.inference.Score(request, timeout=patience(seconds))

    def model(self):
        return self.cluster.GetModel(latentd_pb2.GetModelRequest(), timeout=patience())

    def status(self):
        return self.cluster.GetStatus(latentd_pb2.GetStatusRequest(), timeout=patience())

    def finish(self, name, seconds=120):
        """Wait for a job's end and return it whole."""
        for _ in self.watch(name, seconds=seconds):
            pass
        return self.get(name)


def make_depth(depth, tokenwise=False, at=()):
    """A Depth of a number of steps, (min, max, threshold), (min, max) for a range, or a Depth; `at` has pairs of
    token and steps."""
    made = job_pb2.Depth(tokenwise=tokenwise)
    if isinstance(depth, job_pb2.Depth):
        made.MergeFrom(depth)
    elif isinstance(depth, tuple) and len(depth) == 2:
        made.range.min_steps, made.range.max_steps = depth
    elif isinstance(depth, tuple):
        made.adaptive.min_steps, made.adaptive.max_steps, made.adaptive.threshold = depth
    elif depth is not None:
        made.fixed_steps = depth
    for token, steps in at:
        made.at.add(token=token, steps=steps)
    return made


def adaptive(criterion, max_steps, threshold=None, min_steps=0, check_every=0):
    """A Depth by a criterion's name: "latent-diff", "kl" and so on; without a threshold, by its default."""
    made = job_pb2.Depth()
    made.adaptive.criterion = job_pb2.Criterion.Value("CRITERION_" + criterion.upper().replace("-", "_"))
    made.adaptive.min_steps, made.adaptive.max_steps = min_steps, max_steps
    made.adaptive.check_every = check_every
    if threshold is not None:
        made.adaptive.threshold = threshold
    return made


def make_spec(prompt, depth=None, max_tokens=0, seed=None, init_scale=None, logprobs=None,
              temperature=None, stop=(), ignore_eos=False, label="", max_run_ms=0, tokenwise=False, at=(),
              priority=None, client="", token_ms=0, total_ms=0, **sampling):
    """A JobSpec; `prompt` is text or ids, `depth` and `at` as in make_depth."""
    spec = job_pb2.JobSpec(max_tokens=max_tokens, stop=list(stop), ignore_eos=ignore_eos,
                           label=label, max_run_ms=max_run_ms, client=client)
    if isinstance(prompt, str):
        spec.prompt.text = prompt
    else:
        spec.prompt.tokens.ids.extend(prompt)
    if depth is not None or tokenwise or at:
        spec.depth.CopyFrom(make_depth(depth, tokenwise, at))
    if token_ms or total_ms:
        spec.budget.token_ms, spec.budget.total_ms = token_ms, total_ms
    if priority is not None:
        spec.priority = priority
    if seed is not None:
        spec.sampling.seed = seed
    if temperature is not None:
        spec.sampling.temperature = temperature
    for name, value in sampling.items():
        setattr(spec.sampling, name, value)
    if init_scale is not None:
        spec.init_scale = init_scale
    if logprobs is not None:
        spec.logprobs = logprobs
    return spec


def retry_delay_ms(error):
    """The retry_delay of a failed call's RetryInfo, or None when its status has none."""
    found = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if found is None:
        return None
    status = status_details_pb2.Status.FromString(found)
    if (status.code, status.message) != (error.code().value[0], error.details()):
        raise AssertionError("the details say %s, the status %s" % (status, error))
    delays = [status_details_pb2.RetryInfo.FromString(detail.value).retry_delay for detail in status.details
              if detail.type_url == "type.googleapis.com/google.rpc.RetryInfo"]
    return delays[0].seconds * 1000 + delays[0].nanos / 1e6 if delays else None


def float_bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def double_bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


class Answer:
    """What a job wrote, in a form that is equal only when every bit is."""

    def __init__(self):
        self.ids, self.steps, self.exits, self.logprobs, self.values = [], [], [], [], []
        self.text, self.finish, self.total_steps = "", None, 0

    def add(self, tokens):
        self.ids += tokens.ids
        self.text += tokens.text
        self.steps += tokens.steps
        self.exits += tokens.exits
        self.values += [double_bits(v) for v in tokens.criterion_values]
        self.logprobs += [(float_bits(one.logprob),
                           tuple((top.id, float_bits(top.logprob)) for top in one.top))
                          for one in tokens.logprobs]

    @classmethod
    def of_events(cls, events):
        answer = cls()
        for event in events:
            kind = event.WhichOneof("event")
            if kind == "tokens":
                answer.add(event.tokens)
            elif kind == "finished":
                answer.finish = event.finished.reason
                answer.text += event.finished.text_tail
                answer.total_steps = event.finished.total_steps
        return answer

    @classmethod
    def of_job(cls, job):
        answer = cls()
        answer.add(job.output.tokens)
        answer.finish = job.output.finish
        answer.total_steps = job.total_steps
        return answer

    def key(self):
        return (tuple(self.ids), self.text, tuple(self.steps), tuple(self.exits),
                tuple(self.logprobs), tuple(self.values), self.finish, self.total_steps)

    def __eq__(self, other):
        return self.key() == other.key()

    def __repr__(self):
        first = ["%08x" % bits for bits, _ in self.logprobs]
        return ("ids %s steps %s exits %s finish %s total %s text %r logprob bits %s"
                % (self.ids, self.steps, self.exits, self.finish, self.total_steps, self.text,
                   first))


def assert_same_answer(test, found, expected, where):
    """Bit for bit, and the first difference in the message."""
    if found == expected:
        return
    for name in ("ids", "steps", "exits", "logprobs", "values", "text", "finish", "total_steps"):
        a, b = getattr(found, name), getattr(expected, name)
        if a == b:
            continue
        if isinstance(a, list) and isinstance(b, list):
            index = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            a, b = a[index:index + 1], b[index:index + 1]
            name = "%s[%d]" % (name, index)
        test.fail("%s: %s: found %s, expected %s" % (where, name, a, b))


def run_together(jobs, seconds=600):
    """Run callables at once, each in a thread; returns their results in order, or raises the first error."""
    results, errors = [None] * len(jobs), []

    def call(index, job):
        try:
            results[index] = job()
        except BaseException as error:  # noqa: B902 - handed to the caller below
            errors.append(error)

    threads = [threading.Thread(target=call, args=item, daemon=True) for item in enumerate(jobs)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience(seconds)
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    if errors:
        raise errors[0]
    hanging = sum(thread.is_alive() for thread in threads)
    if hanging:
        raise AssertionError("%d of %d calls not over within %.0f s"
                             % (hanging, len(jobs), patience(seconds)))
    return results


def ctl(daemon, *arguments, seconds=120, stdin=None, environment=None):
    """latentctl with --server; returns the finished process with stdout and stderr as text."""
    verb, rest = arguments[0], list(arguments[1:])
    command = [CTL, verb]
    if daemon is not None:
        command += ["--server", daemon if isinstance(daemon, str) else daemon.address]
    return subprocess.run(command + rest, input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=patience(seconds), encoding="utf-8",
                          env=dict(os.environ, **(environment or {})))


def packed_tier():
    """Whether a tier of this machine takes packed models: avx2 and better."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = set(re.findall(r"[^ \n]+", next((line for line in file if line.startswith("flags")), "")))
    return {"avx2", "fma"} <= flags


def pack(case, model, formats):
    """A packed directory made from `model`, gone when the test is over."""
    parent = tempfile.mkdtemp(prefix="ltd-packed-")
    case.addCleanup(shutil.rmtree, parent, True)
    out = os.path.join(parent, os.path.basename(model))
    subprocess.run([os.environ["LATENTD_MODEL_BIN"], "pack", "--format", formats, "--out", out, model],
                   stdout=subprocess.DEVNULL, check=True, timeout=patience(120))
    return out


def questions():
    with open(os.path.join(DEMO, "questions.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_safetensors(path):
    """name -> (shape, flat list of numbers); I64 and F32 only, which is what golden files hold."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        body = file.read()
    tensors = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        begin, end = about["data_offsets"]
        code = {"I64": "q", "F32": "f"}[about["dtype"]]
        count = (end - begin) // struct.calcsize("<" + code)
        tensors[name] = (about["shape"], struct.unpack("<%d%s" % (count, code), body[begin:end]))
    return tensors


# ---------------------------------------------------------------------------------------------- the runner


class Result(unittest.TextTestResult):
    def _show_daemons(self):
        for daemon in Daemon.running:
            text = daemon.log()
            self.stream.writeln("---- %s\n%s----" % (" ".join(daemon.command), text[-6000:]))

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._show_daemons()

    def addError(self, test, err):
        super().addError(test, err)
        self._show_daemons()

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._show_daemons()


class Case(unittest.TestCase):
    """A test that starts daemons: each is ended behind the test that made it, whatever happened."""

    def daemon(self, *args, **kwargs):
        before = set(Daemon.running)
        try:
            return Daemon(*args, **kwargs)
        finally:
            for daemon in set(Daemon.running) - before:
                self.addCleanup(daemon.kill)

    def assert_stops_cleanly(self, daemon):
        status = daemon.stop()
        self.assertEqual(status, 0, "exit status of an orderly stop; the log:\n" + daemon.log())
        wait_until(lambda: not daemon.left_behind(), "nothing of the daemon left in /dev/shm", 20)


def main():
    """Run the calling file's tests; exit status 77 when all of them were skipped."""
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Result, stream=sys.stdout)
    program = unittest.main(testRunner=runner, exit=False)
    for daemon in list(Daemon.running):
        daemon.kill()
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.testsRun and len(result.skipped) == result.testsRun else 0)
