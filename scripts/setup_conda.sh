#!/bin/sh
# Builds the Conda environment that fits this machine from environment.yml, or brings it up to date.
set -eu
cd "$(dirname "$0")/.."

find_tool() {
    for candidate in conda mamba micromamba "${CONDA_EXE:-}" "${MAMBA_EXE:-}"; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "Neither conda, mamba nor micromamba is installed." >&2
    echo "Install one of them, or do without: make run-local builds its own .venv." >&2
    exit 1
}

choose_name() {
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then
        echo lora-cuda
    elif [ "$(uname -s) $(uname -m)" = "Darwin arm64" ]; then
        echo lora-m3
    else
        echo lora-cpu
    fi
}

tool=$(find_tool)
name=$(choose_name)
if "$tool" env list | grep -Eq "(^|[/[:space:]])$name([[:space:]]|\$)"; then
    # Only pip's packages can have changed, and they come below.
    echo "The Conda environment $name is there; bringing its packages up to date"
else
    echo "Creating the Conda environment $name with $tool"
    case $tool in
    *micromamba) "$tool" create --yes --name "$name" --file environment.yml ;;
    *) "$tool" env create --name "$name" --file environment.yml ;;
    esac
fi
"$tool" run --name "$name" sh -c 'sh scripts/install_environment.sh "$CONDA_PREFIX" services again'
echo "Ready. Now: ${tool##*/} activate $name && make run-local"
