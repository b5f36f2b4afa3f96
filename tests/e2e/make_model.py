# SPDX-License-Identifier: Apache-2.0
"""make_model.py - a model directory in the published layout, of any shape, filled with noise.

For tests that need a shape which no model in the tree has: a long context, a large key-value cache. The weights
are drawn from a seed, stored as bf16, and scaled so that latents settle as those of a trained model do; what the
model writes means nothing. There is no tokenizer: prompts are token ids.
"""
import json
import math
import os
import random
import struct


def config(shape):
    """The keys that the model's authors write and that a reader needs."""
    return {
        "architectures": ["RavenForCausalLM"],
        "architecture_class_name": "RecurrentGPT",
        "bias": False,
        "block_class_name": "SandwichBlock",
        "block_size": shape["context"],
        "head_dim": shape["n_embd"] // shape["heads"],
        "injection_type": "linear",
        "intermediate_size": shape["intermediate"],
        "mean_recurrence": 32,
        "mlp_class_name": "GatedMLP",
        "model_type": "huginn_raven",
        "n_embd": shape["n_embd"],
        "n_heads": shape["heads"],
        "n_layers": shape["prelude"] + shape["core"] + shape["coda"],
        "n_layers_in_coda": shape["coda"],
        "n_layers_in_prelude": shape["prelude"],
        "n_layers_in_recurrent_block": shape["core"],
        "nonlin_name": "SiLU",
        "norm_class_name": "RMSNorm_llama",
        "norm_eps": 1e-06,
        "num_key_value_heads": shape["heads"],
        "padded_vocab_size": shape["vocab"],
        "qk_bias": True,
        "rope_base": 50000,
        "state_init": "like-init",
        "test_time_noise": 0,
        "tie_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": shape["vocab"],
    }


def layout(shape):
    """Name, shape and kind of every tensor."""
    n, inner = shape["n_embd"], shape["intermediate"]
    rows = [("transformer.wte.weight", [shape["vocab"], n], "matrix"),
            ("transformer.adapter.weight", [n, 2 * n], "matrix"),
            ("transformer.ln_f.weight", [n], "norm")]
    for part, count in (("prelude", shape["prelude"]), ("core_block", shape["core"]), ("coda", shape["coda"])):
        for i in range(count):
            prefix = "transformer.%s.%d." % (part, i)
            rows += [(prefix + "norm_%d.weight" % k, [n], "norm") for k in (1, 2, 3, 4)]
            rows += [(prefix + "attn.Wqkv.weight", [3 * n, n], "matrix"),
                     (prefix + "attn.qk_bias", [2, 1, shape["heads"], n // shape["heads"]], "matrix"),
                     (prefix + "attn.proj.weight", [n, n], "small"),
                     (prefix + "mlp.fc.weight", [2 * inner, n], "matrix"),
                     (prefix + "mlp.proj.weight", [n, inner], "small")]
    return rows


def noise(rng, count, exponent):
    """`count` numbers in bf16: sign and mantissa at random, all of one power of two. A byte at a time through a
    table, because a million numbers one by one would take Python a second."""
    low = bytes((exponent & 1) << 7 | byte & 0x7F for byte in range(256))
    high = bytes(byte & 0x80 | exponent >> 1 for byte in range(256))
    raw = bytearray(2 * count)
    raw[0::2] = rng.randbytes(count).translate(low)
    raw[1::2] = rng.randbytes(count).translate(high)
    return bytes(raw)


def make_model(directory, seed=1, n_embd=64, heads=4, intermediate=None, prelude=1, core=1, coda=1, context=128,
               vocab=97):
    """Write the directory; returns it."""
    shape = dict(n_embd=n_embd, heads=heads, intermediate=intermediate or 2 * n_embd, prelude=prelude, core=core,
                 coda=coda, context=context, vocab=vocab)
    rng = random.Random(seed)
    # Magnitudes lie in [2^k, 2^(k+1)); the authors initialise with a deviation of sqrt(2 / 5n), and weights that
    # end a branch with less.
    matrix = 127 + math.floor(0.5 * math.log2(2 / (5 * n_embd)))
    exponents = {"matrix": matrix, "small": matrix - 2}
    header, chunks, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, dims, kind in layout(shape):
        count = 1
        for dim in dims:
            count *= dim
        data = b"\x80\x3f" * count if kind == "norm" else noise(rng, count, exponents[kind])
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [at, at + len(data)]}
        chunks.append(data)
        at += len(data)
    os.makedirs(directory, exist_ok=True)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(directory, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config(shape), file, indent=2)
    return directory
