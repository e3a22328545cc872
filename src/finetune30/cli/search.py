"""`ft30 search`: try configurations, trial by trial, and keep a record from which the trials can be made again."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune30.cli.config_options import given_keys, key_options
from finetune30.cli.named_option import named_option
from finetune30.cli.terminal_text import show_controls, tell, tell_notes

if TYPE_CHECKING:
    from finetune30.service.runs.open_records import Records
    from finetune30.service.searches.plans import SearchPlan
    from finetune30.settings import Settings
    from finetune30.store.searches import Search

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_here = click.option("--here", is_flag=True, help="Carry the trials out in this process, one after the other.")
_trials = click.option("--trials", type=click.IntRange(1, 1000), help="Trials in all (search.trials).")
_search = click.argument("name", metavar="SEARCH")
_EPILOG = "SEARCH is an id, its beginning, or a name (the newest of it)."


@click.group("search")
def command() -> None:
    """Search the best configuration: grid, random or TPE, the same trials on any number of workers."""


@command.command("start", epilog="Example: ft30 search start search.yaml --trials 20")
@click.argument("file", type=click.Path(path_type=Path))
@key_options
@click.option("--config", "config_file", type=click.Path(path_type=Path), hidden=True)
@click.option("--preset", hidden=True)
@_trials
@_here
@click.option("--priority", type=click.IntRange(-100, 100), default=-10, show_default=True, help="Higher is earlier.")
@named_option("dry_run", is_flag=True, help="Say what the rows can tell and which trials come first.")
@_as_json
@click.pass_context
def start(
    context: click.Context,
    file: Path,
    config_file: Path | None,
    preset: str | None,
    trials: int | None,
    here: bool,
    priority: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the search of a configuration file. Its section `search:` says what is varied; every other key is a flag.

    The rows are stored as one dataset version on which all trials train. Trial 0 is the configuration as it stands.
    The same command again goes on with a search that was cut off, and makes no trial twice.
    """
    from finetune30.config.search_loading import load_search
    from finetune30.errors import UsageError
    from finetune30.service.datasets.operations import versions_of
    from finetune30.service.runs.open_records import open_records
    from finetune30.service.searches.making import plan_search
    from finetune30.service.submitting.start_weights import pin_loaded
    from finetune30.settings import load_settings

    if config_file is not None or preset is not None:
        raise UsageError("a search has its configuration in its own file", "leave --config and --preset out")
    wanted = load_search(file, given_keys(context), **({} if trials is None else {"trials": trials}))
    tell_notes(wanted.loaded.notes)
    settings = load_settings()
    if here:
        from finetune30.service.sets.here import require_one_process

        require_one_process(wanted.loaded.config)
    with open_records(settings) as records:
        wanted = replace(wanted, loaded=pin_loaded(wanted.loaded, records))
        plan = plan_search(wanted, settings, versions_of(settings, records.store), _say)
        if dry_run:
            _print_first(plan, as_json=as_json)
            return
        context.exit(_start(records, plan, settings, here=here, priority=priority, as_json=as_json))


@command.command("list")
@_as_json
def list_all(as_json: bool) -> None:
    """Print the newest searches."""
    from finetune30.cli.run_options import opened
    from finetune30.service.searches.summary import summarize_search
    from finetune30.store.searches import list_searches

    with opened(None) as records:
        found = [summarize_search(records.store, search) for search in list_searches(records.store)]
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for one in found:
        states = ", ".join(f"{count} {state}" for state, count in sorted(one["counts"].items()))
        line = (
            f"{one['id'][:8]}  {one['created_at'][:16].replace('T', ' ')}  {one['status']:<9}  {states}  {one['name']}"
        )
        click.echo(show_controls(line))
    if not found:
        click.echo("No searches yet. Make one with: ft30 search start FILE")


@command.command("show", epilog=_EPILOG)
@_search
@_as_json
def show(name: str, as_json: bool) -> None:
    """Print the trials of a search, and the best. Each with its state, run and values."""
    from finetune30.cli.run_options import opened
    from finetune30.store.searches import load_search

    with opened(None) as records:
        _print(records, load_search(records.store, name), as_json=as_json)


@command.command("stop", epilog=_EPILOG)
@_search
@click.option("--now", is_flag=True, help="Cancel the trials that wait or train, too; resume takes them up again.")
def stop(name: str, now: bool) -> None:
    """Suggest nothing more. Trials that wait or train go on."""
    from finetune30.cli.run_options import opened
    from finetune30.service.searches.changing import stop_search
    from finetune30.store.searches import load_search

    with opened(None) as records:
        search = load_search(records.store, name)
        stop_search(records.store, search, now=now)
    here = " --here" if search.kind == "local" else ""
    click.echo(f"stopped; go on with: ft30 search resume {search.id[:8]}{here}")


@command.command("resume", epilog=_EPILOG)
@_search
@_trials
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Hours of training in all (limits.hours).")
@named_option("disk_gb", type=click.FloatRange(0, min_open=True), help="Gigabytes in all (limits.disk_gb).")
@_here
@_as_json
@click.pass_context
def resume(
    context: click.Context,
    name: str,
    trials: int | None,
    hours: float | None,
    disk_gb: float | None,
    here: bool,
    as_json: bool,
) -> None:
    """Go on with a search. Also for more trials, hours or space; the trials that there are stay what they are."""
    from finetune30.cli.run_options import opened
    from finetune30.service.searches.changing import require_kind, resume_search
    from finetune30.settings import load_settings
    from finetune30.store.searches import load_search

    settings = load_settings()
    with opened(None) as records:
        search = load_search(records.store, name)
        require_kind(search, "local" if here else "queued")
        resume_search(records.store, search, trials=trials, hours=hours, disk_gb=disk_gb)
        context.exit(_carry_on(records, search, settings, here=here, as_json=as_json))


