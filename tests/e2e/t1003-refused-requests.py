#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bad requests get the status that the contract gives them, and no job beside them notices."""
import threading

import grpc

import harness
from harness import Answer, assert_same_answer, job_pb2, latentd_pb2, make_spec, patience

INVALID = grpc.StatusCode.INVALID_ARGUMENT
GENERATE = "/latentd.v1.Inference/Generate"
SUBMIT = "/latentd.v1.Jobs/Submit"
PROMPT = "1+2="
NOBODY = b"\x0a\x1fjobs/00000000000000000000000000"  # a request for a job that never was
NAN, INFINITE = float("nan"), float("inf")


def spec(**keys):
    prompt = keys.pop("prompt", PROMPT)
    return make_spec(prompt, **keys)


def with_fields(change, **keys):
    made = spec(**keys)
    change(made)
    return made


# (what is wrong, the job's spec, the status)
BAD_SPECS = [
    ("no prompt", job_pb2.JobSpec(), INVALID),
    ("a prompt of no tokens", with_fields(lambda s: s.prompt.tokens.SetInParent(), prompt=[]), INVALID),
    ("a chat of no messages", with_fields(lambda s: s.prompt.chat.SetInParent()), INVALID),
    ("a token beyond the vocabulary", spec(prompt=[1, 2, 10**6]), INVALID),
    ("the largest token id", spec(prompt=[0xFFFFFFFF]), INVALID),
    ("a prompt longer than the context", spec(prompt=[1] * 5000), INVALID),
    ("prompt and output longer than the context", spec(max_tokens=100000), INVALID),
    ("the largest max_tokens", spec(max_tokens=0xFFFFFFFF), INVALID),
    ("depth zero", spec(depth=0), INVALID),
    ("depth beyond the service's", spec(depth=4097), INVALID),
    ("the largest depth", spec(depth=0xFFFFFFFF), INVALID),
    ("min_steps above max_steps", spec(depth=(9, 8, 0.03)), INVALID),
    ("max_steps beyond the service's", spec(depth=(1, 4097, 0.03)), INVALID),
    ("a threshold of zero", spec(depth=(1, 8, 0.0)), INVALID),
    ("a negative threshold", spec(depth=(1, 8, -0.03)), INVALID),
    ("a threshold that is not a number", spec(depth=(1, 8, NAN)), INVALID),
    ("an infinite threshold", spec(depth=(1, 8, INFINITE)), INVALID),
    ("a criterion nobody knows",
     with_fields(lambda s: setattr(s.depth.adaptive, "criterion", 77)), grpc.StatusCode.UNIMPLEMENTED),
    ("a negative temperature", spec(temperature=-0.1), INVALID),
    ("a temperature too high", spec(temperature=101.0), INVALID),
    ("a temperature that is not a number", spec(temperature=NAN), INVALID),
    ("a negative top_p", spec(top_p=-0.1), INVALID),
    ("a top_p above one", spec(top_p=1.1), INVALID),
    ("a top_p that is not a number", spec(top_p=NAN), INVALID),
    ("a min_p above one", spec(min_p=1.5), INVALID),
    ("a repetition penalty of zero", spec(repetition_penalty=0.0), INVALID),
    ("an infinite repetition penalty", spec(repetition_penalty=INFINITE), INVALID),
    ("a negative init_scale", spec(init_scale=-1.0), INVALID),
    ("an init_scale that is not a number", spec(init_scale=NAN), INVALID),
    ("an init_scale too large", spec(init_scale=1000.0), INVALID),
    ("too many logprobs", spec(logprobs=33), INVALID),
    ("too many stop strings", spec(stop=["x"] * 17), INVALID),
    ("an empty stop string", spec(stop=["a", ""]), INVALID),
    ("a stop string too long", spec(stop=["y" * 257]), INVALID),
    ("a label too long", spec(label="z" * 129), INVALID),
    ("another model", with_fields(lambda s: setattr(s, "model", "models/other")), grpc.StatusCode.NOT_FOUND),
]

# (what is wrong, method, bytes of the request, the status)
BAD_BYTES = [
    ("no such method", "/latentd.v1.Jobs/Obliterate", b"", grpc.StatusCode.UNIMPLEMENTED),
    ("no such service", "/latentd.v2.Jobs/Submit", b"", grpc.StatusCode.UNIMPLEMENTED),
    ("bytes that are no message", SUBMIT, b"\xff\xff\xff\xff\xff", grpc.StatusCode.INTERNAL),
    ("a field that ends in the middle", SUBMIT, b"\x0a\x7f\x01", grpc.StatusCode.INTERNAL),
    ("text that is not UTF-8", SUBMIT, b"\x0a\x06\x12\x04\x0a\x02\xc3\x28", INVALID),
    ("a stop string that is not UTF-8", SUBMIT, b"\x0a\x0b\x12\x05\x0a\x031+1\x22\x02\xff\xfe", INVALID),
    ("an empty request", SUBMIT, b"", INVALID),
    ("a message above the limit of a prompt call", SUBMIT, b"\x0a\x84\x80\x80\x04" + bytes(8 << 20),
     grpc.StatusCode.RESOURCE_EXHAUSTED),
    ("a message above the limit of a control call", "/latentd.v1.Jobs/Get", bytes(100000),
     grpc.StatusCode.RESOURCE_EXHAUSTED),
    ("a job that does not exist", "/latentd.v1.Jobs/Get", NOBODY, grpc.StatusCode.NOT_FOUND),
    ("cancelling a job that does not exist", "/latentd.v1.Jobs/Cancel", NOBODY, grpc.StatusCode.NOT_FOUND),
    ("deleting a job that does not exist", "/latentd.v1.Jobs/Delete", NOBODY, grpc.StatusCode.NOT_FOUND),
    ("a name that no job can have", "/latentd.v1.Jobs/Get", b"\x0a\x09jobs/none", INVALID),
    ("a name that is no job's", "/latentd.v1.Jobs/Get", b"\x0a\x05x/y/z", INVALID),
    ("no name", "/latentd.v1.Jobs/Delete", b"", INVALID),
    ("a page token that was never given", "/latentd.v1.Jobs/List", b"\x12\x07garbage", INVALID),
    ("a page too large", "/latentd.v1.Jobs/List", b"\x08\xf5\x03", INVALID),
    ("a model that is not served", "/latentd.v1.Cluster/GetModel", b"\x0a\x08models/x", grpc.StatusCode.NOT_FOUND),
    ("nothing to tokenize", "/latentd.v1.Inference/Tokenize", b"", INVALID),
    ("an id that is no token", "/latentd.v1.Inference/Detokenize", b"\x0a\x05\xff\xff\xff\xff\x0f", INVALID),
    ("nothing to score", "/latentd.v1.Inference/Score", b"", INVALID),
]


