#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The command line as a script uses it: every verb, --json, addresses and exit statuses."""
import json
import os
import struct

import harness
from harness import Answer, ctl, make_spec

LONG = ["--depth", "4096", "--max-tokens", "60", "--ignore-eos", "--seed", "1"]


class Latentctl(harness.Case):
    def setUp(self):
        self.server = self.daemon(options=dict(max_steps=4096, kv_slots=4, drain_seconds=0))

    def ctl(self, *arguments, status=0, **keys):
        ended = ctl(self.server, *arguments, **keys)
        self.assertEqual(ended.returncode, status, "latentctl %s: exit status; it said:\n%s%s"
                         % (" ".join(arguments), ended.stdout, ended.stderr))
        return ended

    def json(self, *arguments, **keys):
        return json.loads(self.ctl(arguments[0], "--json", *arguments[1:], **keys).stdout)

    def test_think_prints_the_answer_and_nothing_else_on_standard_output(self):
        ended = self.ctl("think", "3+4=", "--depth", "8")
        self.assertEqual(ended.stdout.strip(), "7")

    def test_think_reads_its_prompt_from_standard_input(self):
        self.assertEqual(self.ctl("think", "-", "--depth", "8", stdin="4+4=").stdout.strip(), "8")

    def test_think_json_says_all_that_the_service_says_with_full_precision(self):
        shown = self.json("think", "9-7-2-3=", "--depth", "12", "--seed", "18446744073709551615", "--logprobs", "3")
        events = self.server.api().generate(make_spec("9-7-2-3=", depth=12, seed=2**64 - 1, logprobs=3))
        answer = Answer.of_events(events)
        self.assertEqual(shown["tokens"], answer.ids)
        self.assertEqual(shown["text"], answer.text)
        self.assertEqual(shown["steps"], answer.steps)
        self.assertEqual(shown["seed"], 2**64 - 1)
        self.assertEqual(shown["exits"], ["fixed"] * len(answer.ids))
        self.assertEqual(shown["finish"], "eos")
        self.assertTrue(shown["tier"])
        self.assertTrue(shown["job"].startswith("jobs/"))

        def bits(value):
            return struct.unpack("<I", struct.pack("<f", value))[0]
        found = [(bits(one["logprob"]), tuple((top["id"], bits(top["logprob"])) for top in one["top"]))
                 for one in shown["logprobs"]]
        self.assertEqual(found, answer.logprobs)

    def test_every_depth_and_sampling_flag_reaches_the_service(self):
        flags = ["--depth", "adaptive", "--min-steps", "3", "--max-steps", "20", "--threshold", "0.05",
                 "--init-scale", "0.5", "--seed", "9", "--temperature", "0.8", "--top-k", "30", "--top-p", "0.95",
                 "--min-p", "0.01", "--max-tokens", "5", "--logprobs", "1", "--request-id", "flags-1", "--stop", "zzz"]
        shown = self.json("think", "1+2=", *flags)
        spec = self.server.api().get(shown["job"]).spec
        adaptive, sampling = spec.depth.adaptive, spec.sampling
        self.assertEqual((adaptive.min_steps, adaptive.max_steps, adaptive.threshold), (3, 20, 0.05))
        self.assertEqual((spec.init_scale, spec.max_tokens, spec.logprobs), (0.5, 5, 1))
        self.assertEqual((sampling.seed, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p),
                         (9, 0.8, 30, 0.95, 0.01))
        self.assertEqual(list(spec.stop), ["zzz"])
        self.assertTrue(all(3 <= steps <= 20 for steps in shown["steps"]), shown["steps"])
        again = self.json("think", "1+2=", *flags)
        self.assertEqual(again["job"], shown["job"], "the same --request-id")

    def test_ids_in_place_of_text(self):
        listed = self.json("tokenize", "1+2=")["tokens"]
        self.assertEqual(self.json("think", "--tokens", ",".join(map(str, listed)), "--depth", "8",
                                   "--seed", "1")["tokens"],
                         self.json("think", "1+2=", "--depth", "8", "--seed", "1")["tokens"])

    def test_a_job_is_submitted_watched_listed_cancelled_and_deleted_by_name(self):
        name = self.json("submit", "1+2=", "--depth", "8")["job"]
        watched = self.ctl("watch", name).stdout
        self.assertEqual(watched.strip(), "3")
        result = self.json("result", name)
        self.assertEqual((result["text"].strip(), result["finish"]), ("3", "eos"))
        long = self.json("submit", "1+2=", *LONG)["job"]
        self.assertIn(long, self.ctl("jobs").stdout)
        self.assertIn(long, [job["job"] if "job" in job else job["name"] for job in self.json("jobs")["jobs"]])
        self.ctl("cancel", long)
        self.assertEqual(self.json("result", long, status=7)["finish"], "cancelled")
        self.ctl("delete", long)
        self.assertIn(long.split("/")[1], self.ctl("result", long, status=3).stderr)

    def test_tokenize_and_detokenize_are_each_others_inverse(self):
        ids = self.json("tokenize", "eve's rival's friend?", "--no-special")["tokens"]
        back = self.ctl("detokenize", *[str(i) for i in ids]).stdout
        self.assertEqual(back.strip(), "eve's rival's friend?")

    def test_score_prefers_the_right_answer(self):
        right, wrong = (self.json("score", "--context", "3+4=", "--continuation", digit, "--depth", "16",
                                  "--seed", "1")["sum"] for digit in "78")
        self.assertGreater(right, wrong)

    def test_info_and_health(self):
        info = self.json("info")
        self.assertEqual(info["model"]["name"], "models/demo")
        self.assertEqual(info["status"]["state"], "serving")
        self.assertEqual(len(info["status"]["ranks"]), 1)
        self.assertIn("models/demo", self.ctl("info").stdout)
        self.assertEqual(self.ctl("health").stdout.strip(), "serving")
        self.assertEqual(self.json("health")["status"], "serving")
        self.assertEqual(self.ctl("health", "latentd.v1.Jobs").stdout.strip(), "serving")

    def test_eval_counts_right_answers_by_difficulty_and_depth(self):
        path = os.path.join(self.server.dir, "few.jsonl")
        questions = harness.questions()[::20]
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(question) + "\n" for question in questions)
        table = self.ctl("eval", path, "--depths", "2,32,adaptive").stdout
        for word in ("2", "32", "adaptive"):
            self.assertIn(word, table)
        shown = self.json("eval", path, "--depths", "2,32,adaptive")
        accuracy = {(cell["difficulty"], cell["depth"]): cell["accuracy_percent"] for cell in shown["cells"]}
        self.assertGreater(accuracy[(6, 32)], accuracy[(6, 2)])
        steps = {cell["difficulty"]: cell["mean_steps"] for cell in shown["cells"] if cell["depth"] == "adaptive"}
        self.assertGreater(steps[6], steps[2])
        self.assertEqual(sum(cell["n"] for cell in shown["cells"]), 3 * len(questions))

    def test_the_server_comes_from_the_flag_else_from_the_environment(self):
        ended = ctl(None, "health", environment={"LATENTD_SERVER": self.server.address})
        self.assertEqual((ended.returncode, ended.stdout.strip()), (0, "serving"))
        ended = ctl(self.server, "health", environment={"LATENTD_SERVER": "127.0.0.1:1"})
        self.assertEqual(ended.returncode, 0, ended.stderr)

    def test_each_kind_of_failure_has_its_exit_status_and_a_sentence(self):
        nobody = "127.0.0.1:%d" % harness.free_port()
        cases = (
            (self.server, ("think",), 2),
            (self.server, ("think", "1+1=", "--depth", "many"), 2),
            (self.server, ("think", "1+1=", "--depth", "5000"), 2),
            (self.server, ("think", "1+1=", "--frobnicate"), 2),
            (self.server, ("thnk", "1+1="), 2),
            (self.server, ("eval", "/nonexistent.jsonl", "--depths", "1"), 2),
            (self.server, ("result", "jobs/none"), 2),
            (self.server, ("result", "jobs/" + 26 * "0"), 3),
            (nobody, ("health",), 4),
            (nobody, ("think", "1+1="), 4),
            (self.server, ("think", "1+1=", "--timeout", "0.3", *LONG), 6),
        )
        for server, arguments, status in cases:
            with self.subTest(arguments=arguments):
                ended = ctl(server, *arguments)
                self.assertEqual(ended.returncode, status, ended.stdout + ended.stderr)
                self.assertRegex(ended.stderr.splitlines()[0], r"^latentctl: .{10,}")

    def test_help_lists_every_verb_and_every_verb_has_its_own(self):
        shown = ctl(None, "help")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        for verb in ("think submit watch result jobs cancel delete tokenize detokenize score info health eval"
                     .split()):
            self.assertIn(verb, shown.stdout)
            own = ctl(None, verb, "--help")
            self.assertEqual(own.returncode, 0, own.stderr)
            self.assertIn("--server", own.stdout)

    def tearDown(self):
        self.assert_stops_cleanly(self.server)


if __name__ == "__main__":
    harness.main()
