#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make_corpus.py - the first inputs of the fuzz targets that read text or frames.

    make_corpus.py [OUT_DIR]        default: corpus/ beside this file

Everything comes from files of this tree (tests/data, models/demo) or is written out here, so the
output is the same on every machine; it is committed, and only written again when a format grows.
Inputs in formats that the code defines (ticks, stored events, requests) are not here: seeds.c makes
them with the encoders themselves while the tests are built, so they are never out of date.
Files that a fuzzer found and that reach new code are named by their hash and are not touched.
"""
import json
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "corpus")


def put(target, name, data):
    path = os.path.join(OUT, target, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(data if isinstance(data, bytes) else data.encode())


def read(path):
    with open(os.path.join(ROOT, path), "rb") as f:
        return f.read()


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# ---- safetensors: three bytes of knobs, then the header ------------------------------------------

def safetensors():
    for name, path in (("golden", "tests/data/golden/tiny-p1r2c1-bf16/golden.safetensors"),
                       ("model", "models/demo/model.safetensors")):
        raw = read(path)
        n, = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8:8 + n])
        kept, at = {}, 0
        for key in sorted(header)[:6]:
            entry = header[key]
            if key != "__metadata__":
                entry["shape"] = [min(d, 2) for d in entry["shape"]]
                size = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BOOL": 1, "U8": 1}.get(entry["dtype"], 2)
                for d in entry["shape"]:
                    size *= d
                entry["data_offsets"] = [at, at + size]
                at += size
            kept[key] = entry
        put("safetensors", name, struct.pack("<BH", 0, at) + compact(kept).encode())
    one = '{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'
    put("safetensors", "one", struct.pack("<BH", 0, 3) + one.encode())
    put("safetensors", "raw", b"\1\0\0" + struct.pack("<Q", len(one)) + one.encode() + b"abc")
    put("safetensors", "long", b"\1\0\0" + struct.pack("<Q", 1 << 40) + b"{}")
    put("safetensors", "empty", struct.pack("<BH", 0, 0) + b"{}")


# ---- config.json (0) and generation_config.json (1) ----------------------------------------------

def model_config():
    for name, path in (("demo", "models/demo"), ("tied", "tests/data/golden/tiny-p2r4c2"),
                       ("bf16", "tests/data/golden/tiny-p1r2c1-bf16")):
        put("model_config", name, b"\0" + compact(json.loads(read(path + "/config.json"))).encode())
    put("model_config", "generation", b"\1" + read("models/demo/generation_config.json"))
    put("model_config", "sampling", b"\1" + compact({
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None, "do_sample": True,
        "temperature": 0.7, "top_k": 50, "top_p": 0.95, "min_p": 0.1, "repetition_penalty": 1.05,
        "max_new_tokens": 100}).encode())


# ---- tokenizer.json: the parts of the test files around a small vocabulary ------------------------

def small_tokenizer(source, n_merges):
    model = source["model"]
    vocab, merges = {}, []
    by_id = sorted(model["vocab"], key=model["vocab"].get)
    letters = [t for t in by_id if len(t) == 1][:256]
    for text in letters:
        vocab[text] = len(vocab)
    for merge in model["merges"]:
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        if len(merges) < n_merges and left in vocab and right in vocab and left + right not in vocab:
            merges.append(merge)
            vocab[left + right] = len(vocab)
    renumbered = {}
    for added in source["added_tokens"]:
        added["id"] = renumbered[added["content"]] = len(vocab) + len(renumbered)
    for text in renumbered:
        if text in model["vocab"]:
            vocab[text] = renumbered[text]
    model["vocab"], model["merges"] = vocab, merges

    def fix(value):
        if isinstance(value, dict):
            if "ids" in value and "tokens" in value:
                value["ids"] = [renumbered[t] for t in value["tokens"]]
            for child in value.values():
                fix(child)
        elif isinstance(value, list):
            for child in value:
                fix(child)
    fix(source.get("post_processor"))
    return compact(source)


def tokenizer_json():
    for name in ("gpt2", "huginn", "llama", "digits", "nfc"):
        source = json.loads(read("tests/data/tokenizer/%s.tokenizer.json" % name))
        put("tokenizer_json", name, small_tokenizer(source, 20))
    tiny = {"added_tokens": [], "normalizer": None, "post_processor": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            "decoder": {"type": "ByteLevel"},
            "model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}
    put("tokenizer_json", "tiny", compact(tiny))


# ---- texts: tokenizer, flags, text ---------------------------------------------------------------

def tokenizer_text():
    texts = json.loads(read("tests/data/tokenizer/strings.json"))["strings"]
    texts = [t for t in texts if 6 < len(t.encode()) < 400]
    for i, text in enumerate(texts[::len(texts) // 40]):
        put("tokenizer_text", "string-%02d" % i, bytes([i % 6, i % 8]) + text.encode())
    for i in range(6):
        put("tokenizer_text", "special-%d" % i,
            bytes([i, 4]) + b"a <|begin_text|> b<|end_turn|>\n<think>!caf\xc3\xa9! <mask>  [SEP] x")
        put("tokenizer_text", "digits-%d" % i, bytes([i, 3]) + b"12+34=46 007 3.14159\n\n  x  ")
        put("tokenizer_text", "no-utf8-%d" % i, bytes([i, 0]) + b"ab\xc3")
    put("tokenizer_text", "marks", bytes([5, 0]) + "e\u0301 \u1e69\u0323 \uac00\u11a8 \u0958".encode())


# ---- the daemon's option file --------------------------------------------------------------------

def config_file():
    put("config_file", "comment", "# nothing\n\n   # more\nlog_level = debug # why\n")
    put("config_file", "addresses", "listen = 127.0.0.1:7470\nlisten = [::1]:0\nlisten=unix:/run/x\n")
    put("config_file", "numbers", "max_steps = 64\nlinger_ms = 0.5\nkv_memory = 1073741824\n"
        "prefill_share=0.25\nthreads=2\nmax_batch = 32\n")
    put("config_file", "wrong", "max_stepz = 1\nmax_steps = 1e9\nlinger_ms = nan\n=\nlisten\n"
        "kv_policy = maybe\n\x01\xff = 3\n")
    put("config_file", "policy", "kv_policy = latest-m4-compress-s4\nkv_format=bf16\noverlap = off\n"
        "shares = 1,2,0.5\ntier = ref\n")
    put("config_file", "twice", "threads = 1\nthreads = 2\r\n")


# ---- values of headers and trailers --------------------------------------------------------------

def grpc_meta():
    for i, value in enumerate((b"1H", b"99999999H", b"0n", b"100m", b"12345678u", b"1S", b"2M",
                               b"no%20such%2", b"%E2%82%AC%zz%", b"caf\xc3\xa9 100%\n",
                               b"application/grpc", b"application/grpc+proto", b"APPLICATION/GRPC;x",
                               b"14", b"007", b"CA4SA2J5ZQ", b"CAgSBWxhdGVyGjwKKHR5cGU=",
                               b"\0\0\3\xe8\x0etry later", b"identity,gzip", b"Bearer abc.DEF-123~+/=", b"bearer  x", b"x-trace-bin\nQUJD,REVG",
                               b"x-note\n a value ", b"grpc-timeout\n1S")):
        put("grpc_meta", "value-%02d" % i, value)


# ---- streams: four bytes of seed, then what a peer sends -----------------------------------------

def frame(kind, payload=b"", flags=0, stream=0):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def h2_scan():
    call = frame(4) + frame(1, b"\x82\x86\x84", 4, 1) + frame(0, b"\0\0\0\0\2hi", 1, 1)
    put("h2_scan", "call", b"seed" + call)
    put("h2_scan", "pings", b"\1\2\3\4" + frame(6, b"8 octets") * 40)
    put("h2_scan", "resets", b"\1\2\3\4" + (frame(1, b"\x82", 5, 1) + frame(3, b"\0\0\0\x08", 0, 1)) * 210)
    put("h2_scan", "empty-data", b"\0\0\0\1" + frame(0, b"", 0, 1) * 112 + frame(0, b"x" * 300, 1, 1))
    put("h2_scan", "cut", b"\7\7\7\7" + frame(9, b"x" * 64)[:40])


def gzip():
    import zlib
    text = b"the same words again, and the same words again; " * 20
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    put("gzip", "gzip", b"\1\x20\x10" + packer.compress(text) + packer.flush())
    put("gzip", "deflate", b"\0\x20\xff" + zlib.compress(text))
    put("gzip", "too-large", b"\0\x02\xff" + zlib.compress(b"\0" * 20000))
    put("gzip", "cut", b"\0\x20\x05" + zlib.compress(text)[:30])
    put("gzip", "plain", b"\0\x20\x05" + text)
    put("gzip", "words", b"\0\0\0identity, gzip;q=1,deflate")


def connection():
    def fields(path, *more):
        out = b""
        for name, value in ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"),
                            ("content-type", "application/grpc"), ("te", "trailers")) + more:
            out += bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        return out

    def message(data, flag=0):
        return bytes([flag]) + struct.pack(">I", len(data)) + data

    def call(path, body, stream=1, more=()):
        return frame(1, fields(path, *more), 4, stream) + frame(0, body, 1, stream)

    for name, method, body in (("unary", "Unary", b"hello"), ("stream", "Stream", b"5 20"), ("push", "Push", b"9 9"),
                               ("sleep", "Sleep", b"1"), ("fail", "Fail", b"5 not there"), ("hang", "Hang", b""),
                               ("later", "Later", b"2 10"), ("squeeze", "Squeeze", b"999"), ("wrong", "Wrong", b"R 5 f: x"),
                               ("none", "None", b"x"), ("peer", "Peer", b"")):
        put("connection", name, b"\1seed" + call("/test.Echo/" + method, message(body)))
    put("connection", "meta", b"\1seed" + call("/test.Echo/Meta", message(b"m"), 1, (
        ("x-echo", "a"), ("x-echo-bin", "QUJD"), ("grpc-timeout", "1S"), ("grpc-accept-encoding", "gzip"),
        ("authorization", "Bearer t"))))
    put("connection", "chat", b"\1seed" + frame(1, fields("/test.Echo/Chat"), 4, 1) + frame(0, message(b"one"), 0, 1) +
        frame(6, b"8 octets") + frame(0, message(b"two") + message(b"bye!"), 0, 1) + frame(8, b"\0\0\1\0", 0, 1))
    put("connection", "reset", b"\1seed" + frame(1, fields("/test.Echo/Beat"), 5, 1) + frame(3, b"\0\0\0\x08", 0, 1) +
        call("/test.Echo/Unary", message(b"x"), 3) + frame(7, b"\0\0\0\3\0\0\0\0"))
    put("connection", "gzip", b"\1seed" + call("/test.Echo/Collect", message(b"\x1f\x8b\x08", 1), 1, (("grpc-encoding", "gzip"),)))
    put("connection", "page", b"\0seedGET /plain HTTP/1.1\r\nHost: h\r\n\r\n")
    put("connection", "half", b"\3seed" + frame(1, fields("/test.Echo/Unary"), 4, 1))
    put("connection", "settings", b"\1seed" + frame(4, b"\0\4\0\0\0\1\0\5\0\0\x40\0") + call("/test.Echo/Stream", message(b"3 99")))


def http1():
    get = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
    put("http1", "two", b"seed" + get + get)
    put("http1", "token", b"seedHEAD /secret?x=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n" + get)
    put("http1", "old", b"seedGET /none HTTP/1.0\r\n\r\n")
    put("http1", "proxy", b"seedGET http://here/secret HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    put("http1", "body", b"seedPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc")
    put("http1", "folded", b"seedGET / HTTP/1.1\r\nHost: h\r\n x: y\r\nName : v\r\n\r\n")
    put("http1", "bare", b"seedGET / HTTP/1.1\nHost: h\n\n")


def auth_file():
    put("auth_file", "all", "# who\ntoken sha256:" + "0123456789abcdef" * 4 + " alice inference jobs\n"
        "uid 1000 bob admin\ncert \"client one\" carol metrics cluster\n"
        "limits alice queued=5 running=2 stored=10 steps_per_hour=100000\nlimits * queued=1\n")
    put("auth_file", "wrong", "token sha256:12 x inference\nuid -1 y jobs\ncert \"a\nlimits z queued=\nuid 1 u fly\n"
        "uid 5 n jobs\nuid 5 m jobs\n\xff\n")


def grpc_frame():
    message = b"\0\0\0\0\5hello"
    put("grpc_frame", "two", b"cuts\xff" + message + b"\0\0\0\0\0" + message)
    put("grpc_frame", "large", b"cuts\1" + message + b"\0\xff\xff\xff\xff")
    put("grpc_frame", "packed", b"cuts\x20" + message + b"\1\0\0\0\3abc")
    put("grpc_frame", "flag", b"cuts\x20\2\0\0\0\0")
    put("grpc_frame", "cut", b"cuts\x20" + message[:7])


if __name__ == "__main__":
    for make in (safetensors, model_config, tokenizer_json, tokenizer_text, config_file, grpc_meta,
                 h2_scan, grpc_frame, http1, auth_file, gzip, connection):
        make()
