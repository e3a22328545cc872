"""Records of a W&B run file (.wandb), which W&B's own programs read and send.

A record is a protocol buffer (wandb/proto/wandb_internal.proto) in a log as LevelDB has it: blocks of 32 KiB, in them
pieces with a CRC-32 of type and content, length and type; a piece never crosses the end of a block. Seven bytes before
the first piece belong to the first block.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from finetune30.service.mirrors.trackers.protocol_buffers import encode_bytes, encode_varint

#: Sign, magic number, version of the format.
FILE_HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
#: The oldest of W&B's programs that reads such records, as its own files say.
_MIN_CONSUMER = "0.70.0"
_PRODUCER = "finetune30"
_BLOCK_BYTES, _PIECE_HEADER_BYTES = 32_768, 7
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
#: Kinds of a record.
_HISTORY, _SUMMARY, _CONFIG, _METRIC, _RUN, _EXIT, _HEADER = 2, 3, 5, 12, 17, 18, 21


def frame(records: Iterable[bytes], offset: int) -> bytes:
    """Return records as they stand in a file from this place on."""
    content = bytearray()
    for record in records:
        rest, is_first = record, True
        while rest or is_first:
            room = _BLOCK_BYTES - (offset + len(content)) % _BLOCK_BYTES
            if room < _PIECE_HEADER_BYTES:
                content += bytes(room)
                room = _BLOCK_BYTES
            piece, rest = rest[: room - _PIECE_HEADER_BYTES], rest[room - _PIECE_HEADER_BYTES :]
            kind = (_MIDDLE if rest else _LAST) if not is_first else (_FIRST if rest else _WHOLE)
            is_first = False
            content += struct.pack("<IHB", zlib.crc32(bytes([kind]) + piece), len(piece), kind) + piece
    return bytes(content)


def encode_header(number: int) -> bytes:
    """Return the record that a file begins with; records are numbered from 1."""
    version = encode_bytes(1, _PRODUCER) + encode_bytes(2, _MIN_CONSUMER)
    return _record(number, _HEADER, encode_bytes(1, version))


def encode_run(
    number: int,
    run_id: str,
    project: str,
    name: str,
    began_at: float,
    *,
    group: str = "",
    notes: str = "",
    tags: Iterable[str] = (),
    config: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the record of a run, or of what is known of it now; `began_at` in seconds since 1970."""
    seconds = int(began_at)
    moment = encode_varint(1, seconds) + encode_varint(2, round((began_at - seconds) * 1_000_000) * 1_000)
    content = encode_bytes(1, run_id) + encode_bytes(3, project) + encode_bytes(4, _updates(config or {}))
    content += encode_bytes(6, group) if group else b""
    content += encode_bytes(8, name)
    content += encode_bytes(9, notes) if notes else b""
    content += b"".join(encode_bytes(10, tag) for tag in tags)
    return _record(number, _RUN, content + encode_bytes(17, moment))


def encode_config(number: int, values: Mapping[str, Any], removed: Iterable[str] = ()) -> bytes:
    """Return the record of values that join the configuration or replace what it has, and of keys that leave it."""
    leaving = b"".join(encode_bytes(2, encode_bytes(1, key)) for key in removed)
    return _record(number, _CONFIG, _updates(values) + leaving)


def encode_step_metric(number: int, name: str, others: str = "") -> bytes:
    """Return the record that makes known a number, or, with `others` (`*`), that all are drawn against it."""
    if others:
        options = encode_varint(1, 1) + encode_varint(3, 1)
        return _record(number, _METRIC, encode_bytes(2, others) + encode_bytes(4, name) + encode_bytes(6, options))
    return _record(number, _METRIC, encode_bytes(1, name) + encode_bytes(6, encode_varint(3, 1)))


def encode_history(number: int, row: int, values: Mapping[str, float]) -> bytes:
    """Return the record of a row of the history; W&B drops a row that is not higher than the one before."""
    items = b"".join(
        encode_bytes(1, encode_bytes(2, key) + encode_bytes(16, json.dumps(value))) for key, value in values.items()
    )
    return _record(number, _HISTORY, items + encode_bytes(2, encode_varint(1, row)))


def encode_summary(number: int, values: Mapping[str, float]) -> bytes:
    """Return the record of numbers that a run is listed with."""
    items = (
        encode_bytes(1, encode_bytes(2, key) + encode_bytes(16, json.dumps(value))) for key, value in values.items()
    )
    return _record(number, _SUMMARY, b"".join(items))


def encode_exit(number: int, code: int, seconds: float) -> bytes:
    """Return the record of a run's end."""
    return _record(number, _EXIT, encode_varint(1, code) + encode_varint(2, max(0, round(seconds))))


# --- private


def _record(number: int, kind: int, content: bytes) -> bytes:
    return encode_varint(1, number) + encode_bytes(kind, content)


def _updates(values: Mapping[str, Any]) -> bytes:
    return b"".join(
        encode_bytes(1, encode_bytes(1, key) + encode_bytes(16, json.dumps(value))) for key, value in values.items()
    )
