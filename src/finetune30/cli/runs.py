"""`ft30 runs`: list, show, follow, verify, cancel and delete recorded runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from finetune30.cli.named_option import named_option
from finetune30.cli.run_filters import RunListCommand, load_run_query
from finetune30.cli.terminal_text import show_controls, tell

if TYPE_CHECKING:
    from finetune30.service.runs.open_records import Records

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

RUN_HELP = "RUN is an id, its beginning, a folder's name, an experiment's name (the newest of it) or 'latest'."

_LOG_CONTROLS = "\n\t"

_output_dir = named_option(
    "output_dir",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder of the runs, where it is not the one of the settings.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("runs")
def command() -> None:
    """Look at recorded runs, stop and remove them."""


@command.command(
    "list",
    cls=RunListCommand,
    epilog="Example: ft30 runs list --min_score 0.8 --score_name eval_accuracy --sort_by score --limit 10",
)
@_output_dir
@_as_json
def list_runs(output_dir: Path | None, as_json: bool, **wanted: Any) -> None:
    """Print a table of runs, the newest first."""
    from finetune30.service.runs.listing import page_as_dict
    from finetune30.service.runs.open_records import has_records, open_records
    from finetune30.settings import load_settings

    run_filter = load_run_query(wanted).as_filter()
    settings = load_settings()
    if not has_records(settings, output_dir):
        click.echo('{"runs": [], "next_cursor": null}' if as_json else "No runs yet. Start one with: ft30 train")
        return
    with open_records(settings, output_dir) as records:
        page = records.store.find_page(run_filter)
        total = None if as_json else records.store.count(run_filter)
    if as_json:
        _print_json(page_as_dict(page))
        return
    from finetune30.cli.run_tables import print_run_table

    print_run_table(page, total or 0)


@command.command("show", epilog=RUN_HELP)
@click.argument("run")
@_output_dir
@_as_json
def show(run: str, output_dir: Path | None, as_json: bool) -> None:
    """Print everything about one run: state, configuration, result, metrics, rows, files."""
    from finetune30.service.runs.details import load_run_details

    with _opened(output_dir) as records:
        details = load_run_details(records, records.store.get(run))
    if as_json:
        _print_json(details)
        return
    from finetune30.cli.run_tables import print_run_details

    print_run_details(details)


@command.command("logs", epilog=RUN_HELP)
@click.argument("run", default="latest")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Begin with the last N lines.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="The log of that attempt instead of the newest.")
@_output_dir
def logs(run: str, follow: bool, tail: int | None, attempt: int | None, output_dir: Path | None) -> None:
    """Print the log of a run."""
    from finetune30.errors import UsageError
    from finetune30.service.runs.logs import follow_log, load_log

    if follow and attempt is not None:
        raise UsageError("--follow goes on with the newest attempt, --attempt names one", "leave one of them out")
    with _opened(output_dir) as records:
        found = records.store.get(run)
        folder = records.folder(found)
        if not follow:
            path = folder.live_logs() if attempt is None else folder.attempts / str(attempt) / folder.logs.name
            click.echo(show_controls(load_log(path, tail), _LOG_CONTROLS), nl=False)
            return
        tell(f"{found.folder}: {found.status}")
        for text in follow_log(records, found.id, tail):
            click.echo(show_controls(text, _LOG_CONTROLS), nl=False)
        tell(f"{found.folder}: {records.store.get(found.id).status}")


@command.command("history", epilog=RUN_HELP)
@click.argument("run", default="latest")
@_output_dir
@_as_json
def history(run: str, output_dir: Path | None, as_json: bool) -> None:
    """Print the logged steps and evaluations of a run."""
    from finetune30.files import load_json_lines

    with _opened(output_dir) as records:
        entries = load_json_lines(records.folder(records.store.get(run)).live_history())
    if as_json:
        _print_json(entries)
        return
    from finetune30.cli.run_tables import print_history

    print_history(entries)


@command.command("verify", epilog=RUN_HELP)
@click.argument("run", default="latest")
@_output_dir
def verify(run: str, output_dir: Path | None) -> None:
    """Hash the published files of a run again and compare them with its manifest."""
    from finetune30.service.runs.details import verify_run

    with _opened(output_dir) as records:
        found = records.store.get(run)
        click.echo(f"{found.folder}: {verify_run(records, found)} files are as they were published")


@command.command("cancel", epilog=RUN_HELP)
@click.argument("run")
@_output_dir
def cancel(run: str, output_dir: Path | None) -> None:
    """Stop a run: one that waits at once, one that trains at its next step."""
    with _opened(output_dir) as records:
        found = records.store.request_cancel(run)
    click.echo(f"{found.folder}: {'asked to stop' if found.status == 'RUNNING' else found.status}")


@command.command("delete", epilog=RUN_HELP)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_output_dir
def delete(runs: tuple[str, ...], yes: bool, output_dir: Path | None) -> None:
    """Remove runs with their folders; one that is RUNNING is refused."""
    from finetune30.errors import UsageError

    with _opened(output_dir) as records:
        found = {run.id: run for run in (records.store.get(reference) for reference in runs)}
        for run in found.values():
            tell(f"{run.id[:8]}  {run.status:<9}  {records.results_root / run.folder}")
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("deleting asks first, and nobody is there to answer", "add --yes")
            click.confirm(f"Delete {len(found)} run(s) with everything in them?", abort=True, err=True)
        for run in found.values():
            records.store.delete(run.id, records.results_root)
            click.echo(f"deleted {run.folder}")


@contextmanager
def _opened(output_dir: Path | None) -> Iterator[Records]:
    from finetune30.service.runs.open_records import open_records, require_records
    from finetune30.settings import load_settings

    settings = load_settings()
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        yield records


def _print_json(tree: Any) -> None:
    click.echo(json.dumps(tree, indent=2, ensure_ascii=False))
