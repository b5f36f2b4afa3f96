# SPDX-License-Identifier: Apache-2.0
"""An HTTP/2 client that sends exactly the frames a test names, right or wrong.

Header blocks are literals written by hand, so that any octets can be sent; blocks that come back are
decoded by python3-hpack. Nothing is done by itself but this: SETTINGS of the server are acknowledged
in hello(). Every read has a deadline.
"""
import socket
import struct
import time

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 0x1, 0x1, 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, \
    FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, \
    ENHANCE_YOUR_CALM = range(12)
ERROR_NAMES = ("NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT "
               "STREAM_CLOSED FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR "
               "CONNECT_ERROR ENHANCE_YOUR_CALM").split()

PATIENCE = 10.0


def error_name(code):
    return ERROR_NAMES[code] if code < len(ERROR_NAMES) else f"error {code:#x}"


def integer(value, prefix_bits, first=0):
    """RFC 7541 5.1: `value` behind the high bits of `first`."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([first | value])
    out = [first | limit]
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def text(octets):
    octets = octets.encode() if isinstance(octets, str) else octets
    return integer(len(octets), 7) + octets


def literal(name, value, kind=0x00):
    """A field with a new name. kind: 0x00 not indexed, 0x10 never indexed, 0x40 indexed."""
    return bytes([kind]) + text(name) + text(value)


def block(fields):
    return b"".join(literal(name, value) for name, value in fields)


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    def code(self):
        """The error code of RST_STREAM and GOAWAY."""
        at = 0 if self.kind == RST_STREAM else 4
        return struct.unpack(">I", self.payload[at:at + 4])[0]

    def __repr__(self):
        names = ("DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY "
                 "WINDOW_UPDATE CONTINUATION").split()
        name = names[self.kind] if self.kind < len(names) else f"type {self.kind:#x}"
        extra = f" {error_name(self.code())}" if self.kind in (RST_STREAM, GOAWAY) else ""
        if self.kind == GOAWAY and len(self.payload) > 8:
            extra += f" '{self.payload[8:].decode(errors='replace')}'"
        return f"{name}({self.stream}, flags {self.flags:#x}, {len(self.payload)}){extra}"


def frame(kind, flags, stream, payload=b"", length=None):
    """The octets of a frame; `length` lies about the payload's."""
    n = len(payload) if length is None else length
    return struct.pack(">I", n)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Peer:
    def __init__(self, address):
        """address: "HOST:PORT" or "unix:/path"."""
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address[5:])
        else:
            host, port = address.rsplit(":", 1)
            self.socket = socket.create_connection((host.strip("[]"), int(port)))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE)
        self.buffer = b""
        self.seen = []       # frames, in order
        self.closed = False  # by the server
        self.decoder = hpack.Decoder()
        self.decoding = True # header blocks; to be cleared when some are thrown away
        self.settings = {}   # the server's

    def close(self):
        self.socket.close()

    def raw(self, octets):
        """Send; a server that has closed is no error here, what it said is looked at later."""
        try:
            self.socket.sendall(octets)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def send(self, kind, flags, stream, payload=b"", length=None):
        return self.raw(frame(kind, flags, stream, payload, length))

    def hello(self, settings=()):
        """Preface and SETTINGS; then wait for the server's SETTINGS and its ACK of ours."""
        self.raw(PREFACE)
        self.put_settings(settings)
        self.wait(lambda f: f.kind == SETTINGS and not f.flags & ACK)
        self.send(SETTINGS, ACK, 0)
        self.wait(lambda f: f.kind == SETTINGS and f.flags & ACK)

    def put_settings(self, settings=()):
        self.send(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in settings))

    def receive(self, deadline=None):
        """The next frame, or None when the server has closed."""
        end = deadline or time.monotonic() + PATIENCE
        while True:
            if len(self.buffer) >= 9:
                n = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + n:
                    kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
                    got = Frame(kind, flags, stream & 0x7fffffff, self.buffer[9:9 + n])
                    self.buffer = self.buffer[9 + n:]
                    self.note(got)
                    return got
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no more frames in time; seen: {self.seen[-8:]}")
            self.socket.settimeout(left)
            try:
                octets = self.socket.recv(1 << 16)
            except socket.timeout:
                continue
            except ConnectionResetError:
                octets = b""
            if not octets:
                self.closed = True
                return None
            self.buffer += octets

    def note(self, got):
        self.seen.append(got)
        if got.kind == SETTINGS and not got.flags & ACK:
            for at in range(0, len(got.payload), 6):
                key, value = struct.unpack(">HI", got.payload[at:at + 6])
                self.settings[key] = value
        if got.kind == HEADERS and self.decoding:
            got.fields = [(n.decode() if isinstance(n, bytes) else n,
                           v.decode() if isinstance(v, bytes) else v)
                          for n, v in self.decoder.decode(got.payload)]

    def wait(self, matches):
        """The first frame, seen or to come, that matches; None when the server closed before."""
        for got in self.seen:
            if matches(got):
                return got
        while True:
            got = self.receive()
            if got is None or matches(got):
                return got

    def ping(self, octets=b"livetest"):
        """True when the server answers, so that everything sent before has been worked on."""
        self.send(PING, 0, 0, octets)
        return self.wait(lambda f: f.kind == PING and f.flags & ACK and f.payload == octets)
