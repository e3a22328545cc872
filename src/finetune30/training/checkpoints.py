"""Checkpoints: everything an attempt needs to go on bit for bit.

A checkpoint is a folder `checkpoint-<step>` of safetensors and JSON; its manifest (sha256 and size of every file) is
written last, and the folder is renamed into place after everything has reached the disk. Nothing is ever pickled.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import CheckpointError
from finetune30.files import file_digest, read_json, sync_file, sync_folder, write_json

if TYPE_CHECKING:
    import torch

    from finetune30.training.engine import Engine

_PREFIX = "checkpoint-"
_MANIFEST = "manifest.json"
_ALWAYS_THERE = {"adapter.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back: tensors by name, and the loop's progress as it was saved."""

    step: int
    folder: Path
    adapter: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    rng: dict[str, Any]
    progress: dict[str, Any]


class Checkpoints:
    """The checkpoints of a run, in one folder.

    `identity` names what must be equal for a resume to be exact (digests of config, data set and base weights,
    library versions, device, threads); a checkpoint of another identity is refused with the difference. `earlier`
    are the checkpoint folders of earlier attempts, newest first: they are read, never written.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], keep: int, earlier: Sequence[Path] = ()) -> None:
        self._folder, self._identity, self._keep = folder, identity, keep
        self._earlier = earlier

    def save(self, engine: Engine, progress: dict[str, Any], best: dict[str, torch.Tensor] | None) -> Path:
        """Save the present state and remove the oldest checkpoints beyond the limit; raises OSError."""
        final = self._folder / f"{_PREFIX}{progress['global_step']:08d}"
        temporary = final.with_suffix(".partial")
        self._folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            self._write(temporary, engine, progress, best)
            if final.exists():  # the same step again after a resume from an older checkpoint
                shutil.rmtree(final)
            temporary.rename(final)
            sync_folder(self._folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        for old in self._found(self._folder)[self._keep :]:
            shutil.rmtree(old)
        return final

    def load_latest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """Return the newest valid checkpoint; damaged ones are skipped with a warning.

        Raises CheckpointError when the newest valid one belongs to another training.
        """
        for folder in self._found(self._folder, *self._earlier):
            problem = find_damage(folder)
            if problem is None:
                return self._read(folder)
            warn(f"checkpoint {folder.name} is damaged ({problem}); using the one before it")
        return None

    @staticmethod
    def _found(*places: Path) -> list[Path]:
        """Return the checkpoint folders, newest step first; of equal steps, the one of the first place."""
        folders = [p for place in places for p in place.glob(f"{_PREFIX}*") if p.is_dir() and p.suffix != ".partial"]
        return sorted(folders, key=lambda folder: folder.name, reverse=True)

    def _write(
        self, folder: Path, engine: Engine, progress: dict[str, Any], best: dict[str, torch.Tensor] | None
    ) -> None:
        import torch
        from safetensors.torch import save_file

        streams = engine.rng_state()
        tensors = {name: value for name, value in streams.items() if isinstance(value, torch.Tensor)}
        values = {name: value for name, value in streams.items() if name not in tensors}
        save_file(engine.adapter_state(), folder / "adapter.safetensors")
        save_file(engine.optimizer_state(), folder / "optimizer.safetensors")
        save_file(tensors, folder / "rng.safetensors")
        if best is not None:
            save_file(best, folder / "best.safetensors")
        write_json(folder / "state.json", {"progress": progress, "rng": values, "identity": self._identity})
        files = sorted(p for p in folder.iterdir() if p.is_file())
        for path in files:
            sync_file(path)
        listed = {p.name: {"sha256": file_digest(p), "size_bytes": p.stat().st_size} for p in files}
        write_json(folder / _MANIFEST, {"files": listed})

    def _read(self, folder: Path) -> Checkpoint:
        from safetensors.torch import load_file

        state = read_json(folder / "state.json")
        differences = list_differences(state["identity"], self._identity)
        if differences:
            raise CheckpointError(
                f"checkpoint {folder.name} belongs to another training: {'; '.join(differences)}",
                "restore what changed, or start anew from its weights with --warm-start",
                details={"differences": differences},
            )
        best = folder / "best.safetensors"
        return Checkpoint(
            step=state["progress"]["global_step"],
            folder=folder,
            adapter=load_file(folder / "adapter.safetensors"),
            optimizer=load_file(folder / "optimizer.safetensors"),
            best=load_file(best) if best.exists() else {},
            rng={**state["rng"], **load_file(folder / "rng.safetensors")},
            progress=state["progress"],
        )


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, or None when every file matches the manifest."""
    try:
        listed = read_json(folder / _MANIFEST)["files"]
        missing = sorted(_ALWAYS_THERE - listed.keys())
        if missing:
            return f"{', '.join(missing)} not in the manifest"
        for name, expected in listed.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["size_bytes"] or file_digest(path) != expected["sha256"]:
                return f"{name} does not match its sha256"
    except FileNotFoundError:
        return "no manifest"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable manifest: {error}"
    return None


def list_differences(saved: dict[str, Any], present: dict[str, Any], prefix: str = "") -> list[str]:
    """Return `key: saved -> present` for every leaf that differs."""
    found: list[str] = []
    for key in sorted(saved.keys() | present.keys()):
        before, now = saved.get(key), present.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += list_differences(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key}: {before} -> {now}")
    return found
