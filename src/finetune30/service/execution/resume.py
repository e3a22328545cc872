"""`ft30 resume`: going on with a run that was killed, cancelled or failed, exactly or not at all."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune30.config import ExperimentConfig
from finetune30.config.loading import load_config, validate_tree
from finetune30.errors import CheckpointError, ConflictError
from finetune30.files import load_json
from finetune30.service.execution.exactness import PLAN_KEYS, config_keys, judge_of_plans
from finetune30.service.execution.group import Group, train_together
from finetune30.service.execution.local import FinishedRun, carry_out_locally
from finetune30.service.execution.warm_start import find_start_weights
from finetune30.service.runs.open_records import open_records, require_records
from finetune30.service.submitting.several_processes import command_of, count_on_one_host, list_other_processes
from finetune30.settings import Settings
from finetune30.store import Run, RunFolder, RunStatus

#: Named as if by hand, so that a warm start never falls back to another model or data set.
_CHOSEN_BY_WARM_START = frozenset({"model.name", "data.dataset_name"})


def resume_locally(
    reference: str, settings: Settings, changes: Mapping[str, Any], *, warm_start: bool = False
) -> FinishedRun | None:
    """Go on with a run in this process from its newest valid checkpoint.

    `changes` are dotted keys with new values; without `warm_start` only the number of epochs or steps may change, and
    only where that leaves the steps taken so far as they were. With `warm_start` a new run begins from the weights, and
    anything may change. Under a launcher with as many processes as before; None in those that follow the first one.
    Raises CheckpointError with the list of what differs, ConflictError, NotFoundError, and what
    ends a training.
    """
    return train_together(
        settings,
        lambda group: _lead(reference, settings, changes, group, warm_start=warm_start),
        begins_anew=warm_start,
    )


def _lead(
    reference: str, settings: Settings, changes: Mapping[str, Any], group: Group, *, warm_start: bool
) -> FinishedRun:
    require_records(settings)
    with open_records(settings) as records:
        run = records.store.get(reference)
        folder = records.require_folder(run)
        if warm_start:
            config = _plan_warm_start(run, folder, changes)
            config = group.agree(config, is_given="training.processes" in changes)
            with group.held_gpus(config.training.device):
                begun = records.store.create(
                    config,
                    kind="local",
                    results_root=records.results_root,
                    explicit=_CHOSEN_BY_WARM_START,
                    origin={"warm_start_of": run.id},
                )
                return carry_out_locally(records, begun, settings, _CHOSEN_BY_WARM_START, group=group)
        changed = _plan_resume(run, folder, changes)
        _require_as_many(run, folder, group)
        changed = _agreed(run, changed, group)
        with group.held_gpus(run.config["training"].get("device")):
            run = records.store.retry(run.id, kind="local")
            return carry_out_locally(records, run, settings, frozenset(run.explicit_keys or ()), changed, group=group)


def count_to_resume(reference: str, settings: Settings, changes: Mapping[str, Any], *, warm_start: bool = False) -> int:
    """Return how many processes of this host go on with a run: as many as wrote its newest checkpoint.

    1 where several hosts have to, which `resume_locally` then says. Without a checkpoint, and for a new run from the
    weights, the configuration says it. Raises what `resume_locally` raises for a run that is not there.
    """
    require_records(settings)
    with open_records(settings) as records:
        run = records.store.get(reference)
        saved = _find_latest(records.require_folder(run))
        if saved is not None and not warm_start:
            return count_on_one_host(_processes_of(saved))
        recorded = validate_tree(run.config, source=f"the record of run {run.id[:8]}")
        return (_changed(recorded, changes) if warm_start else recorded).training.processes


def _processes_of(checkpoint: Path) -> dict[str, Any] | None:
    processes: dict[str, Any] | None = load_json(checkpoint / "state.json")["identity"].get("processes")
    return processes


def _agreed(run: Run, changed: ExperimentConfig | None, group: Group) -> ExperimentConfig | None:
    """Return the configuration to go on with as one of so many processes; None where it stays as recorded."""
    recorded = validate_tree(run.config, source=f"the record of run {run.id[:8]}")
    agreed = group.agree(changed or recorded, is_given=False)
    return None if agreed == recorded else agreed


def _require_as_many(run: Run, folder: RunFolder, group: Group) -> None:
    """Raise CheckpointError where the newest checkpoint is that of another number of processes.

    Without a checkpoint the record decides, where it is of a version that says how many there were.
    """
    latest = _find_latest(folder)
    if latest is not None:
        saved = _processes_of(latest)
    else:
        count = run.config["training"].get("processes", sum(group.per_host))
        saved = {"per_host": group.per_host if count == sum(group.per_host) else [count]}
    if differences := list_other_processes(saved, group.per_host):
        raise CheckpointError(
            f"run {run.id[:8]} cannot go on exactly with other processes: {'; '.join(differences)}",
            f"go on with as many: {command_of(saved, 'resume', run.id[:8])}; "
            "or begin a new run from its weights: add --warm-start",
            details={"differences": differences},
        )


def _plan_resume(run: Run, folder: RunFolder, changes: Mapping[str, Any]) -> ExperimentConfig | None:
    """Return the configuration to go on with when it is another one. Raises before anything was touched."""
    if run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
        raise ConflictError(
            f"run {run.id} is {run.status}: only FAILED and CANCELLED runs can be resumed",
            f"start a new run from its weights with: ft30 resume {run.id[:8]} --warm-start"
            if run.status is RunStatus.SUCCEEDED
            else f"see it with: ft30 runs show {run.id[:8]}",
        )
    recorded = validate_tree(run.config, source=f"the record of run {run.id[:8]}")
    wanted = _changed(recorded, changes)
    differences = _differences(recorded, wanted)
    refused = {key: text for key, text in differences.items() if key not in PLAN_KEYS}
    edits = _load_edits(recorded, folder)
    refused |= _describe_edits(recorded, edits, folder)
    refused |= _refused_plans(wanted, folder, {key: differences[key] for key in differences.keys() & PLAN_KEYS})
    if refused:
        raise CheckpointError(
            f"run {run.id[:8]} cannot go on exactly with another configuration: {'; '.join(refused.values())}",
            _advise_on_edits(run, folder, edits)
            if edits
            else f"go on unchanged: ft30 resume {run.id[:8]}; or begin a new run from its weights: add --warm-start",
            details={"differences": list(refused.values())},
        )
    return wanted if differences else None


def _plan_warm_start(run: Run, folder: RunFolder, changes: Mapping[str, Any]) -> ExperimentConfig:
    if not run.status.is_final:
        raise ConflictError(f"run {run.id} is {run.status}", f"stop it first: ft30 runs cancel {run.id[:8]}")
    recorded = validate_tree(run.config, source=f"the record of run {run.id[:8]}")
    edits = {key: value for key, value in _load_edits(recorded, folder).items() if key not in changes}
    if edits:
        listed = _describe_edits(recorded, edits, folder)
        raise CheckpointError(
            f"the new run would not have what was changed here: {'; '.join(listed.values())}",
            _advise_on_edits(run, folder, edits),
            details={"differences": list(listed.values())},
        )
    weights = find_start_weights(folder)
    return _changed(recorded, {"training.start_adapter": str(weights.resolve()), **changes})


def _changed(config: ExperimentConfig, changes: Mapping[str, Any]) -> ExperimentConfig:
    tree = config.as_tree()
    for key, value in changes.items():
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return validate_tree(tree, source="ft30 resume")


def _differences(before: ExperimentConfig, now: ExperimentConfig) -> dict[str, str]:
    old, new = config_keys(before), config_keys(now)
    return {
        key: f"{key}: {old.get(key)} -> {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    }


def _load_edits(recorded: ExperimentConfig, folder: RunFolder) -> dict[str, Any]:
    """Return what somebody changed in the run's config.yaml, key and value: ignored unless said, for the row counts."""
    if not folder.config.is_file():
        return {}
    old, new = config_keys(recorded), config_keys(load_config(folder.config).config)
    return {key: new.get(key) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)}