class RefusedRequests(harness.Case):
    def setUp(self):
        self.server = self.daemon(options=dict(max_steps=4096, kv_slots=4))
        self.api = self.server.api()

    def status_of(self, call):
        try:
            result = call()
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, repr(result)

    def raw(self, path, data):
        call = self.api.channel.unary_unary(path, request_serializer=None, response_deserializer=None)
        return call(data, timeout=patience())

    def requests(self):
        for what, bad, expected in BAD_SPECS:
            yield what + " (Submit)", lambda bad=bad: self.api.submit(bad), expected
            yield what + " (Generate)", lambda bad=bad: self.api.generate(bad), expected
        for what, path, data, expected in BAD_BYTES:
            yield what, lambda path=path, data=data: self.raw(path, data), expected
        for request_id in ("x" * 65, "tab\there", "h\u00e9"):
            yield ("request id %r" % request_id,
                   lambda request_id=request_id: self.api.submit(spec(), request_id), INVALID)

    def test_each_gets_its_status_and_the_job_beside_them_writes_the_same_bytes(self):
        beside = make_spec("9-7-2-3=", depth=500, max_tokens=40, seed=5, ignore_eos=True, logprobs=2)
        expected = Answer.of_events(self.api.generate(beside))
        stop, answers = threading.Event(), []

        def run_beside():
            api = self.server.api()
            while not stop.is_set():
                answers.append(Answer.of_events(api.generate(beside)))

        neighbour = threading.Thread(target=run_beside)
        neighbour.start()
        self.addCleanup(neighbour.join)
        self.addCleanup(stop.set)
        count = 0
        for what, call, wanted in self.requests():
            with self.subTest(what):
                code, details = self.status_of(call)
                self.assertEqual(code, wanted, "%s: %s" % (what, details))
                self.assertTrue(details or code == grpc.StatusCode.UNIMPLEMENTED, what)
            count += 1
        stop.set()
        neighbour.join()
        self.assertGreaterEqual(count, 25)
        self.assertGreaterEqual(len(answers), 1)
        for answer in answers:
            assert_same_answer(self, answer, expected, "the job beside %d bad requests" % count)
        jobs = self.api.jobs.List(latentd_pb2.ListJobsRequest(page_size=500)).jobs
        self.assertEqual(len(jobs), len(answers) + 1, "a refused request left a job behind")
        self.assert_stops_cleanly(self.server)

    def test_a_message_says_which_field_is_wrong_and_what_would_be_right(self):
        for bad, words in ((spec(temperature=-0.5), ("temperature", "-0.5", "0")),
                           (spec(depth=4097), ("steps", "4097", "4096")),
                           (spec(logprobs=33), ("logprobs", "33", "32")),
                           (spec(prompt=[1, 2, 10**6]), ("1000000", "341"))):
            code, details = self.status_of(lambda bad=bad: self.api.submit(bad))
            for word in words:
                self.assertIn(word, details)

    def test_a_model_without_a_tokenizer_refuses_text_with_the_reason_and_serves_ids(self):
        daemon = self.daemon(model=harness.TINY)
        api = daemon.api()
        code, details = self.status_of(lambda: api.submit(make_spec("text")))
        self.assertIn(code, (INVALID, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.FAILED_PRECONDITION))
        self.assertIn("tokenizer", details)
        self.assertEqual(len(Answer.of_events(api.generate(make_spec([1, 2], depth=2, max_tokens=3))).ids), 3)
        self.assert_stops_cleanly(daemon)

    def test_a_full_queue_refuses_and_loses_nothing_that_was_accepted(self):
        daemon = self.daemon(options=dict(max_steps=4096, kv_slots=4, max_queue=3, max_jobs_running=2,
                                          drain_seconds=0))
        api = daemon.api()
        accepted, refused = [], None
        for _ in range(50):
            code, details = self.status_of(lambda: accepted.append(
                api.submit(make_spec(PROMPT, depth=4096, max_tokens=40, ignore_eos=True)).name))
            if code != grpc.StatusCode.OK:
                refused = code
                break
        self.assertEqual(refused, grpc.StatusCode.RESOURCE_EXHAUSTED, details)
        self.assertGreaterEqual(len(accepted), 3)
        for name in accepted:
            api.cancel(name)
            self.assertTrue(api.finish(name).done)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
