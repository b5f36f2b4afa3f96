#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The simple cluster: mpirun starts the ranks, rank 0 serves, SIGUSR1 to mpirun ends all in order."""
import signal

import harness
from harness import Answer, DEMO, make_spec, wait_until


class Mpirun(harness.Case):
    def test_every_rank_is_there_serves_and_ends_with_zero_on_sigusr1(self):
        for ranks in (1, 2, 3):
            with self.subTest(ranks=ranks):
                daemon = self.daemon(ranks=ranks, default_shm=True)
                print("%d ranks ready after %.0f ms" % (ranks, 1000 * daemon.ready_seconds))
                self.assertEqual(len(daemon.rank_pids()), ranks)
                status = daemon.api().status()
                self.assertEqual([r.rank for r in status.ranks], list(range(ranks)))
                self.assertEqual(Answer.of_events(daemon.api().generate(make_spec("3+4=", depth=8))).text,
                                 "7")
                self.assert_stops_cleanly(daemon)

    def test_the_shards_of_the_ranks_cover_every_row_once(self):
        daemon = self.daemon(ranks=3, options=dict(shares="1,2,4"))
        api = daemon.api()
        model = api.cluster.GetModel(harness.latentd_pb2.GetModelRequest())
        status = api.status()
        for begin, end, total in (("head_begin", "head_end", model.n_heads),
                                  ("embd_begin", "embd_end", model.n_embd),
                                  ("fc_begin", "fc_end", model.intermediate_size)):
            at = 0
            for rank in status.ranks:
                self.assertEqual(getattr(rank, begin), at, "%s of rank %d" % (begin, rank.rank))
                at = getattr(rank, end)
            self.assertEqual(at, total, end)
        widths = [rank.embd_end - rank.embd_begin for rank in status.ranks]
        self.assertLess(widths[0], widths[1])
        self.assertLess(widths[1], widths[2])
        self.assert_stops_cleanly(daemon)

    def test_a_stop_while_jobs_run_is_as_clean(self):
        daemon = self.daemon(model=harness.TINY, ranks=2, default_shm=True,
                             options=dict(max_steps=4096, kv_slots=4, drain_seconds=0))
        api = daemon.api()
        names = [api.submit(make_spec([1, 2, 3], depth=4096, max_tokens=60, ignore_eos=True)).name
                 for _ in range(4)]
        wait_until(lambda: api.status().jobs_running, "a job running (%s)" % names)
        self.assert_stops_cleanly(daemon)

    def test_sigusr2_to_mpirun_is_a_reload_and_no_rank_is_hurt(self):
        daemon = self.daemon(ranks=2)
        for n in (1, 2):
            daemon.signal(signal.SIGUSR2)
            wait_until(lambda: daemon.log().count("reload: files are read again") >= n, "reload %d" % n)
        self.assertEqual(len(daemon.rank_pids()), 2)
        self.assertEqual(Answer.of_events(daemon.api().generate(make_spec("3+4=", depth=8))).text, "7")
        self.assert_stops_cleanly(daemon)

    def test_sigterm_to_mpirun_leaves_no_process_and_no_shared_memory(self):
        daemon = self.daemon(ranks=2, default_shm=True)
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        wait_until(lambda: not daemon.members(), "every process gone")
        wait_until(lambda: not daemon.left_behind(), "nothing left in /dev/shm", 20)

    def test_two_groups_run_beside_each_other(self):
        first, second = self.daemon(ranks=2), self.daemon(ranks=2)
        self.assertNotEqual(first.address, second.address)
        for daemon in (first, second):
            self.assertEqual(Answer.of_events(daemon.api().generate(make_spec("2+2=", depth=8))).text, "4")
        self.assert_stops_cleanly(first)
        self.assertEqual(Answer.of_events(second.api().generate(make_spec("2+3=", depth=8))).text, "5")
        self.assert_stops_cleanly(second)

    def test_a_model_is_named_after_its_directory_whatever_the_number_of_ranks(self):
        hashes = set()
        for ranks in (0, 2):
            daemon = self.daemon(model=DEMO, ranks=ranks)
            model = daemon.api().cluster.GetModel(harness.latentd_pb2.GetModelRequest())
            self.assertEqual(model.name, "models/demo")
            self.assertEqual(len(model.hash), 64)
            hashes.add(model.hash)
            self.assert_stops_cleanly(daemon)
        self.assertEqual(len(hashes), 1)


if __name__ == "__main__":
    harness.main()
