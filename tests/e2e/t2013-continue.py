#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A finished job goes on: with more tokens, with more steps of its last thought, again and again. Each continuation
has the bytes of a job that asked for all of it at once, whether the places of the old one are still held or it has
to be replayed. And priorities: a job is held back, let go, and goes in front of others."""
import grpc

import harness
from harness import Answer, adaptive, assert_same_answer, job_pb2, make_depth, make_spec

PROMPT = [59, 79, 62, 76, 19, 27, 72, 18, 9, 84, 62, 5, 6, 7, 8, 31, 90, 3, 44]
COMMON = dict(ignore_eos=True, logprobs=3)

# Every kind of job for which a position has its own way through the depths.
KINDS = {
    "fixed": dict(depth=16, seed=1),
    "fixed, zero latent": dict(depth=16, seed=2, init_scale=0),
    "latent-diff": dict(depth=adaptive("latent-diff", 24, 0.05), seed=3),
    "kl": dict(depth=adaptive("kl", 24, check_every=2), seed=4),
    "argmax-stability": dict(depth=adaptive("argmax-stability", 24, 3), seed=5),
    "token by token, fixed": dict(depth=make_depth(9, tokenwise=True), seed=6),
    "token by token, cosine": dict(depth=make_depth(adaptive("cosine", 24, 0.003), tokenwise=True), seed=7),
    "sampled": dict(depth=12, seed=8, temperature=1.1, top_p=0.95, repetition_penalty=1.1),
    "own depths": dict(depth=16, seed=9, at=((0, 5), (2, 20), (3, 2), (6, 11))),
}


class Continue(harness.Case):
    def assert_status(self, code, call, *args, **kwargs):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())

    def run_job(self, api, spec):
        return api.finish(api.submit(spec).name)

    def continued(self, api, old, where, **more):
        """The job that goes on, compared with one that asks for all of it at once."""
        made = api.continue_job(old.name, **more)
        events = list(api.watch(made.name))
        job = api.get(made.name)
        self.assertEqual(job.state, job_pb2.JOB_STATE_SUCCEEDED, "%s: %s" % (where, job.error))
        self.assertEqual(job.continues, old.name)
        self.assertEqual(job.spec.max_tokens, len(old.output.tokens.ids) + more.get("more_tokens", 0))
        at_once = self.run_job(api, job.spec)
        self.assertEqual(at_once.continues, "")
        assert_same_answer(self, Answer.of_job(job), Answer.of_job(at_once), where)
        streamed = Answer.of_events(events)
        streamed.text = Answer.of_job(job).text
        assert_same_answer(self, streamed, Answer.of_job(at_once), where + ", watched")
        kept = len(old.output.tokens.ids) - (more.get("more_steps", 0) > 0)
        for name in ("ids", "steps", "exits"):
            self.assertEqual(list(getattr(job.output.tokens, name))[:kept],
                             list(getattr(old.output.tokens, name))[:kept], "%s: %s that were written" % (where, name))
        return job

    def walk(self, api, kind, where, is_held):
        """A chain: more tokens, a deeper last thought, both, and again."""
        replayed = api.status().replay_positions
        first = make_spec(PROMPT, max_tokens=4, **KINDS[kind], **COMMON)
        if kind == "own depths":
            del first.depth.at[3:]  # of a token that is not written yet
        job = self.run_job(api, first)
        self.assertEqual(len(job.output.tokens.ids), 4)
        more = self.continued(api, job, where + ": 3 more tokens", more_tokens=3)
        expected = make_spec(PROMPT, max_tokens=7, **KINDS[kind], **COMMON)
        if kind == "own depths":
            del expected.depth.at[3:]
        self.assertEqual(more.spec, expected, where)
        deeper = self.continued(api, more, where + ": then 30 more steps", more_steps=30)
        self.assertEqual(deeper.output.tokens.steps[6], more.output.tokens.steps[6] + 30)
        self.assertEqual((deeper.spec.depth.at[-1].token, deeper.spec.depth.at[-1].steps),
                         (6, deeper.output.tokens.steps[6]))
        both = self.continued(api, deeper, where + ": then 5 of both", more_tokens=5, more_steps=5)
        self.assertEqual(both.output.tokens.steps[6], deeper.output.tokens.steps[6] + 5)
        again = self.continued(api, both, where + ": then 9 more steps", more_steps=9)
        self.continued(api, again, where + ": then 9 more steps again", more_steps=9)
        if is_held:
            self.assertEqual(api.status().replay_positions, replayed, where + ": positions computed again")
        # Its places were taken over by the second one.
        self.continued(api, job, where + ": the first one in another direction", more_tokens=1, more_steps=2)

    def check(self, **options):
        ranks = options.pop("ranks", 0)
        daemon = self.daemon(model=harness.TINY, ranks=ranks, options=dict(options, kv_cached_memory=0))
        api = daemon.api()
        for kind in KINDS:
            with self.subTest(kind):
                self.walk(api, kind, "%s, %s" % (kind, options), options["held_jobs"] > 0)
        status = api.status()
        print("%s: %d positions replayed, %d jobs held" % (options, status.replay_positions, status.jobs_held))
        self.assert_stops_cleanly(daemon)
        return status

    def test_continued_jobs_go_on_from_held_places(self):
        # What is held is used up by the job that goes on, and seven jobs end in each walk.
        status = self.check(held_jobs=200)
        self.assertGreater(status.jobs_held, 0)

    def test_continued_jobs_are_replayed_when_nothing_is_held(self):
        status = self.check(held_jobs=0)
        self.assertEqual(status.jobs_held, 0)
        self.assertGreater(status.replay_positions, 0)

    def test_continued_jobs_where_steps_share_entries(self):
        self.check(held_jobs=4, kv_slots=3)
        self.check(held_jobs=0, kv_slots=3, prefill_chunk=5)

    def test_continued_jobs_on_three_ranks_in_bf16(self):
        self.check(held_jobs=4, kv_format="bf16", ranks=3, threads=1)

    def test_a_deeper_thought_of_a_held_job_computes_the_added_steps_only(self):
        daemon = self.daemon(options=dict(held_jobs=4, kv_cached_memory=0))
        api = daemon.api()
        question = "9-7-2-3-9+6-4*9+7+5*0-5-2="
        job = self.run_job(api, make_spec(question, depth=16, max_tokens=1, seed=1))
        before = api.status()
        made = api.continue_job(job.name, more_steps=48)
        deeper = api.finish(made.name)
        after = api.status()
        self.assertEqual(after.tick_positions - before.tick_positions, 48 * job.prompt_tokens)
        self.assertEqual(list(deeper.output.tokens.steps), [64])
        at_once = make_spec(question, depth=16, at=[(0, 64)], max_tokens=1, seed=1)
        self.assertEqual(deeper.spec, at_once)
        assert_same_answer(self, Answer.of_job(deeper), Answer.of_job(self.run_job(api, at_once)), "16 and 48 steps")
        assert_same_answer(self, Answer.of_job(deeper),
                           Answer.of_job(self.run_job(api, deeper.spec)), "16 and 48 steps, by the job's own spec")
        # And more tokens cost the new positions only.
        before = api.status()
        longer = api.finish(api.continue_job(deeper.name, more_tokens=1).name)
        after = api.status()
        self.assertEqual(after.tick_positions - before.tick_positions, 16)
        self.assertEqual(list(longer.output.tokens.steps), [64, 16])
        self.assert_stops_cleanly(daemon)

    def test_a_cancelled_job_goes_on_where_it_was(self):
        daemon = self.daemon(model=harness.TINY, options=dict(max_steps=4096, kv_slots=4))
        api = daemon.api()
        spec = make_spec(PROMPT, depth=1000, max_tokens=60, seed=1, **COMMON)
        name = api.submit(spec).name
        for event in api.watch(name):
            if event.WhichOneof("event") == "tokens":
                break
        job = api.cancel(name)
        self.assertEqual(job.state, job_pb2.JOB_STATE_CANCELLED)
        job = api.get(name)
        self.assertGreater(len(job.output.tokens.ids), 0)
        self.continued(api, job, "after a cancel", more_tokens=1)
        self.assert_stops_cleanly(daemon)

    def test_what_cannot_be_continued_is_refused(self):
        daemon = self.daemon(options=dict(max_steps=64))
        api, code = daemon.api(), grpc.StatusCode
        job = self.run_job(api, make_spec("1+2+3=", depth=8, max_tokens=5, seed=1, ignore_eos=True))
        self.assert_status(code.INVALID_ARGUMENT, api.continue_job, job.name)
        self.assert_status(code.INVALID_ARGUMENT, api.continue_job, job.name, more_steps=57)
        self.assert_status(code.INVALID_ARGUMENT, api.continue_job, job.name, more_steps=2**32 - 1)
        room = 128 - job.prompt_tokens - 5
        self.assert_status(code.INVALID_ARGUMENT, api.continue_job, job.name, more_tokens=room + 1)
        self.assert_status(code.INVALID_ARGUMENT, api.continue_job, job.name, more_tokens=2**32 - 1)
        self.assert_status(code.INVALID_ARGUMENT, api.continue_job, "jobs/none", more_tokens=1)
        self.assert_status(code.NOT_FOUND, api.continue_job, job.name[:-1] + ("0" if job.name[-1] != "0" else "1"),
                           more_tokens=1)
        held = api.submit(make_spec("1+2+3=", depth=8, max_tokens=5, priority=0))
        self.assert_status(code.FAILED_PRECONDITION, api.continue_job, held.name, more_tokens=1)
        api.cancel(held.name)
        self.assert_status(code.FAILED_PRECONDITION, api.continue_job, held.name, more_tokens=1)
        ended = self.run_job(api, make_spec("1+2+3=", depth=16, seed=1))
        self.assertEqual(ended.output.finish, job_pb2.FINISH_REASON_EOS)
        self.assert_status(code.FAILED_PRECONDITION, api.continue_job, ended.name, more_tokens=1)
        self.continued(api, ended, "an end token thought over", more_steps=3)
        # All of the context, then one more thought of the last token.
        whole = self.continued(api, job, "to the end of the context", more_tokens=room)
        self.assert_status(code.INVALID_ARGUMENT, api.continue_job, whole.name, more_tokens=1)
        self.continued(api, whole, "the last token of the context", more_steps=1)
        self.assert_stops_cleanly(daemon)

    def test_a_request_id_continues_once(self):
        daemon = self.daemon()
        api = daemon.api()
        job = self.run_job(api, make_spec("1+2+3=", depth=8, max_tokens=3, seed=1, ignore_eos=True))
        made = [api.continue_job(job.name, more_tokens=2, request_id="again") for _ in range(3)]
        self.assertEqual({one.name for one in made}, {made[0].name})
        self.assertEqual(len(api.finish(made[0].name).output.tokens.ids), 5)
        self.assertEqual(api.continue_job(job.name, more_tokens=2, request_id="again").name, made[0].name)
        self.assert_status(grpc.StatusCode.ALREADY_EXISTS, api.continue_job, job.name, more_tokens=3,
                           request_id="again")
        self.assert_stops_cleanly(daemon)


class Priority(harness.Case):
    def test_a_held_job_waits_until_it_is_let_go(self):
        daemon = self.daemon()
        api = daemon.api()
        spec = make_spec("9-7-2-3=", depth=8, max_tokens=3, seed=5, logprobs=2)
        held = api.submit(make_spec("9-7-2-3=", depth=8, max_tokens=3, seed=5, logprobs=2, priority=0))
        expected = Answer.of_events(api.generate(spec))  # others come and go meanwhile
        self.assertEqual(api.get(held.name).state, job_pb2.JOB_STATE_QUEUED)
        waiting = {entry.priority: entry.jobs for entry in api.status().waiting}
        self.assertEqual(waiting, {0: 1})
        self.assertEqual(api.set_priority(held.name, 20).priority, 20)
        job = api.finish(held.name)
        assert_same_answer(self, Answer.of_job(job), Answer.of_job(api.finish(api.submit(spec).name)), "let go")
        self.assertEqual(Answer.of_job(job).ids, expected.ids)
        kinds = [event.WhichOneof("event") for event in api.watch(held.name)]
        self.assertEqual(kinds[:3], ["queued", "prioritized", "started"])
        self.assertEqual(job.priority, 20)
        for priority, name, code in ((16, held.name, grpc.StatusCode.FAILED_PRECONDITION),
                                     (32, held.name, grpc.StatusCode.INVALID_ARGUMENT),
                                     (16, "jobs/" + 26 * "0", grpc.StatusCode.NOT_FOUND)):
            with self.assertRaises(grpc.RpcError) as caught:
                api.set_priority(name, priority)
            self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assert_stops_cleanly(daemon)

    def test_more_important_jobs_go_first_and_take_the_seat(self):
        daemon = self.daemon(options=dict(max_jobs_running=1, held_jobs=0))
        api = daemon.api()
        spec = dict(depth=32, max_tokens=100, ignore_eos=True, logprobs=0)
        expected = Answer.of_events(api.generate(make_spec("1+2=", seed=1, **spec)))
        running = api.submit(make_spec("1+2=", seed=1, **spec))
        for event in api.watch(running.name):
            if event.WhichOneof("event") == "tokens":
                break
        names = [api.submit(make_spec("1+2=", seed=2, priority=priority, **spec)).name for priority in (3, 16, 29)]
        api.set_priority(names[0], 31)
        jobs = [api.finish(name) for name in names]
        first = api.finish(running.name)
        order = [jobs[0], jobs[2], first, jobs[1]]  # 31, 29, the one that gave way, then the other 16
        self.assertEqual([job.name for job in sorted(order, key=lambda job: job.end_us)], [job.name for job in order])
        answer = Answer.of_job(first)
        answer.text = expected.text
        assert_same_answer(self, answer, expected, "the job that gave way")
        self.assertGreater(api.status().preemptions, 0)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
