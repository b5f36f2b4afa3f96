#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment: the coordinator, a worker, mpirun; while jobs run, while the service starts and recovers,
while it drains. Every job that was acknowledged finishes, once, with the bytes of an undisturbed run, and clients see
only a pause.

LATENTD_KILLS=200 kills so often; LATENTD_SEED=n chooses other moments."""
import os
import random
import signal
import time

import harness
from harness import Answer, Daemon, adaptive, assert_same_answer, latentd_pb2, make_spec
from supervised import Client, Load, Service, check_events

KILLS = int(os.environ.get("LATENTD_KILLS", "10" if not harness.SANITIZE else "4"))
SEED = int(os.environ.get("LATENTD_SEED", "20261122"))
PROMPT = [59, 79, 62, 76, 19, 27]
# Thousands of steps per token on one thread: long enough to be caught in the middle.
OPTIONS = dict(max_steps=400, threads=1, kv_pages=400, finished_jobs_kept=100000, finished_job_seconds=86400)


def make_specs(n, rng):
    specs = []
    for i in range(n):
        prompt = [rng.randrange(97) for _ in range(rng.choice((2, 6, 20, 40)))]
        shapes = (dict(depth=rng.randint(100, 400)), dict(depth=adaptive("latent-diff", 400, 1e-9)),
                  dict(depth=adaptive("kl", 300, 1e-12)), dict(depth=rng.randint(50, 150), tokenwise=True),
                  dict(depth=rng.randint(1, 40)))
        fields = dict(max_tokens=rng.randint(4, 24), seed=i, ignore_eos=True, logprobs=rng.choice((None, 0, 3)),
                      init_scale=rng.choice((0, 1)), priority=rng.choice((8, 16, 16, 31)))
        if rng.random() < 0.5:
            fields.update(temperature=0.9, top_k=20, repetition_penalty=1.1)
        specs.append(make_spec(prompt, **shapes[i % len(shapes)], **fields))
    return specs


class Kills(harness.Case):
    def undisturbed(self, specs, options):
        daemon = self.daemon(model=harness.TINY, options=dict(options, store="memory", max_queue=1000))
        api = daemon.api()
        names = [api.submit(spec).name for spec in specs]
        answers = [Answer.of_job(api.finish(name, seconds=300)) for name in names]
        self.assert_stops_cleanly(daemon)
        return answers

    def disturb(self, service, load, rng, kills):
        """Kill and start again until so many kills are done, whatever the load does meanwhile."""
        how = {}
        while service.kills < kills:
            moment = rng.choice(("running", "running", "running", "starting", "draining"))
            victim = rng.choice(("coordinator", "worker", "mpirun")) if service.ranks else "coordinator"
            how[moment, victim] = how.get((moment, victim), 0) + 1
            if moment == "starting":
                # From before the first instruction to behind the recovery.
                time.sleep(rng.uniform(0, 2.0 if service.ranks else 0.6))
            else:
                service.daemon.wait_ready()
                time.sleep(rng.uniform(0, 1.0))
            if moment == "draining":
                service.daemon.signal(signal.SIGUSR1)
                time.sleep(rng.uniform(0, 0.3))
            service.kill(victim)
            service.start(wait=False)
        service.daemon.wait_ready()
        return how

    def check(self, ranks, extra, seed):
        rng = random.Random(seed)
        options = dict(OPTIONS, **extra)
        n = max(24, 3 * KILLS)
        specs = make_specs(n, rng)
        expected = self.undisturbed(specs, options)
        service = Service(harness.TINY, options, ranks)
        self.addCleanup(service.close)
        service.start()
        load = Load(service, specs, n_clients=6, duplicates=2)
        load.start()
        how = self.disturb(service, load, rng, KILLS)
        load.join()
        self.assertEqual(load.errors, [], "\n".join(log[-2000:] for log in service.logs[-2:]))
        for index in range(n):
            check_events(self, load.events[index], "job %d" % index)
            assert_same_answer(self, load.answers[index], expected[index], "job %d of seed %d" % (index, seed))
        self.check_store(service, load, n)
        print("%d kills (%s), %d jobs, %d Submits, %d pauses, %d followed by latentctl too: every answer equal"
              % (service.kills, ", ".join("%s %s %d" % (*k, c) for k, c in sorted(how.items())), n, load.submits,
                 load.pauses, load.n_tools))
        self.assertEqual(service.drain(), 0, service.logs[-1])

    def check_store(self, service, load, n):
        """One job per request id, and all of them succeeded."""
        client = Client(service)
        jobs, token = [], ""
        while True:
            page = client.insist(lambda api: api.jobs.List(
                latentd_pb2.ListJobsRequest(page_size=500, page_token=token), timeout=60), "List")
            jobs += page.jobs
            token = page.next_page_token
            if not token:
                break
        client.close()
        self.assertEqual(len(jobs), n)
        self.assertEqual({job.name for job in jobs}, set(load.names.values()))
        self.assertEqual({job.state for job in jobs}, {harness.job_pb2.JOB_STATE_SUCCEEDED})

    def test_alone_with_a_plane_for_each_step(self):
        self.check(0, dict(kv_slots=0), SEED)

    def test_a_thousand_submits_make_as_many_jobs_as_there_are_requests(self):
        n = 220 if not harness.SANITIZE else 60
        specs = [make_spec(PROMPT, depth=1 + i % 9, max_tokens=1 + i % 3, seed=i, ignore_eos=True) for i in range(n)]
        service = Service(harness.TINY, OPTIONS)
        self.addCleanup(service.close)
        service.start()
        load = Load(service, specs, n_clients=8, duplicates=6)
        load.start()
        rng = random.Random(SEED)
        while not load.is_done():
            service.daemon.wait_ready()
            time.sleep(rng.uniform(0.02, 0.3))
            service.kill("coordinator")
            service.start(wait=False)
        load.join()
        self.assertEqual(load.errors, [])
        service.daemon.wait_ready()
        self.check_store(service, load, n)
        print("%d Submits of %d requests under %d kills" % (load.submits, n, service.kills))
        if not harness.SANITIZE:
            self.assertGreaterEqual(load.submits, 1000)

    def test_two_ranks_where_steps_share_planes(self):
        self.check(2, dict(kv_slots=4), SEED + 1)


if __name__ == "__main__":
    harness.main()
