#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh - install what building, testing and the demo need on Debian 12.
#
# Asks dpkg first and installs only what is missing, so a second run takes no time and needs no
# network. Runs as root, or calls sudo for the two apt-get commands. docs/dependencies.md says what
# each library is for; training the demo model again needs more (tools/train_demo.py says what).
set -eu

# package        why
wanted='
gcc              C11 compiler with OpenMP and the sanitizers
g++              checks that the public header can be used from C++
libc6-dev        the C library to build against
cmake            the build, 3.25 or later
ninja-build      what the presets build with
pkg-config       how CMake finds most libraries
libopenmpi-dev   MPI: ranks and their gathers
openmpi-bin      mpirun
libuv1-dev       event loop: sockets, timers, signals
libnghttp2-dev   HTTP/2 framing under gRPC
libprotobuf-c-dev     messages in C
protobuf-c-compiler   protoc-gen-c
protobuf-compiler     protoc
libopenblas-dev  the portable kernel tier
libpcre2-dev     regular expressions of tokenizer.json
libjansson-dev   JSON: model files and --json
libxxhash-dev    checksums of packed models
libssl-dev       TLS, and SHA-256 of the model
openssl          certificates of a test
libsqlite3-dev   the job log
zlib1g-dev       gzip of gRPC messages, checksums of stored events
libsystemd-dev   readiness and watchdog messages
libcmocka-dev    unit tests
libsimde-dev     AVX-512 for tests on processors that lack it
clang-14         the fuzz build: libFuzzer comes with it
libclang-rt-14-dev    libFuzzer and the sanitizers of clang
libomp-14-dev    OpenMP for the fuzz build
python3          tests and the demo
python3-grpcio   stock gRPC client of the tests
python3-protobuf messages for it
protobuf-compiler-grpc  grpc_python_plugin: stubs from proto/
python3-hpack    raw HTTP/2 peers in the tests
golang-go        builds a third stock gRPC client of the tests
golang-google-grpc-dev  grpc-go, with what it needs: HTTP/2 of its own
systemd          systemd-analyze: checks the unit files
'

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
for package in $(printf '%s' "$wanted" | awk 'NF { print $1 }'); do
    installed "$package" || missing="$missing $package"
done
# Node runs the second stock client; one that is there already, from wherever, is good enough.
command -v node >/dev/null 2>&1 || missing="$missing nodejs"
command -v npm >/dev/null 2>&1 || missing="$missing npm"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1; then
    as_root=sudo
else
    echo "deps.sh: missing:$missing" >&2
    echo "deps.sh: neither root nor sudo here; install them and run again" >&2
    exit 1
fi
echo "deps.sh: installing$missing"

install_missing() {
    # shellcheck disable=SC2086 # the list is meant to be split
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}
# The package lists of a machine that was just used are fresh enough; a new one has none at all.
if ! install_missing; then
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update
    install_missing
fi
