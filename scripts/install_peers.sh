#!/bin/sh
# Installs node-llama-cpp, through which llama.cpp reads exports, into the user's cache; does nothing where it is there.
# Prebuilt, nothing is compiled; only this platform's build, since all of them together are 700 MB.
set -eu

version=3.22.1
folder=${XDG_CACHE_HOME:-$HOME/.cache}/finetune30/peers/node-llama-cpp
[ "$(cat "$folder/.installed" 2>/dev/null)" = "$version" ] && exit 0
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
mkdir -p "$folder"
cd "$folder"
npm install --prefix . --omit=optional --ignore-scripts --no-audit --no-fund \
    "node-llama-cpp@$version" "@node-llama-cpp/$build@$version"
echo "$version" >.installed
