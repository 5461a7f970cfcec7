#!/usr/bin/env bash
# Trains on several ranks, over Open MPI, which it installs where there is none; status 3: it could not be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v mpirun >/dev/null || ! command -v mpicc >/dev/null || ! ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    { apt-get update -qq && apt-get install -y -qq libopenmpi-dev openmpi-bin libclang-dev; } >"$log" 2>&1 || {
        tail -5 "$log" >&2
        exit 3
    }
fi
export NODEVICE_SELECT=1
export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-$(realpath -m "${CARGO_TARGET_DIR:-target}/tmp")}
cargo test --features mpi --test distributed "$@"
