"""TensorBoard's event files: the bytes of one record, so that the same record always is the same bytes.

A record is a protocol buffer (tensorflow/core/util/event.proto, framework/summary.proto) in a TFRecord: its length, the
masked CRC-32C of that, the record, the masked CRC-32C of the record; numbers little-endian.
"""

from __future__ import annotations

import math
import struct

#: What TensorBoard expects of the first record of a file.
FILE_VERSION = "brain.Event:2"
_DT_STRING = 7
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8


def encode_version(at: float) -> bytes:
    """Return the record that a file begins with; `at` in seconds since 1970, as everywhere here."""
    return _frame(_double(1, at) + _bytes(3, FILE_VERSION.encode()))


def encode_scalar(at: float, step: int, tag: str, value: float) -> bytes:
    """Return the record of a number, which TensorBoard keeps as float32: what is beyond its range is infinite there."""
    return _event(at, step, _bytes(1, tag.encode()) + _key(2, _FLOAT) + _pack_float32(value))


def encode_text(at: float, tag: str, text: str) -> bytes:
    """Return the record of a Markdown text."""
    tensor = _varint(1, _DT_STRING) + _bytes(2, _bytes(2, _varint(1, 1))) + _bytes(8, text.encode())
    metadata = _bytes(1, _bytes(1, b"text"))
    return _event(at, 0, _bytes(1, tag.encode()) + _bytes(8, tensor) + _bytes(9, metadata))


# --- private


def _event(at: float, step: int, value: bytes) -> bytes:
    return _frame(_double(1, at) + _varint(2, step) + _bytes(5, _bytes(1, value)))


def _pack_float32(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def _frame(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + _masked_crc(length) + record + _masked_crc(record)


def _key(field: int, wire: int) -> bytes:
    return _number(field << 3 | wire)


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _varint(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _number(value)


def _double(field: int, value: float) -> bytes:
    return _key(field, _DOUBLE) + struct.pack("<d", value)


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _number(len(content)) + content


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
