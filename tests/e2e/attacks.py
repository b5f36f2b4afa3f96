#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Hostile clients, one class of abuse each, for t1020-abuse.py, which runs this as a program:

    attacks.py CLASS ADDRESS

It prints "go" when it begins, misbehaves for about half a second, connects again whenever it is
thrown out, and prints at the end how its connections ended.
"""
import collections
import os
import random
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rpc"))
from h2_peer import *  # noqa: E402 - the names of frames, flags and errors

ATTACK_SECONDS = 0.5

GRPC = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), ("te", "trailers"),
        ("content-type", "application/grpc")]
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
TOKENIZE = "/latentd.v1.Inference/Tokenize"
SUBMIT = "/latentd.v1.Jobs/Submit"
EMPTY = b"\0\0\0\0\0"


def head(path, *more):
    return block([(":path", path)] + GRPC + list(more))


def request(stream, path, body=EMPTY, *more):
    """HEADERS and the body in DATA frames of the usual size, ended."""
    out = [frame(HEADERS, END_HEADERS, stream, head(path, *more))]
    pieces = [body[i:i + 16384] for i in range(0, len(body), 16384)]
    for i, piece in enumerate(pieces):
        out.append(frame(DATA, END_STREAM if i + 1 == len(pieces) else 0, stream, piece))
    return b"".join(out)


def message(octets, flag=0):
    return struct.pack(">BI", flag, len(octets)) + octets


def odd(n, first=1):
    return range(first, first + 2 * n, 2)


def varint(n):
    """A length of protobuf."""
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def tokenize(stream, words):
    """Tokenize of a text of that many words of four octets."""
    body = b"1+2 " * words
    return request(stream, TOKENIZE, message(b"\x0a" + varint(len(body)) + body))


# ---- the attacker: a process of its own ----

class Attacker:
    def __init__(self, address):
        self.address = address
        self.until = time.monotonic() + ATTACK_SECONDS
        self.ends = collections.Counter()  # how its connections ended

    def over(self):
        return time.monotonic() >= self.until

    def peer(self, settings=(), hello=True):
        peer = Peer(self.address)
        peer.socket.settimeout(2)
        if hello:
            peer.hello(settings)
        peer.decoding = False
        return peer

    def note(self, peer):
        """Read what is there, without waiting for more than the server is about to say."""
        try:
            while peer.receive(time.monotonic() + 0.2):
                pass
            goaway = [f for f in peer.seen if f.kind == GOAWAY]
            self.ends[str(goaway[-1]) if goaway else "closed"] += 1
        except (TimeoutError, OSError):
            self.ends["open"] += 1
        peer.close()

    def push(self, peer, octets):
        """Send without reading; False when the server has had enough, or takes nothing for 0.2 s."""
        peer.socket.settimeout(0.2)
        try:
            peer.socket.sendall(octets)
            return True
        except OSError:
            return False

    def flood(self, octets, settings=(), first=b"", reads=False):
        """The same octets again and again, in writes of about 64 KiB."""
        chunk = octets * max(1, 65536 // len(octets))
        while not self.over():
            peer = self.peer(settings)
            peer.raw(first)
            while not self.over() and self.push(peer, chunk):
                if reads and not self.drain(peer):
                    break
            self.note(peer)

    @staticmethod
    def drain(peer):
        peer.socket.settimeout(0)
        try:
            while True:
                if not peer.socket.recv(1 << 16):
                    return False
        except BlockingIOError:
            return True
        except OSError:
            return False

    def hold(self, peers):
        """Keep connections as they are until the end."""
        time.sleep(max(0, self.until - time.monotonic()))
        for peer in peers:
            peer.close()


ATTACKS = {}
Class = collections.namedtuple("Class", "run budget_mib ends")


def attack(name, budget_mib=8, ends=None):
    """ends: a word that must be in the reason of at least one connection's end."""
    def add(run):
        ATTACKS[name] = Class(run, budget_mib, ends)
        return run
    return add


@attack("silent connections")
def _(a):
    a.hold([a.peer(hello=False) for _ in range(200)])


@attack("connect and close")
def _(a):
    while not a.over():
        a.peer(hello=False).close()


@attack("half a preface")
def _(a):
    peers = [a.peer(hello=False) for _ in range(200)]
    for peer in peers:
        peer.raw(PREFACE[:11])
    a.hold(peers)


@attack("preface, and SETTINGS never acknowledged")
def _(a):
    peers = [a.peer(hello=False) for _ in range(200)]
    for peer in peers:
        peer.raw(PREFACE + frame(SETTINGS, 0, 0))
    a.hold(peers)


@attack("idle connections", budget_mib=16)
def _(a):
    a.hold([a.peer() for _ in range(300)])


@attack("open header blocks", budget_mib=16)
def _(a):
    peers = [a.peer() for _ in range(100)]
    for peer in peers:
        peer.raw(frame(HEADERS, 0, 1, head(CHECK) + literal("x", "y" * 12000)))
    a.hold(peers)


