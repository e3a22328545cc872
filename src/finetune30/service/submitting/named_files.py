"""What a request may name: things of the hub and of our own anywhere, files and folders only where settings allow it.

Which keys name files is told by the marks of the schema (`config.holds`), not by a list of keys.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from finetune30.config.holds import HeldText, Holds, held_texts
from finetune30.config.loading import Fault
from finetune30.config.schema import OWN_MODELS, VERSION_PREFIX, TrainingConfig
from finetune30.data.starter import is_starter
from finetune30.hub.names import is_repository_name
from finetune30.settings import Settings

#: A folder of rows, of a model or of an adapter holds fewer entries.
MOST_ENTRIES = 10_000
#: Of a run or of a version of a model.
_LONGEST_NAME = 200
_HARMLESS = frozenset({Holds.COLUMN, Holds.REVISION, Holds.TEXT})


def find_file_faults(config: BaseModel, settings: Settings, source: str) -> list[Fault]:
    """Return a fault for every text of a configuration that leads to files which a request may not name.

    `source` says in faults where the configuration came from. Links count as what they lead to, also those that lie
    in a folder that is named.
    """
    allowed = [folder.resolve() for folder in (*settings.allowed_folders, settings.data_folder)]
    faults = []
    for held in held_texts(config):
        if held.holds is Holds.RESULTS:
            if fault := results_fault(held.text, settings, source, held.key):
                faults.append(fault)
        elif problem := _problem(held, allowed):
            listed = ", ".join(str(folder) for folder in settings.allowed_folders)
            hint = f"allowed: {listed} (FT30_ALLOWED_FOLDERS), or upload the file"
            faults.append(Fault(held.key, problem, source, hint=hint))
    return faults


def results_fault(folder: str, settings: Settings, source: str, key: str = "training.output_dir") -> Fault | None:
    """Return the fault of a results folder that is not the one of the services."""
    if folder == TrainingConfig().output_dir or Path(folder) == settings.results_folder:
        return None
    return Fault(
        key,
        f"'{folder}' is not the results folder of the services ('{settings.results_folder}')",
        source,
        hint="leave output_dir out; FT30_RESULTS_FOLDER of API and workers decides",
    )


def _problem(held: HeldText, allowed: Sequence[Path]) -> str | None:
    shown = repr(held.text[:80])
    if held.holds in _HARMLESS:
        return None
    if held.holds is Holds.NAME:
        return f"{shown} is a path, and a name belongs here" if _looks_like_path(held.text) else None
    if held.holds is Holds.ADAPTER and may_name_a_run(held.text):
        return None
    if (held.holds is Holds.MODEL and _is_model_name(held.text)) or (
        held.holds is Holds.DATASET and _is_dataset_name(held.text)
    ):
        return None
    path = _path_within(held.text, allowed)
    if path is None:
        return f"{shown} is a file or folder outside of those that requests may name"
    return _stray_entry_problem(shown, path, allowed)


def may_name_a_run(text: str) -> bool:
    """Tell whether a text may name a run or a version of a model: it is no path, and nothing lies there."""
    if len(text) > _LONGEST_NAME or _looks_like_path(text) or set(text) & set("/\\\0"):
        return False
    return not Path(text).exists()


def _is_model_name(text: str) -> bool:
    return text in OWN_MODELS or (is_repository_name(text) and not Path(text).exists())


def _is_dataset_name(text: str) -> bool:
    from finetune30.data.sources.folders import is_local

    if is_starter(text) or text.startswith(VERSION_PREFIX):
        return True
    return is_repository_name(text) and not is_local(text)


def _looks_like_path(text: str) -> bool:
    return text.startswith(("/", "~", "\\")) or ".." in PurePosixPath(text.replace("\\", "/")).parts


def _path_within(text: str, allowed: Sequence[Path]) -> Path | None:
    """Return where a path leads when that is within one of the folders, links followed."""
    if "://" in text or "~" in text or "\\" in text:
        return None
    try:
        path = Path(text).resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, names that no file can have
        return None
    return path if _lies_within(path, allowed) else None


def _lies_within(path: Path, allowed: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in allowed)


def _stray_entry_problem(shown: str, folder: Path, allowed: Sequence[Path]) -> str | None:
    """Say what of a folder must not be read: a link that leads out, or more than can be looked at."""
    looked = 0
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            looked += 1
            if looked > MOST_ENTRIES:
                return f"{shown} holds more than {MOST_ENTRIES} files and folders"
            entry = Path(parent, name)
            if entry.is_symlink() and _path_within(str(entry), allowed) is None:
                return f"{shown} holds a link to a file outside of those that requests may name: {name[:80]!r}"
    return None