def _describe_edits(recorded: ExperimentConfig, edits: Mapping[str, Any], folder: RunFolder) -> dict[str, str]:
    old = config_keys(recorded)
    place = f"(in {folder.config.name}; changes go on the command line)"
    return {key: f"{key}: {old.get(key)} -> {value} {place}" for key, value in edits.items()}


def _advise_on_edits(run: Run, folder: RunFolder, edits: Mapping[str, Any]) -> str:
    """Return the two ways on from a config.yaml that was changed, each as it can be typed."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in edits.items()}
    flags = " ".join(f"--set {shlex.quote(f'{key}={text}')}" for key, text in texts.items())
    return (
        f"take the changes out of {folder.config}, then: ft30 resume {run.id[:8]}; or begin a new run from its weights "
        f"with them: ft30 resume {run.id[:8]} --warm-start {flags}"
    )


def _refused_plans(wanted: ExperimentConfig, folder: RunFolder, differences: dict[str, str]) -> dict[str, str]:
    """Judge another number of steps by the newest checkpoint; without one anything goes."""
    latest = _find_latest(folder)
    if latest is None:
        return {}
    judge, progress = judge_of_plans(wanted.training), load_json(latest / "state.json")["progress"]
    reasons = {key: judge(key, progress) for key in differences}
    return {key: f"{differences[key]} ({reason})" for key, reason in reasons.items() if reason is not None}


def _find_latest(folder: RunFolder) -> Path | None:
    from finetune30.training.checkpoints import find_latest

    return find_latest(*(_checkpoints_of(folder, number) for number in reversed(folder.attempt_numbers())))


def _checkpoints_of(folder: RunFolder, number: int) -> Path:
    return folder.attempts / str(number) / "checkpoints"