@attack("rapid reset", ends="ENHANCE_YOUR_CALM")
def _(a):
    while not a.over():
        peer = a.peer()
        stream = 1
        while not a.over():
            out = []
            for stream in odd(50, stream):
                out.append(frame(HEADERS, END_HEADERS, stream, head(WATCH)))
                out.append(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
            stream += 2
            if not a.push(peer, b"".join(out)):
                break
        a.note(peer)


@attack("made to reset: WINDOW_UPDATE of 0", ends="PROTOCOL_ERROR")
def _(a):
    while not a.over():
        peer = a.peer()
        a.push(peer, b"".join(frame(HEADERS, END_HEADERS, s, head(WATCH)) +
                              frame(WINDOW_UPDATE, 0, s, bytes(4)) for s in odd(400)))
        a.note(peer)


@attack("made to reset: DATA behind the end", ends="STREAM_CLOSED")
def _(a):
    while not a.over():
        peer = a.peer([(4, 0)])
        a.push(peer, b"".join(request(s, CHECK) + frame(DATA, 0, s, b"x") for s in odd(90)))
        a.note(peer)


@attack("malformed requests", ends="ENHANCE_YOUR_CALM")
def _(a):
    while not a.over():
        peer = a.peer()
        a.push(peer, b"".join(frame(HEADERS, END_HEADERS | END_STREAM, s,
                                    head(CHECK, ("connection", "close"))) for s in odd(400)))
        a.note(peer)


@attack("SETTINGS, answers unread", ends="ENHANCE_YOUR_CALM")
def _(a):
    a.flood(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)))


@attack("PING, answers unread", ends="ENHANCE_YOUR_CALM")
def _(a):
    a.flood(frame(PING, 0, 0, bytes(8)))


@attack("PING, answers read", ends="too_many_pings")
def _(a):
    while not a.over():
        peer = a.peer()
        for _ in range(5):
            if not peer.ping():
                break
        a.note(peer)


@attack("CONTINUATION without end")
def _(a):
    a.flood(frame(CONTINUATION, 0, 1), first=frame(HEADERS, 0, 1, head(CHECK)))


@attack("HPACK bomb", ends="ENHANCE_YOUR_CALM")
def _(a):
    big = literal("x", "y" * 3900, 0x40)
    while not a.over():
        peer = a.peer()
        a.push(peer, frame(HEADERS, END_HEADERS, 1, head(CHECK) + big + b"\xbe" * 12000))
        a.note(peer)


@attack("tiny headers", ends="ENHANCE_YOUR_CALM")
def _(a):
    tiny = literal("a", "") * 3800
    while not a.over():
        peer = a.peer()
        for stream in odd(80):
            if not a.push(peer, frame(HEADERS, END_HEADERS | END_STREAM, stream,
                                      head(CHECK) + tiny)):
                break
        a.note(peer)


@attack("empty DATA", ends="ENHANCE_YOUR_CALM")
def _(a):
    a.flood(frame(DATA, 0, 1), first=frame(HEADERS, END_HEADERS, 1, head(CHECK)))


@attack("PRIORITY", ends="ENHANCE_YOUR_CALM")
def _(a):
    a.flood(b"".join(frame(PRIORITY, 0, s, bytes(5)) for s in odd(500)))


@attack("WINDOW_UPDATE", ends="ENHANCE_YOUR_CALM")
def _(a):
    a.flood(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)))


@attack("frames of an unknown type", ends="ENHANCE_YOUR_CALM")
def _(a):
    a.flood(frame(0x42, 0, 0, b"what is this"))


@attack("padding alone")
def _(a):
    a.flood(frame(DATA, PADDED, 1, b"\xff" + bytes(255)),
            first=frame(HEADERS, END_HEADERS, 1, head(CHECK)))


REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
SYMBOL = b"latentd.v1.Jobs"


def descriptors(stream, count):
    """A stream of questions whose answers are the largest this service has."""
    question = message(b"\x22" + varint(len(SYMBOL)) + SYMBOL)
    return request(stream, REFLECTION, question * count)


@attack("zero window and big answers", budget_mib=64)
def _(a):
    peers = []
    while not a.over() and len(peers) < 4:
        peer = a.peer([(4, 0)])
        for stream in odd(90):
            if not a.push(peer, descriptors(stream, 100)):
                break
        peers.append(peer)
    a.hold(peers)


@attack("never reading the socket", budget_mib=64)
def _(a):
    peers = []
    while not a.over() and len(peers) < 4:
        peer = a.peer([(4, 0x7fffffff)])
        a.push(peer, frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7fff0000)))
        for stream in odd(90):
            if not a.push(peer, descriptors(stream, 100)):
                break
        peers.append(peer)
    a.hold(peers)


@attack("watches that take nothing", budget_mib=16)
def _(a):
    peers = [a.peer([(4, 0)]) for _ in range(20)]
    for peer in peers:
        a.push(peer, b"".join(request(s, WATCH) for s in odd(100)))
    a.hold(peers)


