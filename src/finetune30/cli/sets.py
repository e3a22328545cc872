"""`ft30 sets`: list, show and compare sets of runs."""

from __future__ import annotations

import json

import click

from finetune30.cli.terminal_text import show_controls
from finetune30.values import say_count

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("sets")
def command() -> None:
    """Look at sets of runs: seeds, folds and learning curves."""


@command.command("list")
@_as_json
def list_all(as_json: bool) -> None:
    """Print the newest sets."""
    from finetune30.cli.run_options import opened
    from finetune30.store.run_sets import list_sets

    with opened(None) as records:
        found = list_sets(records.store)
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in found], indent=2, ensure_ascii=False))
        return
    for one in found:
        runs = say_count(len(one.plan), "runs", ">3")
        line = f"{one.id[:8]}  {one.created_at:%Y-%m-%d %H:%M}  {one.purpose:<5}  {runs:<8}  {one.name}"
        click.echo(show_controls(line))
    if not found:
        click.echo("No sets yet. Make one with: ft30 seeds FILE")


@command.command("show")
@click.argument("name", metavar="SET")
@_as_json
def show(name: str, as_json: bool) -> None:
    """Print the runs of a set, the mean of their scores, how far they spread, and the interval.

    SET is an id, its beginning, or a name (the newest of it).
    """
    from finetune30.cli.run_options import opened
    from finetune30.cli.run_set_options import print_set
    from finetune30.service.sets.summary import describe_set
    from finetune30.store.run_sets import load_set

    with opened(None) as records:
        described = describe_set(records, load_set(records.store, name))
    print_set(described, as_json=as_json)


@command.command("compare")
@click.argument("first", metavar="SET")
@click.argument("second", metavar="SET")
@_as_json
def compare(first: str, second: str, as_json: bool) -> None:
    """Say whether two sets on the same rows, or the same folds, differ by more than chance."""
    from finetune30.cli.run_options import opened
    from finetune30.service.sets.comparing import compare_sets
    from finetune30.store.run_sets import load_set

    with opened(None) as records:
        found = compare_sets(records, *(load_set(records.store, name) for name in (first, second)))
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else show_controls(found["message"]))
