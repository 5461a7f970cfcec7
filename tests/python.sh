#!/usr/bin/env bash
# Prints the path of a Python interpreter with all that tests/python imports, in an environment below Cargo's target folder that it makes
# where it is not there yet; installs what that and the tests of pages need, chromium and tmux. Ends with 3 where something cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
quietly() {
    "$@" >"$temporary/log" 2>&1 || { tail -5 "$temporary/log" >&2; exit 3; }
}
missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v tmux >/dev/null || missing+=(tmux)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    quietly $sudo apt-get update -qq
    quietly $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
environment=$(realpath -m "${CARGO_TARGET_DIR:-target}/python")
[ -x "$environment/bin/python" ] || quietly python3 -m venv "$environment"
quietly "$environment/bin/pip" install --quiet --disable-pip-version-check -r tests/python/requirements.txt
echo "$environment/bin/python"
