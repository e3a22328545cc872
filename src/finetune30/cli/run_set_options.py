"""What `ft30 seeds`, `ft30 crossval` and `ft30 curve` have in common: how a set is made, shown and carried out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from finetune30.cli.config_options import config_options, load_from_flags
from finetune30.cli.named_option import named_option
from finetune30.cli.terminal_text import show_controls, tell, tell_notes
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.service.sets.making import Wanted
    from finetune30.settings import Settings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def set_options(command: Decorated) -> Decorated:
    """Add FILE, the flags of a configuration, and those about handing in."""
    for add in (
        click.option("--json", "as_json", is_flag=True, help="Print the set as JSON."),
        click.option("--show", is_flag=True, help="Show the set of this configuration; make and train nothing."),
        named_option("dry_run", is_flag=True, help="Say what the rows can tell and which runs would be made."),
        click.option("--priority", type=click.IntRange(-100, 100), default=0, help="Higher is earlier in the queue."),
        click.option("--here", is_flag=True, help="Carry the runs out in this process, one after the other."),
        config_options,
        click.argument("file", required=False, type=click.Path(path_type=Path)),
    ):
        command = add(command)
    return command


def make_set(
    context: click.Context,
    wanted: Wanted,
    *,
    file: Path | None,
    config_file: Path | None,
    preset: str | None,
    here: bool,
    dry_run: bool,
    show: bool,
    priority: int,
    as_json: bool,
) -> None:
    """Plan the set, write it, hand its runs in (or carry them out) and print what there is."""
    from finetune30.errors import UsageError
    from finetune30.service.datasets.operations import versions_of
    from finetune30.service.runs.open_records import open_records
    from finetune30.service.sets.handing_in import write_set
    from finetune30.service.sets.making import describe_plan, plan_set
    from finetune30.service.sets.summary import describe_set
    from finetune30.service.submitting.start_weights import pin_loaded
    from finetune30.service.submitting.submission import digest_request
    from finetune30.settings import load_settings
    from finetune30.store.run_sets import find_set

    if file is not None and config_file is not None:
        raise UsageError(f"{file} and --config {config_file} cannot both be the base", "give one of them")
    loaded = load_from_flags(context, file or config_file, preset)
    tell_notes(loaded.notes)
    settings = load_settings()
    if here:
        from finetune30.service.sets.here import require_one_process

        require_one_process(loaded.config)
    failed = 0
    with open_records(settings) as records:
        plan = plan_set(pin_loaded(loaded, records), wanted, settings, versions_of(settings, records.store), _say)
        if dry_run:
            click.echo(json.dumps(describe_plan(plan), indent=2) if as_json else _describe_plan(plan.entries))
            return
        if show:
            found = find_set(records.store, digest_request(plan.as_request()))
            if found is None:
                raise UsageError("this set was never made", "make it: leave --show out")
        else:
            found = write_set(records.store, plan)
            failed = _carry_out(records, found, settings, plan.explicit, here=here, priority=priority)
        described = describe_set(records, found)
    print_set(described, as_json=as_json)
    context.exit(1 if failed else 0)


def print_set(described: dict[str, Any], *, as_json: bool = False) -> None:
    """Print what `describe_set` returns."""
    if as_json:
        click.echo(json.dumps(described, indent=2, ensure_ascii=False))
        return
    click.echo(show_controls(f"set {described['id'][:8]} '{described['name']}': {described['purpose']}"))
    for run in described["runs"]:
        place = f"seed {run['seed']}" + (f", repeat {run['repeat']}, fold {run['fold']}" if "fold" in run else "")
        place += f", share {run['share']:g} ({say_count(run['rows'], 'rows', ',')})" if "share" in run else ""
        score = "" if run["score"] is None else f"  {run['score']:.4f}"
        named = "not handed in" if run["run_id"] is None else f"{run['run_id'][:8]}  {run['status']}"
        click.echo(f"  {run['number']:>3}  {place}  {named}{score}")
    for line in describe_summary(described["summary"]):
        click.echo(line)


def describe_summary(summary: dict[str, Any] | None) -> list[str]:
    """Return the lines that a set says when some of its runs have finished."""
    from finetune30.service.sets.summary import say_power

    if summary is None:
        return ["no run has finished yet"]
    if "points" in summary:
        return [*_describe_curve(summary), *([say_power(summary["power"])] if summary["power"] else [])]
    spread, interval = summary["standard_deviation"], summary["interval"]
    line = f"{summary['score_name']}: mean {summary['mean']:.4f}"
    if spread is not None:
        line += f", standard deviation {spread:.4f} ({summary['lowest']:.4f} to {summary['highest']:.4f})"
    lines = [
        f"{line}; {summary['finished']} of {say_count(summary['planned'], 'runs')}, "
        f"{say_count(summary['rows'], 'rows', ',')}"
    ]
    if interval is not None:
        lines.append(f"95 % interval: {interval['low']:.4f} to {interval['high']:.4f}: {interval['method']}")
    return [*lines, *([say_power(summary["power"])] if summary["power"] else [])]


def _describe_curve(summary: dict[str, Any]) -> list[str]:
    """Return a line for each share of the training rows, and what they say of more rows."""
    form = ".2%" if summary["score_format"] == "percent" else ".4f"
    lines = [
        f"{summary['score_name']} by training rows; {summary['finished']} of {say_count(summary['planned'], 'runs')}"
    ]
    for point in summary["points"]:
        line = (
            f"  {point['training_rows']:>9,} rows ({point['share']:g})  {point['finished']} of "
            f"{say_count(point['planned'], 'runs')}"
        )
        if point["mean"] is not None:
            line += f"  mean {point['mean']:{form}}"
        if point["standard_deviation"] is not None:
            line += f", standard deviation {point['standard_deviation']:{form}}"
        if (interval := point["interval"]) is not None:
            line += f", 95 % interval {interval['low']:{form}} to {interval['high']:{form}}"
        lines.append(line)
    return [*lines, *summary["answer"]["message"].split("\n")]


def _carry_out(
    records: Any, found: Any, settings: Settings, explicit: frozenset[str], *, here: bool, priority: int
) -> int:
    """Hand the runs in, or carry them out; return how many failed here."""
    if here:
        from finetune30.service.sets.here import carry_out_here

        return carry_out_here(records, found, settings, explicit, _say)
    from finetune30.jobs.publishing import QueuePublisher
    from finetune30.service.sets.handing_in import hand_in

    with QueuePublisher(settings) as publisher:
        hand_in(records.store, found, settings, explicit, publisher=publisher, priority=priority)
    _say(f"handed in; follow them: ft30 sets show {found.id[:8]}")
    return 0


def _describe_plan(entries: tuple[dict[str, Any], ...]) -> str:
    shown = (
        "  ".join(f"{key} {value[:12] if isinstance(value, str) else value}" for key, value in entry.items())
        for entry in entries
    )
    return "\n".join(shown)


def _say(line: str) -> None:
    tell(show_controls(line))
