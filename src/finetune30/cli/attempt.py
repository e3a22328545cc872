"""`ft30 attempt`: the process in which a worker carries one run out. Not for people."""

from __future__ import annotations

import os

import click


@click.command("attempt", hidden=True)
@click.argument("run_id")
@click.argument("number", type=click.IntRange(1))
@click.argument("owner")
@click.argument("parent", type=click.IntRange(1))
@click.option("--together", is_flag=True, help="As one of the processes that the attempt's first one started.")
@click.pass_context
def command(context: click.Context, run_id: str, number: int, owner: str, parent: int, together: bool) -> None:
    """Carry out attempt NUMBER of the run that OWNER claimed, as a child of process PARENT.

    Of a training in several processes this one starts them, and each carries it out.
    """
    from finetune30.jobs.parent_watch import die_with_parent

    die_with_parent(parent)
    from finetune30.service.execution.queued import carry_out_attempt, count_of_attempt
    from finetune30.service.execution.starting import start_together
    from finetune30.settings import load_settings
    from finetune30.store import Claim

    claim, settings = Claim(run_id, number, owner), load_settings()
    count = 1 if together else count_of_attempt(claim, settings)
    if count > 1:
        words = ("attempt", "--together", "--", run_id, str(number), owner, str(os.getpid()))
        context.exit(start_together(words, count))
    carry_out_attempt(claim, settings, together=together)
