"""The real training of a fleet: its files in the shared folder, and its result where nothing happened."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.exactness import Lab, fingerprint
from support.fork_server import ForkServer


@dataclass(frozen=True)
class Training:
    """`config` as a request has it; `undisturbed`: the fingerprint by the number of processes."""

    config: dict[str, Any]
    undisturbed: dict[int, dict[str, Any]]


def prepare_training(server: ForkServer, shared: Path, base: Path, processes: tuple[int, ...] = (1, 2)) -> Training:
    """Write model, rows and configuration into a shared folder, and train with so many processes where all is quiet."""
    lab = Lab(server, shared, base)
    (shared / "base").unlink()
    shutil.copytree(base, shared / "base")  # requests may name no links that lead out of the allowed folder
    undisturbed = {}
    for count in processes:
        arguments = ("--config", "config.yaml", "--training.processes", str(count))
        ended = lab.ft30("train", *arguments, results=f"undisturbed-{count}", OMP_NUM_THREADS="1")
        assert ended.returncode == 0, ended.stderr
        undisturbed[count] = fingerprint(lab.run_folder(f"undisturbed-{count}"))
    config = yaml.safe_load((shared / "config.yaml").read_text())
    del config["experiment_name"]
    return Training(config, undisturbed)


def training_config(config: dict[str, Any], processes: int) -> dict[str, Any]:
    """Return the configuration for so many processes."""
    return {**config, "training": {**config["training"], "processes": processes}}
