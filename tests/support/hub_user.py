"""finetune30's own use of the hub in a process of its own: the hub's client reads its settings when it is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Told:
    """What a user is told: a value, or an error by its code; the log's lines, and how long the hub was waited for."""

    value: Any = None
    code: str = ""
    message: str = ""
    remedy: str = ""
    may_retry: bool = False
    log: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    #: Bytes that had come, and bytes in all, each time that somebody was told.
    transfers: list[list[int]] = field(default_factory=list)


class HubUser:
    """A child that fetches models and data sets; `home` is a folder for everything that is cached."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        root = Path(__file__).resolve().parents[2]
        paths = os.pathsep.join([str(root / "tests"), str(root / "src"), environment.get("PYTHONPATH", "")])
        self._child = subprocess.Popen(
            [sys.executable, "-m", "support.hub_user"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONPATH": paths},
        )

    def fetch_model(self, home: Path, name: str, revision: str | None = None, **variables: str) -> Told:
        """Find a base model; the value is its id, commit, files and digest of weights."""
        return self._ask("model", home, name=name, revision=revision, variables=variables)

    def fetch_tokenizer(self, home: Path, name: str) -> Told:
        """Find a tokenizer; the value is the names of the files."""
        return self._ask("tokenizer", home, name=name, variables={})

    def load_set(
        self, home: Path, name: str, config: str | None = None, revision: str | None = None, **variables: str
    ) -> Told:
        """Load a data set; the value is id, commit, rows, first row and notes by split, names of classes by column."""
        return self._ask("set", home, name=name, config=config, revision=revision, variables=variables)

    def close(self) -> None:
        """End the child."""
        self._child.communicate(timeout=600)

    def _ask(self, what: str, home: Path, **question: Any) -> Told:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"what": what, "home": str(home), **question}).encode() + b"\n")
        self._child.stdin.flush()
        answer = self._child.stdout.readline()
        assert answer, "the child ended"
        return Told(**json.loads(answer))


def serve() -> None:
    """Answer every line of standard input."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr
    waits = _count_waits()
    for line in sys.stdin:
        waits.clear()
        told = _answer(json.loads(line))
        answers.write(json.dumps({**vars(told), "waits": list(waits)}) + "\n")
        answers.flush()


def _count_waits() -> list[float]:
    """Let nobody wait for a busy hub; return where the seconds are written down."""
    import time

    waits: list[float] = []
    time.sleep = waits.append  # type: ignore[assignment]
    return waits


def _answer(asked: dict[str, Any]) -> Told:
    from finetune30.errors import Finetune30Error

    log: list[str] = []
    transfers: list[list[int]] = []
    before = dict(os.environ)
    os.environ.update(asked["variables"])
    _use_cache(Path(asked["home"]))
    try:
        value = _QUESTIONS[asked["what"]](asked, log.append, lambda t: transfers.append([t.done_bytes, t.total_bytes]))
    except Finetune30Error as error:
        return Told(None, error.code, error.message, error.remedy, error.retryable, log, transfers=transfers)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return Told(value, log=log, transfers=transfers)


def _use_cache(home: Path) -> None:
    import datasets.config
    import huggingface_hub.constants as hub

    hub.HF_HUB_CACHE, hub.HF_ASSETS_CACHE = str(home / "hub"), str(home / "assets")
    hub.HUGGINGFACE_HUB_CACHE = hub.HF_HUB_CACHE
    datasets.config.HF_DATASETS_CACHE = home / "datasets"


def _find_model(asked: dict[str, Any], log: Any, on_transfer: Any) -> Any:
    from finetune30.config import ModelConfig
    from finetune30.modeling.base import find_base

    source = find_base(ModelConfig(name=asked["name"], revision=asked["revision"]), log, on_transfer)
    return {
        "id": source.reference,
        "commit": source.revision,
        "files": sorted(path.name for path in source.folder.rglob("*") if path.is_file()),
        "weights": source.weights_digest(),
    }


def _find_tokenizer(asked: dict[str, Any], log: Any, on_transfer: Any) -> Any:
    from finetune30.config import ModelConfig
    from finetune30.modeling.base import find_tokenizer

    source = find_tokenizer(ModelConfig(name=asked["name"]), log, on_transfer)
    return sorted(path.name for path in source.folder.rglob("*") if path.is_file())


def _load_set(asked: dict[str, Any], log: Any, on_transfer: Any) -> Any:
    from finetune30.data.sources.hub import load_hub

    found = load_hub(asked["name"], asked["config"], asked["revision"], log, on_transfer)
    first = next(iter(found.tables.values()))
    return {
        "id": found.reference.id,
        "commit": found.reference.commit,
        "rows": {split: table.frame.height for split, table in found.tables.items()},
        "first": {split: table.frame.row(0, named=True) for split, table in found.tables.items()},
        "notes": {split: list(table.notes) for split, table in found.tables.items()},
        "names": {column: list(names) for column, names in {**first.label_names, **first.label_order}.items()},
    }


_QUESTIONS = {"model": _find_model, "tokenizer": _find_tokenizer, "set": _load_set}

if __name__ == "__main__":
    serve()