@command.command("test", epilog=_EPILOG)
@_search
@click.option("--device", help="Where to evaluate, in the place of the runs' own device.")
@click.option("--once", is_flag=True, help="Only where they were never opened for this search.")
@click.option("--by", default="", hidden=True, help="Name of the key on whose behalf the API opens them.")
@click.option("--look", type=int, hidden=True, help="Which look the API was asked for; nothing where it is taken.")
@_as_json
def test(name: str, device: str | None, once: bool, by: str, look: int | None, as_json: bool) -> None:
    """Open the test rows for the best trial and trial 0. Every repeat of both is judged on them; each look is counted.

    Workers do it once by themselves, as --here does, where there are test rows. What is chosen after the first look is
    chosen by these rows too.
    """
    from finetune30.cli.run_options import opened
    from finetune30.service.searches.opening import open_test_rows, open_test_rows_once
    from finetune30.service.searches.standing import load_standing
    from finetune30.settings import load_settings
    from finetune30.store.searches import load_search

    with opened(None) as records:
        search = load_search(records.store, name)
        standing = load_standing(records.store, search.id)
        if once:  # as the search asked for it
            open_test_rows_once(records, standing, load_settings(), _say, by=search.submitted_by, device=device)
        else:
            open_test_rows(records, standing, load_settings(), _say, by=by, device=device, count=look)
        _print(records, search, as_json=as_json)


@command.command("verify", epilog=_EPILOG)
@_search
@_as_json
@click.pass_context
def verify(context: click.Context, name: str, as_json: bool) -> None:
    """Make every suggestion and decision again. Out of seed and results on record; exit code 1 when one differs."""
    from finetune30.cli.run_options import opened
    from finetune30.service.searches.standing import load_standing
    from finetune30.service.searches.verifying import verify_search
    from finetune30.store.searches import load_search

    with opened(None) as records:
        found = verify_search(load_standing(records.store, load_search(records.store, name).id))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for one in found["differ"]:
            click.echo(f"trial {one['number']} differs: recorded {one['recorded']}, suggested {one['suggested']}")
        for one in found["not_checked"]:
            click.echo(f"trial {one['number']} was suggested by other versions: {one['versions']}")
        click.echo(
            f"{found['checked'] - len(found['differ'])} of {found['checked']} suggestions made again are the same"
        )
        _print_decisions(found)
    context.exit(1 if found["differ"] or found.get("decisions_differ") else 0)


def _print_decisions(found: dict[str, Any]) -> None:
    differ, count = found.get("decisions_differ", []), found.get("decisions")
    for one in differ:
        click.echo(f"trial {one['number']} at rung {one['rung']}: recorded {one['recorded']}, decided {one['decided']}")
    if count is not None:
        click.echo(f"{count - len(differ)} of {count} decisions made again are the same")


@command.command("delete", epilog=_EPILOG)
@_search
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def delete(context: click.Context, name: str, yes: bool) -> None:
    """Remove a search with all its runs. Their folders go too; a search that goes on is stopped first."""
    from finetune30.cli.run_options import opened
    from finetune30.errors import UsageError
    from finetune30.service.searches.changing import delete_search
    from finetune30.store.searches import load_search

    with opened(None) as records:
        search = load_search(records.store, name)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("deleting asks first, and nobody is there to answer", "add --yes")
            click.confirm(f"Delete search {search.id[:8]} '{search.name}' with all its runs?", abort=True, err=True)
        kept = delete_search(records, search)
    for line in kept:
        tell(line)
    click.echo(f"deleted search {search.id[:8]}" + (f", {len(kept)} run(s) were kept" if kept else ""))
    context.exit(1 if kept else 0)


def _start(records: Records, plan: SearchPlan, settings: Settings, *, here: bool, priority: int, as_json: bool) -> int:
    from finetune30.service.searches.changing import write_search

    search = write_search(records.store, plan, kind="local" if here else "queued", priority=priority)
    return _carry_on(records, search, settings, here=here, as_json=as_json)


def _carry_on(records: Records, search: Search, settings: Settings, *, here: bool, as_json: bool) -> int:
    """Carry the trials out here, or let the workers do it; print the search and return the exit code."""
    if here:
        from finetune30.service.searches.here import carry_out_here

        ended = carry_out_here(records, search, settings, _say)
        _print(records, search, as_json=as_json)
        return 1 if ended.search.status == "FAILED" else 0
    from finetune30.jobs.publishing import QueuePublisher
    from finetune30.service.searches.changing import begin_search

    with QueuePublisher(settings) as publisher:
        begin_search(records.store, search, settings, publisher)
    _print(records, search, as_json=as_json)
    _say(f"workers carry it out; follow it: ft30 search show {search.id[:8]}")
    return 0


def _print(records: Records, search: Search, *, as_json: bool) -> None:
    from finetune30.cli.search_tables import describe_lines
    from finetune30.service.searches.summary import describe_search

    described = describe_search(records.store, search)
    if as_json:
        click.echo(json.dumps(described, indent=2, ensure_ascii=False))
        return
    for line in describe_lines(described):
        click.echo(show_controls(line))


def _print_first(plan: SearchPlan, *, as_json: bool) -> None:
    """Print the trials that are suggested before any has ended."""
    from finetune30.cli.search_tables import describe_values
    from finetune30.service.searches.plans import list_first

    first: list[dict[str, Any]] = list_first(plan)
    if as_json:
        click.echo(json.dumps({**plan.as_dict(), "first": first}, indent=2, ensure_ascii=False))
        return
    for number, values in enumerate(first):
        click.echo(show_controls(f"{number:>4}  {describe_values(values)}"))


def _say(line: str) -> None:
    tell(show_controls(line))
