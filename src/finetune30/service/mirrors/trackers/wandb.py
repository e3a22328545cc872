"""Weights & Biases: one run folder each, as `wandb` makes it in its offline mode; nothing here asks a network.

`wandb sync FOLDER` sends it when somebody wants that. The file is written here and not by the package `wandb`, which
begins another file in every process, so that what was written right before a process was killed would be there twice.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

from finetune30.files import disk_errors
from finetune30.service.mirrors.protocol import Point, Remote, RunFacts
from finetune30.service.mirrors.trackers.repeated_writing import write_at
from finetune30.service.mirrors.trackers.wandb_records import (
    FILE_HEADER,
    encode_config,
    encode_exit,
    encode_header,
    encode_history,
    encode_run,
    encode_step_metric,
    encode_summary,
    frame,
)
from finetune30.store import RunStatus

NAME = "wandb"
_STEP = "step"
_PREFIX = "finetune30."
#: Characters that W&B takes in the name of a project.
_UNFIT = re.compile(r"[/\\#?%:]")


class WandB:
    """Folders `wandb/offline-run-…` below a folder, of one project."""

    def __init__(self, folder: Path, project: str) -> None:
        self._folder, self._project = folder, _UNFIT.sub("_", project)

    @property
    def name(self) -> str:
        """The mirror's name."""
        return NAME

    @property
    def target(self) -> str:
        """Folder and project."""
        return f"{self._folder.absolute()} {self._project}"

    def open(self, facts: RunFacts, generation: int) -> Remote:
        """Begin the folder with name, parameters and group; what an earlier use of this folder left is removed."""
        run_id = facts.id if generation == 0 else f"{facts.id}-{generation}"
        began = facts.began_at.timestamp()
        place = Path(f"offline-run-{facts.began_at.astimezone(UTC):%Y%m%d_%H%M%S}-{run_id}")
        path = place / f"run-{run_id}.wandb"
        with disk_errors(f"cannot make a folder in {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            for other in self._folder.glob(f"offline-run-*-{facts.id}*"):
                if other.name != place.name:
                    shutil.rmtree(other)
            for part in ("files", "logs"):
                (self._folder / place / part).mkdir(parents=True, exist_ok=True)
            (self._folder / path).touch()
        remote = {"file": path.as_posix(), "run_id": run_id, "offset": 0, "records": 0, "rows": 0, "began": began}
        write_at(self._folder / path, 0, FILE_HEADER, NAME, ends_file=True)
        remote["offset"] = len(FILE_HEADER)
        records = [
            encode_header(1),
            self._run(2, remote, facts, facts.parameters),
            encode_step_metric(3, _STEP),
            encode_step_metric(4, _STEP, others="*"),
        ]
        return self._write(remote, records)

    def send(self, remote: Remote, points: Sequence[Point]) -> Remote:
        """Write a row for each point, under the names of history.jsonl; the finished model's numbers as `final/…`."""
        records, number, rows = [], int(remote["records"]), int(remote["rows"])
        for point in points:
            number += 1
            if point.kind == "final":
                records.append(encode_summary(number, {f"final/{name}": v for name, v in point.values.items()}))
                continue
            times = {"_step": rows, "_timestamp": point.at, "_runtime": max(0.0, point.at - remote["began"])}
            records.append(encode_history(number, rows, {**point.values, _STEP: point.step, **times}))
            rows += 1
        return self._write(remote, records) | {"rows": rows}

    def tell(self, remote: Remote, facts: RunFacts) -> Remote:
        """Write name, note, tags and provenance as they are now, and behind all of it the end, once there is one.

        The end is not counted as written: what comes later takes its place. Provenance that the run has no more, such
        as its error, is taken away.
        """
        number = int(remote["records"])
        provenance = {_PREFIX + key: value for key, value in facts.tags.items()}
        gone = [key for key in remote.get("told", ()) if key not in provenance]
        records = [self._run(number + 1, remote, facts, {}), encode_config(number + 2, provenance, gone)]
        remote = remote | {"told": list(provenance)}
        if facts.ended_at is None:
            return self._write(remote, records)
        code = 0 if facts.status is RunStatus.SUCCEEDED else 1
        end = encode_exit(number + 3, code, facts.ended_at.timestamp() - remote["began"])
        return self._write(remote, records, end)

    def discard(self, remote: Remote) -> None:
        """Remove the folder."""
        folder = (self._folder / remote["file"]).parent
        with disk_errors(f"cannot remove {folder}"):
            if folder.is_dir():
                shutil.rmtree(folder)

    def close(self) -> None:
        """No file stays open."""

    def _run(self, number: int, remote: Remote, facts: RunFacts, parameters: Mapping[str, Any]) -> bytes:
        return encode_run(
            number,
            remote["run_id"],
            self._project,
            facts.name,
            remote["began"],
            group="" if facts.group is None else f"{facts.group.name}-{facts.group.id[:8]}",
            notes=facts.note,
            tags=[tag for tag in facts.tags.get("tags", "").split(", ") if tag],
            config=parameters,
        )

    def _write(self, remote: Remote, records: Sequence[bytes], end: bytes | None = None) -> Remote:
        offset = int(remote["offset"])
        content = frame(records, offset)
        last = b"" if end is None else frame([end], offset + len(content))
        write_at(self._folder / remote["file"], offset, content + last, NAME, ends_file=True)
        return remote | {"offset": offset + len(content), "records": remote["records"] + len(records)}
