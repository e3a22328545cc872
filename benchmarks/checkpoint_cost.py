"""What checkpoints cost: the share of training time spent in saving them, at the default interval.

Run from the repository: `python benchmarks/checkpoint_cost.py [--preset starter] [--set KEY=VALUE …]`. Trains for real
on the starter model and data into a temporary folder; fsync is part of the time, so the disk of that folder counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from finetune30.config.loading import load_config, load_override
from finetune30.config.presets import preset_path
from finetune30.service.execution.local import train_locally
from finetune30.settings import Settings
from finetune30.training.checkpoints import Checkpoints


def main() -> None:
    """Train once with every save timed and print the share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="starter")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    changes = {key: load_override(key, value) for key, _, value in (text.partition("=") for text in arguments.set)}
    saves: list[float] = []
    save = Checkpoints.save

    def timed_save(*values: object) -> Path:
        started = time.perf_counter()
        try:
            return save(*values)
        finally:
            saves.append(time.perf_counter() - started)

    Checkpoints.save = timed_save
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        loaded = load_config(preset_path(arguments.preset), changes)
        metrics = train_locally(loaded, Settings(results_folder=Path(folder))).metrics
    print(
        json.dumps(
            {
                "engine": metrics["engine"],
                "steps": metrics["total_steps"],
                "save_steps": loaded.config.training.save_steps,
                "checkpoints": len(saves),
                "seconds_in_checkpoints": round(sum(saves), 4),
                "longest_seconds": round(max(saves), 4),
                "train_seconds": round(metrics["train_runtime"], 3),
                "percent": round(100 * sum(saves) / metrics["train_runtime"], 3),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
