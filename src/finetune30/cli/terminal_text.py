"""Text from data, models and errors on its way to a terminal, and what is said beside a command's result."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO

import click


def show_controls(text: str, keep: str = "") -> str:
    """Return the text with control characters made visible, so that what comes from data cannot steer the terminal."""
    return "".join(char if char.isprintable() or char in keep else f"\\x{ord(char):02x}" for char in text)


def tell(text: str) -> None:
    """Say something on standard error; work goes on also when nobody reads it any more."""
    try:
        click.echo(text, err=True)
    except OSError:
        silence(sys.stderr)


def note(text: str) -> None:
    """Say something that may hold text of data or names, on standard error."""
    tell(show_controls(text))


def tell_notes(notes: Iterable[str]) -> None:
    """Say what the user should know about what was asked for, a line each, on standard error."""
    for text in notes:
        tell(f"note: {text}")


def describe_place(position: int | None) -> str:
    """Return where a run that was queued stands: its place, counted from 1, None once a worker has claimed it."""
    return f"number {position} in the queue" if position else "taken by a worker already"


def silence(stream: TextIO) -> None:
    """Lead a stream that nobody reads any more to nowhere, so that neither work nor the interpreter's exit fails."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
