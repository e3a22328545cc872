"""`ft30 crossval`: one configuration on several folds of its rows."""

from __future__ import annotations

from typing import Any

import click

from finetune30.cli.run_set_options import make_set, set_options


@click.command("crossval", epilog="Example: ft30 crossval config/starter.yaml --folds 5")
@click.option("--folds", type=click.IntRange(2, 100), default=5, show_default=True, help="Parts of the rows.")
@click.option("--repeats", type=click.IntRange(1, 50), default=1, show_default=True, help="Dealings into folds.")
@set_options
@click.pass_context
def command(context: click.Context, /, folds: int, repeats: int, **options: Any) -> None:
    """Train a configuration on each fold's other rows, and judge it on the fold.

    FILE is a configuration; every key is a flag as for `ft30 train`. All training and evaluation rows are dealt, each
    class evenly, rows of one text or group (--group_column) together; test rows take no part. A fold chooses neither
    the step to stop at nor the best weights. The interval is the corrected one: folds share most of their training
    rows.
    """
    from finetune30.service.sets.making import Wanted

    make_set(context, Wanted(folds=folds, repeats=repeats), **options)
