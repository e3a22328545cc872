#!/bin/sh
# Installs other programs that meet what is made here into the user's cache; does nothing for those that are there:
# node-llama-cpp, through which llama.cpp reads exports, and openai, which asks what ft30 serve serves.
# Prebuilt, nothing is compiled; of llama.cpp only this platform's build, since all of them together are 700 MB.
set -eu

peers=${XDG_CACHE_HOME:-$HOME/.cache}/finetune30/peers
llama=3.22.1
openai=3.57.0

is_there() {
    [ "$(cat "$peers/$1/.installed" 2>/dev/null)" = "$2" ]
}

if ! is_there openai "$openai"; then
    "${PYTHON:-python3}" -m venv "$peers/openai"
    "$peers/openai/bin/python" -m pip install --quiet --disable-pip-version-check "openai==$openai"
    echo "$openai" >"$peers/openai/.installed"
fi
if ! is_there node-llama-cpp "$llama"; then
    command -v npm >/dev/null || {
        echo "npm is missing: install Node.js 20 or newer, then run this again" >&2
        exit 1
    }
    case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) build=linux-x64 ;;
    Linux-aarch64) build=linux-arm64 ;;
    Darwin-arm64) build=mac-arm64-metal ;;
    *)
        echo "node-llama-cpp has no build for $(uname -s) $(uname -m)" >&2
        exit 1
        ;;
    esac
    mkdir -p "$peers/node-llama-cpp"
    cd "$peers/node-llama-cpp"
    npm install --prefix . --omit=optional --ignore-scripts --no-audit --no-fund \
        "node-llama-cpp@$llama" "@node-llama-cpp/$build@$llama"
    echo "$llama" >.installed
fi
