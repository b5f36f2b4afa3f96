#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A rank that dies takes its group with it: the caller hears of it, mpirun ends with an error, nobody hangs."""
import os
import signal

import grpc

import harness
from harness import latentd_pb2, make_spec, patience, wait_until

LONG = make_spec([59, 79, 62, 76], depth=1000, max_tokens=90, seed=3, ignore_eos=True)


def rank_of(pid):
    with open("/proc/%d/environ" % pid, "rb") as file:
        variables = dict(entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry)
    return int(variables[b"OMPI_COMM_WORLD_RANK"])


class LostRank(harness.Case):
    def start(self):
        # Not a port that the system picks: it must still be free for the group that comes after.
        daemon = self.daemon(model=harness.TINY, ranks=3, options=dict(max_steps=4096, kv_slots=4),
                             listen=["127.0.0.1:%d" % harness.free_port()])
        return daemon, {rank_of(pid): pid for pid in daemon.rank_pids()}

    def kill_during_a_job(self, rank):
        daemon, pids = self.start()
        call = daemon.api().inference.Generate(latentd_pb2.GenerateRequest(spec=LONG), timeout=patience(120))
        for event in call:
            if event.WhichOneof("event") == "tokens":
                break
        os.kill(pids[rank], signal.SIGKILL)
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in call:
                pass
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE, caught.exception.details())
        self.assert_group_ends(daemon)

    def assert_group_ends(self, daemon):
        self.assertNotEqual(daemon.wait(), 0, "exit status of mpirun")
        wait_until(lambda: not daemon.members(), "every process of the group gone")

    def test_a_worker_killed_in_a_job_ends_the_group_and_the_callers_job(self):
        self.kill_during_a_job(2)

    def test_rank_zero_killed_in_a_job_ends_the_group(self):
        self.kill_during_a_job(0)

    def test_a_worker_killed_while_the_group_sleeps_ends_it_as_well(self):
        daemon, pids = self.start()
        os.kill(pids[1], signal.SIGKILL)
        self.assert_group_ends(daemon)

    def test_a_new_group_on_the_same_address_serves_at_once(self):
        daemon, pids = self.start()
        os.kill(pids[1], signal.SIGKILL)
        self.assert_group_ends(daemon)
        again = self.daemon(model=harness.TINY, ranks=3, listen=[daemon.address])
        events = again.api().generate(make_spec([1, 2, 3], depth=4, max_tokens=2))
        self.assertEqual(events[-1].WhichOneof("event"), "finished")
        self.assert_stops_cleanly(again)


if __name__ == "__main__":
    harness.main()
