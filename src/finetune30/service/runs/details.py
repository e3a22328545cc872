"""Everything about one run: its row, configuration in short, ledger and files; whether these are as published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune30.blocks import as_tree
from finetune30.errors import ConflictError, StorageError
from finetune30.files import load_json, sha256_of
from finetune30.service.runs.blocks import build_run_blocks
from finetune30.service.runs.kept_copies import find_copy, find_published, require_copied_model
from finetune30.service.runs.open_records import Records
from finetune30.service.runs.test_looks import build_look_blocks
from finetune30.store import Run, RunFolder, RunStatus
from finetune30.store.mirrors import describe_cursors
from finetune30.store.test_looks import load_looks

#: What decides most about a run, in the order in which people ask.
SUMMARY_KEYS = (
    "model.name",
    "data.dataset_name",
    "data.dataset_config",
    "data.train_samples",
    "training.num_train_epochs",
    "training.learning_rate",
    "training.per_device_train_batch_size",
    "training.seed",
    "lora.r",
    "lora.lora_alpha",
    "lora.target_modules",
)


def load_run_files(folder: RunFolder) -> list[dict[str, Any]]:
    """Return name and size in bytes of every file of a run: as published and kept, else as it lies there."""
    if folder.manifest.is_file():
        return [{"name": name, "size": entry["size"]} for name, entry in folder.list_kept().items()]
    if not folder.path.is_dir():
        return []
    paths = (path for path in sorted(folder.path.rglob("*")) if path.is_file())
    names = ((path.relative_to(folder.path).as_posix(), path.stat().st_size) for path in paths)
    return [{"name": name, "size": size} for name, size in names if not name.startswith("attempts/")]


def load_run_details(records: Records, run: Run) -> dict[str, Any]:
    """Return everything about a run: its row, result as blocks, configuration in short, totals of its ledger, files.

    `replay` is, of a replay, how it compares with the run that it repeats; `answers_conversations`: whether its model
    can be talked with; `mirrors`: how far each tracker knows it.
    """
    folder = records.folder(run)
    report = load_json(folder.data_report) or {}
    looks = load_looks(records.store, [run.id])[run.id]
    return {
        "run": run.as_dict(),
        "path": str(folder.path),
        "blocks": [as_tree(block) for block in (*build_run_blocks(run.metrics), *build_look_blocks(looks))],
        "config_summary": {key: _lookup(run.config, key) for key in SUMMARY_KEYS},
        "ledger_totals": (report.get("ledger") or {}).get("totals") or {},
        "ledger_lines": (report.get("ledger") or {}).get("lines") or [],
        "files": load_run_files(folder),
        "replay": load_json(folder.replay),
        "mirrors": describe_cursors(records.store, run),
        "answers_conversations": _can_be_talked_with(records, run),
    }


def verify_run(records: Records, run: Run) -> int:
    """Hash every published file of a run again and return their number.

    Raises NotFoundError when nothing is published, StorageError that names every file at fault.
    """
    folder = records.require_folder(run)
    if run.status is not RunStatus.SUCCEEDED:
        folder.load_manifest()
    faults = folder.verify()
    if run.manifest_sha256 and folder.manifest.is_file() and sha256_of(folder.manifest) != run.manifest_sha256:
        faults.append("manifest.json is not the one that the database knows")
    _refuse_faults(run, faults)
    return folder.count_files()


def require_intact_model(records: Records, run: Run) -> Path:
    """Return the folder of a finished model whose files are as they were published.

    It is the copy of a version of a model where the run's folder is gone. Raises StorageError.
    """
    if (copy := find_copy(records, run)) is not None:
        return require_copied_model(*copy)
    folder = records.require_folder(run)
    require_kept_model(run, folder)
    _refuse_faults(run, folder.verify_model())
    return folder.final_model


def require_kept_model(run: Run, folder: RunFolder) -> None:
    """Raise StorageError where a search removed the model of a run (`keep: best`)."""
    if folder.model_removed.is_file():
        reason = "; ".join(folder.verify_model())
        raise StorageError(f"{run.folder}: {reason}", f"make it again with: ft30 replay {run.id[:8]}")


def require_model(run: Run, next_command: str = "ft30 runs list --status SUCCEEDED") -> Run:
    """Return the run if it has a finished model; raises ConflictError, with what lists the runs that have one."""
    if run.status is not RunStatus.SUCCEEDED:
        raise ConflictError(
            f"run {run.id[:8]} '{run.name}' is {run.status} and has no finished model",
            f"choose a SUCCEEDED one: {next_command}",
        )
    return run


def answers_conversations(records: Records, run: Run) -> bool:
    """Tell whether a run has a model that answers conversations, as its files say. Raises StorageError."""
    from finetune30.modeling.conversations.described import holds_conversations
    from finetune30.modeling.saved_targets import LABELS_FILE

    if run.status is not RunStatus.SUCCEEDED:
        return False
    return holds_conversations(load_json(find_published(records, run).final_model / LABELS_FILE))


def _can_be_talked_with(records: Records, run: Run) -> bool:
    try:
        return answers_conversations(records, run)
    except StorageError:  # whoever talks with it is told what is damaged; the rest of the run can be shown
        return False


def require_conversations(records: Records, run: Run) -> Run:
    """Return a run whose model answers conversations, as its published files say. Raises ConflictError."""
    require_model(run, "GET /experiments?status=SUCCEEDED")
    if not answers_conversations(records, run):
        raise ConflictError(
            f"the model of run {run.id[:8]} '{run.name}' holds no conversations",
            "ask it with POST /experiments/{id}/predict",
        )
    return run


def _refuse_faults(run: Run, faults: list[str]) -> None:
    if faults:
        raise StorageError(
            f"{run.folder}: {'; '.join(faults)}", "take the files from a backup, or train again with its config.yaml"
        )


def _lookup(tree: Mapping[str, Any], dotted: str) -> Any:
    value: Any = tree
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
