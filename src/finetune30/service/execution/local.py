"""`ft30 train`: create the run, carry it out in this process, and say where the results are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune30.config import ExperimentConfig, TrainingConfig
from finetune30.config.loading import LoadedConfig, config_digest
from finetune30.errors import CancelledError, ConflictError
from finetune30.service.execution.execute import Execution, execute
from finetune30.service.execution.group import Group, train_together
from finetune30.service.execution.run_log import Console
from finetune30.service.execution.stop_signals import stop_on_signals
from finetune30.service.runs.open_records import Records, open_records
from finetune30.service.submitting.start_weights import pin_start_adapter
from finetune30.settings import Settings
from finetune30.store.records import Run


@dataclass(frozen=True)
class FinishedRun:
    """A run that succeeded: its id, folder and metrics."""

    run_id: str
    name: str
    folder: Path
    metrics: dict[str, Any]


def train_locally(loaded: LoadedConfig, settings: Settings) -> FinishedRun | None:
    """Create a run and carry it out in this process; None in the processes of a launcher that follow the first one.

    The first Ctrl-C (or SIGTERM, or the end of the terminal) stops at the next step and keeps a checkpoint, a second
    one stops at once; both end as CANCELLED. Under a launcher SIGTERM hands the run back: it FAILED as `handed_back`.
    Raises UsageError where `training.processes` is not the number of processes that were started (`starting`), and the
    Finetune30Error that ended the run.
    """

    def lead(group: Group) -> FinishedRun:
        config = group.agree(loaded.config, is_given="training.processes" in loaded.explicit)
        with group.held_gpus(config.training.device), open_records(settings, configured_output_dir(loaded)) as records:
            config = pin_start_adapter(config, records)
            run = records.store.create(
                config, kind="local", results_root=records.results_root, explicit=loaded.explicit
            )
            return carry_out_locally(records, run, settings, loaded.explicit, group=group)

    return train_together(settings, lead)


def carry_out_locally(
    records: Records,
    run: Run,
    settings: Settings,
    explicit: frozenset[str],
    config: ExperimentConfig | None = None,
    *,
    group: Group | None = None,
) -> FinishedRun:
    """Claim a QUEUED run of this process and carry it out, under another configuration when one is given."""
    group = group or Group()
    claim = records.store.claim(run.id, lease_seconds=settings.lease_seconds)
    if claim is None:
        raise ConflictError(f"run {run.id} is not to be had", f"see it with: ft30 runs show {run.id[:8]}")
    if config is not None:
        records.store.describe(claim, config=config.as_tree(), config_digest=config_digest(config))
        run = records.store.get(run.id)
    folder = records.folder(run)
    console = Console()
    with stop_on_signals(console.line, together=not group.is_alone) as stop_reason:
        try:
            published = execute(
                Execution(records.store, claim, run, folder, settings, explicit, console, stop_reason, group=group),
            )
        except KeyboardInterrupt:
            raise CancelledError("interrupted", f"go on with: {group.command('resume', run.id[:8])}") from None
    return FinishedRun(run.id, run.name, folder.path, published.metrics)


def configured_output_dir(loaded: LoadedConfig) -> str | None:
    """Return the results folder that the configuration names; None when it was left alone, so that settings count."""
    named = "training.output_dir" in loaded.explicit
    output_dir = loaded.config.training.output_dir
    return output_dir if named or output_dir != TrainingConfig().output_dir else None
