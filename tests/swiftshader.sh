#!/usr/bin/env bash
# A second Vulkan driver and a second WGSL compiler, both out of Debian's chromium: checks the kernels and trains on SwiftShader,
# whose subgroups are of four invocations, then compiles every shader with Tint, in a Chromium without a window. Needs root where
# chromium is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
if ! command -v chromium >/dev/null; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
        >"$temporary/log" 2>&1 || { tail -5 "$temporary/log" >&2; exit 3; }
fi
driver=$(find /usr/lib/chromium* -name vk_swiftshader_icd.json | head -1)
[ -n "$driver" ] || exit 3

# Not by `cargo build`, for which Cargo builds wgpu with other features, and so anew.
cargo test --quiet --no-run --test library --test program
thalweg=${CARGO_TARGET_DIR:-target}/debug/thalweg
on_swiftshader() {
    env VK_DRIVER_FILES="$driver" VK_ICD_FILENAMES="$driver" THALWEG_REQUIRE_GPU=1 "$@"
}
devices=$(on_swiftshader "$thalweg" devices)
echo "$devices"
grep -q SwiftShader <<<"$devices"
on_swiftshader "$thalweg" verify --device gpu
on_swiftshader cargo test --quiet --test program drivers::
on_swiftshader cargo test --quiet --test library kernels::to_half

"$thalweg" shader --out "$temporary/shaders"
# Cooperative matrices are an extension of wgpu's alone.
mapfile -t shaders < <(cd "$temporary/shaders" && grep -rL "enable wgpu_cooperative_matrix;" --include "*.wgsl" . | sort)
{
    cat tests/tint.html
    for shader in "${shaders[@]}"; do
        echo "<script type=\"text/plain\" data-name=\"${shader#./}\">"
        cat "$temporary/shaders/$shader"
        echo "</script>"
    done
} >"$temporary/page.html"
page=$(timeout 120 chromium --headless=new --no-sandbox --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader \
    --enable-features=Vulkan --use-vulkan=swiftshader --user-data-dir="$temporary/chromium" \
    --dump-dom "file://$temporary/page.html" 2>"$temporary/log") || { tail -5 "$temporary/log" >&2; exit 1; }
told=$(awk '/<pre id="told">/ { inside = 1 } inside { print } inside && /<\/pre>/ { exit }' <<<"$page" | sed 's/<[^>]*>//g')
echo "Tint: $told"
# A page that did not run to its end has not told how many it compiled.
grep -q "^DONE ${#shaders[@]} on " <<<"$told" && ! grep -q "^REFUSED" <<<"$told"
