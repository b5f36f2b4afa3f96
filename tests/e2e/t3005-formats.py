#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Weights in bf16, int8 and int4 have one answer each: the same bits for every number of ranks, shares and threads, alone
and in company. The format is what the service says, what a job's record holds, and what ranks must agree on."""
import itertools
import json
import re
import urllib.request

import grpc

import harness
from harness import Answer, assert_same_answer, job_pb2, latentd_pb2, make_spec, patience

FORMATS = ("bf16", "int8", "int4")
SHORT, LONG = [59, 79, 62, 76, 19, 27, 72, 18, 9, 84, 62], list(range(5, 46))

# Ranks (0: no mpirun) and options; the shares leave a rank without a head.
WAYS = [
    (0, dict(threads=2, prefill_chunk=3)),
    (2, dict(threads=1)),
    (3, dict(threads=2, shares="0.1,3,2", prefill_chunk=2)),
]


def jobs():
    common = dict(ignore_eos=True, logprobs=4)
    return [
        ("greedy", make_spec(SHORT, depth=8, max_tokens=8, seed=1, **common)),
        ("long prompt", make_spec(LONG, depth=6, max_tokens=4, seed=2, **common)),
        ("adaptive", make_spec(SHORT, depth=(1, 24, 0.05), max_tokens=8, seed=3, **common)),
        ("sampled", make_spec(SHORT, depth=5, max_tokens=8, seed=4, temperature=1.2, **common)),
    ]


LADDER = dict(format="bf16", early_format="int8")


def with_early_steps(spec, steps):
    changed = job_pb2.JobSpec()
    changed.CopyFrom(spec)
    changed.depth.early_steps = steps
    return changed


