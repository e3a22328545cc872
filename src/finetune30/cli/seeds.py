"""`ft30 seeds`: one configuration under several seeds, all judged on the same rows."""

from __future__ import annotations

from typing import Any

import click

from finetune30.cli.run_set_options import make_set, set_options


@click.command("seeds", epilog="Example: ft30 seeds config/starter.yaml --seeds 5")
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Runs to make.")
@set_options
@click.pass_context
def command(context: click.Context, /, seeds: int, **options: Any) -> None:
    """Train a configuration under several seeds on the same rows, and say how far its score spreads.

    FILE is a configuration; every key is a flag as for `ft30 train`. The rows are stored as one dataset version, and
    the runs handed in to the workers under training.seed, the next number, and so on. Before that is said which
    difference so many evaluation rows can tell. The same command again completes the set and never doubles a run.
    """
    from finetune30.service.sets.making import Wanted

    make_set(context, Wanted(seeds=seeds), **options)
