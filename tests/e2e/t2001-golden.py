#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the published model code computed, asked for over the API: tokens and steps exactly, log-probabilities
and exit values within 1e-4 (tests/data/golden/README.md says where the vectors and that tolerance come from)."""
import math
import os
import struct

import harness
from harness import Answer, job_pb2, make_spec

TOLERANCE = 1e-4


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

    def check_adaptive(self, api, vectors, policy):
        key = "adaptive.latent-diff." + policy
        threshold = vectors[key + ".threshold"][1][0]
        spec = make_spec(vectors["gen.prompt"][1], depth=(1, 32, threshold), max_tokens=20, init_scale=0,
                         temperature=0, logprobs=32, seed=1, ignore_eos=True)
        answer = Answer.of_events(api.generate(spec))
        self.assertEqual(answer.ids, list(vectors[key + ".tokens"][1]), key)
        self.assertEqual(answer.steps, list(vectors[key + ".steps"][1]), key)
        shape, values = vectors[key + ".values"]
        for i, steps in enumerate(answer.steps):
            expected = values[i * shape[1] + steps - 1]
            self.assertAlmostEqual(double_from_bits(answer.values[i]), expected, delta=TOLERANCE,
                                   msg="%s: value at the exit of token %d" % (key, i))
            reason = (job_pb2.EXIT_REASON_CONVERGED if expected < threshold else job_pb2.EXIT_REASON_MAX_STEPS)
            self.assertEqual(answer.exits[i], reason, "%s: token %d" % (key, i))
        self.check_logprobs(answer, vectors, key)

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

    def test_published_policies_by_name_reproduce_their_adaptive_runs(self):
        for model, policy in ((harness.TINY, "full"), (harness.TINY_BF16, "full"), (harness.TINY, "latest-m4"),
                              (harness.TINY, "latest-m4-compress-s16")):
            with self.subTest(model=os.path.basename(model), policy=policy):
                vectors, daemon = self.vectors(model), self.serve(model, kv_policy=policy)
                self.check_adaptive(daemon.api(), vectors, policy)
                self.assert_stops_cleanly(daemon)

    def test_published_policies_by_name_reproduce_their_fixed_runs(self):
        for policy, steps in (("compress-s4", 8), ("compress-s16", 8), ("latest-m4-compress-s4", 8),
                              ("compress-anchor", 13)):
            with self.subTest(policy=policy):
                vectors, daemon = self.vectors(harness.TINY), self.serve(harness.TINY, kv_policy=policy)
                self.check_fixed(daemon.api(), vectors, "gen.%s.r%d" % (policy, steps), steps)
                self.assert_stops_cleanly(daemon)

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
