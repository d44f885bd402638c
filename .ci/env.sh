# Sourced by every script in this folder: goes to the root of the repository, and sets
# what all builds must agree on, so that one set of compiled dependencies serves them all.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${CI:-}" == true || "${CI:-}" == 1 ]]; then
    # Outside the clone, so that a fresh clone finds its dependencies compiled.
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${TLC_TARGET:-$HOME/.cache/tlc/target}}"
    export CARGO_INCREMENTAL=0
fi

say() { printf '\n== %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# A folder that is removed when the script ends, in whatever way.
temp_dir() {
    TEMP_DIR="$(mktemp -d "${TMPDIR:-/tmp}/tlc-ci.XXXXXX")"
    trap 'rm -rf "$TEMP_DIR"' EXIT
}
