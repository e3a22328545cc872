"""What versions of models keep of the runs that they were made of: `registry/NAME/vN/` in the results folder.

A version's files lie as in the folder of its run. Where that folder is gone, whatever asks the model reads them there.
"""

from __future__ import annotations

from pathlib import Path

from finetune30.config import STARTER
from finetune30.errors import StorageError
from finetune30.files import load_json, sha256_of
from finetune30.modeling.published_base import NOTE, REFERENCE, load_described
from finetune30.service.runs.open_records import Records
from finetune30.store import Run, RunFolder
from finetune30.store.model_records import ModelVersion
from finetune30.store.model_registry import find_versions_of
from finetune30.store.published_files import find_faults

CARD = "CARD.md"
VERSION = "version.json"
_ROOT = "registry"
_TRY = "take the files from a backup, or register the run again under another name"


def version_folder(results_root: Path, model: str, number: int) -> Path:
    """Return where the files of a version lie."""
    return results_root / _ROOT / model / f"v{number}"


def find_version_faults(folder: Path, version: ModelVersion) -> list[str]:
    """Hash every file of a version again and return what is wrong: nothing is the empty list."""
    path = folder / VERSION
    if not path.is_file():
        return [f"{VERSION} is missing"]
    if sha256_of(path) != version.version_sha256:
        return [f"{VERSION} is not the one that the database knows"]
    return find_faults(load_json(path), [folder])


def require_version_files(folder: Path, version: ModelVersion) -> int:
    """Return the number of files of a version, all of them as they were registered. Raises StorageError."""
    if faults := find_version_faults(folder, version):
        raise StorageError(f"{version.name}: {'; '.join(faults)}", _TRY)
    return len(load_json(folder / VERSION)["files"])


def load_card_text(folder: Path, version: ModelVersion) -> str:
    """Return CARD.md of a version. Raises StorageError."""
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StorageError(f"{version.name}: {CARD} cannot be read: {error}", _TRY) from error


def find_copy(records: Records, run: Run) -> tuple[ModelVersion, RunFolder] | None:
    """Return a version that keeps the files of a run, and where; None where the run's folder is here, or no version is.

    Of several it is the first whose files are as they were registered.
    """
    if records.folder(run).path.is_dir():
        return None
    root, versions = records.results_root, find_versions_of(records.store, run.id)
    copies = [(one, RunFolder(version_folder(root, one.model, one.number))) for one in versions]
    kept = [(version, copy) for version, copy in copies if copy.path.is_dir()]
    if len(kept) < 2:
        return next(iter(kept), None)
    return next(((one, copy) for one, copy in kept if not find_version_faults(copy.path, one)), kept[0])


def find_published(records: Records, run: Run) -> RunFolder:
    """Return the folder that has the published files of a run: its own or, where that is gone, the copy of a version.

    It need not be there. A copy has no manifest.json, config.yaml, log or report on the data.
    """
    copy = find_copy(records, run)
    return records.folder(run) if copy is None else copy[1]


def require_copied_model(version: ModelVersion, copy: RunFolder) -> Path:
    """Return the model of a copy, which is as it was registered and knows where its base lies. Raises StorageError."""
    require_version_files(copy.path, version)
    described = load_described(copy.final_model)
    is_elsewhere = described.get("revision") is None and described[REFERENCE] != STARTER
    if is_elsewhere and not (copy.artifacts / NOTE).is_file():
        raise StorageError(
            f"the folder of the run of {version.name} is gone, and its copy has no {NOTE}, which says where its base "
            f"model '{described[REFERENCE]}' lies",
            "take the run's folder from a backup, or register a run whose folder is here",
        )
    return copy.final_model