class Formats(harness.Case):
    def answers(self, daemon):
        """Of every job alone."""
        return {name: Answer.of_events(daemon.api().generate(spec)) for name, spec in jobs()}

    def reference(self, model, **options):
        daemon = self.daemon(model=model, options=dict(threads=1, **options))
        answers = self.answers(daemon)
        self.assert_stops_cleanly(daemon)
        return answers

    def check_ways(self, model, weights):
        expected = self.reference(model, format=weights)
        for ranks, way in WAYS:
            where = "%s, %s, %d ranks, %s" % (model.rsplit("/", 1)[1], weights, ranks, way)
            daemon = self.daemon(model=model, ranks=ranks, options=dict(way, format=weights))
            for name, answer in self.answers(daemon).items():
                assert_same_answer(self, answer, expected[name], "%s: alone: %s" % (where, name))
            # Three of each at once: the batch holds jobs at many depths, some of them the same job.
            crowd = jobs() * 3
            together = harness.run_together([lambda s=s: Answer.of_events(daemon.api().generate(s)) for _, s in crowd])
            for answer, (name, _) in zip(together, crowd):
                assert_same_answer(self, answer, expected[name], "%s: in company: %s" % (where, name))
            self.assert_stops_cleanly(daemon)
        return expected

    def test_each_format_has_one_answer_and_it_is_another_one(self):
        """The comparison can fail: what is rounded otherwise shows in bits."""
        for model in (harness.TINY, harness.TINY_BF16):
            all_answers = {"f32": self.reference(model)}
            for weights in FORMATS:
                all_answers[weights] = self.check_ways(model, weights)
            for one, other in itertools.combinations(("f32",) + FORMATS, 2):
                differing = [name for name in all_answers[one]
                             if all_answers[one][name].logprobs != all_answers[other][name].logprobs]
                self.assertTrue(differing, "%s and %s, and not one bit of a log-probability differs" % (one, other))

    def test_a_packed_directory_gives_the_answers_of_its_source_on_any_ranks(self):
        """Rows of these models lie across panels on nearly every rank, so they are lent, copied and taken apart."""
        if not harness.packed_tier():
            self.skipTest("no tier of this machine takes packed matrices")
        ways = [(0, dict(threads=2, weights="mmap")), (2, dict(threads=1, weights="copy")),
                (3, dict(threads=1, shares="0.1,3,2", weights="mmap"))]
        for model, formats in ((harness.TINY, FORMATS), (harness.TINY_BF16, ("int8",))):
            for weights in formats:
                packed = harness.pack(self, model, weights)
                source = self.daemon(model=model, options=dict(threads=1, format=weights))
                expected, named = self.answers(source), source.api().model()
                self.assert_stops_cleanly(source)
                for ranks, way in ways:
                    where = "%s, %s, %d ranks, %s" % (model.rsplit("/", 1)[1], weights, ranks, way)
                    daemon = self.daemon(model=packed, ranks=ranks, options=dict(way, format=weights))
                    self.assertEqual(daemon.api().model().hash, named.hash, where)
                    for name, answer in self.answers(daemon).items():
                        assert_same_answer(self, answer, expected[name], "%s: %s" % (where, name))
                    self.assert_stops_cleanly(daemon)

    def test_the_demo_model_answers_the_same_on_one_rank_and_on_three(self):
        questions = harness.questions()[::40]
        for weights in FORMATS:
            found = []
            for ranks in (0, 3):
                daemon = self.daemon(ranks=ranks, options=dict(threads=1, format=weights))
                found.append([Answer.of_events(daemon.api().generate(
                    make_spec(q["prompt"], depth=16, seed=i, logprobs=1))) for i, q in enumerate(questions)])
                self.assert_stops_cleanly(daemon)
            for one, three in zip(*found):
                assert_same_answer(self, three, one, "%s, 3 ranks" % weights)
            right = sum(a.text.strip() == q["answer"] for a, q in zip(found[0], questions))
            self.assertGreaterEqual(right, len(questions) - 1, "right answers at depth 16 in %s" % weights)

    def test_the_format_is_shown_where_people_look(self):
        for weights in ("f32",) + FORMATS:
            daemon = self.daemon(model=harness.TINY, options=dict(threads=1, format=weights))
            model = daemon.api().model()
            self.assertEqual(model.format, weights)
            usable = {tier.name: (tier.usable, tier.reason) for tier in model.tiers}
            self.assertTrue(usable["ref"][0], "ref has every format")
            for name, (can, reason) in usable.items():
                self.assertEqual(can, reason == "", name)
            self.assertTrue(usable[model.tier.split()[0]][0], "the tier that is used: %s" % model.tier)
            self.assertEqual(json.loads(harness.ctl(daemon, "info", "--json").stdout)["model"]["format"], weights)
            self.assertRegex(harness.ctl(daemon, "info").stdout, r"(?m)^weights +%s$" % weights)
            self.assert_stops_cleanly(daemon)

    def metrics(self, daemon):
        with urllib.request.urlopen("http://%s/metrics" % daemon.address, timeout=patience()) as page:
            return page.read().decode()

    def weight_bytes(self, ranks, weights, **options):
        """What /metrics says that each rank holds of the recurrent block."""
        daemon = self.daemon(ranks=ranks, options=dict(threads=1, format=weights, **options))
        text = self.metrics(daemon)
        self.assert_stops_cleanly(daemon)
        return [int(n) for n in re.findall(r"(?m)^latentd_rank_weight_bytes\{.*\} (\d+)$", text)]

    def test_fewer_bytes_are_held_and_each_rank_holds_its_own_rows(self):
        (plain,) = self.weight_bytes(0, "f32")
        for weights, least, most in (("bf16", 0.5, 0.55), ("int8", 0.25, 0.35), ("int4", 0.14, 0.2)):
            (whole,) = self.weight_bytes(0, weights)
            self.assertGreaterEqual(whole, least * plain, weights)
            self.assertLessEqual(whole, most * plain, weights)
            parts = self.weight_bytes(2, weights)
            self.assertEqual(len(parts), 2)
            self.assertEqual(parts[0], parts[1], "equal shares of 4 heads, %s" % weights)
            self.assertEqual(sum(parts), whole, "two ranks, %s" % weights)

    def ladder(self):
        """Every job with several numbers of early steps, one of them more than it has steps."""
        return [("%s, early %d" % (name, k), with_early_steps(spec, k)) for name, spec in jobs() for k in (0, 2, 64)]

    def test_a_ladder_has_one_answer_in_any_company(self):
        model = harness.TINY
        daemon = self.daemon(model=model, options=dict(threads=1, **LADDER))
        expected = {name: Answer.of_events(daemon.api().generate(spec)) for name, spec in self.ladder()}
        self.assert_stops_cleanly(daemon)
        plain = self.reference(model, format="bf16")
        for name, _ in jobs():
            assert_same_answer(self, expected[name + ", early 0"], plain[name], "an early copy that is not used: " + name)
            self.assertNotEqual(expected[name + ", early 2"].logprobs, plain[name].logprobs, name)
            self.assertNotEqual(expected[name + ", early 2"].logprobs, expected[name + ", early 64"].logprobs, name)
        for ranks, way in WAYS:
            daemon = self.daemon(model=model, ranks=ranks, options=dict(way, early_steps=2, **LADDER))
            # What a job does not say is the service's default.
            for name, spec in jobs():
                assert_same_answer(self, Answer.of_events(daemon.api().generate(spec)), expected[name + ", early 2"],
                                   "by default, %d ranks: %s" % (ranks, name))
            crowd = self.ladder() * 2
            together = harness.run_together([lambda s=s: Answer.of_events(daemon.api().generate(s)) for _, s in crowd])
            for answer, (name, _) in zip(together, crowd):
                assert_same_answer(self, answer, expected[name], "in company, %d ranks: %s" % (ranks, name))
            self.assertRegex(self.metrics(daemon), r"(?m)^latentd_early_steps_total [1-9]")
            self.assert_stops_cleanly(daemon)

    def test_both_copies_of_a_ladder_may_come_from_a_packed_directory(self):
        if not harness.packed_tier():
            self.skipTest("no tier of this machine takes packed matrices")
        packed = harness.pack(self, harness.TINY, "bf16,int8")
        expected = None
        for model, ranks, way in ((harness.TINY, 0, {}), (packed, 0, dict(weights="mmap")),
                                  (packed, 2, dict(weights="copy"))):
            daemon = self.daemon(model=model, ranks=ranks, options=dict(threads=1, **way, **LADDER))
            answers = {name: Answer.of_events(daemon.api().generate(spec)) for name, spec in self.ladder()}
            self.assert_stops_cleanly(daemon)
            expected = expected or answers
            for name, answer in answers.items():
                assert_same_answer(self, answer, expected[name], "packed, %d ranks, %s: %s" % (ranks, way, name))

    def test_a_score_and_a_continuation_climb_the_same_ladder(self):
        daemon = self.daemon(model=harness.TINY, options=dict(threads=1, held_jobs=0, early_steps=3, **LADDER))
        api = daemon.api()
        (whole,) = [Answer.of_job(api.finish(api.submit(make_spec(SHORT, depth=8, max_tokens=8, seed=1, logprobs=0,
                                                                  ignore_eos=True)).name))]
        first = api.finish(api.submit(make_spec(SHORT, depth=8, max_tokens=3, seed=1, logprobs=0, ignore_eos=True)).name)
        self.assertEqual(first.early_steps, 3)
        more = api.jobs.Continue(latentd_pb2.ContinueJobRequest(name=first.name, more_tokens=5), timeout=patience())
        more = api.finish(more.name)
        self.assertEqual((more.early_steps, more.spec.depth.early_steps), (3, 3))
        assert_same_answer(self, Answer.of_job(more), whole, "continued")
        depth = job_pb2.Depth(fixed_steps=8, tokenwise=True)
        scores = [api.inference.Score(latentd_pb2.ScoreRequest(
            context=job_pb2.Prompt(tokens=job_pb2.TokenIds(ids=SHORT)),
            continuation=job_pb2.Prompt(tokens=job_pb2.TokenIds(ids=LONG[:4])), depth=depth, seed=1), timeout=patience())
            for depth in (depth, with_early_steps(job_pb2.JobSpec(depth=depth), 3).depth,
                          with_early_steps(job_pb2.JobSpec(depth=depth), 0).depth)]
        self.assertEqual(list(scores[0].logprobs), list(scores[1].logprobs))
        self.assertNotEqual(list(scores[0].logprobs), list(scores[2].logprobs))
        self.assert_stops_cleanly(daemon)

    def test_early_steps_without_an_early_copy_or_beyond_the_depth_are_refused(self):
        for options, steps in ((dict(format="bf16"), 1), (dict(max_steps=16, **LADDER), 17)):
            daemon = self.daemon(model=harness.TINY, options=dict(threads=1, **options))
            with self.assertRaises(grpc.RpcError) as caught:
                daemon.api().submit(with_early_steps(jobs()[0][1], steps))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn("depth.early_steps: found %d" % steps, caught.exception.details())
            refused = harness.ctl(daemon, "submit", "--tokens", "1,2", "--early-steps", str(steps))
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn("early_steps", refused.stderr)
            self.assert_stops_cleanly(daemon)

    def test_the_early_format_is_shown_and_its_bytes_are_counted(self):
        daemon = self.daemon(model=harness.TINY, options=dict(threads=1, early_steps=5, **LADDER))
        model = daemon.api().model()
        self.assertEqual((model.format, model.early_format, model.default_early_steps), ("bf16", "int8", 5))
        shown = json.loads(harness.ctl(daemon, "info", "--json").stdout)["model"]
        self.assertEqual((shown["early_format"], shown["default_early_steps"]), ("int8", 5))
        self.assertRegex(harness.ctl(daemon, "info").stdout, r"(?m)^early steps +int8, 5 by default$")
        self.assertIn('early_format="int8"', self.metrics(daemon))
        self.assert_stops_cleanly(daemon)
        both = self.weight_bytes(2, "bf16", early_format="int8")
        self.assertEqual(sum(both), sum(self.weight_bytes(0, "bf16") + self.weight_bytes(0, "int8")))


if __name__ == "__main__":
    harness.main()
