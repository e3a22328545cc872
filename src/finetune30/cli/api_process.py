"""`ft30 api-process`: one of several processes that answer for `ft30 api`. Not for people."""

from __future__ import annotations

import click


@click.command("api-process", hidden=True)
@click.argument("number", type=click.IntRange(1))
@click.argument("parent", type=click.IntRange(1))
@click.option("--access_log/--no_access_log", "--access-log/--no-access-log", default=True)
@click.argument("pipe", type=click.IntRange(0))
def command(number: int, parent: int, access_log: bool, pipe: int) -> None:
    """Answer, as process NUMBER of PARENT, the connections that come through the socket with the descriptor PIPE."""
    from finetune30.jobs.parent_watch import die_with_parent

    die_with_parent(parent)
    import socket

    from finetune30.api.answering_process import answer_connections
    from finetune30.settings import load_settings

    answer_connections(load_settings(), number, socket.socket(fileno=pipe), access_log=access_log)
