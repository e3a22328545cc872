#!/bin/sh
# Installs the package with all extras into a clean environment, as pyproject.toml allows, and writes what came
# as requirements.txt: exact versions, no addresses, no local version labels (+cpu, +cu130).
set -eu
cd "$(dirname "$0")/.."
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT

"${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/python" -m pip install --quiet "setuptools>=77"
"$environment/bin/python" -m pip install --quiet --no-build-isolation -e '.[dev]'
{
    echo "# The exact set that CI installs and tests; written by: make lock"
    "$environment/bin/python" -m pip freeze --all --exclude-editable --exclude pip |
        grep -Ev '^nvidia-|^triton==' | sed 's/+[a-z0-9.]*$//'
} >requirements.txt.new
mv requirements.txt.new requirements.txt
