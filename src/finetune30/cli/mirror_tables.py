"""How far mirrors are, as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from finetune30.cli.terminal_text import show_controls
from finetune30.values import say_count


def print_mirrors(found: dict[str, Any]) -> None:
    """Print the mirrors that are followed, and those of the run that was named."""
    for mirror in found["followed"]:
        looked_at = "never" if mirror["looked_at"] is None else f"{mirror['looked_at'][:19]} UTC"
        line = (
            f"{mirror['name']:<12} {say_count(mirror['behind'], 'runs')} behind, {mirror['refused']} refused; "
            f"looked at: {looked_at}"
        )
        click.echo(show_controls(line))
        if not mirror["is_followed"]:
            seen = "" if mirror["seen_at"] is None else f" since {mirror['seen_at'][:19]} UTC"
            click.echo(f"{'':<12} no process follows it{seen}; begin with: FT30_MIRRORS={mirror['name']} ft30 mirrors")
        if mirror["fault"]:
            told = f"ended by itself at {mirror['fault_at'][:19]} UTC and was begun again: {mirror['fault']}"
            click.echo(show_controls(f"{'':<12} {told}"))
        if mirror["error"]:
            click.echo(show_controls(f"{'':<12} out of reach: {mirror['error']}"))
    for name, state in mirror_rows(found["run"]).items():
        click.echo(show_controls(f"{name:<12} {state}"))
    if not found["followed"] and not found["run"]:
        click.echo("No mirror is followed. Begin with: FT30_MIRRORS=tensorboard ft30 mirrors")


def mirror_rows(mirrors: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return mirror -> how far it is with a run."""
    return {
        one["mirror"]: f"{one['target']}: {say_count(one['records'], 'records')}, {_state_of(one)}" for one in mirrors
    }


def _state_of(mirror: Mapping[str, Any]) -> str:
    if mirror["stopped_at"]:
        return f"stopped {mirror['stopped_at'][:19]} UTC"
    if mirror["error"]:
        return f"refused: {mirror['error']}"
    return "complete" if mirror["complete"] else "behind"
