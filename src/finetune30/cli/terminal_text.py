"""Text from data, models and errors on its way to a terminal."""

from __future__ import annotations


def show_controls(text: str, keep: str = "") -> str:
    """Return the text with control characters made visible, so that what comes from data cannot steer the terminal."""
    return "".join(char if char.isprintable() or char in keep else f"\\x{ord(char):02x}" for char in text)
