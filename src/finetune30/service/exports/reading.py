"""Reading an export in a process of its own, by a program that does not know this package."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import ModelError, SelfTestError, StorageError

_READERS = Path(__file__).parent / "readers"
_LONGEST_END = 300
#: Names the folder of node-llama-cpp to the reader of GGUF.
_MODULES = "FT30_READER_MODULES"


@dataclass(frozen=True)
class Read:
    """What a reader answered: JSON values, and arrays by name."""

    answer: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def read_export(reader: str, model: Path, request: Mapping[str, Any]) -> Read:
    """Let a Python reader (its name in `readers`) answer a request about the model at a path.

    Raises SelfTestError where it cannot load the model.
    """
    return run_reader([sys.executable, "-I", str(_READERS / f"{reader}.py")], model, request)


def read_gguf(model: Path, request: Mapping[str, Any]) -> Read:
    """Let llama.cpp answer a request about model.gguf in a folder. Raises ModelError where it is not installed."""
    return run_reader(["node", str(_READERS / "gguf_reader.mjs")], model, request, {_MODULES: str(require_modules())})


def require_modules() -> Path:
    """Return what `reader_modules` does. Raises ModelError where it is not there."""
    modules = reader_modules()
    if modules is None:
        raise ModelError(
            "an export as GGUF is read by llama.cpp before it is there, and node-llama-cpp is not installed",
            "install it with: make install-peers (it needs node and npm)",
        )
    return modules


def reader_modules() -> Path | None:
    """Return the folder in which `make install-peers` put node-llama-cpp; None where it, or node, is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "finetune30" / "peers" / "node-llama-cpp"
    is_there = (folder / "node_modules" / "node-llama-cpp").is_dir() and shutil.which("node") is not None
    return folder if is_there else None


def run_reader(
    command: Sequence[str], model: Path, request: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Read:
    """Run a reader with model, request and a folder for its answer.

    Its arrays stand in arrays.npz; or in files of float32 that `arrays` of its answer describes. Raises SelfTestError,
    and StorageError where the folder for the answer is full.
    """
    further = dict(environment or {})
    with tempfile.TemporaryDirectory(prefix="ft30-export-") as passing:
        asked, given = Path(passing, "request.json"), Path(passing, "answer")
        asked.write_text(json.dumps(request), encoding="utf-8")
        given.mkdir()
        done = subprocess.run(
            [*command, str(model), str(asked), str(given)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **further},
        )
        if done.returncode != 0:
            words = os.strerror(errno.ENOSPC).casefold()  # which Node writes small
            if full := next((line for line in done.stderr.splitlines() if words in line.casefold()), None):
                raise StorageError(
                    f"{Path(command[-1]).stem} cannot write into {passing}: {full.strip()[:_LONGEST_END]}",
                    "free space there (df -h), or name another folder in TMPDIR",
                )
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:_LONGEST_END]
            raise SelfTestError(
                f"the export cannot be read by {Path(command[-1]).stem}: {said}",
                "nothing was published; please report this with the run's config.yaml",
            )
        answer = json.loads((given / "answer.json").read_text(encoding="utf-8"))
        if described := answer.get("arrays"):
            found = {
                name: np.fromfile(given / one["file"], dtype=np.float32).reshape(one["shape"])
                for name, one in described.items()
            }
            return Read(answer, found)
        with np.load(given / "arrays.npz") as arrays:
            return Read(answer, {name: arrays[name] for name in arrays.files})
