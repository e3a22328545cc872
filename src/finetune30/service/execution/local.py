"""`ft30 train`: create the run, carry it out in this process, and say where the results are."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from finetune30.config import ExperimentConfig, TrainingConfig
from finetune30.config.loading import LoadedConfig, config_digest
from finetune30.errors import CancelledError, ConflictError
from finetune30.service.execution.execute import Execution, execute
from finetune30.service.execution.run_log import Console
from finetune30.service.runs.open_records import Records, open_records
from finetune30.settings import Settings
from finetune30.store.records import Run


@dataclass(frozen=True)
class FinishedRun:
    """A run that succeeded: its id, folder and metrics."""

    run_id: str
    name: str
    folder: Path
    metrics: dict[str, Any]


def train_locally(loaded: LoadedConfig, settings: Settings) -> FinishedRun:
    """Create a run and carry it out in this process.

    The first Ctrl-C (or SIGTERM, or the end of the terminal) stops at the next step and keeps a checkpoint, a second
    one stops at once; both end as CANCELLED. Under torchrun process 0 records the run and the others
    follow it.
    Raises the Finetune30Error that ended the run.
    """
    from finetune30.service.execution.follower import follow_training, is_follower

    if is_follower():
        follow_training(loaded)
        return FinishedRun("", loaded.config.experiment_name, Path(), {})
    with open_records(settings, configured_output_dir(loaded)) as records:
        run = records.store.create(
            loaded.config, kind="local", results_root=records.results_root, explicit=loaded.explicit
        )
        return carry_out_locally(records, run, settings, loaded.explicit)


def carry_out_locally(
    records: Records, run: Run, settings: Settings, explicit: frozenset[str], config: ExperimentConfig | None = None
) -> FinishedRun:
    """Claim a QUEUED run of this process and carry it out, under another configuration when one is given."""
    claim = records.store.claim(run.id, lease_seconds=settings.lease_seconds)
    if claim is None:
        raise ConflictError(f"run {run.id} is not to be had", f"see it with: ft30 runs show {run.id[:8]}")
    if config is not None:
        records.store.describe(claim, config=config.as_tree(), config_digest=config_digest(config))
        run = records.store.get(run.id)
    folder = records.folder(run)
    console = Console()
    with _stop_on_signals(console) as stop_reason:
        try:
            published = execute(
                Execution(records.store, claim, run, folder, settings, explicit, console, stop_reason),
            )
        except KeyboardInterrupt:
            raise CancelledError("interrupted", f"go on with: ft30 resume {run.id[:8]}") from None
    return FinishedRun(run.id, run.name, folder.path, published.metrics)


def configured_output_dir(loaded: LoadedConfig) -> str | None:
    """Return the results folder that the configuration names; None when it was left alone, so that settings count."""
    named = "training.output_dir" in loaded.explicit
    output_dir = loaded.config.training.output_dir
    return output_dir if named or output_dir != TrainingConfig().output_dir else None


@contextmanager
def _stop_on_signals(console: Console) -> Iterator[Any]:
    """Turn the first signal into a request to stop at the next step, and say so; the second one interrupts."""
    asked: list[str] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append("cancelled")
        with suppress(RuntimeError):  # the signal came in the middle of another line
            console.line("stopping at the next step, with a checkpoint; once more stops at once")

    before = {number: signal.signal(number, stop) for number in _stop_signals()}
    try:
        yield lambda: asked[0] if asked else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_signals() -> list[signal.Signals]:
    """Return the signals that ask for an end; a terminal that goes away is none under nohup, which ignores it."""
    heard = [signal.SIGINT, signal.SIGTERM]
    hang_up: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        heard.append(hang_up)
    return heard
