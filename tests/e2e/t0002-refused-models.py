#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Broken model directories are refused at start: exit status 2, and a message that names the file,
the item, what was found and what was expected. Each directory is a good one with one thing wrong."""
import json
import os
import shutil
import struct
import tempfile

import grpc

import harness
from harness import DEMO, TINY, TINY_BF16


# ------------------------------------------------------------------ ways to break a directory, one each


def edit_json(name, change):
    def apply(directory):
        path = os.path.join(directory, name)
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
        change(value)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file)
    return apply


def config(**keys):
    """Set keys of config.json; None removes one."""
    def change(value):
        for key, item in keys.items():
            if item is None:
                value.pop(key, None)
            else:
                value[key] = item
    return edit_json("config.json", change)


def replace_text(name, old, new):
    def apply(directory):
        path = os.path.join(directory, name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert old in text, "%s has no %s" % (path, old)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new, 1))
    return apply


def write_file(name, data):
    def apply(directory):
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)
    return apply


def remove(name):
    return lambda directory: os.unlink(os.path.join(directory, name))


def make_pipe(name):
    def apply(directory):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            os.unlink(path)
        os.mkfifo(path)
    return apply


def edit_tensors(change, name="model.safetensors", header_bytes=None):
    """`change(header, body)` edits in place; body is a bytearray. header_bytes: a lie about its size."""
    def apply(directory):
        path = os.path.join(directory, name)
        with open(path, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
            body = bytearray(file.read())
        change(header, body)
        text = json.dumps(header).encode()
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text) if header_bytes is None else header_bytes(len(text))))
            file.write(text + body)
    return apply


def tensor(name, **fields):
    return edit_tensors(lambda header, body: header[name].update(fields))


def cut_file(name, keep):
    """Keep `keep(size)` bytes."""
    def apply(directory):
        path = os.path.join(directory, name)
        os.truncate(path, keep(os.path.getsize(path)))
    return apply


def header_cut(directory):
    path = os.path.join(directory, "model.safetensors")
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
    os.truncate(path, 8 + size // 2)


def overlap(header, body):
    a = header["transformer.prelude.0.norm_1.weight"]
    b = header["transformer.prelude.0.norm_2.weight"]
    a["data_offsets"] = list(b["data_offsets"])


def flip_lm_head_bit(header, body):
    body[header["lm_head.weight"]["data_offsets"][0] + 5] ^= 1


def put_nan(header, body):
    at = header["transformer.prelude.0.mlp.fc.weight"]["data_offsets"][0]
    body[at:at + 4] = struct.pack("<f", float("nan"))


def drop_tensor(header, body):
    # The bytes stay: without its name the range is a gap, and the tensor is missing.
    del header["transformer.adapter.weight"]


def rename_tensor(header, body):
    header["transformer.adapter.bias"] = header.pop("transformer.adapter.weight")


def add_tensor(header, body):
    header["transformer.extra.weight"] = {
        "dtype": "F32", "shape": [2], "data_offsets": [len(body), len(body) + 8]}
    body += bytes(8)


def reverse_shape(header, body):
    header["transformer.adapter.weight"]["shape"].reverse()


def weight_map(change):
    return edit_json("model.safetensors.index.json", lambda value: change(value["weight_map"]))


def swap_one_shard(mapping):
    name = next(iter(mapping))
    other = sorted(set(mapping.values()) - {mapping[name]})[0]
    mapping[name] = other


def add_id_twice(value):
    value["added_tokens"].append(dict(value["added_tokens"][0], content="<|again|>"))


TOGETHER = 6  # daemons that are being refused at the same time; most of it is waiting
SINGLE, SHARDED = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "transformer.adapter.weight"

# (what is wrong, the good directory, how it is broken, what the message must name)
BROKEN = [
    ("config.json absent", TINY, remove("config.json"), ["config.json", "No such file"]),
    ("config.json is cut", TINY, cut_file("config.json", lambda n: n // 2), ["config.json", "line "]),
    ("config.json is a list", TINY, write_file("config.json", b"[1, 2]"),
     ["config.json", "array", "expected", "object"]),
    ("config.json is a pipe", TINY, make_pipe("config.json"), ["config.json", "regular file"]),
    ("a key stands twice", TINY, replace_text("config.json", '"n_embd": 40,', '"n_embd": 40, "n_embd": 80,'),
     ["config.json", "n_embd"]),
    ("NaN in config.json", TINY, replace_text("config.json", '"norm_eps": 1e-06', '"norm_eps": NaN'),
     ["config.json", "line "]),
    ("norm_eps is a text", TINY, config(norm_eps="1e-6"), ["config.json", "norm_eps", '"1e-6"', "number"]),
    ("norm_eps is negative", TINY, config(norm_eps=-1e-6), ["config.json", "norm_eps", "-1e-06"]),
    ("n_embd is missing", TINY, config(n_embd=None), ["config.json", "n_embd", "missing", "integer"]),
    ("n_embd is immense", TINY, config(n_embd=10**9), ["config.json", "n_embd", "1000000000"]),
    ("no recurrent layer", TINY, config(n_layers_in_recurrent_block=0),
     ["config.json", "n_layers_in_recurrent_block", "0"]),
    ("another family", TINY, config(model_type="llama"), ["config.json", "model_type", '"llama"', "huginn_raven"]),
    ("another architecture", TINY, config(architectures=["LlamaForCausalLM"]),
     ["config.json", "architectures", "RavenForCausalLM"]),
    ("another activation", TINY, config(nonlin_name="GELU"), ["nonlin_name", '"GELU"', '"SiLU"']),
    ("another norm", TINY, config(norm_class_name="LayerNorm"), ["norm_class_name", '"LayerNorm"', "RMSNorm_llama"]),
    ("another block", TINY, config(block_class_name="PreNormBlock"), ["block_class_name", "SandwichBlock"]),
    ("another injection", TINY, config(injection_type="add"), ["injection_type", '"add"', '"linear"']),
    ("another initial latent", TINY, config(state_init="zero"), ["state_init", '"zero"', '"like-init"']),
    ("heads do not divide the width", TINY, config(n_heads=3, num_key_value_heads=3, head_dim=None),
     ["n_embd", "40", "3 heads"]),
    ("heads of odd width", TINY, config(n_heads=8, num_key_value_heads=8, head_dim=None), ["n_embd", "40", "even"]),
    ("two head counts", TINY, config(num_attention_heads=4), ["num_attention_heads", "4", "5"]),
    ("grouped queries", TINY, config(num_key_value_heads=1), ["num_key_value_heads", "1", "5"]),
    ("biases", TINY, config(bias=True), ["key bias", "true", "false"]),
    ("layer counts disagree", TINY, config(n_layers=9), ["n_layers", "9", "8"]),
    ("noise at inference", TINY, config(test_time_noise=0.1), ["test_time_noise", "0.1", "expected 0"]),
    ("scaled rotary positions", TINY, config(rope_scaling={"type": "yarn"}), ["rope_scaling", "absent"]),
    ("vocabulary larger than its matrix", TINY, config(vocab_size=98, padded_vocab_size=98),
     [SINGLE, "weight", "97", "98"]),
    ("no weights", TINY, remove(SINGLE), [SINGLE, SHARDED]),
    ("weights twice", TINY, write_file(SHARDED, b'{"weight_map": {}}'), [SINGLE, SHARDED, "expected one"]),
    ("an empty weight file", TINY, write_file(SINGLE, b""), [SINGLE, "0 bytes"]),
    ("a weight file of seven bytes", TINY, write_file(SINGLE, b"1234567"), [SINGLE, "7 bytes"]),
    ("the weights are a pipe", TINY, make_pipe(SINGLE), [SINGLE, "regular file"]),
    ("the header is cut", TINY, header_cut, [SINGLE, "header"]),
    ("the header claims more than the file", TINY, edit_tensors(lambda h, b: None, header_bytes=lambda n: 1 << 26),
     [SINGLE, "header", "67108864"]),
    ("the header claims more than is allowed", TINY,
     edit_tensors(lambda h, b: None, header_bytes=lambda n: 1 << 60), [SINGLE, "header", "1152921504606846976"]),
    ("the header is no JSON", TINY, write_file(SINGLE, struct.pack("<Q", 16) + b"{ this is not js"), [SINGLE, "line"]),
    ("the data is cut", TINY, cut_file(SINGLE, lambda n: n - 100), [SINGLE]),
    ("overlapping offsets", TINY, edit_tensors(overlap), [SINGLE, "transformer.prelude.0.norm_"]),
    ("offsets behind the end", TINY, tensor(ADAPTER, data_offsets=[1 << 40, (1 << 40) + 12800]), [SINGLE, ADAPTER]),
    ("offsets backwards", TINY, tensor(ADAPTER, data_offsets=[12800, 0]), [SINGLE, ADAPTER]),
    ("an unknown element type", TINY, tensor(ADAPTER, dtype="F8_E4M3"), [SINGLE, ADAPTER, "F8_E4M3"]),
    ("weights stored as integers", TINY, tensor(ADAPTER, dtype="I32"), [SINGLE, ADAPTER, "I32", "F32"]),
    ("a shape of other size than the data", TINY, tensor(ADAPTER, shape=[40, 81]), [SINGLE, ADAPTER]),
    ("a shape that overflows", TINY, tensor(ADAPTER, shape=[1 << 62, 16]), [SINGLE, ADAPTER]),
    ("a transposed matrix", TINY, edit_tensors(reverse_shape), [SINGLE, ADAPTER, "80", "40"]),
    ("a gap where a tensor was", TINY, edit_tensors(drop_tensor), [SINGLE]),
    ("a tensor under another name", TINY, edit_tensors(rename_tensor), [SINGLE, "transformer.adapter."]),
    ("a tensor nobody knows", TINY, edit_tensors(add_tensor), [SINGLE, "transformer.extra.weight"]),
    ("two copies of the embedding that differ", TINY, edit_tensors(flip_lm_head_bit),
     ["lm_head.weight", "transformer.wte.weight"]),
    ("a weight that is not a number", TINY, edit_tensors(put_nan), ["transformer.prelude.0.mlp.fc.weight"]),
    ("a path in a shard's name", TINY_BF16,
     weight_map(lambda m: m.update({ADAPTER: "../model-00001-of-00002.safetensors"})),
     [SHARDED, ADAPTER, "../model-00001-of-00002.safetensors", "path"]),
    ("a shard that is absent", TINY_BF16, remove("model-00002-of-00002.safetensors"),
     ["model-00002-of-00002.safetensors", "No such file"]),
    ("a tensor mapped to the wrong shard", TINY_BF16, weight_map(swap_one_shard),
     [".safetensors", "missing"]),
    ("a tensor the map does not name", TINY_BF16, weight_map(lambda m: m.pop(ADAPTER)), [ADAPTER, SHARDED]),
    ("an index without a map", TINY_BF16, write_file(SHARDED, b'{"metadata": {}}'), [SHARDED, "weight_map"]),
    ("tokenizer.json is a pipe", DEMO, make_pipe("tokenizer.json"), ["tokenizer.json", "regular file"]),
    ("tokenizer.json is cut", DEMO, cut_file("tokenizer.json", lambda n: n // 2), ["tokenizer.json", "line"]),
    ("a regex that does not compile", DEMO,
     edit_json("tokenizer.json", lambda v: v.update(pre_tokenizer={
         "type": "Split", "pattern": {"Regex": "(unclosed"}, "behavior": "Isolated", "invert": False})),
     ["tokenizer.json", "pre_tokenizer", "pattern", "expected )"]),
    ("another kind of tokenizer", DEMO,
     edit_json("tokenizer.json", lambda v: v["model"].update(type="Unigram")), ["tokenizer.json", "Unigram", "BPE"]),
    ("an unknown pre-tokenizer", DEMO,
     edit_json("tokenizer.json", lambda v: v.update(pre_tokenizer={"type": "Clairvoyant"})),
     ["tokenizer.json", "Clairvoyant"]),
    ("an added token beyond the vocabulary", DEMO,
     edit_json("tokenizer.json", lambda v: v["added_tokens"][0].update(id=10**6)), ["tokenizer.json", "1000000"]),
    ("two added tokens with one id", DEMO, edit_json("tokenizer.json", add_id_twice), ["tokenizer.json"]),
    ("an end token beyond the vocabulary", DEMO,
     edit_json("generation_config.json", lambda v: v.update(eos_token_id=10**6)),
     ["generation_config.json", "eos_token_id", "1000000"]),
    ("a default temperature below zero", DEMO,
     edit_json("generation_config.json", lambda v: v.update(temperature=-1.0)),
     ["generation_config.json", "temperature", "-1"]),
    ("a default top_p above one", DEMO,
     edit_json("generation_config.json", lambda v: v.update(top_p=1.5)), ["generation_config.json", "top_p", "1.5"]),
]


class RefusedModels(harness.Case):
    def copy(self, good):
        directory = tempfile.mkdtemp(prefix="ltd-broken-")
        self.addCleanup(shutil.rmtree, directory, True)
        copy = os.path.join(directory, os.path.basename(good))
        shutil.copytree(good, copy, ignore=shutil.ignore_patterns("golden.safetensors", "questions.jsonl"))
        return copy

    def test_the_untouched_copies_are_accepted(self):
        for good in (TINY, TINY_BF16, DEMO):
            daemon = self.daemon(model=self.copy(good))
            self.assert_stops_cleanly(daemon)

    def test_each_broken_directory_is_refused_with_a_message_that_names_what_is_wrong(self):
        self.assertGreaterEqual(len(BROKEN), 25)
        for begin in range(0, len(BROKEN), TOGETHER):
            batch = BROKEN[begin:begin + TOGETHER]
            started = []
            for _, good, apply, _ in batch:
                directory = self.copy(good)
                apply(directory)
                started.append(self.daemon(model=directory, wait=False))
            for (what, _, _, wanted), daemon in zip(batch, started):
                with self.subTest(what):
                    self.check_refusal(what, daemon, wanted)

    def check_refusal(self, what, daemon, wanted):
        status, log = daemon.wait(), daemon.log()
        daemon.kill()
        self.assertEqual(status, 2, "%s: exit status; the log:\n%s" % (what, log))
        for text in wanted:
            self.assertIn(text, log, what)
        self.assertNotIn("listening", log, what)

    def test_without_a_tokenizer_ids_are_served_and_text_is_refused_with_the_reason(self):
        directory = self.copy(DEMO)
        os.remove(os.path.join(directory, "tokenizer.json"))
        daemon = self.daemon(model=directory)
        api = daemon.api()
        self.assertFalse(api.cluster.GetModel(harness.latentd_pb2.GetModelRequest()).has_tokenizer)
        self.assertEqual(len(harness.Answer.of_events(api.generate(
            harness.make_spec([1, 2, 3], depth=2, max_tokens=2, ignore_eos=True))).ids), 2)
        with self.assertRaises(grpc.RpcError) as refused:
            list(api.generate(harness.make_spec("1+1=", depth=2)))
        self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn("tokenizer.json", refused.exception.details())
        self.assert_stops_cleanly(daemon)

    def test_a_directory_that_does_not_exist_is_refused(self):
        daemon = self.daemon(model="/nonexistent/model", wait=False)
        self.assertEqual(daemon.wait(), 2, daemon.log())
        self.assertIn("/nonexistent/model", daemon.log())

    def test_under_mpirun_a_broken_model_ends_the_group_with_two_and_says_it_once(self):
        directory = self.copy(TINY)
        config(nonlin_name="GELU")(directory)
        daemon = self.daemon(model=directory, ranks=3, wait=False)
        self.assertEqual(daemon.wait(), 2, daemon.log())
        said = [line for line in daemon.log().splitlines() if '"GELU"' in line]
        self.assertGreaterEqual(len(said), 1, daemon.log())
        harness.wait_until(lambda: not daemon.members(), "every process gone")


if __name__ == "__main__":
    harness.main()
