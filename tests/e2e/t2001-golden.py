#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the published model code computed, asked for over the API: tokens and steps exactly, log-probabilities
and exit values within 1e-4 (docs/numerics.md, "Evidence")."""
import math
import os
import re
import struct

import harness
from harness import Answer, adaptive, job_pb2, make_depth, make_spec

TOLERANCE = 1e-4
MAX_STEPS = 32  # of every adaptive run


def log_softmax(row):
    high = max(row)
    total = math.log(sum(math.exp(v - high) for v in row)) + high
    return [v - total for v in row]


def from_bits(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def double_from_bits(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


class Golden(harness.Case):
    def vectors(self, model):
        return harness.read_safetensors(os.path.join(model, "golden.safetensors"))

    def check_logprobs(self, answer, vectors, key):
        shape, logits = vectors[key + ".logits"]
        vocab, worst = shape[1], 0.0
        for i, (own, top) in enumerate(answer.logprobs):
            expected = log_softmax(logits[i * vocab:(i + 1) * vocab])
            found = [(answer.ids[i], own)] + list(top)
            for token, bits in found:
                error = abs(from_bits(bits) - expected[token])
                worst = max(worst, error)
                self.assertLessEqual(error, TOLERANCE, "%s: token %d, id %d: logprob %.6f, expected %.6f"
                                     % (key, i, token, from_bits(bits), expected[token]))
            best = sorted(range(vocab), key=lambda t: (-expected[t], t))[0]
            self.assertEqual(top[0][0], best, "%s: token %d: most likely" % (key, i))
        print("%-50s largest difference %.1e" % (key, worst))

    def check_fixed(self, api, vectors, key, steps):
        prompt = vectors["gen.prompt"][1]
        tokens = vectors[key + ".tokens"][1]
        spec = make_spec(prompt, depth=steps, max_tokens=20, init_scale=0, temperature=0, logprobs=32, seed=1,
                         ignore_eos=True)
        answer = Answer.of_events(api.generate(spec))
        self.assertEqual(answer.ids, list(tokens), key)
        self.assertEqual(answer.steps, [steps] * 20, key)
        self.assertEqual(set(answer.exits), {job_pb2.EXIT_REASON_FIXED})
        self.assertEqual(answer.finish, job_pb2.FINISH_REASON_LENGTH)
        self.assertEqual(answer.total_steps, steps * (len(prompt) + 19))
        self.check_logprobs(answer, vectors, key)

    def check_adaptive(self, api, vectors, criterion, policy):
        key = "adaptive.%s.%s" % (criterion, policy)
        threshold = vectors[key + ".threshold"][1][0]
        spec = make_spec(vectors["gen.prompt"][1], depth=adaptive(criterion, MAX_STEPS, threshold), max_tokens=20,
                         init_scale=0, temperature=0, logprobs=32, seed=1, ignore_eos=True)
        answer = Answer.of_events(api.generate(spec))
        self.assertEqual(answer.ids, list(vectors[key + ".tokens"][1]), key)
        self.assertEqual(answer.steps, list(vectors[key + ".steps"][1]), key)
        shape, values = vectors[key + ".values"]
        for i, steps in enumerate(answer.steps):
            expected = values[i * shape[1] + steps - 1]
            self.assertAlmostEqual(double_from_bits(answer.values[i]), expected, delta=TOLERANCE,
                                   msg="%s: value at the exit of token %d" % (key, i))
            is_met = expected >= threshold if criterion == "argmax-stability" else expected < threshold
            reason = job_pb2.EXIT_REASON_CONVERGED if is_met else job_pb2.EXIT_REASON_MAX_STEPS
            self.assertEqual(answer.exits[i], reason, "%s: token %d" % (key, i))
        self.check_logprobs(answer, vectors, key)

    def check_tokenwise(self, api, vectors, criterion):
        """The prompt thinks position by position: each one's steps and logits, seen through what the positions
        write (Generate, of every beginning of the prompt) and through what they say of the next token (Score)."""
        key, prompt = "tokenwise." + criterion, list(vectors["gen.prompt"][1])
        steps, (shape, logits) = list(vectors[key + ".steps"][1]), vectors[key + ".logits"]
        depth = make_depth(adaptive(criterion, MAX_STEPS), tokenwise=True)
        found = []
        for length in range(1, len(prompt) + 1):
            spec = make_spec(prompt[:length], depth=depth, max_tokens=1, init_scale=0, temperature=0, logprobs=32,
                             seed=1, ignore_eos=True)
            answer = Answer.of_events(api.generate(spec))
            self.assertEqual(answer.total_steps, sum(steps[:length]), "%s: %d positions" % (key, length))
            found.append(answer)
        self.assertEqual([answer.steps for answer in found], [[n] for n in steps], key)
        written = Answer()
        written.ids = [answer.ids[0] for answer in found]
        written.logprobs = [answer.logprobs[0] for answer in found]
        self.check_logprobs(written, vectors, key)
        score = api.score(prompt[:1], prompt[1:], depth, init_scale=0)
        self.assertEqual(list(score.ids), prompt[1:])
        self.assertEqual(list(score.steps), steps[:-1], key)
        for i, token in enumerate(prompt[1:]):
            expected = log_softmax(logits[i * shape[1]:(i + 1) * shape[1]])
            self.assertAlmostEqual(score.logprobs[i], expected[token], delta=TOLERANCE,
                                   msg="%s: score of token %d" % (key, i + 1))
            self.assertEqual(score.greedy[i], expected[token] == max(expected), "%s: token %d" % (key, i + 1))

    def serve(self, model, **options):
        return self.daemon(model=model, options=options)

    def test_the_default_cache_reproduces_full_generation_at_a_fixed_depth(self):
        for model in (harness.TINY, harness.TINY_BF16):
            for tier in ("ref", "auto"):
                with self.subTest(model=os.path.basename(model), tier=tier):
                    vectors, daemon = self.vectors(model), self.serve(model, tier=tier)
                    for steps in (8, 32):
                        self.check_fixed(daemon.api(), vectors, "gen.full.r%d" % steps, steps)
                    self.assert_stops_cleanly(daemon)

    def test_every_adaptive_run_is_reproduced(self):
        for model in (harness.TINY, harness.TINY_BF16):
            vectors = self.vectors(model)
            runs = [key.split(".")[1:3] for key in vectors if re.fullmatch(r"adaptive\..*\.steps", key)]
            criteria = {criterion for criterion, _ in runs}
            self.assertEqual(criteria, {"latent-diff", "cosine", "kl", "minp-kl", "entropy-diff", "argmax-stability"})
            for policy in sorted({policy for _, policy in runs}):
                with self.subTest(model=os.path.basename(model), policy=policy):
                    daemon = self.serve(model, kv_policy=policy)
                    for criterion in sorted(criterion for criterion, its in runs if its == policy):
                        self.check_adaptive(daemon.api(), vectors, criterion, policy)
                    self.assert_stops_cleanly(daemon)

    def test_prompts_that_think_token_by_token_are_reproduced(self):
        for model, policy in ((harness.TINY, "latest-m4"), (harness.TINY_BF16, "full")):
            with self.subTest(model=os.path.basename(model), policy=policy):
                vectors, daemon = self.vectors(model), self.serve(model, kv_policy=policy)
                for criterion in ("latent-diff", "kl"):
                    self.check_tokenwise(daemon.api(), vectors, criterion)
                self.assert_stops_cleanly(daemon)

    def test_every_fixed_run_of_a_published_policy_is_reproduced(self):
        played = set()
        for model in (harness.TINY, harness.TINY_BF16):
            vectors = self.vectors(model)
            # gen.continuous starts each position from the latent of the one before, which jobs never do.
            runs = [re.fullmatch(r"gen\.([a-z0-9-]+)\.r(\d+)\.tokens", key) for key in vectors]
            for policy, steps in sorted((run[1], int(run[2])) for run in runs if run):
                with self.subTest(model=os.path.basename(model), policy=policy, steps=steps):
                    daemon = self.serve(model, kv_policy=policy)
                    self.check_fixed(daemon.api(), vectors, "gen.%s.r%d" % (policy, steps), steps)
                    self.assert_stops_cleanly(daemon)
                played.add(policy)
        self.assertEqual(played, {"full", "compress-s4", "compress-s16", "compress-anchor", "latest-m4-compress-s4"})

    def test_the_command_line_reports_the_same_tokens_and_steps(self):
        vectors, daemon = self.vectors(harness.TINY), self.serve(harness.TINY, kv_policy="full")
        ids = ",".join(str(v) for v in vectors["gen.prompt"][1])
        for arguments, key in ((["--depth", "32"], "gen.full.r32"),
                               (["--depth", "adaptive", "--max-steps", "32", "--threshold", "0.03"],
                                "adaptive.latent-diff.full")):
            shown = harness.ctl(daemon, "think", "--json", "--tokens", ids, "--init-scale", "0", "--temperature", "0",
                                "--max-tokens", "20", "--logprobs", "2", *arguments)
            self.assertEqual(shown.returncode, 0, shown.stderr)
            found = harness.json.loads(shown.stdout)
            self.assertEqual(found["tokens"], list(vectors[key + ".tokens"][1]))
            steps = vectors[key + ".steps"][1] if key + ".steps" in vectors else [32] * 20
            self.assertEqual(found["steps"], list(steps))
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
