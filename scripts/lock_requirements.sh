#!/bin/sh
# Installs the package with all extras into a clean environment, as pyproject.toml allows, and writes what came
# as the three locked sets: exact versions, no addresses, no local version labels (+cpu, +cu130), nothing of CUDA.
set -eu
cd "$(dirname "$0")/.."
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT

"${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/python" -m pip install --quiet "setuptools>=77"
"$environment/bin/python" -m pip install --quiet --no-build-isolation -e '.[dev]'
"$environment/bin/python" -m pip freeze --all --exclude-editable --exclude pip >"$environment/frozen"
"$environment/bin/python" scripts/split_requirements.py <"$environment/frozen"
