"""TensorBoard's event files: the bytes of one record, so that the same record always is the same bytes.

A record is a protocol buffer (tensorflow/core/util/event.proto, framework/summary.proto) in a TFRecord: its length, the
masked CRC-32C of that, the record, the masked CRC-32C of the record; numbers little-endian.
"""

from __future__ import annotations

import math
import struct

from finetune30.service.mirrors.trackers.protocol_buffers import (
    encode_bytes,
    encode_double,
    encode_float,
    encode_varint,
)

#: What TensorBoard expects of the first record of a file.
FILE_VERSION = "brain.Event:2"
_DT_STRING = 7
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8


def encode_version(at: float) -> bytes:
    """Return the record that a file begins with; `at` in seconds since 1970, as everywhere here."""
    return _frame(encode_double(1, at) + encode_bytes(3, FILE_VERSION))


def encode_scalar(at: float, step: int, tag: str, value: float) -> bytes:
    """Return the record of a number, which TensorBoard keeps as float32: what is beyond its range is infinite there."""
    return _event(at, step, encode_bytes(1, tag) + encode_float(2, _pack_float32(value)))


def encode_text(at: float, tag: str, text: str) -> bytes:
    """Return the record of a Markdown text."""
    tensor = (
        encode_varint(1, _DT_STRING) + encode_bytes(2, encode_bytes(2, encode_varint(1, 1))) + encode_bytes(8, text)
    )
    metadata = encode_bytes(1, encode_bytes(1, b"text"))
    return _event(at, 0, encode_bytes(1, tag) + encode_bytes(8, tensor) + encode_bytes(9, metadata))


# --- private


def _event(at: float, step: int, value: bytes) -> bytes:
    return _frame(encode_double(1, at) + encode_varint(2, step) + encode_bytes(5, encode_bytes(1, value)))


def _pack_float32(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def _frame(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + _masked_crc(length) + record + _masked_crc(record)


def _table_entry(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (_POLYNOMIAL if number & 1 else 0)
    return number


_TABLE = tuple(_table_entry(number) for number in range(256))


def _masked_crc(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (crc >> 15 | crc << 17) + _MASK_DELTA & 0xFFFFFFFF)
