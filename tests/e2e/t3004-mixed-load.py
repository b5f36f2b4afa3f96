#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One answer under a mixed load: 200 random jobs with little room, so that they wait, give way, are replayed, share
pages, are cancelled and go on; on one, two and three ranks, in three orders of arrival. Whatever was not cancelled or
limited in time has the bytes that it has alone; what was ended early has the beginning of them.

LATENTD_SEED=n makes other jobs; the seed is printed."""
import os
import random

import harness
from harness import Answer, adaptive, assert_same_answer, job_pb2, latentd_pb2, make_depth, make_spec

SEED = int(os.environ.get("LATENTD_SEED", "20261121"))
JOBS = 200 if not harness.SANITIZE else 60
VOCABULARY, DEEPEST, WAVE = 97, 24, 10
CRITERIA = ("latent-diff", "cosine", "acceleration", "kl", "minp-kl", "entropy-diff", "argmax-stability")

# So little room that jobs wait for pages and seats, and give way to more important ones.
SCARCE = dict(threads=1, kv_pages=14, max_jobs_running=5, max_queue=1000, max_batch=20, prefill_chunk=6, held_jobs=2,
              max_steps=DEEPEST)


class Planned:
    """One job of the load: its spec, and what happens to it on the way."""

    def __init__(self, rng, number, beginnings):
        self.number = number
        self.cancel_after = self.release_after = None  # so many submissions later
        self.raise_to = None
        prompt = [rng.randrange(VOCABULARY) for _ in range(rng.choice((1, 3, 9, 20, 40)))]
        max_tokens = rng.randint(1, 12)
        # Other depths for single tokens, by rising token.
        tokens = rng.sample(range(max_tokens), min(max_tokens, rng.randint(1, 3)))
        at = [(token, rng.randint(1, DEEPEST)) for token in sorted(tokens)] if rng.random() < 0.15 else ()
        self.is_elastic = rng.random() < 0.05
        fields = dict(max_tokens=max_tokens, at=at, tokenwise=not self.is_elastic and rng.random() < 0.15,
                      depth=(2, DEEPEST) if self.is_elastic else self.depth(rng),
                      logprobs=rng.choice((None, 0, 1, 4)), ignore_eos=True,
                      init_scale=rng.choice((0, 1, 1, 2.5)), priority=rng.choice((1, 4, 16, 16, 16, 24, 31)),
                      client="client-%d" % rng.randrange(4), seed=number)
        if rng.random() < 0.15:  # what is needed to share pages: the same beginning, latents and depth
            prompt = rng.choice(beginnings) + prompt[:8]
            fields.update(depth=make_depth(8), tokenwise=False, at=(), seed=1, init_scale=1)
            self.is_elastic = False
        if rng.random() < 0.5:
            fields.update(temperature=rng.choice((0.7, 1.3)), top_k=rng.choice((0, 20)), top_p=rng.choice((0, 0.9)),
                          repetition_penalty=rng.choice((1, 1.2)))
        self.fate(rng, fields)
        self.spec = make_spec(prompt, **fields)

    @staticmethod
    def depth(rng):
        if rng.random() < 0.4:
            return make_depth(rng.randint(1, DEEPEST))
        low = rng.randint(1, 4)  # check_every may not be above max_steps
        return adaptive(rng.choice(CRITERIA), rng.randint(max(low, 3), DEEPEST), min_steps=low,
                        check_every=rng.choice((1, 1, 1, 2, 3)))

    def fate(self, rng, fields):
        draw = rng.random()
        if draw < 0.12:
            self.cancel_after = rng.choice((0, 0, 1, 5, 30))
        elif draw < 0.16:
            fields["max_run_ms"] = rng.choice((1, 20))
        elif draw < 0.22:
            fields["priority"], self.release_after = 0, rng.choice((0, 10, 50))
        elif draw < 0.28:
            self.raise_to, self.release_after = rng.choice((1, 31)), rng.choice((0, 5))

    def may_end_early(self):
        return self.cancel_after is not None or self.spec.max_run_ms


def make_load():
    rng = random.Random(SEED)
    beginnings = [[rng.randrange(VOCABULARY) for _ in range(32)] for _ in range(3)]
    return [Planned(rng, number, beginnings) for number in range(JOBS)]


def arrivals(load):
    """The three orders: the least important first (which then give way), the other way round, and shuffled."""
    rising = sorted(load, key=lambda job: job.spec.priority)
    return [("rising", rising), ("falling", rising[::-1]), ("shuffled", random.Random(SEED + 1).sample(load, JOBS))]


class Scores:
    """Scores are asked for meanwhile, as calls of their own."""

    def __init__(self):
        rng = random.Random(SEED + 2)
        self.requests = []
        for i in range(6):
            request = latentd_pb2.ScoreRequest(seed=i, depth=Planned.depth(rng))
            request.depth.tokenwise = i == 3
            request.context.tokens.ids.extend(rng.randrange(VOCABULARY) for _ in range(3 + 4 * i))
            request.continuation.tokens.ids.extend(rng.randrange(VOCABULARY) for _ in range(5))
            self.requests.append(request)

    def ask(self, api):
        return [self.key(api.inference.Score(request, timeout=harness.patience(300))) for request in self.requests]

    @staticmethod
    def key(answer):
        return ([harness.float_bits(v) for v in answer.logprobs], list(answer.greedy), list(answer.steps))


class MixedLoad(harness.Case):
    def setUp(self):
        print("LATENTD_SEED=%d, %d jobs" % (SEED, JOBS))
        self.load, self.scores = make_load(), Scores()

    def reference(self, **options):
        """Every job alone on one rank with one thread and room for all it wants."""
        daemon = self.daemon(model=harness.TINY, options=dict(threads=1, max_steps=DEEPEST, held_jobs=0,
                                                              kv_cached_memory=0, **options))
        api, answers = daemon.api(), []
        for job in self.load:
            spec = job_pb2.JobSpec()
            spec.CopyFrom(job.spec)
            spec.max_run_ms = 0
            spec.priority = 16
            answers.append(Answer.of_events(api.generate(spec)))
        status = api.status()
        self.assertEqual((status.preemptions, status.prefix_positions, status.replay_positions), (0, 0, 0))
        scores = self.scores.ask(api)
        self.assert_stops_cleanly(daemon)
        return answers, scores

    def submit_all(self, api, order):
        """All jobs in waves, with what befalls some of them on the way; their names by number."""
        names, due = {}, []

        def befall(submitted):
            for item in [item for item in due if item[0] <= submitted]:
                due.remove(item)
                item[1]()

        for submitted, job in enumerate(order):
            if submitted % WAVE == 0:
                self.let_some_tokens_be_written(api)
            name = names[job.number] = api.submit(job.spec).name
            if job.cancel_after is not None:
                due.append((submitted + job.cancel_after, lambda name=name: api.cancel(name)))
            elif job.release_after is not None:
                due.append((submitted + job.release_after,
                            lambda name=name, job=job: self.set_priority(api, name, job.raise_to or 16)))
            befall(submitted)
        befall(10 * JOBS)
        return names

    def let_some_tokens_be_written(self, api):
        """So that whoever gives way to the next wave has something to be replayed. Jobs that are held back wait for
        later submissions, and nobody waits for them."""
        enough = api.status().tokens_out + WAVE // 2

        def is_over():
            status = api.status()
            waiting = sum(entry.jobs for entry in status.waiting if entry.priority > 0)
            return status.tokens_out >= enough or not (status.jobs_running or waiting)
        harness.wait_until(is_over, "tokens written between two waves of jobs", 300)

    def set_priority(self, api, name, priority):
        try:
            api.set_priority(name, priority)
        except harness.grpc.RpcError as error:  # it may have ended meanwhile
            self.assertEqual(error.code(), harness.grpc.StatusCode.FAILED_PRECONDITION, error.details())

    def compare(self, job, found, expected, where):
        where = "%s: job %d (%s)" % (where, job.number, str(job.spec.depth).replace("\n", " "))
        state = found.state
        answer = Answer.of_job(found)
        if job.is_elastic and state == job_pb2.JOB_STATE_SUCCEEDED:
            self.assertEqual(len(answer.ids), job.spec.max_tokens, where)
            return "elastic"
        if state == job_pb2.JOB_STATE_SUCCEEDED:
            whole = Answer()
            whole.__dict__.update(expected.__dict__, text=answer.text)
            assert_same_answer(self, answer, whole, where)
            return "whole"
        self.assertTrue(job.may_end_early(), "%s: state %d: %s" % (where, state, found.error))
        self.assertLess(len(answer.ids), max(2, len(expected.ids) + 1), where)
        if not job.is_elastic:
            for name in ("ids", "steps", "exits", "values", "logprobs"):
                part = getattr(answer, name)
                self.assertEqual(part, getattr(expected, name)[:len(part)],
                                 "%s: %s of what was written" % (where, name))
        return "cut"

    def run_load(self, daemon, order, expected, where):
        api = daemon.api()
        answers, expected_scores = expected
        scored = []
        other = daemon.api()
        scorer = harness.threading.Thread(target=lambda: scored.append(self.scores.ask(other)), daemon=True)
        scorer.start()
        names = self.submit_all(api, order)
        ends = {"whole": 0, "cut": 0, "elastic": 0}
        for job in self.load:
            ends[self.compare(job, api.finish(names[job.number], seconds=300), answers[job.number], where)] += 1
        scorer.join(harness.patience(300))
        self.assertEqual(scored, [expected_scores], where + ": scores")
        for name in names.values():
            api.delete(name)
        status = api.status()
        print("%s: %s; so far %d preemptions, %d positions replayed, %d shared"
              % (where, ends, status.preemptions, status.replay_positions, status.prefix_positions))
        self.assertGreater(ends["whole"], JOBS // 2)
        return status

    def run_ways(self, expected, ways, options=None):
        for ranks, own, orders in ways:
            where = "%d ranks, %s" % (ranks, dict(own, **(options or {})))
            with self.subTest(where):
                daemon = self.daemon(model=harness.TINY, ranks=ranks, options=dict(SCARCE, **own, **(options or {})))
                for name, order in [pair for pair in arrivals(self.load) if pair[0] in orders]:
                    status = self.run_load(daemon, order, expected, "%s, %s" % (where, name))
                self.assertGreater(status.preemptions, 0, where)
                self.assertGreater(status.replay_positions, 0, where)
                self.assert_stops_cleanly(daemon)
                yield status

    def test_whatever_happens_around_them_jobs_have_one_answer(self):
        ways = [(ranks, {}, ("rising", "falling", "shuffled")) for ranks in (1, 2, 3)]
        if harness.SANITIZE:
            ways = [(0, {}, ("rising", "shuffled")), (2, {}, ("rising",))]
        statuses = list(self.run_ways(self.reference(), ways))
        self.assertGreater(sum(status.prefix_positions for status in statuses), 0, "positions taken over from others")

    def test_so_do_they_where_steps_share_entries(self):
        options = dict(kv_slots=3)
        for status in self.run_ways(self.reference(**options), [(2, {}, ("rising",))], options):
            self.assertEqual(status.prefix_positions, 0, "beginnings must not be shared where steps share entries")

    def test_so_do_they_in_bf16_with_overlap(self):
        options = dict(kv_format="bf16")
        list(self.run_ways(self.reference(**options), [(0, dict(overlap="on"), ("rising",))], options))


if __name__ == "__main__":
    harness.main()
