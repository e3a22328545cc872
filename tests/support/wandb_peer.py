"""Reads W&B's run files with W&B's own program (`wandb leet inspect`), which asks no network."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finetune30" / "peers"
PYTHON = _CACHE / "wandb/bin/python"


def read_run(path: Path) -> list[dict[str, Any]]:
    """Return the records of a .wandb file, as W&B prints them."""
    (program,) = _CACHE.glob("wandb/lib/python*/site-packages/wandb/bin/wandb-core")
    ended = subprocess.run(
        [program, "leet", "inspect", "--no-observability", "--json", "--run-file", path],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def list_unsent(folder: Path) -> str:
    """Return what `wandb sync` would send of a folder named wandb."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(
        [PYTHON.parent / "wandb", "sync", "--dry-run"],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=environment | {"WANDB_MODE": "offline", "WANDB_DIR": str(folder.parent)},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr
