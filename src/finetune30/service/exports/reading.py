"""Reading an export in a process of its own, by a program that does not know this package."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import SelfTestError

_READERS = Path(__file__).parent / "readers"
_LONGEST_END = 300


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


def run_reader(command: Sequence[str], model: Path, request: Mapping[str, Any]) -> Read:
    """Run a reader with model, request and a folder for its answer. Raises SelfTestError."""
    with tempfile.TemporaryDirectory(prefix="ft30-export-") as passing:
        asked, given = Path(passing, "request.json"), Path(passing, "answer")
        asked.write_text(json.dumps(request), encoding="utf-8")
        given.mkdir()
        done = subprocess.run(
            [*command, str(model), str(asked), str(given)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:_LONGEST_END]
            raise SelfTestError(
                f"the export cannot be read by {Path(command[-1]).stem}: {said}",
                "nothing was published; please report this with the run's config.yaml",
            )
        answer = json.loads((given / "answer.json").read_text(encoding="utf-8"))
        with np.load(given / "arrays.npz") as arrays:
            return Read(answer, {name: arrays[name] for name in arrays.files})
