#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs that begin alike share the pages of the beginning, where that is bit-exact and only there: answers are those
of a daemon that shares nothing, and GetStatus says how many positions were not computed."""
import harness
from harness import Answer, adaptive, assert_same_answer, make_depth, make_spec

BEGINNING = [(11 * i + 5) % 97 for i in range(40)]
PAGE = 16


def job(tail=(), beginning=BEGINNING, **fields):
    fields = dict(dict(depth=9, max_tokens=6, seed=1, ignore_eos=True, logprobs=2), **fields)
    return make_spec(list(beginning) + list(tail), **fields)


class SharedPrefix(harness.Case):
    def setUp(self):
        self.plain = self.daemon(model=harness.TINY, options=dict(kv_cached_memory=0, held_jobs=0))
        self.plain_api = self.plain.api()

    def tearDown(self):
        self.assertEqual(self.plain_api.status().prefix_positions, 0)
        self.assert_stops_cleanly(self.plain)

    def serve(self, **options):
        return self.daemon(model=harness.TINY, options=dict(dict(held_jobs=0), **options))

    def ask(self, api, spec, where):
        """The answer, compared with that of the daemon that shares nothing; and how many positions were spared."""
        before = api.status()
        answer = Answer.of_events(api.generate(spec))
        after = api.status()
        assert_same_answer(self, answer, Answer.of_events(self.plain_api.generate(spec)), where)
        spared = after.prefix_positions - before.prefix_positions
        # Whoever takes positions over still counts them as thought about, and does not compute them.
        self.assertEqual(after.tick_positions - before.tick_positions,
                         answer.total_steps - spared * answer.steps[0], where)
        return answer, spared

    def test_whole_pages_of_a_beginning_are_taken_over(self):
        daemon = self.serve()
        api = daemon.api()
        self.assertEqual(self.ask(api, job([1, 2, 3]), "the first")[1], 0)
        for tail in ([1, 2, 3], [4], list(range(30)), []):
            self.assertEqual(self.ask(api, job(tail), "tail %s" % tail)[1], 2 * PAGE)
        # Part of a page is nobody's: neither at the end of the common part nor of the prompt.
        self.assertEqual(self.ask(api, job(beginning=BEGINNING[:31] + [96]), "31 the same")[1], PAGE)
        self.assertEqual(self.ask(api, job(beginning=BEGINNING[:15]), "15 in all")[1], 0)
        # The last position of a prompt is computed in any case: its latent is what writes the token.
        self.assertEqual(self.ask(api, job(beginning=BEGINNING[:32]), "two whole pages")[1], PAGE)
        self.assertGreater(api.status().pages_cached, 0)
        self.assertEqual(api.status().pages_used, 0)
        self.assert_stops_cleanly(daemon)

    def test_an_answer_becomes_the_beginning_of_the_next_question(self):
        daemon = self.serve()
        api = daemon.api()
        talk = BEGINNING[:10]
        for turn in range(4):
            answer, spared = self.ask(api, job(beginning=talk, max_tokens=14, temperature=0.9), "turn %d" % turn)
            self.assertEqual(spared, (len(talk) - 1 - (turn > 0)) // PAGE * PAGE if turn else 0)
            talk = talk + answer.ids + [turn]
        self.assert_stops_cleanly(daemon)

    def test_what_is_not_the_same_bits_is_not_shared(self):
        daemon = self.serve()
        api = daemon.api()
        self.ask(api, job(), "the first")
        self.ask(api, job(init_scale=0), "the first with a zero latent")
        for what, fields, spared in (
                ("the same", {}, 2), ("another seed", dict(seed=2), 0), ("another depth", dict(depth=10), 0),
                ("another scale", dict(init_scale=2), 0), ("a rule", dict(depth=adaptive("latent-diff", 9)), 0),
                ("another depth of the prompt", dict(at=[(0, 3)]), 0),
                ("another depth later", dict(at=[(1, 3)]), 2), ("other sampling", dict(temperature=1.5), 2),
                ("position by position", dict(depth=make_depth(9, tokenwise=True)), 2),
                ("no latent, so no seed", dict(init_scale=0, seed=77), 2)):
            self.assertEqual(self.ask(api, job([7], **fields), what)[1], spared * PAGE, what)
        before = api.status().prefix_positions
        api.generate(job([7], depth=(9, 9)))
        self.assertEqual(api.status().prefix_positions, before, "a range, however narrow")
        self.assert_stops_cleanly(daemon)

    def test_jobs_share_while_they_run(self):
        daemon = self.serve()
        api = daemon.api()
        slow = job([1], depth=64, max_tokens=50, seed=3)
        first = api.submit(slow)
        for event in api.watch(first.name):
            if event.WhichOneof("event") == "tokens":
                break
        names = [api.submit(job([2 + i], depth=64, max_tokens=50, seed=3)).name for i in range(5)]
        harness.wait_until(lambda: api.status().prefix_positions >= 5 * 2 * PAGE, "five jobs that share")
        status = api.status()
        self.assertEqual(status.jobs_running, 6)
        self.assertEqual(status.pages_shared, 2)
        self.assertEqual(status.prefix_positions, 5 * 2 * PAGE)
        # Six jobs of 90 positions: six pages each, of which two are the same ones.
        self.assertEqual(status.pages_used, 2 + 6 * 4)
        # The first one goes; what the others share with it stays.
        api.cancel(first.name)
        for i, name in enumerate(names):
            expected = Answer.of_events(self.plain_api.generate(job([2 + i], depth=64, max_tokens=50, seed=3)))
            expected.text = ""
            assert_same_answer(self, Answer.of_job(api.finish(name)), expected, "job %d" % i)
        self.assertEqual(api.status().pages_used, 0)
        self.assert_stops_cleanly(daemon)

    def test_little_room_is_shared_and_evicted_and_nobody_is_refused(self):
        daemon = self.serve(kv_pages=9, max_jobs_running=3)
        api = daemon.api()
        beginnings = [[(13 * k + 7 * i) % 97 for i in range(33)] for k in range(4)]
        specs = [job([i], beginning=beginnings[i * i % 4], max_tokens=1 + i % 20) for i in range(40)]
        names = [api.submit(spec).name for spec in specs]
        for i, name in enumerate(names):
            expected = Answer.of_events(self.plain_api.generate(specs[i]))
            expected.text = ""
            assert_same_answer(self, Answer.of_job(api.finish(name)), expected, "job %d" % i)
        status = api.status()
        print("%d positions of %d prompts were spared with 9 pages" % (status.prefix_positions, len(specs)))
        self.assertGreater(status.prefix_positions, 0)
        self.assertEqual(status.pages_used, 0)
        self.assertLessEqual(status.pages_cached, 9)
        self.assert_stops_cleanly(daemon)

    def test_nothing_is_shared_where_steps_share_entries(self):
        plain = self.daemon(model=harness.TINY, options=dict(kv_slots=3, kv_cached_memory=0, held_jobs=0))
        daemon = self.serve(kv_slots=3)
        api = daemon.api()
        for tail in ([1], [1], [2]):
            answer = Answer.of_events(api.generate(job(tail)))
            assert_same_answer(self, answer, Answer.of_events(plain.api().generate(job(tail))), str(tail))
        self.assertEqual((api.status().prefix_positions, api.status().pages_cached), (0, 0))
        self.assert_stops_cleanly(daemon)
        self.assert_stops_cleanly(plain)


if __name__ == "__main__":
    harness.main()
