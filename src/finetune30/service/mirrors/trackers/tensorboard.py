"""TensorBoard: one event file a run, in a folder that TensorBoard is pointed at.

The file is written here and not by TensorBoard's own writer, since that one begins another file in every process: what
was written right before a process was killed would be read twice. The same points are the same bytes, at the same place
of the same file, however often they are written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from finetune30.files import disk_errors
from finetune30.service.mirrors.protocol import Point, Remote, RunFacts
from finetune30.service.mirrors.trackers.event_files import encode_scalar, encode_text, encode_version
from finetune30.service.mirrors.trackers.repeated_writing import write_at

NAME = "tensorboard"
_EVALUATED = "eval_"
_UNFIT = re.compile(r"[^\w.-]")


class TensorBoard:
    """Event files below a folder: `{search or set}/{run folder}/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """The mirror's name."""
        return NAME

    @property
    def target(self) -> str:
        """The folder."""
        return str(self._folder.absolute())

    def open(self, facts: RunFacts, generation: int) -> Remote:
        """Begin the file with the parameters; one that was begun in this generation already is begun anew.

        Files of the run that were begun otherwise (by an attempt whose start nobody noted, in an earlier use of this
        folder) are removed: TensorBoard would draw both into one curve.
        """
        place = Path(facts.folder)
        if facts.group is not None:
            place = Path(f"{_UNFIT.sub('_', facts.group.name)}-{facts.group.id[:8]}") / place
        began = facts.began_at.timestamp()
        name = place / f"events.out.tfevents.{began:.0f}.{facts.id[:8]}.{generation}"
        content = encode_version(began) + encode_text(began, "parameters", _as_table(facts.parameters))
        with disk_errors(f"cannot make a folder in {self._folder}"):
            (self._folder / place).mkdir(parents=True, exist_ok=True)
            for other in (self._folder / place).glob(f"events.out.tfevents.*.{facts.id[:8]}.*"):
                if other.name != name.name:
                    other.unlink(missing_ok=True)
            (self._folder / name).touch()
        return self._write({"file": name.as_posix(), "offset": 0}, content, ends_file=True)

    def send(self, remote: Remote, points: Sequence[Point]) -> Remote:
        """Write the numbers of points, named as transformers' Trainer names them there: train/loss, eval/loss."""
        records = [
            encode_scalar(point.at, point.step, _tag_of(point.kind, name), value)
            for point in points
            for name, value in point.values.items()
        ]
        return self._write(remote, b"".join(records))

    def tell(self, remote: Remote, facts: RunFacts) -> Remote:
        """Write a table of state and provenance; TensorBoard shows the newest."""
        at = (facts.ended_at or facts.began_at).timestamp()
        tags = {"name": facts.name, **({"note": facts.note} if facts.note else {}), **facts.tags}
        return self._write(remote, encode_text(at, "run", _as_table(tags)), ends_file=True)

    def discard(self, remote: Remote) -> None:
        """Remove the file."""
        with disk_errors(f"cannot remove {remote['file']}"):
            (self._folder / remote["file"]).unlink(missing_ok=True)

    def close(self) -> None:
        """No file stays open."""

    def _write(self, remote: Remote, content: bytes, *, ends_file: bool = False) -> Remote:
        """Write at the place where the last noted writing ended; with `ends_file` nothing stays behind it."""
        offset = remote["offset"]
        write_at(self._folder / remote["file"], offset, content, NAME, ends_file=ends_file)
        return remote | {"offset": offset + len(content)}


def _tag_of(kind: str, name: str) -> str:
    return f"{kind}/{name.removeprefix(_EVALUATED) if kind == 'eval' else name}"


def _as_table(values: Mapping[str, str]) -> str:
    """Return a Markdown table; what would end a cell or a row is written as HTML does."""
    lines = [f"| {key} | {' '.join(value.replace('|', '&#124;').split())} |" for key, value in values.items()]
    return "\n".join(["| key | value |", "| --- | --- |", *lines])
