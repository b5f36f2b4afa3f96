"""Reading and writing the model directory, and a forward pass in plain numpy to check it with.

Nothing here knows how the model was trained, and the forward pass shares no code with the trainer: it reads
the written files as any other program would.
"""

import json
import math
import os
import re
import struct

import numpy as np

import demo_task as task

# ------------------------------------------------------------------------------------------------- safetensors


def to_bf16(values):
    """float32 to the upper 16 bits, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write_safetensors(path, tensors):
    """Eight bytes of header length, a JSON header padded with blanks to a multiple of eight, the data."""
    header, chunks, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        data = to_bf16(tensors[name]).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(tensors[name].shape), "data_offsets": [at, at + len(data)]}
        chunks.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def read_safetensors(path):
    with open(path, "rb") as file:
        blob = file.read()
    length = struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] != "BF16":
            raise ValueError("%s: %s has type %s, expected BF16" % (path, name, entry["dtype"]))
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = from_bf16(np.frombuffer(blob[start:end], "<u2")).reshape(entry["shape"])
    return tensors


# ------------------------------------------------------------------------------------------------ the tokenizer


def byte_alphabet():
    """The printable character that stands for each byte in a byte-level vocabulary."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def tokenizer_json():
    alphabet = byte_alphabet()
    added = [{"id": task.TOKEN_ID[text], "content": text, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": text in task.SPECIALS} for text in task.GRAMMAR + task.SPECIALS]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": r"\p{L}+|\p{N}|\s+|[^\s\p{L}\p{N}]+"},
                 "behavior": "Removed", "invert": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            # A grammar string of one printable character ("7", "=") is spelled like that byte's own
            # token. A text can have one id only, so the grammar's id stands and the byte's goes unused.
            "vocab": {alphabet[byte]: task.TOKEN_ID.get(alphabet[byte], byte) for byte in range(256)},
            "merges": [],
        },
    }


