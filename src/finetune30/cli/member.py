"""`ft30 member`: one of the processes of a training that another command started. Not for people."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

#: So long a process that failed waits for the first one to say why: the agent ends all others when one has ended.
_PATIENCE_SECONDS = 10.0
_LOOK_SECONDS = 0.05


@click.command("member", hidden=True, context_settings={"allow_interspersed_args": False})
@click.argument("parent", type=click.IntRange(1))
@click.argument("end", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, required=True)
@click.pass_context
def command(context: click.Context, parent: int, end: Path, arguments: tuple[str, ...]) -> None:
    """Carry the ARGUMENTS of `ft30` out as a child of process PARENT; the first one writes its exit code to END."""
    from finetune30.jobs.parent_watch import die_with_parent
    from finetune30.jobs.slots import hold_places

    die_with_parent(parent)
    hold_places(os.environ)
    from finetune30.cli.main import run_command
    from finetune30.files import save_bytes_atomic

    try:
        code = run_command(arguments)
    except SystemExit as left:  # of what ended it the first process tells
        code = int(left.code or 0)
    if os.environ.get("RANK") == "0":
        save_bytes_atomic(end, str(code).encode())
    elif code != 0:
        _wait_for(end)
    context.exit(code)


def _wait_for(end: Path) -> None:
    """Wait until the first process has ended by itself; not for ever: it may have been killed, or hang."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while not end.exists() and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
