"""A .zip that is written while it is sent: no file of it, nor the whole, is ever held in memory."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 1 << 20
#: How files of weights end, which gain nothing from being compressed.
_STORED = (".safetensors", ".onnx", ".data", ".gguf")


@dataclass(frozen=True)
class Member:
    """A file of the package: its name, and its bytes or the file that holds them."""

    name: str
    content: bytes | Path

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes, at most 1 MiB at a time."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block


class ZipStream:
    """Members below one `folder`, all of one moment: the same members give the same bytes."""

    def __init__(self, folder: str, moment: datetime) -> None:
        self._folder, self._moment = folder, moment
        self._sink = _Sink()
        self._archive = zipfile.ZipFile(self._sink, "w")

    def add(self, member: Member) -> Generator[bytes, None, str]:
        """Yield the bytes that a member adds to the .zip; return the sha256 of its content."""
        digest = hashlib.sha256()
        with self._archive.open(self._describe(member.name), "w", force_zip64=True) as file:
            for block in member.blocks():
                digest.update(block)
                file.write(block)
                yield from self._sink.take()
        return digest.hexdigest()

    def end(self) -> Iterator[bytes]:
        """Yield the rest; nothing is added any more."""
        self._archive.close()
        yield from self._sink.take()

    def _describe(self, name: str) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(f"{self._folder}/{name}", self._moment.timetuple()[:6])
        info.compress_type = zipfile.ZIP_STORED if name.endswith(_STORED) else zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        return info


class _Sink(io.RawIOBase):
    """What a ZipFile writes to, and hands on: a file that is never seen whole."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        yield from pieces
