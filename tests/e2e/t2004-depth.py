#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the model is for: hard questions fail at little depth and succeed at more, on the same context and with
one token written; adaptive depth spends more steps on harder ones."""
import collections

import harness
from harness import Answer, make_spec


class Depth(harness.Case):
    def ask(self, api, questions, depth):
        """difficulty -> (share of right answers, mean steps of the first token)."""
        right, steps = collections.defaultdict(list), collections.defaultdict(list)

        def one(question, seed):
            answer = Answer.of_events(api.generate(make_spec(question["prompt"], depth=depth, seed=seed)))
            right[question["difficulty"]].append(answer.text.strip() == question["answer"])
            steps[question["difficulty"]].append(answer.steps[0])
            self.assertLessEqual(len(answer.ids), 3, "an answer of one token: %r" % answer.text)

        for begin in range(0, len(questions), 24):
            harness.run_together([lambda q=q, i=i: one(q, begin + i)
                                  for i, q in enumerate(questions[begin:begin + 24])])
        return {level: (sum(right[level]) / len(right[level]), sum(steps[level]) / len(steps[level]))
                for level in sorted(right)}

    def test_the_hardest_level_needs_depth_and_adaptive_depth_finds_how_much(self):
        daemon = self.daemon(ranks=2)
        api = daemon.api()
        # Every sixth question: the whole set is what scripts/demo.sh asks.
        questions = harness.questions()[::6]
        table = {depth: self.ask(api, questions, depth) for depth in (2, 32, (1, 64, 0.03))}
        for depth, levels in table.items():
            print(depth, {level: "%.2f %.1f" % pair for level, pair in levels.items()})
        hardest = max(table[2])
        self.assertLessEqual(table[2][hardest][0], 0.40, "hardest level at depth 2")
        self.assertGreaterEqual(table[32][hardest][0], 0.95, "hardest level at depth 32")
        self.assertGreaterEqual(table[2][1][0], 0.90, "easiest level at depth 2")
        adaptive = table[(1, 64, 0.03)]
        self.assertGreaterEqual(adaptive[hardest][0], 0.90, "hardest level at adaptive depth")
        self.assertGreater(adaptive[hardest][1], adaptive[2][1], "steps for the hardest level and an easy one")
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
