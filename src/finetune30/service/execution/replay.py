"""`ft30 replay`: repeating a finished run from its record in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetune30.files import load_json
from finetune30.service.execution.group import Group, train_together
from finetune30.service.execution.local import FinishedRun, carry_out_locally
from finetune30.service.runs.open_records import open_records, require_records
from finetune30.service.submitting.replay import CHOSEN_BY_RECORD, count_recorded, load_recorded_config
from finetune30.settings import Settings
from finetune30.store import Run, RunFolder


@dataclass(frozen=True)
class Replay:
    """A run, its repetition and the report on how they compare (see `replay_verdict.judge_replay`)."""

    original: Run
    repeated: FinishedRun
    report: dict[str, Any]


def replay_locally(reference: str, settings: Settings) -> Replay | None:
    """Repeat a SUCCEEDED run from its record into a new run; how the two compare is part of its result.

    Under a launcher with as many processes as before; None in those that follow the first one.

    Raises ConflictError for a run that has not succeeded, StorageError when its files are not as published, and what
    ends a training.
    """
    return train_together(settings, lambda group: _lead(reference, settings, group))


def count_to_replay(reference: str, settings: Settings) -> int:
    """Return how many processes of this host repeat a run; 1 where several hosts have to, which the replay says."""
    require_records(settings)
    with open_records(settings) as records:
        return count_recorded(records.require_folder(records.store.get(reference)))


def _lead(reference: str, settings: Settings, group: Group) -> Replay:
    require_records(settings)
    with open_records(settings) as records:
        original = records.store.get(reference)
        config = load_recorded_config(original, records.require_folder(original), group.per_host)
        with group.held_gpus(config.training.device):
            run = records.store.create(
                config,
                kind="local",
                results_root=records.results_root,
                explicit=CHOSEN_BY_RECORD,
                origin={"replay_of": original.id},
            )
            repeated = carry_out_locally(records, run, settings, CHOSEN_BY_RECORD, group=group)
        return Replay(original, repeated, load_json(RunFolder(repeated.folder).replay))
