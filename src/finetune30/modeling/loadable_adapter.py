"""A published adapter and its base model: named for other machines, found on this one, lent as PEFT can load it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune30.config import STARTER, STARTER_CHAT, ModelConfig
from finetune30.files import save_json_atomic
from finetune30.modeling.base import BaseSource, find_base
from finetune30.modeling.published_base import ADAPTER_CONFIG, NOTE, REFERENCE, find_local_base, load_described


def public_name(source: BaseSource) -> str:
    """Return the name by which other machines know a base model: of a folder the last part of its path."""
    if source.revision is not None or source.name in (STARTER, STARTER_CHAT):
        return source.reference if source.revision is not None else source.name
    return source.folder.name


def name_base(adapter: Path, source: BaseSource) -> None:
    """Let a saved adapter name its base model by `public_name`, and note beside it where that lies here."""
    described = load_described(adapter)
    described[REFERENCE] = public_name(source)
    save_json_atomic(adapter / ADAPTER_CONFIG, described)
    if source.revision is None and source.name != STARTER:
        save_json_atomic(adapter.parent / NOTE, {"folder": str(source.folder)})


def find_base_folder(adapter: Path) -> Path:
    """Return where the base model of a saved adapter lies; one of the hub is fetched where it is not cached.

    Raises ModelError where it is not on this machine, and HubError.
    """
    if (here := find_local_base(adapter)) is not None:
        return here
    described = load_described(adapter)
    return find_base(ModelConfig(name=described[REFERENCE], revision=described.get("revision"))).folder


@contextmanager
def loadable(adapter: Path) -> Iterator[Path]:
    """Lend a folder that PEFT can load the adapter from: where its base has no name of the hub, links beside a
    configuration that names the base's place on this machine.
    """
    base, described = find_base_folder(adapter), load_described(adapter)
    if described.get("revision") is not None:
        yield adapter
        return
    with tempfile.TemporaryDirectory(prefix="ft30-adapter-") as passing:
        folder = Path(passing)
        for path in adapter.iterdir():
            if path.name != ADAPTER_CONFIG:
                (folder / path.name).symlink_to(path.resolve())
        (folder / ADAPTER_CONFIG).write_text(json.dumps({**described, REFERENCE: str(base)}), encoding="utf-8")
        yield folder
