#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A stock gRPC client (python3-grpcio), code generated from proto/: jobs and everything around them."""
import grpc

import harness
from harness import Answer, assert_same_answer, float_bits, health_pb2, job_pb2, latentd_pb2, make_spec, patience
from harness import wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING
# Thousands of steps per token: caught running whenever a test looks, even by a slow one.
LONG = make_spec("1+2+3=", depth=4096, max_tokens=60, seed=5, ignore_eos=True, logprobs=0)
SHORT = make_spec("9-7-2-3=", depth=16, max_tokens=4, seed=5, logprobs=3)


class PythonClient(harness.Case):
    def setUp(self):
        self.server = self.daemon(options=dict(max_steps=4096, kv_slots=4, drain_seconds=0))
        self.api = self.server.api()

    def tearDown(self):
        self.assert_stops_cleanly(self.server)

    def assert_status(self, code, call, *args, **kwargs):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception.details()

    def state(self, name):
        return self.api.get(name).state

    def assert_is_log(self, events, after_seq=0):
        """No number is missing or there twice: a message stands for one entry of the log, or for as many as
        it has tokens, and its number is the last one's. Thinking is not in the log."""
        at = after_seq
        for event in events:
            kind = event.WhichOneof("event")
            at += len(event.tokens.ids) if kind == "tokens" else kind != "thinking"
            self.assertEqual(event.seq, 0 if kind == "thinking" else at, kind)
        self.assertEqual(events[-1].WhichOneof("event"), "finished")

    # -- Generate

    def test_generate_streams_the_whole_log_of_one_job(self):
        events = self.api.generate(SHORT)
        self.assert_is_log(events)
        kinds = [event.WhichOneof("event") for event in events if event.seq]
        self.assertEqual(kinds[:2], ["queued", "started"])
        self.assertEqual(set(kinds[2:-1]), {"tokens"})
        self.assertTrue(events[0].job.name.startswith("jobs/"))
        self.assertEqual({event.name for event in events}, {events[0].job.name})
        times = [event.time_us for event in events]
        self.assertEqual(times, sorted(times))
        answer, job = Answer.of_events(events), self.api.get(events[0].job.name)
        self.assertEqual(job.state, job_pb2.JOB_STATE_SUCCEEDED)
        self.assertEqual(job.output.finish, job_pb2.FINISH_REASON_EOS)
        self.assertEqual(job.last_seq, events[-1].seq)
        self.assertEqual(job.seed, 5)
        self.assertTrue(job.tier)
        self.assertEqual(answer.ids, list(job.output.tokens.ids))
        self.assertEqual(answer.steps, [16] * len(answer.ids))
        self.assertEqual([len(top) for _, top in answer.logprobs], [3] * len(answer.ids))
        self.assertLessEqual(job.create_us, job.start_us)
        self.assertLessEqual(job.start_us, job.end_us)

    def test_a_seed_is_picked_and_reported_and_reproduces_the_answer(self):
        spec = make_spec("4*7-9+2=", depth=6, max_tokens=8, temperature=3.0, ignore_eos=True, logprobs=0)
        first = self.api.generate(spec)
        seed = self.api.get(first[0].job.name).seed
        spec.sampling.seed = seed
        again = self.api.generate(spec)
        assert_same_answer(self, Answer.of_events(again), Answer.of_events(first), "seed %d again" % seed)
        answers = set()
        for other in range(8):
            spec.sampling.seed = other
            answers.add(tuple(Answer.of_events(self.api.generate(spec)).ids))
        self.assertGreater(len(answers), 1, "eight seeds, one sampled answer")

    def test_a_generate_that_is_cancelled_cancels_its_job(self):
        call = self.api.inference.Generate(latentd_pb2.GenerateRequest(spec=LONG), timeout=patience())
        name = next(call).job.name
        call.cancel()
        wait_until(lambda: self.state(name) == job_pb2.JOB_STATE_CANCELLED, "%s cancelled" % name)
        self.assertEqual(self.api.get(name).output.finish, job_pb2.FINISH_REASON_CANCELLED)

    def test_a_connection_that_is_lost_cancels_the_job_unless_it_was_to_be_kept(self):
        names = []
        for keep in (False, True):
            api = self.server.api()
            call = api.inference.Generate(
                latentd_pb2.GenerateRequest(spec=LONG, keep_on_disconnect=keep), timeout=patience())
            names.append(next(call).job.name)
            api.channel.close()
        wait_until(lambda: self.state(names[0]) == job_pb2.JOB_STATE_CANCELLED, "the first cancelled")
        self.assertIn(self.state(names[1]), (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING))
        self.api.cancel(names[1])

    # -- Submit and Watch

    def test_submit_answers_before_the_job_is_done_and_watch_sees_all_of_it(self):
        job = self.api.submit(LONG)
        self.assertRegex(job.name, r"^jobs/.+")
        self.assertIn(job.state, (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING))
        self.assertFalse(job.done)
        self.api.cancel(job.name)
        events = list(self.api.watch(job.name))
        self.assert_is_log(events)
        self.assertEqual(events[-1].finished.reason, job_pb2.FINISH_REASON_CANCELLED)

    def test_watch_resumes_behind_every_sequence_number_with_exactly_the_rest(self):
        spec = make_spec("9-7-2-3=", depth=4, max_tokens=12, seed=5, ignore_eos=True, logprobs=1)
        job = self.api.submit(spec)
        whole = [event for event in self.api.watch(job.name) if event.seq]
        self.assert_is_log(whole)
        answer = Answer.of_events(whole)
        for after in range(whole[-1].seq):
            events = [event for event in self.api.watch(job.name, after_seq=after) if event.seq]
            self.assert_is_log(events, after)
            rest, written = Answer.of_events(events), max(0, after - 2)  # Queued and Started come first
            self.assertEqual((rest.ids, rest.logprobs), (answer.ids[written:], answer.logprobs[written:]))
            self.assertTrue(answer.text.endswith(rest.text), "after_seq %d: %r" % (after, rest.text))
        self.assertEqual(list(self.api.watch(job.name, after_seq=whole[-1].seq)), [])
        self.assert_status(grpc.StatusCode.OUT_OF_RANGE, list,
                           self.api.watch(job.name, after_seq=whole[-1].seq + 1))

    def test_a_watch_that_is_cut_again_and_again_still_reads_every_token_once(self):
        spec = make_spec("1+2+3=", depth=600, max_tokens=40, seed=5, ignore_eos=True, logprobs=1)
        expected = Answer.of_events(self.api.generate(spec))
        name = self.api.submit(spec).name
        events, cuts = [], 0
        while not events or events[-1].WhichOneof("event") != "finished":
            api = self.server.api()
            call = api.watch(name, after_seq=events[-1].seq if events else 0)
            for count, event in enumerate(event for event in call if event.seq):
                events.append(event)
                if count == 2:
                    break
            api.channel.close()
            cuts += 1
        self.assert_is_log(events)
        self.assertGreater(cuts, 3)
        assert_same_answer(self, Answer.of_events(events), expected, "read with %d cuts" % cuts)

    def test_two_watchers_see_the_same_log(self):
        job = self.api.submit(make_spec("1+2+3=", depth=300, max_tokens=30, seed=5, ignore_eos=True))
        first, second = harness.run_together(
            [lambda: Answer.of_events(self.server.api().watch(job.name)) for _ in range(2)])
        assert_same_answer(self, first, second, "two watchers")

    def test_the_same_request_id_and_spec_give_the_same_job_and_another_spec_is_refused(self):
        first = self.api.submit(SHORT, request_id="order-1")
        again = self.api.submit(SHORT, request_id="order-1")
        self.assertEqual(first.name, again.name)
        self.assertEqual(again.request_id, "order-1")
        self.assertNotEqual(self.api.submit(SHORT, request_id="order-2").name, first.name)
        self.assert_status(grpc.StatusCode.ALREADY_EXISTS, self.api.submit, LONG, "order-1")
        events = self.api.generate(SHORT, request_id="order-1")
        self.assertEqual(events[0].name, first.name)
        self.assert_is_log(events)
        self.api.delete(first.name)
        self.assertNotEqual(self.api.submit(LONG, request_id="order-1").name, first.name)

    # -- Cancel, Delete, deadlines

    def test_cancel_is_idempotent_and_leaves_a_finished_job_as_it_is(self):
        name = self.api.submit(LONG).name
        self.api.cancel(name)
        job = self.api.finish(name)
        self.assertEqual(job.state, job_pb2.JOB_STATE_CANCELLED)
        self.assertEqual(self.api.cancel(name).state, job_pb2.JOB_STATE_CANCELLED)
        done = self.api.finish(self.api.submit(SHORT).name)
        self.assertEqual(self.api.cancel(done.name).state, job_pb2.JOB_STATE_SUCCEEDED)

    def test_a_job_that_waits_in_the_queue_can_be_cancelled_and_never_starts(self):
        many = [self.api.submit(LONG).name for _ in range(40)]
        waiting = wait_until(lambda: [n for n in many if self.state(n) == job_pb2.JOB_STATE_QUEUED],
                             "a job that waits")[-1]
        self.api.cancel(waiting)
        job = self.api.finish(waiting)
        self.assertEqual((job.state, job.start_us), (job_pb2.JOB_STATE_CANCELLED, 0))
        for name in many:
            self.api.cancel(name)

    def test_a_deleted_job_is_forgotten_and_a_running_one_is_ended_first(self):
        for spec in (SHORT, LONG):
            name = self.api.submit(spec).name
            self.api.delete(name)
            self.assert_status(grpc.StatusCode.NOT_FOUND, self.api.get, name)
            self.assert_status(grpc.StatusCode.NOT_FOUND, list, self.api.watch(name))
            self.assert_status(grpc.StatusCode.NOT_FOUND, self.api.delete, name)
        wait_until(lambda: not self.api.status().jobs_running, "nothing running")

    def test_the_callers_deadline_ends_the_call_and_keeps_what_was_written(self):
        call = self.api.inference.Generate(latentd_pb2.GenerateRequest(spec=LONG), timeout=0.5)
        name = next(call).job.name
        self.assert_status(grpc.StatusCode.DEADLINE_EXCEEDED, list, call)
        job = self.api.finish(name)
        self.assertTrue(job.done)
        self.assertIn(job.output.finish, (job_pb2.FINISH_REASON_DEADLINE, job_pb2.FINISH_REASON_CANCELLED))

    def test_max_run_ms_bounds_the_job_and_not_the_call_that_watches_it(self):
        spec = job_pb2.JobSpec()
        spec.CopyFrom(LONG)
        spec.max_run_ms = 50
        events = list(self.api.watch(self.api.submit(spec).name))
        self.assertEqual(events[-1].finished.reason, job_pb2.FINISH_REASON_DEADLINE)
        self.assertEqual(self.api.get(events[0].name).state, job_pb2.JOB_STATE_FAILED)
        self.assert_status(grpc.StatusCode.DEADLINE_EXCEEDED, self.api.generate, spec)

    # -- lists

    def test_a_list_is_newest_first_paged_and_filtered(self):
        names = [self.api.submit(make_spec("1+1=", depth=2, label="odd" if i % 2 else "even")).name
                 for i in range(7)]
        for name in names:
            self.api.finish(name)
        running = self.api.submit(LONG).name
        listed, token, pages = [], "", 0
        while True:
            page = self.api.jobs.List(latentd_pb2.ListJobsRequest(page_size=3, page_token=token))
            self.assertLessEqual(len(page.jobs), 3)
            listed += [job.name for job in page.jobs]
            token, pages = page.next_page_token, pages + 1
            if not token:
                break
        self.assertEqual(listed, [running] + names[::-1])
        self.assertGreaterEqual(pages, 3)
        odd = self.api.jobs.List(latentd_pb2.ListJobsRequest(label="odd"))
        self.assertEqual([job.name for job in odd.jobs], [names[5], names[3], names[1]])
        done = self.api.jobs.List(latentd_pb2.ListJobsRequest(states=[job_pb2.JOB_STATE_SUCCEEDED]))
        self.assertEqual([job.name for job in done.jobs], names[::-1])
        self.api.cancel(running)

    # -- text and scores

    def test_text_becomes_tokens_and_tokens_become_the_same_text(self):
        for text in ("3-2+6=", "eve's rival's friend's boss?", "h\u00e9llo \U0001F642", ""):
            ids = self.api.inference.Tokenize(latentd_pb2.TokenizeRequest(text=text, no_special=True))
            self.assertEqual(b"".join(ids.pieces).decode(), text)
            back = self.api.inference.Detokenize(latentd_pb2.DetokenizeRequest(ids=ids.ids))
            self.assertEqual(back.text, text)

    def test_a_score_is_bit_for_bit_what_generation_reported(self):
        # Every step keeps its own keys and values here, so one pass over all is the same sums.
        daemon = self.daemon(model=harness.TINY)
        api = daemon.api()
        context = [3, 1, 4, 1, 5]
        spec = make_spec(context, depth=12, max_tokens=9, seed=7, ignore_eos=True, logprobs=1, temperature=1.5)
        answer = Answer.of_events(api.generate(spec))
        request = latentd_pb2.ScoreRequest(seed=7)
        request.context.tokens.ids.extend(context)
        request.continuation.tokens.ids.extend(answer.ids)
        request.depth.fixed_steps = 12
        score = api.inference.Score(request, timeout=patience())
        self.assertEqual(list(score.ids), answer.ids)
        self.assertEqual([float_bits(v) for v in score.logprobs], [bits for bits, _ in answer.logprobs])
        self.assertEqual(list(score.greedy), [top[0][0] == i for i, (_, top) in zip(answer.ids, answer.logprobs)])
        self.assertEqual(score.context_tokens, len(context))
        self.assertAlmostEqual(score.sum, sum(score.logprobs), places=4)
        self.assert_stops_cleanly(daemon)

    def test_a_chat_is_rendered_by_the_models_own_format(self):
        if not self.api.cluster.GetModel(latentd_pb2.GetModelRequest()).has_chat:
            self.skipTest("the demo model has no chat format")
        request = latentd_pb2.TokenizeRequest()
        request.chat.messages.add(role="user", content="3+4=")
        ids = self.api.inference.Tokenize(request).ids
        plain = self.api.inference.Tokenize(latentd_pb2.TokenizeRequest(text="3+4=", no_special=True)).ids
        self.assertGreater(len(ids), len(plain))
        spec = job_pb2.JobSpec(max_tokens=2)
        spec.prompt.chat.messages.add(role="user", content="3+4=")
        job = self.api.finish(self.api.submit(spec).name)
        self.assertEqual(job.prompt_tokens, len(ids))

    def test_stop_strings_end_the_text_before_them(self):
        spec = make_spec("1+2+3=", depth=3, max_tokens=12, seed=5, ignore_eos=True)
        whole = Answer.of_events(self.api.generate(spec))
        self.assertGreater(len(whole.text), 2)
        stop = whole.text[2:4]
        spec.stop.append(stop)
        answer = Answer.of_events(self.api.generate(spec))
        self.assertEqual(answer.finish, job_pb2.FINISH_REASON_STOP)
        self.assertEqual(answer.text, whole.text[:whole.text.index(stop)])

    # -- cluster and health

    def test_the_model_and_the_status_say_what_is_served(self):
        model = self.api.cluster.GetModel(latentd_pb2.GetModelRequest())
        self.assertEqual(model.name, "models/demo")
        self.assertTrue(model.has_tokenizer)
        self.assertEqual(model.max_steps, 4096)
        self.assertIn(model.tier.split()[0].split("/")[0], [t.name for t in model.tiers if t.usable])
        self.assertTrue(all(tier.usable or tier.reason for tier in model.tiers))
        before = self.api.status()
        self.assertEqual((before.state, len(before.ranks)), ("serving", 1))
        self.api.generate(SHORT)
        after = self.api.status()
        self.assertEqual(after.jobs_finished, before.jobs_finished + 1)
        self.assertGreaterEqual(after.ticks, before.ticks + 16)
        self.assertGreater(after.tokens_out, before.tokens_out)
        self.assertEqual(after.pages_used, 0)

    def test_health_answers_for_the_server_each_service_and_none_else(self):
        check = self.api.health.Check
        for service in ("", "latentd.v1.Inference", "latentd.v1.Jobs", "latentd.v1.Cluster"):
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=patience())
            self.assertEqual(answer.status, SERVING, service)
        self.assert_status(grpc.StatusCode.NOT_FOUND, check, health_pb2.HealthCheckRequest(service="nobody"))
        watch = self.api.health.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=patience())
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        watch.cancel()
        watch = self.api.health.Watch(health_pb2.HealthCheckRequest(), timeout=patience())
        self.assertEqual(next(watch).status, SERVING)
        watch.cancel()


if __name__ == "__main__":
    harness.main()
