#!/bin/sh
# Creates the virtual environment FOLDER where it is missing and installs requirements.txt and the package into it;
# does nothing when both are as they were the last time.      usage: sh scripts/install_environment.sh FOLDER
set -eu

folder=$1
stamp=$folder/.finetune30-installed
lock=$folder.lock
cd "$(dirname "$0")/.."

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

wanted_state() {
    # The path too: the package is installed by reference to this folder.
    kernels=src/finetune30/training/packed/native
    { pwd; cat requirements.txt pyproject.toml setup.py "$kernels"/vectors.h "$kernels"/*.cpp; } | cksum
}

# The Python behind an environment can vanish when the system's is upgraded.
is_up_to_date() {
    [ -x "$folder/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(wanted_state)" ]
}

is_recent_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if is_recent_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    found=$("${PYTHON:-python3}" --version 2>/dev/null || echo "no ${PYTHON:-python3}")
    fail "finetune30 needs Python 3.11 or newer; found: $found." \
        "Install one, or name one that you have: make PYTHON=/path/to/python3.12 install"
}

# Four terminals may start at once; the second one waits for the first.
take_lock() {
    waiting=
    until mkdir "$lock" 2>/dev/null; do
        holder=$(cat "$lock/pid" 2>/dev/null || true)
        if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
            rm -rf "$lock"
        else
            [ -n "$waiting" ] || echo "Another make is installing; waiting (if there is none: rm -r $lock)" >&2
            waiting=yes
            sleep 1
        fi
    done
    echo $$ >"$lock/pid"
    trap 'rm -rf "$lock"' EXIT
    trap 'exit 130' INT TERM
}

create_environment() {
    python=$(find_python)
    echo "Creating $folder with $("$python" --version)" >&2
    "$python" -m venv --clear "$folder" || {
        rm -rf "$folder"
        fail "$python cannot create a virtual environment." \
            "On Debian and Ubuntu: sudo apt install python3-venv; then run the same make word again."
    }
}

say_what_torch_weighs() {
    if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then
        echo "No NVIDIA GPU found. pip may still download PyTorch with CUDA (several GB); README.md, 'Installation'," \
            "says how to get the small CPU build." >&2
    fi
}

install_requirements() {
    # Quiet where nobody watches; on a terminal pip shows what it downloads.
    if [ -t 2 ]; then quiet=; else quiet=--quiet; fi
    "$folder/bin/python" -m pip install $quiet --disable-pip-version-check -r requirements.txt
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
}

! is_up_to_date || exit 0
take_lock
! is_up_to_date || exit 0
state=$(wanted_state)
"$folder/bin/python" -m pip --version >/dev/null 2>&1 || create_environment
"$folder/bin/python" -c 'import torch' 2>/dev/null || say_what_torch_weighs
echo "Installing into $folder (a few minutes the first time)" >&2
install_requirements || fail "Installing failed; pip's message above says why." \
    "Mend it and run the same make word again: it goes on where it stopped."
echo "$state" >"$stamp"
