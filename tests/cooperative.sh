#!/usr/bin/env bash
# Runs the products that use cooperative matrices, where no adapter here has them: on Mesa's software driver, which has
# them from version 26 on, out of a Debian of its own in a temporary folder. Needs root, debootstrap and half a gigabyte.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test --quiet --no-run
program=${CARGO_TARGET_DIR:-target}/debug/thalweg
if "$program" devices | grep -q "cooperative matrices"; then
    echo "An adapter has cooperative matrices: cargo test has run them."
    exit 0
fi
debian=$(mktemp -d)
trap 'rm -rf "$debian" "$debian.log"' EXIT
if ! command -v debootstrap >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq debootstrap; } >"$debian.log" 2>&1 || exit 3
fi
debootstrap --variant=minbase trixie "$debian" >"$debian.log" || { tail -5 "$debian.log" >&2; exit 3; }
sources=$(cat "$debian/etc/apt/sources.list")
echo "${sources/trixie/trixie-backports}" >>"$debian/etc/apt/sources.list"
chroot "$debian" bash -euo pipefail -c "
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -t trixie-backports mesa-vulkan-drivers
" >"$debian.log" 2>&1 || { tail -5 "$debian.log" >&2; exit 3; }

library=$(cargo test --no-run --test library 2>&1 | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
cp "$library" "$debian/tmp/library"
cp "$program" "$debian/tmp/"
run() {
    chroot "$debian" env THALWEG_REQUIRE_GPU=1 "$@"
}
devices=$(run /tmp/thalweg devices)
echo "$devices"
grep -q "cooperative matrices" <<<"$devices"
run /tmp/library kernels::every_form_of_the_products
run /tmp/library mixed::cooperative_matrices_train_the_same
