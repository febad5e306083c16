#!/bin/sh
# Shows that the simulator's frozen results are the same bits on other instruction sets: NEON on
# aarch64, and on x86-64 the scalar path and AVX2, whatever this machine has. All are emulated.
#
# Needs, on Debian:   apt-get install qemu-user-static
#                     rustup target add aarch64-unknown-linux-musl
# No cross compiler is needed: the linker that comes with Rust makes a static program of it.
# Takes some minutes, most of it compiling and the emulation of AVX2.
set -eu
cd "$(dirname "$0")/.."

frozen() {
    cargo test --package litecore-sim --test card "$@" frozen
}

echo "== aarch64, NEON"
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-C linker=rust-lld -C linker-flavor=ld.lld -C link-self-contained=yes" \
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=qemu-aarch64-static \
    frozen --target aarch64-unknown-linux-musl

if [ "$(uname -m)" = x86_64 ]; then
    # Processors without AVX, so that the scalar path is taken, and without AVX-512.
    for processor in Nehalem Haswell; do
        echo "== x86-64 as $processor"
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64-static -cpu $processor" frozen
    done
fi
echo "same bits everywhere"
