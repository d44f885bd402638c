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

# Prints a Python that has these packages and no others, which it installs once, outside the clone.
python_with() {
    local venv ready
    venv="${XDG_CACHE_HOME:-$HOME/.cache}/tlc/python-$(printf '%s\n' "$@" | cksum | cut -d' ' -f1)"
    ready="$venv/ready"
    if [[ ! -e "$ready" ]]; then
        if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
            if [[ $(id -u) -eq 0 ]] && have apt-get; then
                { apt-get update -qq && apt-get install -y -qq python3 python3-venv python3-pip; } >&2 || return 1
            else
                echo "this check needs python3 with its venv module: install python3 and python3-venv" >&2
                return 1
            fi
        fi
        # One chain, since in a substitution a failure does not end the script.
        rm -rf "$venv" && python3 -m venv "$venv" >&2 && "$venv/bin/pip" install --quiet "$@" >&2 && touch "$ready" || return 1
    fi
    echo "$venv/bin/python"
}
