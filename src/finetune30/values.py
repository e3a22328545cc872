"""What a single value is, and how it is written where somebody else reads it."""

from __future__ import annotations

from typing import Any

#: A cell that begins so, maybe behind blanks, is a formula in a spreadsheet.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def is_number(value: Any) -> bool:
    """Tell whether a metric's value is a number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Tell whether a value is a text that can be written: JSON may spell halves of characters, which are none."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def guard_formula(text: str) -> str:
    """Return a cell of a file that a spreadsheet may open: an apostrophe makes text of what it would run."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def unguard_formula(text: str) -> str:
    """Return what `guard_formula` was given."""
    return text[1:] if text.startswith("'") and guard_formula(text[1:]) == text else text