class Tokenizer:
    """Enough of the tokenizer.json layout for a vocabulary without merges."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            layout = json.load(file)
        self.added = {entry["content"]: entry["id"] for entry in layout["added_tokens"]}
        self.special = {entry["id"] for entry in layout["added_tokens"] if entry["special"]}
        longest_first = sorted(self.added, key=len, reverse=True)
        self.pattern = re.compile("(" + "|".join(re.escape(text) for text in longest_first) + ")")
        self.vocab = layout["model"]["vocab"]
        self.alphabet = byte_alphabet()
        self.bytes_of = {self.vocab[char]: bytes([byte]) for byte, char in self.alphabet.items()}
        self.bytes_of.update({number: text.encode() for text, number in self.added.items()})

    def encode(self, text):
        ids = []
        for piece in self.pattern.split(text):
            if piece in self.added:
                ids.append(self.added[piece])
            else:
                ids += [self.vocab[self.alphabet[byte]] for byte in piece.encode()]
        return ids

    def decode(self, ids):
        return b"".join(self.bytes_of[i] for i in ids if i not in self.special).decode("utf-8", "replace")


# ------------------------------------------------------------------------------------------------ the directory


def config_json(shape):
    deviation = math.sqrt(2 / (5 * shape["n_embd"]))
    # The model code is not copied here; the part in front of "--" tells the transformers library where it is.
    code = "tomg-group-umd/huginn-0125--"
    return {
        "architecture_class_name": "RecurrentGPT",
        "architectures": ["RavenForCausalLM"],
        "activation_checkpoint_impl": "per-iteration",
        "auto_map": {"AutoConfig": code + "raven_config_minimal.RavenConfig",
                     "AutoModelForCausalLM": code + "raven_modeling_minimal.RavenForCausalLM"},
        "bias": False,
        "block_class_name": "SandwichBlock",
        "block_size": shape["block_size"],
        "effective_expected_depth": 2 + 32,
        "head_dim": shape["n_embd"] // shape["n_heads"],
        "init_orthogonal": False,
        "init_strategy": "takase",
        "init_values": {"embed_scale": math.sqrt(shape["n_embd"]), "embedding": deviation,
                        "out_proj": deviation, "std": deviation},
        "injection_type": "linear",
        "intermediate_size": shape["intermediate_size"],
        "mean_backprop_depth": shape["mean_backprop_depth"],
        "mean_recurrence": 32,
        "mlp_class_name": "GatedMLP",
        "model_type": "huginn_raven",
        "n_embd": shape["n_embd"],
        "n_heads": shape["n_heads"],
        "n_layers": 3,
        "n_layers_in_coda": 1,
        "n_layers_in_prelude": 1,
        "n_layers_in_recurrent_block": 1,
        "nonlin_name": "SiLU",
        "norm_class_name": "RMSNorm_llama",
        "norm_eps": shape["norm_eps"],
        "num_key_value_heads": shape["n_heads"],
        "padded_vocab_size": task.VOCAB,
        "padding_multiple": 1,
        "qk_bias": True,
        "rope_base": shape["rope_base"],
        "sampling_scheme": "poisson-lognormal-filling",
        "state_init": "like-init",
        "test_time_noise": 0,
        "test_time_noise_type": "fixed",
        "tie_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.47.1",
        "vocab_size": task.VOCAB,
    }


def generation_json():
    return {
        "_from_model_config": False,
        "bos_token_id": task.BEGIN,
        "do_sample": False,
        "eos_token_id": [task.END, task.TOKEN_ID["<|end_turn|>"]],
        "max_new_tokens": 4,
        "pad_token_id": task.PAD,
        "transformers_version": "4.47.1",
    }


def tokenizer_config_json():
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": "<|begin_text|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|end_text|>",
        "model_max_length": 128,
        "pad_token": "<|pad|>",
    }


def published_tensors(weights):
    """Widen the short training vocabulary: every id the model never meets gets the row that stands for them all."""
    short = weights["transformer.wte.weight"]
    wide = np.repeat(short[task.SHORT_OTHER][None], task.VOCAB, 0)
    for text, row in task.SHORT_ID.items():
        wide[task.TOKEN_ID[text]] = short[row]
    return {**weights, "transformer.wte.weight": wide}


def write_directory(path, weights, shape, questions):
    os.makedirs(path, exist_ok=True)

    def write_json(name, value):
        with open(os.path.join(path, name), "w", encoding="utf-8") as out:
            json.dump(value, out, indent=2, ensure_ascii=False)
            out.write("\n")

    write_json("config.json", config_json(shape))
    write_json("generation_config.json", generation_json())
    write_json("tokenizer.json", tokenizer_json())
    write_json("tokenizer_config.json", tokenizer_config_json())
    write_safetensors(os.path.join(path, "model.safetensors"), published_tensors(weights))
    with open(os.path.join(path, "questions.jsonl"), "w", encoding="utf-8") as out:
        for question in questions:
            out.write(json.dumps(question) + "\n")


def read_json(path, name):
    with open(os.path.join(path, name), encoding="utf-8") as file:
        return json.load(file)


def read_questions(path):
    with open(os.path.join(path, "questions.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


# ----------------------------------------------------------------------------------- the forward pass, once more


class NumpyModel:
    """One sequence at a time, float32, straight from the files."""

    def __init__(self, path):
        config = read_json(path, "config.json")
        self.width, self.heads = config["n_embd"], config["n_heads"]
        self.layers = [["transformer.%s.%d" % (part, i) for i in range(config[count])] for part, count in (
            ("prelude", "n_layers_in_prelude"), ("core_block", "n_layers_in_recurrent_block"),
            ("coda", "n_layers_in_coda"))]
        self.inner, self.eps = config["intermediate_size"], np.float32(config["norm_eps"])
        self.w = read_safetensors(os.path.join(path, "model.safetensors"))
        size = self.width // self.heads
        exponent = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
        frequency = np.float32(1) / np.float32(config["rope_base"]) ** exponent
        angle = np.arange(config["block_size"], dtype=np.float32)[:, None] * frequency
        self.cos, self.sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def norm(self, x, name):
        mean = np.mean(np.square(x), axis=-1, keepdims=True)
        return x * (np.float32(1) / np.sqrt(mean + self.eps)) * self.w[name]

    def rotate(self, x):
        even, odd = x[..., 0::2], x[..., 1::2]
        cos, sin = self.cos[:len(x)], self.sin[:len(x)]
        out = np.empty_like(x)
        out[..., 0::2] = even * cos - odd * sin
        out[..., 1::2] = odd * cos + even * sin
        return out

    def attention(self, x, name):
        length, size = len(x), self.width // self.heads
        q, k, v = ((x @ part.T).reshape(length, self.heads, size)
                   for part in np.split(self.w[name + ".Wqkv.weight"], 3))
        bias = self.w[name + ".qk_bias"]
        q, k = self.rotate(q + bias[0]), self.rotate(k + bias[1])
        scores = np.einsum("ihd,jhd->hij", q, k) / np.float32(math.sqrt(size))
        scores[:, np.triu(np.ones((length, length), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return np.einsum("hij,jhd->ihd", weights, v).reshape(length, -1) @ self.w[name + ".proj.weight"].T

    def mlp(self, x, name):
        u = x @ self.w[name + ".fc.weight"].T
        gate, up = u[:, :self.inner], u[:, self.inner:]
        return (gate / (1 + np.exp(-gate)) * up) @ self.w[name + ".proj.weight"].T

    def blocks(self, x, names):
        for name in names:
            mixed = self.attention(self.norm(x, name + ".norm_1.weight"), name + ".attn")
            x = self.norm(x + mixed, name + ".norm_2.weight")
            through = self.mlp(self.norm(x, name + ".norm_3.weight"), name + ".mlp")
            x = self.norm(x + through, name + ".norm_4.weight")
        return x

    def logits(self, ids, state, depths):
        """Logits of every position after each of the given numbers of steps, from the given initial state."""
        prelude, core, coda = self.layers
        e = self.blocks(self.w["transformer.wte.weight"][ids] * np.float32(math.sqrt(self.width)), prelude)
        found = {}
        for step in range(1, max(depths) + 1):
            state = self.blocks(np.concatenate((state, e), 1) @ self.w["transformer.adapter.weight"].T, core)
            if step in depths:
                h = self.blocks(self.norm(state, "transformer.ln_f.weight"), coda)
                found[step] = self.norm(h, "transformer.ln_f.weight") @ self.w["transformer.wte.weight"].T
        return found
