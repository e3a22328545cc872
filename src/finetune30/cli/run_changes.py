"""`ft30 runs cancel`, `delete` and `edit`: what changes recorded runs, one or many at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune30.cli.run_options import RUN_HELP, opened, output_dir_option
from finetune30.cli.terminal_text import show_controls, tell

if TYPE_CHECKING:
    from finetune30.service.runs.editing import RunAnswer

_runs = click.argument("runs", nargs=-1, required=True, metavar="RUN...")


@click.command("cancel", epilog=RUN_HELP)
@_runs
@output_dir_option
def cancel(runs: tuple[str, ...], output_dir: Path | None) -> None:
    """Stop runs: one that waits at once, one that trains at its next step."""
    from finetune30.service.runs.editing import apply_to_each
    from finetune30.store.annotations import RunEdit

    with opened(output_dir) as records:
        folders = {run.id: run.folder for run in map(records.store.get, runs)}
        answers = apply_to_each(records, list(folders), "cancel", RunEdit())
        words = {"RUNNING": "asked to stop"}
        _print_answers(answers, {run_id: f"{folder}: {{}}" for run_id, folder in folders.items()}, words)


@click.command("delete", epilog=RUN_HELP)
@_runs
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_dir_option
def delete(runs: tuple[str, ...], yes: bool, output_dir: Path | None) -> None:
    """Remove runs with their folders; one that is RUNNING is refused, the others go all the same."""
    from finetune30.errors import UsageError
    from finetune30.service.runs.editing import apply_to_each
    from finetune30.store.annotations import RunEdit

    with opened(output_dir) as records:
        found = {run.id: run for run in map(records.store.get, runs)}
        for run in found.values():
            tell(f"{run.id[:8]}  {run.status:<9}  {records.results_root / run.folder}")
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("deleting asks first, and nobody is there to answer", "add --yes")
            click.confirm(f"Delete {len(found)} run(s) with everything in them?", abort=True, err=True)
        answers = apply_to_each(records, list(found), "delete", RunEdit())
        _print_answers(answers, {run_id: f"deleted {run.folder}" for run_id, run in found.items()})


@click.command("edit", epilog=f"Example: ft30 runs edit latest --tag baseline --star. {RUN_HELP}")
@_runs
@click.option("--name", metavar="NAME", help="Another name, of one run; its folder and configuration keep theirs.")
@click.option("--note", metavar="TEXT", help='What to remember of one run, at most 4000 characters; "" removes it.')
@click.option("--tag", "add_tags", multiple=True, metavar="TAG", help="Add a tag of at most 32 characters.")
@click.option("--untag", "remove_tags", multiple=True, metavar="TAG", help="Take a tag away; also several times.")
@click.option("--star/--unstar", "starred", default=None, help="Mark with a star, or take it away.")
@click.option("--archive/--unarchive", "archived", default=None, help="Hide in listings, or show again.")
@output_dir_option
def edit(runs: tuple[str, ...], output_dir: Path | None, **given: Any) -> None:
    """Rename runs, write a note on them, give them tags or a star, archive them; in any state."""
    from finetune30.errors import UsageError
    from finetune30.service.runs.editing import apply_to_each, read_edit

    given = {key: value for key, value in given.items() if value is not None and value != ()}
    if not given:
        raise UsageError("there is nothing to change", "see what is allowed with: ft30 runs edit --help")
    if len(runs) > 1 and given.keys() & {"name", "note"}:
        raise UsageError("a name or note is for one run", "name one run, or leave --name and --note out")
    wanted = read_edit(given)
    with opened(output_dir) as records:
        folders = {run.id: run.folder for run in map(records.store.get, runs)}
        answers = apply_to_each(records, list(folders), "edit", wanted)
        _print_answers(answers, {run_id: f"edited {folder}" for run_id, folder in folders.items()})


def _print_answers(
    answers: Iterable[RunAnswer], lines: Mapping[str, str], words: Mapping[str, str] | None = None
) -> None:
    """Print a line for every run as it is done, with its state in place of {}; end with the first refusal, if any."""
    refusals = []
    for answer in answers:
        if answer.error is None:
            status = str(answer.status)
            click.echo(show_controls(lines[answer.id].replace("{}", (words or {}).get(status, status))))
        else:
            refusals.append(answer.error)
    for error in refusals[1:]:
        tell(f"Error: {error.message}")
    if refusals:
        raise refusals[0]
