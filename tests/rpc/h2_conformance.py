#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""RFC 9113 and RFC 7541 frame by frame against the real server: a table of sections and cases.

    h2_conformance.py ECHO_SERVER [SECTION]

The requests ask for a plain page over HTTP/2, which is answered when the request has ended: a gRPC
path is refused earlier, and what a case is about would hide behind that. The sections are those the
public conformance suite for HTTP/2 covers, by their numbers in RFC 9113 ("HPACK 5.2" in RFC 7541);
what RFC 7540 had and RFC 9113 dropped is marked so. Each case opens a connection of its own.

Prints TAP; exit status 77 means that python3-hpack is not installed.
"""
import random
import socket
import struct
import subprocess
import sys

try:
    import hpack.huffman
    import hpack.huffman_constants as codes
except ImportError as missing:
    print(f"1..0 # SKIP python3-hpack is not installed: {missing}")
    sys.exit(77)

from h2_peer import *  # the names of frames, flags and errors

CASES = []
PATH = "/plain"
BASE = [(":method", "GET"), (":scheme", "http"), (":path", PATH), (":authority", "test")]
POST = [(":method", "POST")] + BASE[1:]
HELD = [(4, 0)]  # SETTINGS_INITIAL_WINDOW_SIZE 0: answers wait, streams stay half closed


# ---- what is expected ----

class Wrong(Exception):
    pass


def ended_by(peer, codes, stream=None):
    """GOAWAY with one of `codes`, and the connection closed; or, with `stream`, its RST_STREAM."""
    while True:
        got = peer.receive()
        if got is None:
            raise Wrong(f"closed without a reason; seen {peer.seen}")
        if got.kind == GOAWAY or (got.kind == RST_STREAM and got.stream == stream):
            break
    if got.code() not in codes:
        raise Wrong(f"{got}, expected {' or '.join(error_name(c) for c in codes)}")
    if got.kind == GOAWAY:
        while peer.receive():
            pass
    elif not peer.ping():
        raise Wrong("the connection ended behind an error of a stream")


def connection_error(*codes):
    return lambda peer: ended_by(peer, codes)


def stream_error(*codes, stream=1):
    """An error of the stream; RFC 9113 5.4.2 lets an endpoint make it one of the connection."""
    return lambda peer: ended_by(peer, codes, stream)


def closed(peer):
    while peer.receive():
        pass


def alive(peer):
    """The connection goes on and no stream was refused."""
    if not peer.ping():
        raise Wrong(f"the connection was closed; seen {peer.seen}")
    for got in peer.seen:
        if got.kind in (RST_STREAM, GOAWAY):
            raise Wrong(f"{got}, expected none")


def field(peer, stream, name):
    for got in peer.seen:
        if got.kind == HEADERS and got.stream == stream:
            return dict(got.fields).get(name)
    return None


def answered(stream=1, status="200", body=b"plain\n"):
    def check(peer):
        last = peer.wait(lambda f: f.kind in (HEADERS, DATA, RST_STREAM) and f.stream == stream
                         and (f.kind == RST_STREAM or f.flags & END_STREAM) or f.kind == GOAWAY)
        if last is None or last.kind in (RST_STREAM, GOAWAY):
            raise Wrong(f"no answer on stream {stream}; seen {peer.seen}")
        if field(peer, stream, ":status") != status:
            raise Wrong(f"status {field(peer, stream, ':status')}, expected {status}")
        got = b"".join(f.payload for f in peer.seen if f.kind == DATA and f.stream == stream)
        if status == "200" and got != body:
            raise Wrong(f"body {got!r}, expected {body!r}")
        alive(peer)
    return check


def acknowledged(octets):
    return lambda peer: peer.wait(lambda f: f.kind == PING and f.flags & ACK and
                                  f.payload == octets) or fail(f"no PING ACK; seen {peer.seen}")


def fail(why):
    raise Wrong(why)


# ---- what is sent ----

def case(section, title, expect, settings=(), hello=True):
    """The decorated function sends; `expect` judges what came back."""
    def add(send):
        CASES.append((section, title, expect, send, settings, hello))
        return send
    return add


def row(section, title, expect, *frames, settings=()):
    """A case that is nothing but octets to be sent behind the preface."""
    CASES.append((section, title, expect, lambda peer: peer.raw(b"".join(frames)), settings, True))


def headers(stream=1, fields=None, flags=END_HEADERS | END_STREAM, payload=None):
    return frame(HEADERS, flags, stream, block(fields or BASE) if payload is None else payload)


def opened(stream=1, fields=None):
    return headers(stream, fields, END_HEADERS)


def data(stream=1, octets=b"x", flags=END_STREAM, length=None):
    return frame(DATA, flags, stream, octets, length)


def priority(stream, depends=0, weight=15, exclusive=False):
    return frame(PRIORITY, 0, stream,
                 struct.pack(">IB", depends | (0x80000000 if exclusive else 0), weight))


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def update(stream, n):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


def settings_frame(*pairs, flags=0, stream=0):
    return frame(SETTINGS, flags, stream, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def huffman(octets):
    return hpack.huffman.HuffmanEncoder(codes.REQUEST_CODES, codes.REQUEST_CODES_LENGTH).encode(
        octets)


def huffman_text(octets):
    coded = huffman(octets)
    return integer(len(coded), 7, 0x80) + coded


def without(name, fields=BASE):
    return [f for f in fields if f[0] != name]


def with_value(name, value, fields=BASE):
    return [(n, value if n == name else v) for n, v in fields]


# ---- generic: what every server must do ----

row("generic 1", "a client preface is answered by SETTINGS", alive)
row("generic 2", "PRIORITY on an idle stream is taken", answered(), priority(1), headers())
row("generic 2", "WINDOW_UPDATE on a half-closed stream is taken", alive, headers(), update(1, 1),
    settings=HELD)
row("generic 2", "PRIORITY on a half-closed stream is taken", alive, headers(), priority(1),
    settings=HELD)
row("generic 2", "RST_STREAM on a half-closed stream is taken", alive, headers(), reset(1),
    settings=HELD)


@case("generic 2", "PRIORITY on a closed stream is taken", alive)
def _(peer):
    peer.raw(headers())
    answered()(peer)
    peer.raw(priority(1))


row("generic 3.1", "DATA", answered(), opened(), data())
row("generic 3.1", "several DATA frames", answered(), opened(), data(flags=0), data(flags=0), data())
row("generic 3.1", "DATA with padding", answered(), opened(),
    data(octets=b"\x06x" + bytes(6), flags=END_STREAM | PADDED))
row("generic 3.2", "HEADERS", answered(), headers())
row("generic 3.2", "HEADERS with padding", answered(),
    headers(payload=b"\x06" + block(BASE) + bytes(6), flags=END_HEADERS | END_STREAM | PADDED))
row("generic 3.2", "HEADERS with priority", answered(),
    headers(payload=struct.pack(">IB", 0, 255) + block(BASE),
            flags=END_HEADERS | END_STREAM | PRIORITY_FLAG))
row("generic 3.3", "PRIORITY of weight 1", answered(), priority(1, 0, 0), headers())
row("generic 3.3", "PRIORITY of weight 256", answered(), priority(1, 0, 255), headers())
row("generic 3.3", "PRIORITY with a dependency", answered(), priority(1, 3), headers())
row("generic 3.3", "PRIORITY with an exclusive one", answered(), priority(1, 3, 9, True), headers())
row("generic 3.3", "PRIORITY for a later stream, then HEADERS on a lower one", answered(),
    priority(3), headers(1))
row("generic 3.4", "RST_STREAM", alive, opened(), reset(1))
row("generic 3.5", "SETTINGS", alive, settings_frame((3, 100)))
row("generic 3.7", "PING", acknowledged(b"eight oc"), frame(PING, 0, 0, b"eight oc"))


@case("generic 3.8", "GOAWAY of the client ends the connection behind its streams", closed)
def _(peer):
    peer.raw(frame(GOAWAY, 0, 0, struct.pack(">II", 0, NO_ERROR)))


row("generic 3.9", "WINDOW_UPDATE of the connection", alive, update(0, 1))
row("generic 3.9", "WINDOW_UPDATE of a stream", answered(), opened(), update(1, 1), data())
row("generic 3.10", "one CONTINUATION", answered(),
    headers(payload=block(BASE), flags=END_STREAM), frame(CONTINUATION, END_HEADERS, 1))
row("generic 3.10", "two CONTINUATIONs", answered(),
    headers(payload=block(BASE[:2]), flags=END_STREAM),
    frame(CONTINUATION, 0, 1, block(BASE[2:3])),
    frame(CONTINUATION, END_HEADERS, 1, block(BASE[3:])))
row("generic 4", "GET", answered(), headers())


@case("generic 4", "HEAD is answered without a body", answered(body=b""))
def _(peer):
    peer.raw(headers(fields=with_value(":method", "HEAD")))


row("generic 4", "POST with a body", answered(status="405"), opened(fields=POST), data())
row("generic 4", "a request with trailers", answered(), opened(), data(flags=0),
    headers(payload=literal("x-trailer", "y")))

# A field in each of HPACK's forms; the block is BASE in front and the form behind.
FORMS = {
    "an indexed field of the static table": b"\x82\x86\x84",
    "a literal to be indexed, indexed name": b"\x44" + text(PATH),
    "a literal to be indexed, indexed name, Huffman": b"\x44" + huffman_text(b"/plain"),
    "a literal not indexed, indexed name": b"\x04" + text(PATH),
    "a literal not indexed, indexed name, Huffman": b"\x04" + huffman_text(b"/plain"),
    "a literal never indexed, indexed name": b"\x14" + text(PATH),
    "a literal never indexed, indexed name, Huffman": b"\x14" + huffman_text(b"/plain"),
}
for form, octets in FORMS.items():
    head = b"" if form.startswith("an indexed") else b"\x82\x86"
    row("generic 5", form, answered() if head else answered(status="404"),
        headers(payload=head + octets + literal(":authority", "test")))
for kind, name in ((0x40, "to be indexed"), (0x00, "not indexed"), (0x10, "never indexed")):
    row("generic 5", f"a literal {name}, new name", answered(),
        headers(payload=block(BASE) + literal("x-new", "value", kind)))
    row("generic 5", f"a literal {name}, new name, Huffman", answered(),
        headers(payload=block(BASE) + bytes([kind]) + huffman_text(b"x-new") +
                huffman_text(b"value")))
row("generic 5", "an indexed field of the dynamic table", answered(3),
    headers(1, payload=b"\x82\x86" + literal(":path", PATH, 0x40) + literal(":authority", "test")),
    headers(3, payload=b"\x82\x86\xbe" + literal(":authority", "test")))
row("generic 5", "an update of the dynamic table's size", answered(),
    headers(payload=integer(100, 5, 0x20) + block(BASE)))
row("generic 5", "two updates of the dynamic table's size", answered(),
    headers(payload=integer(0, 5, 0x20) + integer(4096, 5, 0x20) + block(BASE)))

# ---- RFC 9113 3 and 4 ----

row("3.4", "the preface may be followed by SETTINGS with entries", alive, settings=[(3, 7), (4, 9)])


@case("3.4", "a wrong preface closes the connection", closed, hello=False)
def _(peer):
    peer.raw(b"INVALID CONNECTION PREFACE\r\n\r\n")


@case("3.4", "a preface that goes wrong late closes the connection", closed, hello=False)
def _(peer):
    peer.raw(PREFACE[:-3] + b"\r\r\n" + frame(SETTINGS, 0, 0))


@case("3.4", "a first frame other than SETTINGS is an error", connection_error(PROTOCOL_ERROR),
      hello=False)
def _(peer):
    peer.raw(PREFACE + frame(PING, 0, 0, bytes(8)))


row("4.1", "a frame of unknown type is ignored", alive, frame(0xfe, 0, 0, bytes(8)))
row("4.1", "undefined flags are ignored", acknowledged(b"flagged."),
    frame(PING, 0xfe, 0, b"flagged."))
row("4.1", "the reserved bit is ignored", acknowledged(b"reserved"),
    frame(PING, 0, 0x80000000, b"reserved"))
row("4.2", "a frame of 2^14 octets is taken", answered(), opened(), data(octets=bytes(1 << 14)))
row("4.2", "DATA over SETTINGS_MAX_FRAME_SIZE", stream_error(FRAME_SIZE_ERROR), opened(),
    data(octets=bytes((1 << 14) + 1)))
row("4.2", "HEADERS over SETTINGS_MAX_FRAME_SIZE", connection_error(FRAME_SIZE_ERROR),
    headers(payload=block(BASE) + literal("x", bytes([97]) * (1 << 14))))
row("4.2", "SETTINGS over SETTINGS_MAX_FRAME_SIZE", connection_error(FRAME_SIZE_ERROR),
    settings_frame(*[(0x99, 0)] * 2731))
row("4.3", "a header block that cannot be decoded", connection_error(COMPRESSION_ERROR),
    headers(payload=block(BASE) + b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
row("4.3", "a header block that ends within a field", connection_error(COMPRESSION_ERROR),
    headers(payload=block(BASE) + b"\x00\x05ab"))
row("4.3", "PRIORITY inside a header block", connection_error(PROTOCOL_ERROR),
    headers(flags=END_STREAM), priority(1), frame(CONTINUATION, END_HEADERS, 1))
row("4.3", "HEADERS of another stream inside a header block", connection_error(PROTOCOL_ERROR),
    headers(1, flags=END_STREAM), headers(3))

# ---- RFC 9113 5 ----

row("5.1", "idle: DATA", connection_error(PROTOCOL_ERROR), data())
row("5.1", "idle: RST_STREAM", connection_error(PROTOCOL_ERROR), reset(1))
row("5.1", "idle: WINDOW_UPDATE", connection_error(PROTOCOL_ERROR), update(1, 100))
row("5.1", "idle: CONTINUATION", connection_error(PROTOCOL_ERROR),
    frame(CONTINUATION, END_HEADERS, 1, block(BASE)))
row("5.1", "half closed: DATA", stream_error(STREAM_CLOSED), headers(), data(), settings=HELD)
row("5.1", "half closed: HEADERS", stream_error(STREAM_CLOSED), headers(), headers(),
    settings=HELD)
row("5.1", "half closed: CONTINUATION", stream_error(STREAM_CLOSED, PROTOCOL_ERROR), headers(),
    frame(CONTINUATION, END_HEADERS, 1, block(BASE)), settings=HELD)
row("5.1", "closed by RST_STREAM: DATA", stream_error(STREAM_CLOSED), opened(), reset(1), data())
row("5.1", "closed by RST_STREAM: HEADERS", stream_error(STREAM_CLOSED), opened(), reset(1),
    headers())
row("5.1", "closed by RST_STREAM: CONTINUATION", connection_error(STREAM_CLOSED, PROTOCOL_ERROR),
    opened(), reset(1), frame(CONTINUATION, END_HEADERS, 1, block(BASE)))
for title, octets, wanted in (
        ("DATA", data(), stream_error(STREAM_CLOSED)),
        ("HEADERS", headers(), connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
        ("CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, block(BASE)),
         connection_error(STREAM_CLOSED, PROTOCOL_ERROR))):
    @case("5.1", f"closed by its answer: {title}", wanted)
    def _(peer, octets=octets):
        peer.raw(headers())
        answered()(peer)
        peer.raw(octets)
for title, octets in (("WINDOW_UPDATE", update(1, 10)), ("RST_STREAM", reset(1))):
    @case("5.1", f"closed by its answer: {title} is ignored", alive)
    def _(peer, octets=octets):
        peer.raw(headers())
        answered()(peer)
        peer.raw(octets)
row("5.1.1", "a stream with an even number", connection_error(PROTOCOL_ERROR), headers(2))
row("5.1.1", "a stream with a number below an earlier one", connection_error(PROTOCOL_ERROR),
    headers(5), headers(3))


@case("5.1.1", "a stream with a number below one that was answered",
      connection_error(PROTOCOL_ERROR))
def _(peer):
    peer.raw(headers(5))
    answered(5)(peer)
    peer.raw(headers(3))


@case("5.1.2", "more streams than SETTINGS_MAX_CONCURRENT_STREAMS",
      lambda peer: ended_by(peer, (PROTOCOL_ERROR, REFUSED_STREAM),
                            2 * peer.settings[3] + 1), settings=HELD)
def _(peer):
    peer.raw(b"".join(headers(2 * i + 1) for i in range(peer.settings[3] + 1)))


row("5.3.1 (RFC 7540)", "HEADERS that depend on themselves", stream_error(PROTOCOL_ERROR),
    headers(payload=struct.pack(">IB", 1, 9) + block(BASE),
            flags=END_HEADERS | END_STREAM | PRIORITY_FLAG))
row("5.3.1 (RFC 7540)", "PRIORITY that depends on itself", stream_error(PROTOCOL_ERROR),
    priority(1, 1))
row("5.4.1", "an error of the connection is told by GOAWAY, and it is closed",
    connection_error(PROTOCOL_ERROR), data(0))


@case("5.4.1", "GOAWAY names the last stream that was taken", lambda peer: None)
def _(peer):
    peer.raw(headers(1))
    answered(1)(peer)
    peer.raw(data(0))
    got = peer.wait(lambda f: f.kind == GOAWAY)
    last = struct.unpack(">I", got.payload[:4])[0]
    if last != 1:
        raise Wrong(f"last stream {last}, expected 1")


row("5.5", "an extension frame on a stream is ignored", answered(), opened(),
    frame(0x16, 0xff, 1, b"unknown"), data())
row("5.5", "an extension frame inside a header block", connection_error(PROTOCOL_ERROR),
    headers(flags=END_STREAM), frame(0x16, 0, 0, bytes(8)), frame(CONTINUATION, END_HEADERS, 1))

# ---- RFC 9113 6: each frame's rules ----

row("6.1", "DATA on stream 0", connection_error(PROTOCOL_ERROR), data(0))
row("6.1", "padding longer than the payload", connection_error(PROTOCOL_ERROR), opened(),
    data(octets=b"\x06test", flags=END_STREAM | PADDED))
row("6.1", "padding as long as the frame", connection_error(PROTOCOL_ERROR), opened(),
    data(octets=b"\x05test", flags=END_STREAM | PADDED))
row("6.1", "a padded frame without a length of padding", connection_error(FRAME_SIZE_ERROR,
    PROTOCOL_ERROR), opened(), data(octets=b"", flags=END_STREAM | PADDED))
row("6.2", "HEADERS on stream 0", connection_error(PROTOCOL_ERROR), headers(0))
row("6.2", "padding longer than the payload", connection_error(PROTOCOL_ERROR),
    headers(payload=b"\xff" + block(BASE), flags=END_HEADERS | END_STREAM | PADDED))
row("6.2", "priority fields cut", connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR),
    headers(payload=b"\0\0\0", flags=END_HEADERS | END_STREAM | PRIORITY_FLAG))
row("6.2", "HEADERS without END_HEADERS, then DATA", connection_error(PROTOCOL_ERROR),
    headers(flags=0), data())
row("6.3", "PRIORITY on stream 0", connection_error(PROTOCOL_ERROR), priority(0))
row("6.3", "PRIORITY of another length than 5", stream_error(FRAME_SIZE_ERROR), opened(),
    frame(PRIORITY, 0, 1, bytes(4)))
row("6.4", "RST_STREAM on stream 0", connection_error(PROTOCOL_ERROR), reset(0))
row("6.4", "RST_STREAM on an idle stream", connection_error(PROTOCOL_ERROR), reset(7))
for n in (3, 5):
    row("6.4", f"RST_STREAM of {n} octets", connection_error(FRAME_SIZE_ERROR), opened(),
        frame(RST_STREAM, 0, 1, bytes(n)))
row("6.5", "SETTINGS with ACK and a payload", connection_error(FRAME_SIZE_ERROR),
    settings_frame((3, 1), flags=ACK))
row("6.5", "SETTINGS on a stream", connection_error(PROTOCOL_ERROR), settings_frame(stream=1))
row("6.5", "SETTINGS of a length that is no multiple of 6", connection_error(FRAME_SIZE_ERROR),
    frame(SETTINGS, 0, 0, bytes(5)))
row("6.5.2", "ENABLE_PUSH other than 0 and 1", connection_error(PROTOCOL_ERROR),
    settings_frame((2, 2)))
row("6.5.2", "INITIAL_WINDOW_SIZE above 2^31-1", connection_error(FLOW_CONTROL_ERROR),
    settings_frame((4, 1 << 31)))
row("6.5.2", "MAX_FRAME_SIZE below 2^14", connection_error(PROTOCOL_ERROR),
    settings_frame((5, (1 << 14) - 1)))
row("6.5.2", "MAX_FRAME_SIZE above 2^24-1", connection_error(PROTOCOL_ERROR),
    settings_frame((5, 1 << 24)))
row("6.5.2", "an unknown setting is ignored", alive, settings_frame((0xff, 1)))


@case("6.5.3", "of several values the last one holds", lambda peer: None)
def _(peer):
    peer.raw(settings_frame((4, 100), (4, 1)) + headers())
    first = peer.wait(lambda f: f.kind == DATA)
    if len(first.payload) != 1:
        raise Wrong(f"{first}, expected one octet")


@case("6.5.3", "SETTINGS are acknowledged", lambda peer: None)
def _(peer):
    peer.raw(settings_frame((3, 9)))
    while True:
        got = peer.receive() or fail("closed")
        if got.kind == SETTINGS and got.flags & ACK:
            return


row("6.6 / 8.4", "PUSH_PROMISE from a client", connection_error(PROTOCOL_ERROR), opened(),
    frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + block(BASE)))
row("6.7", "PING is answered with its octets", acknowledged(b"h2spec!!"),
    frame(PING, 0, 0, b"h2spec!!"))


@case("6.7", "PING with ACK is not answered", lambda peer: None)
def _(peer):
    peer.raw(frame(PING, ACK, 0, b"invalid."))
    alive(peer)
    if any(f.kind == PING and f.payload == b"invalid." for f in peer.seen):
        raise Wrong("the ACK was answered")


row("6.7", "PING on a stream", connection_error(PROTOCOL_ERROR), frame(PING, 0, 1, bytes(8)))
for n in (0, 7, 9):
    row("6.7", f"PING of {n} octets", connection_error(FRAME_SIZE_ERROR),
        frame(PING, 0, 0, bytes(n)))
row("6.8", "GOAWAY on a stream", connection_error(PROTOCOL_ERROR),
    frame(GOAWAY, 0, 1, struct.pack(">II", 0, 0)))
row("6.8", "GOAWAY of fewer than 8 octets", connection_error(FRAME_SIZE_ERROR),
    frame(GOAWAY, 0, 0, bytes(7)))
row("6.9", "WINDOW_UPDATE of 0 for the connection", connection_error(PROTOCOL_ERROR), update(0, 0))
row("6.9", "WINDOW_UPDATE of 0 for a stream", stream_error(PROTOCOL_ERROR), opened(), update(1, 0))
for n in (3, 5):
    row("6.9", f"WINDOW_UPDATE of {n} octets", connection_error(FRAME_SIZE_ERROR),
        frame(WINDOW_UPDATE, 0, 0, bytes(n)))


def pieces_of_one(peer):
    """The body comes octet by octet as the window is opened by one."""
    for i in range(6):
        got = peer.wait(lambda f: f.kind == DATA and f not in peer.taken)
        if got is None or len(got.payload) != 1:
            raise Wrong(f"{got}, expected DATA of one octet")
        peer.taken.append(got)
        peer.raw(update(1, 1))


@case("6.9.1", "no more is sent than the window allows", pieces_of_one, settings=[(4, 1)])
def _(peer):
    peer.taken = []
    peer.raw(headers())


row("6.9.1", "a connection window above 2^31-1", connection_error(FLOW_CONTROL_ERROR),
    update(0, (1 << 31) - 1), update(0, (1 << 31) - 1))
row("6.9.1", "a stream window above 2^31-1", stream_error(FLOW_CONTROL_ERROR), opened(),
    update(1, (1 << 31) - 1), update(1, (1 << 31) - 1))


@case("6.9.2", "a larger INITIAL_WINDOW_SIZE moves a stream that waits", lambda peer: None,
      settings=HELD)
def _(peer):
    peer.raw(headers())
    alive(peer)
    peer.raw(settings_frame((4, 1)))
    got = peer.wait(lambda f: f.kind == DATA)
    if got is None or len(got.payload) != 1:
        raise Wrong(f"{got}, expected DATA of one octet")


@case("6.9.2", "a window may become negative, and is counted from there", lambda peer: None,
      settings=[(4, 3)])
def _(peer):
    peer.raw(headers())
    first = peer.wait(lambda f: f.kind == DATA)
    peer.raw(settings_frame((4, 2)))  # the window is -1 now
    peer.raw(update(1, 2))            # and 1 now
    second = peer.wait(lambda f: f.kind == DATA and f is not first)
    if len(first.payload) != 3 or second is None or len(second.payload) != 1:
        raise Wrong(f"{first}, {second}; expected three octets, then one")


@case("6.9.2", "an INITIAL_WINDOW_SIZE that overflows a stream's window",
      connection_error(FLOW_CONTROL_ERROR))
def _(peer):
    peer.raw(opened() + update(1, (1 << 31) - 1 - 65535) + settings_frame((4, 65536)))


row("6.10", "several CONTINUATIONs", answered(), headers(payload=block(BASE[:1]), flags=END_STREAM),
    *[frame(CONTINUATION, END_HEADERS if i == 3 else 0, 1, block(BASE[i:i + 1]))
      for i in range(1, 4)])
row("6.10", "CONTINUATION followed by another frame", connection_error(PROTOCOL_ERROR),
    headers(flags=END_STREAM), frame(CONTINUATION, 0, 1), data())
row("6.10", "CONTINUATION on stream 0", connection_error(PROTOCOL_ERROR),
    headers(flags=END_STREAM), frame(CONTINUATION, END_HEADERS, 0))
row("6.10", "CONTINUATION of another stream", connection_error(PROTOCOL_ERROR),
    headers(flags=END_STREAM), frame(CONTINUATION, END_HEADERS, 3))
row("6.10", "CONTINUATION behind HEADERS with END_HEADERS", connection_error(PROTOCOL_ERROR),
    opened(), frame(CONTINUATION, END_HEADERS, 1, literal("x", "y")))
row("6.10", "CONTINUATION behind CONTINUATION with END_HEADERS", connection_error(PROTOCOL_ERROR),
    headers(flags=0), frame(CONTINUATION, END_HEADERS, 1), frame(CONTINUATION, END_HEADERS, 1))
row("6.10", "CONTINUATION behind DATA", connection_error(PROTOCOL_ERROR), opened(),
    data(flags=0), frame(CONTINUATION, END_HEADERS, 1))

# ---- RFC 9113 7 and 8 ----

row("7", "GOAWAY with an unknown error code", closed,
    frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0xff)))
row("7", "RST_STREAM with an unknown error code is taken", alive, opened(), reset(1, 0xff))
row("8.1", "a second HEADERS without END_STREAM", stream_error(PROTOCOL_ERROR), opened(),
    opened(fields=[("x-trailer", "y")]))


@case("8.1", "an answer that needs no more of the request: RST_STREAM NO_ERROR may follow, "
      "an error may not", lambda peer: None)
def _(peer):
    peer.raw(headers())
    answered()(peer)


BAD_FIELDS = [
    ("8.2", "an upper-case name", [("X-TEST", "ok")]),
    ("8.2.1", "a name with a blank", [("x test", "ok")]),
    ("8.2.1", "a name with a control octet", [("x\x01", "ok")]),
    ("8.2.1", "a name with an octet above 0x7f", [(b"x\xff", "ok")]),
    ("8.2.1", "an empty name", [("", "ok")]),
    ("8.2.1", "a value with NUL", [("x", "a\0b")]),
    ("8.2.1", "a value with CR", [("x", "a\rb")]),
    ("8.2.1", "a value with LF", [("x", "a\nb")]),
    ("8.2.1", "a value that begins with a blank", [("x", " a")]),
    ("8.2.1", "a value that ends with a tab", [("x", "a\t")]),
    ("8.2.2", "connection", [("connection", "keep-alive")]),
    ("8.2.2", "keep-alive", [("keep-alive", "timeout=1")]),
    ("8.2.2", "proxy-connection", [("proxy-connection", "close")]),
    ("8.2.2", "transfer-encoding", [("transfer-encoding", "chunked")]),
    ("8.2.2", "upgrade", [("upgrade", "h2c")]),
    ("8.2.2", "te other than trailers", [("te", "trailers, deflate")]),
    ("8.3", "an unknown pseudo field", [(":test", "ok")]),
    ("8.3", "a pseudo field of answers", [(":status", "200")]),
]
for section, title, extra in BAD_FIELDS:
    where = BASE + extra if not str(extra[0][0]).startswith(":") else extra + BASE
    row(section, f"a request with {title}", stream_error(PROTOCOL_ERROR), headers(fields=where))
row("8.2.2", "te: trailers is taken", answered(), headers(fields=BASE + [("te", "trailers")]))
row("8.3", "a pseudo field behind an ordinary one", stream_error(PROTOCOL_ERROR),
    headers(fields=[("x", "y")] + BASE))
row("8.3", "a pseudo field in trailers", stream_error(PROTOCOL_ERROR), opened(), data(flags=0),
    headers(fields=[(":method", "GET")]))
row("8.3.1", "an empty :path", stream_error(PROTOCOL_ERROR),
    headers(fields=with_value(":path", "")))
row("8.3.1", "a :path that begins with no slash", stream_error(PROTOCOL_ERROR),
    headers(fields=with_value(":path", "plain")))
for name in (":method", ":scheme", ":path"):
    row("8.3.1", f"no {name}", stream_error(PROTOCOL_ERROR), headers(fields=without(name)))
for name, value in BASE:
    row("8.3.1", f"{name} twice", stream_error(PROTOCOL_ERROR),
        headers(fields=[(name, value)] + BASE))
row("8.1.1", "content-length above the one DATA frame", stream_error(PROTOCOL_ERROR),
    opened(fields=POST + [("content-length", "2")]), data())
row("8.1.1", "content-length below the one DATA frame", stream_error(PROTOCOL_ERROR),
    opened(fields=POST + [("content-length", "1")]), data(octets=b"xx"))
row("8.1.1", "content-length other than the sum of DATA", stream_error(PROTOCOL_ERROR),
    opened(fields=POST + [("content-length", "1")]), data(flags=0), data())
row("8.1.1", "content-length and no body", stream_error(PROTOCOL_ERROR),
    headers(fields=POST + [("content-length", "1")]))
row("8.1.1", "content-length that is no number", stream_error(PROTOCOL_ERROR),
    headers(fields=BASE + [("content-length", "x")]))
row("8.1.1", "two different content-lengths", stream_error(PROTOCOL_ERROR),
    opened(fields=POST + [("content-length", "1"), ("content-length", "2")]), data())
row("8.5", "CONNECT with :path and :scheme", stream_error(PROTOCOL_ERROR),
    headers(fields=with_value(":method", "CONNECT")))

# ---- RFC 7541 ----

row("HPACK 2.3.3", "an index beyond the tables", connection_error(COMPRESSION_ERROR),
    headers(payload=block(BASE) + integer(70, 7, 0x80)))
row("HPACK 2.3.3", "a literal whose name's index is beyond the tables",
    connection_error(COMPRESSION_ERROR),
    headers(payload=block(BASE) + integer(70, 6, 0x40) + text("value")))
row("HPACK 4.2", "an update of the table's size behind a field",
    connection_error(COMPRESSION_ERROR), headers(payload=block(BASE) + integer(1, 5, 0x20)))
row("HPACK 5.1", "an integer that overflows", connection_error(COMPRESSION_ERROR),
    headers(payload=block(BASE) + b"\xff" + b"\xff" * 9 + b"\x7f"))
row("HPACK 5.2", "Huffman padding of more than 7 bits", connection_error(COMPRESSION_ERROR),
    headers(payload=block(BASE) + b"\x00" + text("x") + integer(2, 7, 0x80) + b"\x1f\xff"))
row("HPACK 5.2", "Huffman padding of zeros", connection_error(COMPRESSION_ERROR),
    headers(payload=block(BASE) + b"\x00" + text("x") + integer(1, 7, 0x80) + b"\x18"))
row("HPACK 5.2", "a Huffman text with EOS in it", connection_error(COMPRESSION_ERROR),
    headers(payload=block(BASE) + b"\x00" + text("x") + integer(4, 7, 0x80) + b"\xff" * 4))
row("HPACK 6.1", "index 0", connection_error(COMPRESSION_ERROR),
    headers(payload=block(BASE) + b"\x80"))
row("HPACK 6.3", "a table's size above SETTINGS_HEADER_TABLE_SIZE",
    connection_error(COMPRESSION_ERROR),
    headers(payload=integer(4097, 5, 0x20) + block(BASE)))


# ---- run ----

def free_port():
    """Below the ports that the system gives to outgoing connections."""
    for _ in range(200):
        port = random.randrange(15000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no free port")


def run(address, number, one):
    section, title, expect, send, settings, hello = one
    peer = Peer(address)
    try:
        if hello:
            peer.hello(settings)
        send(peer)
        expect(peer)
        print(f"ok {number} - {section}: {title}")
        return True
    except (Wrong, TimeoutError) as why:
        print(f"not ok {number} - {section}: {title}\n# {why}")
        return False
    finally:
        peer.close()


def main():
    server = subprocess.Popen([sys.argv[1], f"127.0.0.1:{free_port()}"], stdout=subprocess.PIPE,
                              text=True)
    try:
        address = server.stdout.readline().split()[1]
        wanted = [c for c in CASES if len(sys.argv) < 3 or c[0] == sys.argv[2]]
        print(f"1..{len(wanted)}")
        failed = [c for i, c in enumerate(wanted) if not run(address, i + 1, c)]
        alive_still = server.poll() is None
        print(f"# {len(wanted) - len(failed)} of {len(wanted)} passed")
        return 0 if alive_still and not failed else 1
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    sys.exit(main())
