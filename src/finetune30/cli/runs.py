"""`ft30 runs`: list, show, follow and verify recorded runs; `run_changes` adds what changes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from finetune30.cli import run_changes
from finetune30.cli.run_filters import RunListCommand, load_run_query
from finetune30.cli.run_options import RUN_HELP, opened, output_dir_option
from finetune30.cli.terminal_text import show_controls, tell
from finetune30.values import say_count

_LOG_CONTROLS = "\n\t"
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("runs")
def command() -> None:
    """Look at recorded runs; edit, stop and remove them."""


@command.command(
    "list",
    cls=RunListCommand,
    epilog="Example: ft30 runs list --min_score 0.8 --score_name eval_accuracy --sort_by score --limit 10",
)
@output_dir_option
@_as_json
def list_runs(output_dir: Path | None, as_json: bool, **wanted: Any) -> None:
    """Print a table of runs, the newest first."""
    from finetune30.service.runs.listing import count_hidden, page_as_dict
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
        hidden = 0 if as_json else count_hidden(records.store, run_filter)
    if as_json:
        _print_json(page_as_dict(page))
        return
    from finetune30.cli.run_tables import print_run_table

    print_run_table(page, total or 0)
    if hidden:
        tell(f"{say_count(hidden, 'archived runs are')} not shown: --archived all")


@command.command("show", epilog=RUN_HELP)
@click.argument("run")
@output_dir_option
@_as_json
def show(run: str, output_dir: Path | None, as_json: bool) -> None:
    """Print everything about one run: state, configuration, result, metrics, rows, files."""
    from finetune30.service.runs.details import load_run_details
    from finetune30.service.submitting.status import load_task
    from finetune30.settings import load_settings

    with opened(output_dir) as records:
        found = records.store.get(run)
        details = load_run_details(records, found)
        waiting = load_task(records.store, found.id, load_settings().max_running_runs)["waiting"]
    if as_json:
        _print_json({**details, "waiting": waiting})
        return
    from finetune30.cli.run_tables import print_run_details

    print_run_details(details)
    if waiting is not None:
        click.echo(f"it waits: {waiting['message']}")


@command.command("logs", epilog=RUN_HELP)
@click.argument("run", default="latest")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Begin with the last N lines.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="The log of that attempt instead of the newest.")
@output_dir_option
def logs(run: str, follow: bool, tail: int | None, attempt: int | None, output_dir: Path | None) -> None:
    """Print the log of a run."""
    from finetune30.errors import UsageError
    from finetune30.service.runs.logs import follow_log, load_log

    if follow and attempt is not None:
        raise UsageError("--follow goes on with the newest attempt, --attempt names one", "leave one of them out")
    with opened(output_dir) as records:
        found = records.store.get(run)
        folder = records.require_folder(found)
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
@output_dir_option
@_as_json
def history(run: str, output_dir: Path | None, as_json: bool) -> None:
    """Print the logged steps and evaluations of a run."""
    from finetune30.files import load_json_lines

    with opened(output_dir) as records:
        entries = load_json_lines(records.require_folder(records.store.get(run)).live_history())
    if as_json:
        _print_json(entries)
        return
    from finetune30.cli.run_tables import print_history

    print_history(entries)


@command.command("verify", epilog=RUN_HELP)
@click.argument("run", default="latest")
@output_dir_option
def verify(run: str, output_dir: Path | None) -> None:
    """Hash the published files of a run again and compare them with its manifest."""
    from finetune30.service.runs.details import verify_run

    with opened(output_dir) as records:
        found = records.store.get(run)
        click.echo(f"{found.folder}: {say_count(verify_run(records, found), 'files are')} as they were published")


def _print_json(tree: Any) -> None:
    click.echo(json.dumps(tree, indent=2, ensure_ascii=False))


for _changing in (run_changes.cancel, run_changes.delete, run_changes.edit):
    command.add_command(_changing)
