#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""loading.py - how long a packed model takes from the start of latentd to READY, against reading its bytes.

    loading.py --build build/release MODEL [--threads 2] [--rounds 5] [--weights auto] [--cold] [--csv FILE]

Each round reads packed.safetensors from its first byte to its last, with as many threads as the daemon has, each a
contiguous part in pieces of 8 MiB into a buffer of its own, and then starts latentd and waits for its READY=1 on a socket as
systemd's. The two stand side by side in every round, so what the machine does meanwhile meets both. --cold empties the
page cache before each of the two (needs root); without it one unmeasured read comes first. The ratio is READY / read:
it holds everything that a start does, processes, MPI and the handshake, scratch and pages of keys and values. kv_memory is
small, because its zeroing is not loading.

Prints a line per round and the median; exits with 1 when the median is above --most (1.3).
"""
import argparse
import datetime
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PIECE = 8 << 20
DEADLINE = 600
KV_MIB = 256  # a page of the published shape has 168


def read_part(path, begin, end):
    buffer = memoryview(bytearray(PIECE))
    with open(path, "rb", buffering=0) as file:
        file.seek(begin)
        while begin < end:
            got = file.readinto(buffer[:min(PIECE, end - begin)])
            if not got:
                raise SystemExit("loading.py: %s ended at byte %d" % (path, begin))
            begin += got


def read_all(path, threads):
    """Seconds for all bytes."""
    size = os.path.getsize(path)
    cuts = [size * i // threads for i in range(threads + 1)]
    parts = [threading.Thread(target=read_part, args=(path, cuts[i], cuts[i + 1])) for i in range(threads)]
    began = time.monotonic()
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    return time.monotonic() - began


def wait_ready(ear, process, deadline):
    while time.monotonic() < deadline:
        try:
            if b"READY=1" in ear.recv(4096):
                return
        except socket.timeout:
            if process.poll() is not None:
                raise SystemExit("loading.py: latentd ended with status %d before it was ready" % process.returncode)
    raise SystemExit("loading.py: latentd was not ready within %d s" % DEADLINE)


def start(args, weights_format):
    """Seconds until READY=1."""
    with tempfile.TemporaryDirectory(prefix="ltd-loading-") as scratch:
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.bind(os.path.join(scratch, "notify"))
        ear.settimeout(0.2)
        environment = dict(os.environ, NOTIFY_SOCKET=os.path.join(scratch, "notify"))
        command = [os.path.join(args.build, "daemon/latentd"), "--model", args.model, "--threads", str(args.threads),
                   "--listen", "unix:" + os.path.join(scratch, "socket"), "--log-level", "warning"]
        for option in ("format=" + weights_format, "weights=" + args.weights, "kv_memory=%d" % KV_MIB):
            command += ["--set", option]
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
        try:
            wait_ready(ear, process, began + DEADLINE)
            return time.monotonic() - began
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait()
            ear.close()


def forget():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3\n")


def first_format(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return header["__metadata__"]["formats"].split(",")[0]


def commit():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, encoding="utf-8")
    return done.stdout.strip() or "unknown"


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return "%s, %d cores" % (names[0] if names else "unknown", len(names))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL", help="a packed directory")
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", default="auto", help="the daemon's option: auto, mmap or copy")
    parser.add_argument("--cold", action="store_true", help="empty the page cache before each measurement")
    parser.add_argument("--most", type=float, default=1.3, help="the largest median of READY / read that is good")
    parser.add_argument("--csv")
    args = parser.parse_args()
    path = os.path.join(args.model, "packed.safetensors")
    weights_format, size, rows = first_format(path), os.path.getsize(path), []
    if not args.cold:
        read_all(path, args.threads)
    for n in range(args.rounds):
        seconds = []
        for measure in (lambda: read_all(path, args.threads), lambda: start(args, weights_format)):
            if args.cold:
                forget()
            seconds.append(measure())
        rows.append((n + 1, "cold" if args.cold else "warm", args.weights, weights_format, args.threads, size,
                     "%.3f" % seconds[0], "%.3f" % seconds[1], "%.3f" % (seconds[1] / seconds[0])))
        print("round %d: read %.2f GB in %.3f s (%.1f GB/s), ready in %.3f s, ratio %.2f"
              % (n + 1, size / 1e9, seconds[0], size / 1e9 / seconds[0], seconds[1], seconds[1] / seconds[0]), flush=True)
    median = statistics.median(float(row[-1]) for row in rows)
    print("median ratio %.2f, expected at most %.2f" % (median, args.most))
    if args.csv:
        with open(args.csv, "w", encoding="utf-8") as file:
            file.write("# date: %s\n# commit: %s\n" % (datetime.date.today(), commit()))
            file.write("# command: bench/%s\n# machine: %s\n" % (" ".join(["loading.py"] + sys.argv[1:]), machine()))
            file.write("round,cache,weights,format,threads,bytes,read_s,ready_s,ratio\n")
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    sys.exit(0 if median <= args.most else 1)


if __name__ == "__main__":
    main()
