"""`ft30 attempt`: the process in which a worker carries one run out. Not for people."""

from __future__ import annotations

import click


@click.command("attempt", hidden=True)
@click.argument("run_id")
@click.argument("number", type=click.IntRange(1))
@click.argument("owner")
@click.argument("parent", type=click.IntRange(1))
@click.option("--drill", "step_seconds", type=click.FloatRange(0), hidden=True)
def command(run_id: str, number: int, owner: str, parent: int, step_seconds: float | None) -> None:
    """Carry out attempt NUMBER of the run that OWNER claimed, as a child of process PARENT."""
    from finetune30.jobs.parent_watch import die_with_parent

    die_with_parent(parent)
    from finetune30.service.execution.queued import carry_out_attempt
    from finetune30.settings import load_settings
    from finetune30.store import Claim

    claim = Claim(run_id, number, owner)
    if step_seconds is None:
        carry_out_attempt(claim, load_settings())
        return
    from finetune30.service.execution.drill import build_drill

    carry_out_attempt(claim, load_settings(), build_drill(step_seconds))
