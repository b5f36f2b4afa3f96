#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One answer: for a model, a tier, a prompt, parameters and a seed there is one byte string of tokens, steps,
exit values and log-probabilities, whatever the number of ranks, their shares, the threads, the other jobs in the
batch and the way the prompt is cut. Compared are bits; the reference is one rank, one thread, one job at a time."""
import harness
from harness import Answer, assert_same_answer, make_spec

# Prompts of token ids, so that the same jobs run on models without a tokenizer; ids below every vocabulary.
PROMPTS = ([59, 79, 62, 76, 19, 27, 72, 18, 9, 84, 62], [7], list(range(5, 46)), [90, 3] * 8)


def jobs():
    """Every kind of job that has numbers of its own: (name, spec)."""
    short, single, long, repeated = PROMPTS
    common = dict(ignore_eos=True, logprobs=4)
    return [
        ("zero latent, greedy", make_spec(short, depth=8, max_tokens=10, init_scale=0, seed=1, **common)),
        ("random latent, greedy", make_spec(short, depth=11, max_tokens=10, seed=2, **common)),
        ("one position", make_spec(single, depth=5, max_tokens=12, seed=3, **common)),
        ("long prompt", make_spec(long, depth=7, max_tokens=6, seed=4, **common)),
        ("adaptive", make_spec(short, depth=(1, 32, 0.03), max_tokens=10, seed=5, **common)),
        ("adaptive, zero latent", make_spec(repeated, depth=(4, 24, 0.08), max_tokens=8, init_scale=0, seed=6,
                                            **common)),
        ("adaptive, long prompt", make_spec(long, depth=(2, 20, 0.05), max_tokens=5, seed=7, **common)),
        ("sampled", make_spec(repeated, depth=6, max_tokens=12, seed=8, temperature=1.3, **common)),
        ("sampled with every filter", make_spec(short, depth=9, max_tokens=12, seed=9, temperature=0.9, top_k=20,
                                                top_p=0.9, min_p=0.02, repetition_penalty=1.2, **common)),
        ("deep", make_spec(single, depth=60, max_tokens=4, seed=10, init_scale=2.5, **common)),
    ]


# What varies: ranks (0: no mpirun), options. Shares leave some rank without a head on purpose. A sanitizer
# build looks at memory and not at bits, and runs two of them.
WAYS = [
    (0, dict(threads=2)),
    (0, dict(threads=1, prefill_chunk=1)),
    (0, dict(threads=2, prefill_chunk=3, max_batch=5)),
    (1, dict(threads=1)),
    (2, dict(threads=1)),
    (2, dict(threads=2, shares="1,3", prefill_chunk=7)),
    (3, dict(threads=1, shares="3,1,2", prefill_chunk=2)),
    (4, dict(threads=1)),
    (5, dict(threads=1, shares="1,1,1,1,1", max_batch=16, prefill_chunk=16)),
    (7, dict(threads=1, prefill_chunk=64)),
    (7, dict(threads=2, shares="0.2,3,0.2,2,1,0.2,1")),
]
MODELS = (harness.DEMO, harness.TINY, harness.TINY_BF16)


class OneAnswer(harness.Case):
    def reference(self, model, **options):
        daemon = self.daemon(model=model, options=dict(threads=1, **options))
        api = daemon.api()
        answers = {name: Answer.of_events(api.generate(spec)) for name, spec in jobs()}
        self.assert_stops_cleanly(daemon)
        return answers

    def compare(self, daemon, expected, where):
        """Each job alone, with one neighbour, and all of them with as many others, twice over."""
        api, named = daemon.api(), jobs()
        name, spec = named[4]
        assert_same_answer(self, Answer.of_events(api.generate(spec)), expected[name], "%s: alone: %s" % (where, name))
        pair = harness.run_together([lambda s=s: Answer.of_events(api.generate(s)) for _, s in (named[1], named[7])])
        for answer, (name, _) in zip(pair, (named[1], named[7])):
            assert_same_answer(self, answer, expected[name], "%s: with one other: %s" % (where, name))
        # Ten jobs and six copies: every job has fifteen neighbours, some of them itself.
        crowd = named + named[:6]
        for turn, order in enumerate((crowd, crowd[::-1])):
            answers = harness.run_together([lambda s=s: Answer.of_events(api.generate(s)) for _, s in order])
            for answer, (name, _) in zip(answers, order):
                assert_same_answer(self, answer, expected[name], "%s: with 15 others (%d): %s" % (where, turn, name))

    def compare_ways(self, model, **options):
        expected = self.reference(model, **options)
        for name, answer in expected.items():
            self.assertEqual(len(answer.logprobs), len(answer.ids), name)
        for ranks, way in WAYS[2:8:4] if harness.SANITIZE else WAYS:
            where = "%s, %d ranks, %s" % (model.rsplit("/", 1)[1], ranks, dict(way, **options))
            with self.subTest(where):
                daemon = self.daemon(model=model, ranks=ranks, options=dict(way, **options))
                try:
                    self.compare(daemon, expected, where)
                    self.assert_stops_cleanly(daemon)
                finally:
                    daemon.kill()  # a group that failed must not slow the ways that come after it

    def test_the_demo_model_has_one_answer(self):
        self.compare_ways(harness.DEMO)

    def test_a_model_of_five_heads_has_one_answer(self):
        self.compare_ways(harness.TINY)

    def test_a_model_of_seven_heads_in_bf16_has_one_answer(self):
        self.compare_ways(harness.TINY_BF16)

    def test_shared_cache_slots_have_one_answer_too(self):
        expected = self.reference(harness.TINY, kv_slots=3)
        daemon = self.daemon(model=harness.TINY, ranks=3, options=dict(kv_slots=3, threads=1, prefill_chunk=2))
        self.compare(daemon, expected, "kv_slots 3, 3 ranks")
        self.assert_stops_cleanly(daemon)

    def test_the_reference_tier_has_one_answer_and_it_is_another_one(self):
        """The comparison can fail: another tier adds the same numbers in another order, and bits show it."""
        expected = self.reference(harness.TINY_BF16, tier="ref")
        daemon = self.daemon(model=harness.TINY_BF16, ranks=3, options=dict(tier="ref", threads=1, prefill_chunk=4))
        self.compare(daemon, expected, "tier ref, 3 ranks")
        self.assert_stops_cleanly(daemon)
        other = self.reference(harness.TINY_BF16)
        differing = [name for name in expected if expected[name].logprobs != other[name].logprobs]
        self.assertTrue(differing, "two tiers, and not one bit of a log-probability differs")

    def test_another_seed_is_another_answer(self):
        """The other way in which equal answers could mean nothing."""
        daemon = self.daemon(model=harness.TINY)
        answers = [Answer.of_events(daemon.api().generate(make_spec(PROMPTS[0], depth=4, max_tokens=8, seed=seed,
                                                                    logprobs=1))) for seed in (1, 2)]
        self.assertNotEqual(answers[0].logprobs, answers[1].logprobs)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
