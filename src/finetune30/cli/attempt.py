"""`ft30 attempt`: the process in which a worker carries one run out. Not for people."""

from __future__ import annotations

import click


@click.command("attempt", hidden=True)
@click.argument("run_id")
@click.argument("number", type=click.IntRange(1))
@click.argument("owner")
@click.argument("parent", type=click.IntRange(1))
def command(run_id: str, number: int, owner: str, parent: int) -> None:
    """Carry out attempt NUMBER of the run that OWNER claimed, as a child of process PARENT."""
    from finetune30.jobs.parent_watch import die_with_parent

    die_with_parent(parent)
    from finetune30.service.execution.queued import carry_out_attempt
    from finetune30.settings import load_settings
    from finetune30.store import Claim

    carry_out_attempt(Claim(run_id, number, owner), load_settings())
