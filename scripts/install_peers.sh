#!/bin/sh
# Installs other programs that meet what is made here into the user's cache; does nothing for those that are there:
# node-llama-cpp, through which llama.cpp reads exports, and openai, which asks what ft30 serve serves; with `all` also
# TensorBoard (180 MB) and MLflow with its server (850 MB), which read what ft30 mirror carried to them.
# Prebuilt, nothing is compiled; of llama.cpp only this platform's build, since all of them together are 700 MB.
set -eu

peers=${XDG_CACHE_HOME:-$HOME/.cache}/finetune30/peers
llama=3.22.1
python_packages="openai==3.57.0"
case "${1:-}" in
"") ;;
all) python_packages="$python_packages tensorboard==2.21.0 mlflow==3.17.2 wandb==0.31.0" ;;
*)
    echo "'$1' is not known: install_peers.sh takes nothing, or all" >&2
    exit 2
    ;;
esac

is_there() {
    [ "$(cat "$peers/$1/.installed" 2>/dev/null)" = "$2" ]
}

for package in $python_packages; do
    name=${package%%==*}
    version=${package##*==}
    if ! is_there "$name" "$version"; then
        "${PYTHON:-python3}" -m venv "$peers/$name"
        "$peers/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$package"
        echo "$version" >"$peers/$name/.installed"
    fi
done
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
