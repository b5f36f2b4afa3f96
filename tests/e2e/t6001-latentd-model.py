#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""latentd-model as an operator uses it: models that are made up and served, described and checked."""
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import tempfile

import harness
from harness import Answer, make_spec

MODEL = os.environ["LATENTD_MODEL_BIN"]

# The program is often over before threads that OpenBLAS starts with it have begun; none is needed.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
MATRIX = "transformer.core_block.0.mlp.fc.weight"
ADDRESS_SPACE = 64 << 20  # a third of what the test writes; the program itself and its libraries take 47 MiB


def run(*arguments, **keys):
    return subprocess.run([MODEL] + list(arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=harness.patience(120), **keys)


class LatentdModel(harness.Case):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="ltd-model-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def good(self, *arguments, status=0):
        ended = run(*arguments)
        self.assertEqual(ended.returncode, status, "latentd-model %s: exit status; it said:\n%s%s"
                         % (" ".join(arguments), ended.stdout, ended.stderr))
        return ended

    def synth(self, name, like="tiny", seed=1, *arguments):
        self.good("synth", "--like", like, "--seed", str(seed), *arguments, self.path(name))
        return self.path(name)

    def test_a_made_up_model_is_served_and_writes_the_same_in_one_file_or_in_many(self):
        spec = make_spec([1, 2, 3, 250], depth=6, max_tokens=12, seed=5, temperature=1.0)
        answers = []
        for name, arguments in (("one", []), ("many", ["--max-shard-bytes", "50000"])):
            daemon = self.daemon(model=self.synth(name, "tiny", 7, *arguments))
            answers.append(Answer.of_events(daemon.api().generate(spec)))
            self.assert_stops_cleanly(daemon)
        self.assertEqual(len(answers[0].ids), 12)
        self.assertGreater(len(set(answers[0].ids)), 3, answers[0].ids)
        self.assertEqual(answers[0].ids, answers[1].ids)
        self.assertEqual(len([name for name in os.listdir(self.path("many")) if name.endswith("safetensors")]), 9)

    def test_a_comparison_of_formats_is_the_same_twice_and_nothing_with_itself(self):
        path = self.synth("m", "tiny", 7)
        options = ["--against", "bf16", "--depth", "6", "--tokens", "1,2,3,250,17", "--json"]
        itself = json.loads(self.good("compare", "--format", "bf16", *options, path).stdout)
        self.assertEqual([row["depth"] for row in itself["rows"]], [1, 2, 4, 6])
        for row in itself["rows"]:
            self.assertEqual((row["kl_mean"], row["kl_max"], row["drift"], row["same_top"]), (0, 0, 0, 5))
        ladder = ["--format", "bf16", "--early-format", "int8", "--early-steps", "2,6"]
        first = self.good("compare", *ladder, *options, "--threads", "1", path).stdout
        self.assertEqual(first, self.good("compare", *ladder, *options, "--threads", "2", path).stdout)
        two, six = [[row for row in json.loads(first)["rows"] if row["early_steps"] == k][-1] for k in (2, 6)]
        self.assertLess(two["drift"], six["drift"])
        self.assertLess(six["step_bytes"], two["step_bytes"])
        for bad in (["--early-steps", "2"], ["--format", "int3"], ["--depth", "0"], ["--limit", "3"]):
            self.good("compare", *bad, "--tokens", "1,2", path, status=2)
        self.good("compare", path, status=2)
        self.good("compare", "--prompt", "some text", path, status=2)

    def test_latents_of_a_made_up_model_settle_so_every_position_ends_by_its_exit_rule(self):
        """A difference shrinks to 0.7 to 0.85 of itself per step: from 1 to 0.001 in some twenty to forty steps."""
        for like in ("tiny", "l2-1m"):
            daemon = self.daemon(model=self.synth(like, like))
            answer = Answer.of_events(daemon.api().generate(make_spec(
                [5, 6, 7, 8], depth=(1, 64, 0.001), max_tokens=16, seed=1)))
            self.assertEqual(len(answer.ids), 16)
            self.assertTrue(all(8 <= steps < 50 for steps in answer.steps), (like, answer.steps))
            self.assert_stops_cleanly(daemon)

    def test_info_says_what_the_daemon_says_of_the_same_model(self):
        model = self.synth("model", "l2-512k")
        shown = json.loads(self.good("info", "--json", "--ranks", "3", model).stdout)
        daemon = self.daemon(model=model, ranks=3)
        cluster = daemon.api().cluster
        said = cluster.GetModel(harness.latentd_pb2.GetModelRequest())
        self.assertEqual(shown["hash"], said.hash)
        self.assertEqual(shown["parameters"]["total"], said.parameters)
        self.assertEqual(shown["shape"]["context_tokens"], said.context_tokens)
        self.assertEqual(shown["shape"]["default_steps"], said.default_steps)
        self.assertEqual(sum(rank["kv_bytes_per_position"] for rank in shown["ranks"]), said.kv_bytes_per_position)
        self.assertFalse(shown["has_tokenizer"] or said.has_tokenizer)
        ranks = cluster.GetStatus(harness.latentd_pb2.GetStatusRequest()).ranks
        self.assertEqual([[rank["heads"], rank["embd_rows"], rank["fc_rows"]] for rank in shown["ranks"]],
                         [[[r.head_begin, r.head_end], [r.embd_begin, r.embd_end], [r.fc_begin, r.fc_end]]
                          for r in ranks])
        self.assert_stops_cleanly(daemon)
        text = self.good("info", model).stdout
        for part in (shown["hash"], str(said.parameters), "no tokenizer", "BF16", "KV/CONTEXT"):
            self.assertIn(part, text)

    def test_info_and_verify_refuse_with_the_words_of_the_daemon(self):
        model = self.synth("model")
        path = os.path.join(model, "config.json")
        with open(path) as file:
            config = json.load(file)
        with open(path, "w") as file:
            json.dump(dict(config, nonlin_name="GELU"), file)
        daemon = self.daemon(model=model, wait=False)
        self.assertEqual(daemon.wait(), 2)
        words = '%s: key nonlin_name: string "GELU", expected "SiLU"' % path
        self.assertIn(words, daemon.log())
        self.assertIn(words, self.good("info", model, status=2).stderr)
        self.assertIn(words, self.good("verify", model, status=1).stderr)

    def test_verify_names_the_tensor_whose_bit_has_flipped(self):
        model = self.synth("model", "tiny", 1, "--dtype", "f32")
        self.assertIn("no latentd-checksums.json", self.good("verify", model).stdout)
        self.good("checksum", model)
        self.assertIn("every checksum agrees", self.good("verify", model).stdout)
        self.good("checksum", model, status=3)
        path = os.path.join(model, "model.safetensors")
        with open(path, "r+b") as file:
            head = int.from_bytes(file.read(8), "little")
            begin = json.loads(file.read(head))[MATRIX]["data_offsets"][0]
            file.seek(8 + head + begin + 400)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        refused = self.good("verify", model, status=1)
        self.assertIn("latentd-model: verify: corrupt: %s: tensor %s: SHA-256" % (path, MATRIX), refused.stderr)
        self.assertEqual(refused.stdout, "")

    def test_a_packed_model_is_refused_by_file_and_tensor_when_a_bit_has_flipped(self):
        model = self.synth("model")
        said = self.good("pack", "--format", "bf16,int8", model).stdout
        packed = model + "-bf16-int8"
        self.assertEqual(said, "%s: 190016 parameters, 478 kB in bf16,int8, 2 files copied\n" % packed)
        shown = json.loads(self.good("info", "--json", packed).stdout)
        self.assertEqual(shown["packed"], ["bf16", "int8"])
        self.assertEqual(shown["hash"], json.loads(self.good("info", "--json", model).stdout)["hash"])
        self.assertRegex(self.good("info", packed).stdout, r"(?m)^packed +bf16,int8$")
        self.assertIn("every checksum agrees", self.good("verify", packed).stdout)
        self.assertIn("checksums of its own", self.good("checksum", packed, status=2).stderr)
        self.assertIn("is packed", self.good("pack", "--format", "bf16", packed, status=2).stderr)
        path = os.path.join(packed, "packed.safetensors")
        with open(path, "r+b") as file:
            head = int.from_bytes(file.read(8), "little")
            begin = json.loads(file.read(head))[MATRIX + "@bf16"]["data_offsets"][0]
            file.seek(8 + head + begin + 400)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        words = "%s: tensor %s@bf16: bytes [0, " % (path, MATRIX)
        self.assertIn("latentd-model: verify: corrupt: " + words, self.good("verify", packed, status=1).stderr)
        if not harness.packed_tier():
            self.skipTest("no tier of this machine takes packed matrices")
        for ranks in (0, 2):
            daemon = self.daemon(model=packed, ranks=ranks, wait=False, options=dict(format="bf16"))
            self.assertEqual(daemon.wait(), 2)
            self.assertIn(words, daemon.log())

    def test_what_a_packed_directory_does_not_hold_is_refused_with_what_it_does(self):
        packed = self.synth("model", "tiny", 1, "--format", "bf16,int8")
        for options, words in ((dict(), "not in f32: expected format = bf16"),
                               (dict(format="int8"), "not in int8: expected format = bf16"),
                               (dict(format="bf16", tier="ref"), "tier ref does not: expected another tier")):
            for ranks in (0, 2):
                daemon = self.daemon(model=packed, ranks=ranks, wait=False, options=options)
                self.assertEqual(daemon.wait(), 2)
                self.assertIn(words, daemon.log())

    def test_memory_does_not_grow_with_the_model(self):
        limit = None
        if not harness.SANITIZE:  # a sanitizer's shadow needs more address space than there is memory
            def limit():
                resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        # compare brings OpenBLAS along, which takes address space for each of its threads before main begins.
        ended = run("synth", "--like", "100m", "--seed", "1", "--max-shard-bytes", "60000000", self.path("m"),
                    preexec_fn=limit, env=dict(os.environ, OPENBLAS_NUM_THREADS="1"))
        self.assertEqual(ended.returncode, 0, ended.stderr)
        files = [name for name in os.listdir(self.path("m")) if name.endswith(".safetensors")]
        self.assertEqual(len(files), 3, files)
        written = sum(os.path.getsize(os.path.join(self.path("m"), name)) for name in files)
        self.assertGreater(written, 3 * ADDRESS_SPACE)
        self.good("info", self.path("m"))

    def test_a_terminal_gets_a_bar_and_ctrl_c_leaves_nothing(self):
        for arguments in (["--dtype", "f32"], ["--format", "f32,int8"]):
            self.check_bar_and_ctrl_c(arguments)

    def check_bar_and_ctrl_c(self, arguments):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        environment = dict(os.environ, TERM="xterm")
        process = subprocess.Popen([MODEL, "synth", "--like", "100m", "--seed", "1"] + arguments + [self.path("big")],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, env=environment)
        os.close(theirs)
        said = b""
        while b" 0 %  " not in said:
            said += os.read(ours, 4096)
        self.assertTrue([name for name in os.listdir(self.dir) if name.startswith(".big.partial-")])
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=harness.patience(60))
        self.assertEqual(process.returncode, 130, said)
        self.assertEqual(out, b"")
        self.assertEqual(os.listdir(self.dir), [])

    def test_a_pipe_gets_no_bar(self):
        ended = self.good("synth", "--like", "tiny", "--seed", "1", self.path("quiet"))
        self.assertEqual(ended.stderr, "")
        self.assertEqual(ended.stdout, "%s: 190016 parameters, 380 kB in 1 file\n" % self.path("quiet"))

    def test_mistakes_are_one_line_and_two(self):
        cases = [([], "no verb"), (["sinth"], "did you mean synth?"), (["synth", self.path("x")], "--like is missing"),
                 (["synth", "--like", "tiny", self.path("x")], "--seed is missing"),
                 (["synth", "--like", "huge", "--seed", "1", self.path("x")], "huginn-0125"),
                 (["synth", "--like", "tiny", "--seed", "-1", self.path("x")], "whole number"),
                 (["synth", "--like", "tiny", "--seed", "1", "--dtype", "f16", self.path("x")], "bf16 or f32"),
                 (["synth", "--like", "tiny", "--seed", "1", "--max-shard-bytes", "0", self.path("x")], "expected more"),
                 (["synth", "--like", "tiny", "--seed", "1", "--format", "q4", self.path("x")], "bf16,int8"),
                 (["synth", "--like", "tiny", "--seed", "1", "--format", "bf16", "--max-shard-bytes", "9", self.path("x")],
                  "expected one"),
                 (["pack", self.path("x")], "--format is missing"),
                 (["pack", "--format", "bf16,bf16", self.path("x")], "each once"),
                 (["synth", "--like", "tiny", "--seed", "1"], "0 words, expected one"),
                 (["info", "a", "b"], "2 words"), (["verify", "--rank", "1", "a"], "unknown option --rank"),
                 (["info", "--ranks", "0", self.path("")], "")]
        for arguments, text in cases:
            with self.subTest(arguments):
                ended = run(*arguments)
                self.assertIn(ended.returncode, (2, 3) if not text else (2,), ended.stderr)
                self.assertIn(text, ended.stderr.splitlines()[0])
                self.assertTrue(ended.stderr.startswith("latentd-model: "), ended.stderr)
        self.assertEqual(os.listdir(self.dir), [])

    def test_a_standard_output_that_is_full_is_an_error(self):
        model = self.synth("model")
        with open("/dev/full", "w") as full:
            ended = subprocess.run([MODEL, "info", model], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(ended.returncode, 1, ended.stderr)

    def test_the_manual_page_is_what_the_tables_say_and_the_handbook_names_every_verb_and_flag(self):
        with open(os.path.join(harness.SOURCE, "docs/latentd-model.1")) as file:
            self.assertEqual(file.read(), self.good("help", "--man").stdout,
                             "docs/latentd-model.1 is old: latentd-model help --man > docs/latentd-model.1")
        with open(os.path.join(harness.SOURCE, "docs/latentd-model.md")) as file:
            handbook = file.read()
        verbs = [line.split()[0] for line in self.good("help").stdout.splitlines() if line.startswith("  ")]
        self.assertEqual(verbs, ["synth", "pack", "info", "verify", "checksum", "compare"])
        for verb in verbs:
            text = self.good("help", verb).stdout
            self.assertEqual(text, self.good(verb, "--help").stdout)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 80, line)
            flags = [line.split()[0] for line in text.splitlines() if line.startswith("  --")]
            self.assertIn("--help", flags)
            for word in [verb] + flags:
                self.assertIn("`%s" % word, handbook)


if __name__ == "__main__":
    harness.main()