@attack("4 GiB announced")
def _(a):
    while not a.over():
        peer = a.peer()
        a.push(peer, b"".join(frame(HEADERS, END_HEADERS, s, head(SUBMIT)) +
                              frame(DATA, 0, s, b"\0\xff\xff\xff\xff") for s in odd(90)))
        a.note(peer)


@attack("the limit announced, little sent", budget_mib=16)
def _(a):
    peers = [a.peer() for _ in range(20)]
    for peer in peers:
        a.push(peer, b"".join(frame(HEADERS, END_HEADERS, s, head(SUBMIT)) +
                              frame(DATA, 0, s, b"\0\0\x3f\xff\xff" + bytes(5)) for s in odd(90)))
    a.hold(peers)


@attack("requests that never end", budget_mib=64)
def _(a):
    """As much of unfinished requests as a connection may hold, on several."""
    peers = [a.peer() for _ in range(3)]
    for peer in peers:
        for stream in odd(90):
            a.push(peer, frame(HEADERS, END_HEADERS, stream, head(SUBMIT)) +
                   frame(DATA, 0, stream, b"\0\0\x3f\xff\xff" + bytes(16379)) +
                   b"".join(frame(DATA, 0, stream, bytes(16384)) for _ in range(8)))
    a.hold(peers)


@attack("bodies octet by octet")
def _(a):
    peers = [a.peer() for _ in range(50)]
    for peer in peers:
        a.push(peer, frame(HEADERS, END_HEADERS, 1, head(SUBMIT)) +
               frame(DATA, 0, 1, b"\0\0\x3f\xff\xff"))
    while not a.over():
        for peer in peers:
            a.push(peer, frame(DATA, 0, 1, b"x"))
    a.hold(peers)


@attack("unknown methods")
def _(a):
    while not a.over():
        peer = a.peer()
        for first in range(1, 2000, 100):
            if not a.push(peer, b"".join(request(s, "/no.Such/Method") for s in odd(50, first))):
                break
            a.drain(peer)
        a.note(peer)


@attack("messages that unpack to much", budget_mib=32)
def _(a):
    """Empty submessages and unknown fields of two octets: small on the wire, large in memory."""
    for_many = message(b"\x0a" + varint(16382) + b"\x12\0" * 8191)
    unknown = message(b"\xf8\x07\x01" * 20000)
    while not a.over():
        peer = a.peer()
        for stream in odd(40):
            if not a.push(peer, request(stream, SUBMIT, for_many if stream % 4 == 1 else unknown)):
                break
        a.note(peer)


@attack("gzip bomb", budget_mib=32)
def _(a):
    import zlib
    deflate = zlib.compressobj(6, zlib.DEFLATED, 31)
    bomb = deflate.compress(bytes(32 << 20)) + deflate.flush()
    a.until = time.monotonic() + ATTACK_SECONDS
    while not a.over():
        peer = a.peer()
        for stream in odd(20):
            if not a.push(peer, request(stream, SUBMIT, message(bomb, 1),
                                        ("grpc-encoding", "gzip"))):
                break
        a.note(peer)


@attack("texts to tokenize", budget_mib=32)
def _(a):
    """The largest request that carries a prompt; a few in flight, answers read."""
    words = (1 << 20) - 16
    while not a.over():
        peer = a.peer([(4, 0x7fffffff)])
        if a.push(peer, tokenize(1, words)):
            a.drain(peer)
        a.note(peer)


@attack("HTTP/1.1: requests in a row, answers unread", budget_mib=16)
def _(a):
    chunk = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 500
    while not a.over():
        peer = a.peer(hello=False)
        while not a.over() and a.push(peer, chunk):
            pass
        peer.close()


@attack("HTTP/1.1: requests in a row, answers read", budget_mib=16)
def _(a):
    chunk = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    while not a.over():
        peer = a.peer(hello=False)
        while not a.over() and a.push(peer, chunk) and a.drain(peer):
            pass
        peer.close()


@attack("HTTP/1.1: heads that do not end")
def _(a):
    peers = [a.peer(hello=False) for _ in range(200)]
    for peer in peers:
        peer.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 8000)
    a.hold(peers)


@attack("octets at random")
def _(a):
    rng = random.Random(9113)
    while not a.over():
        peer = a.peer(hello=rng.random() < 0.8)
        out = [frame(rng.randrange(11), rng.randrange(256), rng.randrange(8),
                     rng.randbytes(rng.randrange(40))) for _ in range(20)]
        a.push(peer, b"".join(out))
        peer.close()


def run_attacker(name, address):
    attacker = Attacker(address)
    print("go", flush=True)
    ATTACKS[name].run(attacker)
    print("; ".join(f"{n} x {end}" for end, n in attacker.ends.most_common(3)), flush=True)


if __name__ == "__main__":
    run_attacker(sys.argv[1], sys.argv[2])
