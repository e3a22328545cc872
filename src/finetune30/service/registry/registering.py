"""Making a version of a finished run, and what belongs to versions: their files, verified, and their cards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.errors import UsageError
from finetune30.files import load_json
from finetune30.service.registry.card import build_card
from finetune30.service.registry.facts import collect_facts
from finetune30.service.registry.version_files import choose_files, make_version_files
from finetune30.service.runs.details import require_intact_model
from finetune30.service.runs.kept_copies import load_card_text, require_version_files, version_folder
from finetune30.service.runs.open_records import Records
from finetune30.store.model_names import LATEST, ModelReference, parse_reference, require_model_name
from finetune30.store.model_records import ModelVersion
from finetune30.store.model_registry import find_version, register_version

if TYPE_CHECKING:
    from finetune30.data.versions.storage import VersionStore


def register_run(
    records: Records, reference: str, name: str, versions: VersionStore, *, actor: str
) -> tuple[ModelVersion, bool]:
    """Make a version of a SUCCEEDED run and return it, and whether it is new: a run is one version of a model.

    Raises UsageError for a name that no model may have, NotFoundError, ConflictError, StorageError.
    """
    require_model_name(name)
    run = records.store.get(reference)
    new, manifest = collect_facts(records, run, versions)
    folder = records.require_folder(run)
    totals = ((load_json(folder.data_report) or {}).get("ledger") or {}).get("totals") or {}
    files = choose_files(manifest)

    def make_files(number: int, known: Sequence[int]) -> str:
        made = {
            "model": name,
            "number": number,
            "registered_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **vars(new),
        }
        card = build_card(name, number, new, run, totals)
        return make_version_files(_folder(records, name, number), known, folder.path, files, card, made)

    return register_version(records.store, name, new, make_files, actor=actor)


def load_version(records: Records, text: str) -> ModelVersion:
    """Return the version that `NAME`, `NAME@alias` or `NAME:7` names; the bare name means the newest one.

    Raises UsageError for what names none, NotFoundError.
    """
    return find_version(records.store, parse_version_name(text))


def parse_version_name(text: str) -> ModelReference:
    """Return what `NAME`, `NAME@alias` or `NAME:7` means; the bare name is NAME@latest. Raises UsageError."""
    reference = parse_reference(text)
    if reference is None:
        try:
            reference = ModelReference(require_model_name(text), LATEST, None)
        except UsageError as error:
            raise UsageError(
                f"{text[:80]!r} names no version of a model", "write NAME, NAME@alias or NAME:7: ft30 models list"
            ) from error
    return reference


def verify_version(records: Records, version: ModelVersion) -> int:
    """Hash every file of a version again, and those of its run, which answer where they are here; return their number.

    Raises StorageError that names every file at fault.
    """
    count = require_version_files(_folder(records, version.model, version.number), version)
    run = records.store.get(version.run_id)
    if records.folder(run).path.is_dir():
        require_intact_model(records, run)
    return count


def load_card(records: Records, version: ModelVersion) -> str:
    """Return the card of a version as Markdown. Raises StorageError."""
    return load_card_text(_folder(records, version.model, version.number), version)


def _folder(records: Records, name: str, number: int) -> Path:
    return version_folder(records.results_root, name, number)
