#!/bin/sh
# Sees to it that PyTorch comes without CUDA where no NVIDIA GPU is. What pip brings for Linux by default carries CUDA,
# several GB; PyTorch's CPU build is about 200 MB. Does nothing where pip brings the right build anyway.
#     usage: [TORCH=cpu|cuda] sh scripts/install_torch.sh PYTHON
set -eu

python=$1
cd "$(dirname "$0")/.."
pin=$(sed -n 's/^torch==\([^ ;]*\).*/\1/p' requirements.txt)
wanted=${TORCH:-auto}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

has_nvidia_gpu() {
    command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q '^GPU '
}

# Prints the version that is installed, with its label (2.13.0+cpu), or nothing.
find_installed() {
    "$python" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || true
}

# pip takes a build with a label before the one without; it lists both where PyTorch's CPU index or a wheel is known.
pip_brings_cpu_build() {
    "$python" -m pip index versions torch --disable-pip-version-check 2>/dev/null |
        tr ',' '\n' | grep -Eq "(^|[[:space:]])$pin\\+cpu[[:space:]]*\$"
}

# uv knows PyTorch's indexes by name. It is used this once and not left in the environment.
install_cpu_build() {
    echo "No NVIDIA GPU: installing PyTorch's CPU build, without CUDA (about 200 MB)" >&2
    uv=$(command -v uv || true)
    if [ -z "$uv" ]; then
        tools=$(mktemp -d)
        trap 'rm -rf "$tools"' EXIT
        "$python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --target "$tools" 'uv>=0.8' ||
            return 1
        uv=$tools/bin/uv
    fi
    path=$("$python" -c 'import sys; print(sys.executable)')
    # What it needs comes with the rest, from where pip gets everything.
    "$uv" pip install --quiet --python "$path" --no-deps --reinstall-package torch --torch-backend cpu "torch==$pin"
}

# What is installed has the right version, but is the other build; what the new one needs comes with the rest.
replace_by_pip() {
    echo "TORCH=$wanted: replacing PyTorch $installed" >&2
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "torch==$pin" ||
        fail "PyTorch could not be replaced; pip's message above says why. The same make word tries again."
}

case $wanted in
auto | cpu | cuda) ;;
*) fail "TORCH is '$wanted'; it may be cpu (without CUDA) or cuda (with it), or not be set." ;;
esac
[ "$(uname -s)" = Linux ] || exit 0 # elsewhere there is one build only

installed=$(find_installed)
case $wanted:$installed in
cuda:"$pin+cpu")
    replace_by_pip
    exit 0
    ;;
cuda:*) exit 0 ;;
auto:"$pin+cpu")
    ! has_nvidia_gpu || echo "This machine has an NVIDIA GPU, but PyTorch's CPU build is installed." \
        "To use the GPU: make TORCH=cuda install" >&2
    exit 0
    ;;
cpu:"$pin+cpu" | auto:"$pin" | auto:"$pin+"*) exit 0 ;;
esac
if [ "$wanted" = auto ] && has_nvidia_gpu; then
    exit 0
fi
if pip_brings_cpu_build; then
    [ "${installed%%+*}" != "$pin" ] || replace_by_pip
    exit 0
fi
install_cpu_build || fail \
    "PyTorch's CPU build could not be installed; the message above says why. The standard build for Linux would work" \
    "too, but brings CUDA along (several GB), which is of no use without an NVIDIA GPU. Either take it:" \
    "    make TORCH=cuda run-local" \
    "or tell pip where the CPU build is (its index is named under 'Get started' on pytorch.org):" \
    "    PIP_EXTRA_INDEX_URL=ADDRESS_OF_THE_CPU_INDEX make run-local"
