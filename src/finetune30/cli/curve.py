"""`ft30 curve`: one configuration on growing shares of its training rows, and whether more rows would help."""

from __future__ import annotations

from typing import Any

import click

from finetune30.cli.run_set_options import make_set, set_options


class Shares(click.ParamType[tuple[float, ...]]):
    """Numbers between commas."""

    name = "shares"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers; which of them make a curve is said by whoever plans it."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 0.25,0.5,1", param, ctx)


@click.command("curve", epilog="Example: ft30 curve config/starter.yaml --shares 0.25,0.5,1 --seeds 3")
@click.option(
    "--shares",
    type=Shares(),
    default="0.125,0.25,0.5,1",
    show_default=True,
    metavar="LIST",
    help="Shares of the training rows, ascending, 0.5 and 1 among them.",
)
@click.option("--seeds", type=click.IntRange(2, 100), default=3, show_default=True, help="Runs on each share.")
@set_options
@click.pass_context
def command(context: click.Context, /, shares: tuple[float, ...], seeds: int, **options: Any) -> None:
    """Train a configuration on growing shares of its training rows, and say whether more rows would help.

    FILE is a configuration; every key is a flag as for `ft30 train`. All runs are judged on the same evaluation rows.
    The rows of a share are among those of every larger one, each class with its share, rows of one text or group
    (--group_column) together; training.seed and the draw change with each seed. Epochs are those of the configuration,
    as whoever has fewer rows would train; with max_steps all shares train for as many steps. The answer is about the
    last doubling, from half of the rows to all of them.
    """
    from finetune30.service.sets.making import Wanted

    make_set(context, Wanted(seeds=seeds, shares=shares), **options)
