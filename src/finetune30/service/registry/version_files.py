"""The files of a version: `registry/NAME/vN/` in the results folder, links to what the run published.

They lie in the results folder, which belongs to the database and is one disk with the runs, so that links are possible;
where they are not, the files are copied. version.json names every file with size and sha256; its own sha256 stands in
the row of the version.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune30 import failpoints
from finetune30.files import disk_errors, encode_json, sync_file, sync_folder
from finetune30.service.runs.kept_copies import CARD, VERSION

VERSION_FORMAT = 1
#: Kept beside the files of a version, and none of them: it says where the base model lies on this machine.
_PLACE_OF_BASE = "artifacts/base_model.json"
#: Published files that stay with the run: they name places on this machine, or grow.
_STAYING = ("config.yaml", "logs.txt", "data_report.json", "quarantine.jsonl", _PLACE_OF_BASE)
_FOLDER = re.compile(r"v([1-9]\d*)")


def choose_files(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the entries of a run's manifest that become part of a version."""
    return {name: dict(entry) for name, entry in manifest["files"].items() if name not in _STAYING}


def make_version_files(
    folder: Path, known: Sequence[int], run_folder: Path, files: Mapping[str, Mapping[str, Any]], card: str,
    facts: Mapping[str, Any],
) -> str:  # fmt: skip
    """Make the folder of a version, whole or not at all; return the sha256 of version.json.

    `known` are the numbers on record: folders of others are those of registrations that were killed, and are taken
    away. Raises StorageError.
    """
    content = encode_json({
        "format": VERSION_FORMAT,
        **facts,
        "files": {**files, CARD: {"size": len(card.encode()), "sha256": hashlib.sha256(card.encode()).hexdigest()}},
    })  # fmt: skip
    passing = folder.with_name(f".{folder.name}.tmp")
    with disk_errors(f"cannot make the files of {folder.parent.name}:{folder.name}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_unrecorded(folder.parent, known)
        for name in files:
            (passing / name).parent.mkdir(parents=True, exist_ok=True)
            _link(run_folder / name, passing / name)
        if (run_folder / _PLACE_OF_BASE).is_file():
            _link(run_folder / _PLACE_OF_BASE, passing / _PLACE_OF_BASE)
        failpoints.reach("models.register.within_files")
        (passing / CARD).write_bytes(card.encode())
        (passing / VERSION).write_bytes(content)
        for path in (passing / CARD, passing / VERSION, *(path for path in passing.rglob("*") if path.is_dir())):
            sync_file(path)
        sync_folder(passing)
        passing.rename(folder)
        sync_folder(folder.parent)
    return hashlib.sha256(content).hexdigest()


def _link(source: Path, target: Path) -> None:
    """Link a published file; copy it where the file system has no links. Raises OSError."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync_file(target)


def _remove_unrecorded(folder: Path, known: Sequence[int]) -> None:
    for entry in folder.iterdir():
        numbered = _FOLDER.fullmatch(entry.name)
        if entry.name.startswith(".v") or (numbered and int(numbered[1]) not in known):
            shutil.rmtree(entry)
