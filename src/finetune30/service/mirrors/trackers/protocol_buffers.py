"""Fields of a protocol buffer, encoded by hand: the same values are the same bytes, and nothing has to be installed.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5


def encode_varint(field: int, value: int) -> bytes:
    """Return a field that is a whole number, 0 or more."""
    return _key(field, _VARINT) + _number(value)


def encode_double(field: int, value: float) -> bytes:
    """Return a field of the type double."""
    return _key(field, _DOUBLE) + struct.pack("<d", value)


def encode_float(field: int, packed: bytes) -> bytes:
    """Return a field of the type float from its four bytes."""
    return _key(field, _FLOAT) + packed


def encode_bytes(field: int, content: bytes | str) -> bytes:
    """Return a field that is a text, bytes, or a message that was encoded."""
    content = content.encode() if isinstance(content, str) else content
    return _key(field, _BYTES) + _number(len(content)) + content


def _key(field: int, wire: int) -> bytes:
    return _number(field << 3 | wire)


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
