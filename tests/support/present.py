"""What must be there."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """Return a value that is not None; the test fails if it is."""
    assert value is not None
    return value
