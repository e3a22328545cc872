"""Checkpoints: everything an attempt needs to go on bit for bit.

A checkpoint is a folder `checkpoint-<step>` of safetensors and JSON; its manifest (sha256 and size of every file) is
written last, and the folder is renamed into place after everything has reached the disk. Nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30 import failpoints
from finetune30.errors import CheckpointError, StorageError
from finetune30.files import encode_json, load_json, sha256_of, sync_folder

if TYPE_CHECKING:
    import torch

    from finetune30.training.engine import Engine

_PREFIX = "checkpoint-"
_PARTIAL = ".partial"
_MANIFEST = "manifest.json"
#: The random streams of a process after the first, by its number.
_OTHER_STREAMS = "rng-{}.safetensors"
_ALWAYS_THERE = {"adapter.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"}

#: Judges a difference by its key and the saved progress: None accepts it, a text says why not ("" says nothing).
Judge = Callable[[str, Mapping[str, Any]], str | None]


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
    #: The random streams of the processes after the first.
    others: tuple[dict[str, Any], ...] = ()

    def streams_of(self, rank: int) -> dict[str, Any]:
        """Return the random streams of a process."""
        return self.rng if rank == 0 else self.others[rank - 1]


def _refuse_every_difference(key: str, progress: Mapping[str, Any]) -> str | None:
    return ""


class Checkpoints:
    """The checkpoints of a run: written to one folder, read from it and from those of earlier attempts.

    `identity` names what must be equal for a resume to be exact (configuration, digests of data set and base model,
    library versions, device, threads); a checkpoint of another identity is refused with the differences, except those
    that `judge` accepts. `earlier` are the checkpoint folders of earlier attempts, newest first; they are read, and
    emptied as this attempt writes its own. `before_save` runs before each save (records that the checkpoint counts on
    reach the disk there).
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        keep: int,
        earlier: Sequence[Path] = (),
        *,
        judge: Judge = _refuse_every_difference,
        before_save: Callable[[], None] | None = None,
    ) -> None:
        self._folder, self._identity, self._keep = folder, identity, keep
        self._earlier, self._judge, self._before_save = tuple(earlier), judge, before_save

    def save(
        self,
        engine: Engine,
        progress: dict[str, Any],
        best: dict[str, torch.Tensor] | None,
        others: Sequence[dict[str, Any]] = (),
    ) -> Path:
        """Save the present state and remove the oldest checkpoints beyond the limit; raises OSError.

        `others` are the random streams of the processes after the first.
        """
        final = self._folder / f"{_PREFIX}{progress['global_step']:08d}"
        if find_damage(final) is None:
            return final  # this step is saved already
        if self._before_save:
            self._before_save()
        temporary = final.with_suffix(_PARTIAL)
        self._folder.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        try:
            temporary.mkdir()
            self._write(temporary, engine, progress, best, others)
            failpoints.reach("checkpoint.before_rename")
            _remove(final)
            temporary.rename(final)
            sync_folder(self._folder)
        except BaseException:
            _remove(temporary)
            raise
        failpoints.reach("checkpoint.before_rotation")
        self._rotate()
        return final

    def load_latest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """Return the newest valid checkpoint; damaged ones are skipped with a warning.

        Raises CheckpointError when the newest valid one belongs to another training.
        """
        for folder in self._found(self._folder, *self._earlier):
            problem = find_damage(folder)
            if problem is None:
                return self._read(folder)
            warn(f"checkpoint {folder.name} is damaged ({problem}); looking for the one before it")
        return None

    @staticmethod
    def _found(*places: Path) -> list[Path]:
        """Return the checkpoint folders, highest step first; of equal steps, the one of the first place."""
        folders = [p for place in places for p in place.glob(f"{_PREFIX}*") if p.is_dir() and _step_of(p) is not None]
        return sorted(folders, key=lambda folder: _step_of(folder) or 0, reverse=True)

    def _rotate(self) -> None:
        """Keep the newest by the time of writing, which after a resume need not be those of the highest steps."""
        newest_first = [folder for place in (self._folder, *self._earlier) for folder in self._found(place)]
        for old in newest_first[self._keep :]:
            # Renamed first: what is removed by halves must not look like a damaged checkpoint.
            _remove(old.rename(old.with_suffix(_PARTIAL)))
        for place in self._earlier:
            for unfinished in place.glob(f"{_PREFIX}*{_PARTIAL}"):
                _remove(unfinished)

    def _write(
        self,
        folder: Path,
        engine: Engine,
        progress: dict[str, Any],
        best: dict[str, torch.Tensor] | None,
        others: Sequence[dict[str, Any]],
    ) -> None:
        from safetensors.torch import save

        tensors, values = split_streams(engine.rng_state())
        contents = {
            "adapter.safetensors": save(engine.adapter_state()),
            "optimizer.safetensors": save(engine.optimizer_state()),
            "rng.safetensors": save(tensors),
            "state.json": encode_json({"progress": progress, "rng": values, "identity": self._identity}),
        }
        if best is not None:
            contents["best.safetensors"] = save(best)
        for rank, streams in enumerate(others, start=1):
            tensors, values = split_streams(streams)
            contents[_OTHER_STREAMS.format(rank)] = save(tensors, {"values": json.dumps(values)})
        listed = {}
        for name, content in contents.items():
            _write_synced(folder / name, content)
            listed[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            failpoints.reach("checkpoint.after_each_file")
        failpoints.reach("checkpoint.before_manifest")
        _write_synced(folder / _MANIFEST, encode_json({"files": listed}))
        sync_folder(folder)

    def _read(self, folder: Path) -> Checkpoint:
        from safetensors.torch import load_file

        state = load_json(folder / "state.json")
        differences = self._refused_differences(state)
        if differences:
            raise CheckpointError(
                f"checkpoint {folder.name} belongs to another training: {'; '.join(differences)}",
                "restore what changed, or begin a new run from its weights: ft30 resume RUN --warm-start",
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
            others=tuple(_read_others(folder)),
        )

    def _refused_differences(self, state: dict[str, Any]) -> list[str]:
        refused = []
        for key, (before, now) in find_differences(state["identity"], self._identity).items():
            reason = self._judge(key, state["progress"])
            if reason is not None:
                refused.append(f"{key}: {before} -> {now}" + (f" ({reason})" if reason else ""))
        return refused


def find_latest(*places: Path) -> Path | None:
    """Return the folder of the newest valid checkpoint in these places, whatever training it belongs to."""
    return next((folder for folder in Checkpoints._found(*places) if find_damage(folder) is None), None)


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, or None when every file matches the manifest."""
    try:
        manifest = load_json(folder / _MANIFEST)
        if manifest is None:
            return "no manifest"
        listed = manifest["files"]
        missing = sorted(_ALWAYS_THERE - listed.keys())
        if missing:
            return f"{', '.join(missing)} not in the manifest"
        for name, expected in listed.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["size_bytes"] or sha256_of(path) != expected["sha256"]:
                return f"{name} does not match its sha256"
    except (OSError, StorageError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable manifest: {error}"
    return None


def find_differences(saved: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the saved and the present value of every leaf that differs, by dotted key."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted(saved.keys() | present.keys()):
        before, now = saved.get(key), present.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found |= {f"{key}.{below}": pair for below, pair in find_differences(before, now).items()}
        elif before != now:
            found[key] = (before, now)
    return found


def split_streams(streams: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the JSON values of `Engine.rng_state`."""
    import torch

    tensors = {name: value for name, value in streams.items() if isinstance(value, torch.Tensor)}
    return tensors, {name: value for name, value in streams.items() if name not in tensors}


def _read_others(folder: Path) -> Iterator[dict[str, Any]]:
    from safetensors import safe_open

    rank = 1
    while (path := folder / _OTHER_STREAMS.format(rank)).is_file():
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            yield {**json.loads(file.metadata()["values"]), **tensors}
        rank += 1


def _step_of(folder: Path) -> int | None:
    number = folder.name.removeprefix(_PREFIX)
    return int(number) if number.isdigit() else None


def _write_synced(path: Path, content: bytes) -> None:
    failpoints.reach(failpoints.DISK_WRITE)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)  # what stays of it is tried again at the next rotation
