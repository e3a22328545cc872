"""Which texts a finished run's model is asked, and the columns that its training had them in."""

from __future__ import annotations

from pathlib import Path

from finetune30.data.questions import Asked
from finetune30.errors import StorageError
from finetune30.files import load_json
from finetune30.problems import load_problem
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.kept_copies import find_published
from finetune30.service.runs.open_records import Records, open_records, require_records
from finetune30.settings import Settings
from finetune30.store import Run


def describe_texts(settings: Settings, output_dir: Path | None, run_name: str) -> Asked:
    """Return what a run's model reads. Raises NotFoundError and ConflictError (no model)."""
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        return texts_of(records, require_model(records.store.get(run_name)))


def texts_of(records: Records, run: Run) -> Asked:
    """Return what the model of an open run reads, as its published model says, or else its data report."""
    from finetune30.modeling.saved_targets import LABELS_FILE

    roles = tuple(role for role in load_problem((run.metrics or {})["problem_type"]).columns if role.kind == "text")
    folder = find_published(records, run)
    try:
        described = load_json(folder.final_model / LABELS_FILE) or {}
    except StorageError:
        require_intact_model(records, run)  # says what is damaged, and where it can be had again
        raise
    columns = described.get("reading", {}).get("columns")
    if columns is None and (chosen := (load_json(folder.data_report) or {}).get("columns")):
        columns = {role.name: chosen[role.name] for role in roles if chosen.get(role.name)}
    return Asked(roles, columns)
