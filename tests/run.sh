#!/usr/bin/env bash
# Passes every test on a machine that has only Rust: installs a software Vulkan driver where there is no adapter, and
# then requires one, so that no test may skip. Those that read real images run where THALWEG_DATA names their folder.
set -euo pipefail
cd "$(dirname "$0")/.."

# Mesa's layer that selects devices complains where XDG_RUNTIME_DIR is not set.
export NODEVICE_SELECT=1
# What Mesa's software driver compiles for one test, the others and the program take from there.
export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-$(realpath -m "${CARGO_TARGET_DIR:-target}/tmp")}
export THALWEG_REQUIRE_GPU=1

has_adapter() {
    cargo test --quiet --test library adapter:: >/dev/null 2>&1
}

# Not by `cargo build` or `cargo run`, for which Cargo builds wgpu with other features, and so anew.
cargo test --no-run
if ! has_adapter; then
    if command -v apt-get >/dev/null; then
        echo "No adapter: installing mesa-vulkan-drivers, which has a software one."
        sudo=$([ "$(id -u)" = 0 ] || echo sudo)
        $sudo apt-get update -qq
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mesa-vulkan-drivers >/dev/null
    else
        echo "No adapter. Install Mesa's software one: vulkan-swrast on Arch, mesa-vulkan-drivers on Fedora," >&2
        echo "mesa-vulkan-swrast on Alpine, Mesa-libVulkan on openSUSE." >&2
        exit 1
    fi
fi
# Pages in a browser, and files in other tools, are read through Python.
if [ -z "${THALWEG_PYTHON:-}" ]; then
    THALWEG_PYTHON=$(tests/python.sh) && export THALWEG_PYTHON || {
        unset THALWEG_PYTHON
        echo "NOT TESTED: pages and the formats of other tools; Python's packages or chromium could not be installed." >&2
    }
fi
cargo test "$@"
if [ -n "${THALWEG_DATA:-}" ]; then
    cargo test --tests -- --ignored --skip long_
else
    echo "NOT TESTED: real images; THALWEG_DATA names no folder with them." >&2
fi
