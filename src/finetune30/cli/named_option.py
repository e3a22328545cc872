"""Options of one name: spelt with `_` or `-`, and found under what they were called before, which no help shows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def spell(name: str) -> list[str]:
    """Return both spellings of an option: `--max_steps`, `--max-steps`."""
    return list(dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"]))


class NamedOption(click.Option):
    """An option that also answers to the names in `also`."""

    def __init__(self, declarations: Sequence[str], *, also: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__([*declarations, *also], **attributes)
        self.also = tuple(also)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return names and words for the help, without the names in `also`."""
        shown = copy.copy(self)
        shown.opts = [name for name in self.opts if name not in self.also]
        return click.Option.get_help_record(shown, ctx)


def named_option(
    name: str, *, also: Sequence[str] = (), to: str | None = None, **attributes: Any
) -> Callable[[Decorated], Decorated]:
    """Add the option `name` to a command in both spellings; `also`: further names; `to`: the argument that it fills."""
    further = list(dict.fromkeys(spelling for other in also for spelling in spell(other)))
    return click.option(*spell(name), to or name, cls=NamedOption, also=further, **attributes)
