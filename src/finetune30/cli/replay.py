"""`ft30 replay`: repeat a finished run and say whether it came out the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from finetune30.cli.run_options import output_dir_option, settings_for

_MOST_LINES = 10


@click.command("replay", epilog="Example: ft30 replay latest")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@output_dir_option
@click.pass_context
def command(context: click.Context, run: str, as_json: bool, output_dir: Path | None) -> None:
    """Repeat a finished run from its record into a new run, and compare the two bit for bit.

    RUN is an id, its beginning, a folder's name, an experiment's name (the newest of it), 'latest', or a version of a
    model: NAME, NAME@alias or NAME:7.

    Compared are every weight, the optimizer, the random streams, the whole history, metrics and predictions. Exit code
    1 when they differ although versions, device and threads are the same.
    """
    from finetune30.service.execution.replay import count_to_replay, replay_locally
    from finetune30.service.execution.starting import count_to_start, start_together

    settings = settings_for(output_dir)
    if count := count_to_start(lambda: count_to_replay(run, settings)):
        context.exit(start_together(context.obj, count))
    replay = replay_locally(run, settings)
    if replay is None:  # another process of a launcher reports
        return
    report = replay.report
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo(f"run {replay.original.id[:8]} repeated as {replay.repeated.run_id[:8]}: {_verdict(report)}")
        _print_differences(report)
    if report["same_environment"] and not report["identical"]:
        context.exit(1)


def _verdict(report: Mapping[str, Any]) -> str:
    if "fault" in report:
        return f"not compared: {report['fault']}"
    if report["identical"]:
        return "identical (weights, optimizer, random streams, history, metrics, predictions)"
    return "NOT identical" + ("" if report["same_environment"] else ", which the environment explains")


def _print_differences(report: Mapping[str, Any]) -> None:
    weights = [
        f"{name}: other, how far cannot be said" if difference is None else f"{name}: by up to {difference:.3g}"
        for name, difference in report.get("tensors", {}).items()
    ]
    for title, lines in (
        ("environment", report.get("environment", [])),
        ("inputs", report.get("inputs", [])),
        ("weights", weights),
        ("states", report.get("states", [])),
        ("first difference in the history", report.get("history", [])),
        ("metrics", report.get("metrics", [])),
        ("predictions", report.get("predictions", [])),
    ):
        if lines:
            click.echo(f"{title}:")
        for line in lines[:_MOST_LINES]:
            click.echo(f"  {line}")
        if len(lines) > _MOST_LINES:
            click.echo(f"  … {len(lines) - _MOST_LINES} more in replay.json")
