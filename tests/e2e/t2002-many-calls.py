#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""64 calls at once: all finish, each with the bytes that it has when it is alone, and with the right answer."""
import harness
from harness import Answer, assert_same_answer, make_spec

CALLS = 64


class ManyCalls(harness.Case):
    def test_sixty_four_concurrent_generate_calls_all_finish_with_their_own_bytes(self):
        daemon = self.daemon()
        picked = harness.questions()
        picked = picked[::max(1, len(picked) // CALLS)][:CALLS]
        self.assertEqual(len(picked), CALLS)
        specs = [make_spec(question["prompt"], depth=(8, 16, 32, (1, 64, 0.01))[i % 4], max_tokens=4, seed=i,
                           logprobs=2) for i, question in enumerate(picked)]
        alone = [Answer.of_events(daemon.api().generate(spec)) for spec in specs]
        apis = [daemon.api() for _ in range(4)]
        together = harness.run_together(
            [lambda i=i, spec=spec: Answer.of_events(apis[i % 4].generate(spec))
             for i, spec in enumerate(specs)])
        for i, (found, expected) in enumerate(zip(together, alone)):
            assert_same_answer(self, found, expected, "call %d: %s" % (i, picked[i]["prompt"]))
        deep = [(answer.text.strip(), question["answer"]) for i, (answer, question) in enumerate(zip(together, picked))
                if i % 4 in (2, 3)]
        right = sum(found == expected for found, expected in deep)
        self.assertGreaterEqual(right, 0.9 * len(deep), "answers at depth 32 and adaptive: %s" % deep)
        status = daemon.api().status()
        print("%d positions per tick on average" % (status.tick_positions / status.ticks))
        self.assertEqual(status.jobs_finished, 2 * CALLS)
        self.assertEqual((status.jobs_running, status.jobs_queued, status.pages_used), (0, 0, 0))
        self.assert_stops_cleanly(daemon)

    def test_more_jobs_than_can_run_wait_their_turn_and_none_is_lost(self):
        daemon = self.daemon(options=dict(max_jobs_running=3, kv_pages=24, max_batch=7, prefill_chunk=5))
        api = daemon.api()
        spec = make_spec("9-7-2-3-9+6=", depth=12, max_tokens=6, seed=3, ignore_eos=True, logprobs=1)
        expected = Answer.of_events(api.generate(spec))
        names = [api.submit(spec).name for _ in range(40)]
        for name in names:
            assert_same_answer(self, Answer.of_job(api.finish(name)), expected, name)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
