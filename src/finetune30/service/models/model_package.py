"""A finished model as one .zip for other machines: no path of this one inside, and the lines of Python that load it.

The folder in it holds `adapter/` (as published), `base/` where the base model is no model of the hub, `use_model.py`,
and `SHA256SUMS` over all of it. Who stands in that folder has in `base` the name that the adapter gives its base.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune30.data.problem import Card, label_names
from finetune30.errors import Finetune30Error, ModelError, StorageError, UsageError
from finetune30.files import disk_errors
from finetune30.modeling.card_blocks import draw_blocks
from finetune30.modeling.model_files import weight_files
from finetune30.modeling.published_base import find_local_base
from finetune30.modeling.saved_targets import LABELS_FILE, load_targets
from finetune30.problems import load_card
from finetune30.service.models.private_places import find_private_names, require_no_place, without_places
from finetune30.service.models.usage_script import write_usage_script
from finetune30.service.models.zip_stream import Member, ZipStream
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.kept_copies import find_published
from finetune30.service.runs.open_records import Records, open_records, require_records
from finetune30.service.runs.test_looks import build_look_blocks
from finetune30.settings import Settings
from finetune30.store import Run
from finetune30.store.test_looks import load_looks

#: So many sizes are kept before they are told anew.
_MOST_SIZES = 10_000
_BASE = "base"
CARD = "README.md"
_ADAPTER_CONFIG = "adapter_config.json"
_SUMS = "SHA256SUMS"
#: Files of a base model that go along beside its weights: what it is, how it may be used.
_DESCRIBING = ("generation_config.json", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")
_WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class ModelPackage:
    """What goes into the .zip, in order; `folder` is the name of the one folder in it."""

    folder: str
    finished_at: datetime
    members: tuple[Member, ...]

    def write(self) -> Iterator[bytes]:
        """Yield the .zip piece by piece; the same run gives the same bytes."""
        stream = ZipStream(self.folder, self.finished_at)
        sums = []
        for member in self.members:
            digest = yield from stream.add(member)
            sums.append(f"{digest}  {member.name}\n")
        yield from stream.add(Member(_SUMS, "".join(sums).encode()))
        yield from stream.end()


def build_model_package(records: Records, run: Run) -> ModelPackage:
    """Collect what the .zip of a SUCCEEDED run's model holds.

    Raises ConflictError (the run has no model), StorageError (its files are damaged, or one names a place on this
    machine) and ModelError (its base model is no longer where it was).
    """
    folder = require_intact_model(records, require_model(run))
    if missing := [name for name in (_ADAPTER_CONFIG, LABELS_FILE) if not (folder / name).is_file()]:
        raise StorageError(f"{run.folder} holds no adapter: no {missing[0]}", "train again with its config.yaml")
    adapter = json.loads((folder / _ADAPTER_CONFIG).read_text(encoding="utf-8"))
    described = load_targets(folder)
    is_copied = adapter.get("revision") is None
    base = _require_base(folder) if is_copied else None
    private = find_private_names(run, records, None if base is None else str(base))
    said = {repr(adapter["base_model_name_or_path"]): repr(_BASE)} if is_copied else {}
    if is_copied:
        adapter["base_model_name_or_path"] = _BASE
    card = load_card(described["problem_type"], described["targets"])
    members = [
        Member("use_model.py", write_usage_script(card, described).encode()),
        *_adapter_members(folder, adapter, private | said, _tests_of(records, run)),
        *(() if base is None else _base_members(base, described, card)),
    ]
    _require_no_place_of_this_machine(members, private)
    return ModelPackage(folder=run.folder, finished_at=run.finished_at or run.created_at, members=tuple(members))


def _require_base(folder: Path) -> Path:
    """Return where a base model that is none of the hub lies. Raises ModelError."""
    found = find_local_base(folder)
    if found is None:
        raise ModelError(
            "the adapter names a base model that is neither of the hub nor on this machine",
            "take the files from a backup, or train again with the run's config.yaml",
        )
    return found


class PackageSizes:
    """How large the .zip of a model is; told once, since building it reads the whole model. Safe in threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], int] = {}

    def find(self, records: Records, run: Run) -> int | None:
        """Return the bytes of what the .zip would hold; None where it cannot be made."""
        try:
            key = (
                run.id,
                run.manifest_sha256,
                _tests_of(records, run),
                *_stamps(find_published(records, run).final_model),
            )
            if key not in self._known:
                members = build_model_package(records, run).members
                size = sum(
                    len(m.content) if isinstance(m.content, bytes) else m.content.stat().st_size for m in members
                )
                if len(self._known) >= _MOST_SIZES:
                    self._known.clear()
                self._known[key] = size
            return self._known[key]
        except (Finetune30Error, OSError):
            return None


def export_package(
    settings: Settings, output_dir: Path | None, run_name: str, output: Path | None, *, overwrite: bool = False
) -> Path:
    """Write the .zip of a run's model and return its path, `output` or the run's folder's name here.

    The file appears when it is whole. Raises NotFoundError, UsageError (the file is there already, or is no .zip), and
    what `build_model_package` raises.
    """
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        package = build_model_package(records, records.store.get(run_name))
        path = output or Path(f"{package.folder}.zip")
        if path.suffix.lower() != ".zip":
            raise UsageError(f"'{path}' is no .zip", "give --output a name that ends in .zip")
        if path.exists() and not overwrite:
            raise UsageError(f"'{path}' is there already", "give another --output, or add --overwrite")
        passing = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with disk_errors(f"cannot write {path}"):
            try:
                with passing.open("wb") as file:
                    file.writelines(package.write())
                passing.replace(path)
            finally:
                passing.unlink(missing_ok=True)
    return path


def _stamps(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Yield what changes with the files of a model. Raises OSError."""
    for path in sorted(folder.rglob("*")):
        found = path.stat()
        yield path.name, found.st_size, found.st_mtime_ns


def _tests_of(records: Records, run: Run) -> str:
    """Return what the card says of looks at test rows, which came after it was written; "" where there were none."""
    blocks = build_look_blocks(load_looks(records.store, [run.id])[run.id])
    return f"\n{draw_blocks(blocks)}\n" if blocks else ""


def _adapter_members(folder: Path, adapter: dict[str, Any], private: dict[str, str], tests: str) -> Iterator[Member]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        content: bytes | Path = path
        if path.is_dir():
            continue
        if name == _ADAPTER_CONFIG:
            content = _as_json(adapter)
        elif name == CARD:
            content = without_places(path.read_text(encoding="utf-8") + tests, private).encode()
        yield Member(f"adapter/{name}", content)


def _base_members(folder: Path, described: dict[str, Any], card: Card) -> Iterator[Member]:
    """Yield the base model, its configuration with the names of the labels."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key in ("_name_or_path", "name_or_path"):
        config.pop(key, None)
    if names := label_names(described["targets"]):
        config["id2label"] = {str(number): name for number, name in enumerate(names)}
        config["label2id"] = {name: number for number, name in enumerate(names)}
    yield Member(f"{_BASE}/config.json", _as_json(config))
    index = sorted(folder.glob("*.safetensors.index.json"))
    for path in (*weight_files(folder), *index, *(folder / name for name in _DESCRIBING)):
        if path.is_file():
            yield Member(f"{_BASE}/{path.name}", path)


def _require_no_place_of_this_machine(members: Sequence[Member], private: dict[str, str]) -> None:
    for member in members:
        if not member.name.endswith(_WEIGHTS):
            require_no_place(member.name, b"".join(member.blocks()), private)


def _as_json(tree: dict[str, Any]) -> bytes:
    return (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode()
