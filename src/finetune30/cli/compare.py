"""`ft30 compare`: whether runs differ by more than chance, and in what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune30.cli.run_options import output_dir_option
from finetune30.cli.terminal_text import show_controls
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.service.runs.open_records import Records

#: Labels named for a pair; --json has more.
_SHOWN_LABELS = 5
#: Rows shown with their answers, and characters of a text; --json has more.
_SHOWN_ANSWERS, _SHOWN_CHARACTERS = 5, 300
_MEASURED = ("eval_", "train_runtime")


@click.command("compare", epilog="Example: ft30 compare reviews-r8 reviews-r16")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--json", "as_json", is_flag=True, help="Print everything that the API answers, as JSON.")
@output_dir_option
def command(runs: tuple[str, ...], as_json: bool, output_dir: Path | None) -> None:
    """Say whether two to eight runs differ by more than chance, and what they were told differently.

    RUN is an id, its beginning, a folder's name, an experiment's name (the newest of it), 'latest', or a version of a
    model: NAME, NAME@alias or NAME:7.

    Runs that were evaluated on the same rows are compared row by row: right or wrong by McNemar's exact test, losses
    (such as the squared errors of a regression) by a permutation test. A run on other rows is named with the reason.
    Of language models the answers that differ are shown one above the other, and how many are as they should be.
    """
    from finetune30.cli.run_options import opened

    with opened(output_dir) as records:
        print_comparison(records, runs, as_json=as_json)


def print_comparison(records: Records, runs: Sequence[str], *, as_json: bool) -> None:
    """Compare runs and print what is found."""
    from finetune30.service.datasets.operations import versions_of
    from finetune30.service.runs.comparison import compare_runs
    from finetune30.settings import load_settings

    found = compare_runs(records, runs, versions_of(load_settings(), records.store))
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for line in [*describe(found), *describe_answers(found)]:
        click.echo(show_controls(line))
    from finetune30.cli.run_tables import print_beside

    names = [f"{run['name']} {run['id'][:8]}" for run in found["runs"]]
    metrics = {key: values for key, values in found["metrics"].items() if key.startswith(_MEASURED)}
    print_beside("METRIC", names, metrics)
    tests = found["tests"]
    if any(tests):
        shown = {name: [test and test[name] for test in tests] for name in ("score_name", "score", "rows", "looks")}
        print_beside("TEST ROWS", names, shown)
    print_beside("CONFIGURATION", names, found["config_difference"])


def describe(found: dict[str, Any]) -> list[str]:
    """Return the verdicts of what `compare_runs` gives, a line each."""
    pairs = found["pairs"]
    lines = [] if len(pairs) == 1 else [found["verdict"]["message"]]
    for pair in pairs:
        lines.append(pair["message"])
        if pair["labels_total"]:
            lines.append(_describe_labels(pair))
    if pairs:
        lines += [f"not compared: '{left['name']}': {left['reason']}" for left in found["left_out"]]
        if found["flipped_total"] or not found["answers"]["pairs"]:
            lines.append(f"{say_count(found['flipped_total'], 'rows')} with other predictions")
    return lines


def describe_answers(found: dict[str, Any]) -> list[str]:
    """Return what language models answered: how the pairs compare, and the first rows that they answered otherwise."""
    answers = found["answers"]
    lines = [pair["message"] for pair in answers["pairs"]]
    lines += [f"not compared: the answers of '{left['name']}': {left['reason']}" for left in answers["left_out"]]
    rows = answers["rows"][:_SHOWN_ANSWERS]
    if not rows:
        return lines
    lines.append(f"{say_count(answers['total'], 'rows')} with other answers, the first {len(rows)}:")
    names = [f"{run['name']} {run['id'][:8]}" for run in found["runs"]]
    for row in rows:
        lines.append(f"  {row['row_id']}  {_one_line(row['question'])}")
        told = {"wanted": row["reference"], **dict(zip(names, row["answers"], strict=True))}
        lines += [f"    {name}: {_one_line(text)}" for name, text in told.items() if text is not None]
    return lines


def _one_line(text: str) -> str:
    """Return a text on one line; of a long one its end, where the last question of a conversation stands."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else "…" + line[1 - _SHOWN_CHARACTERS :]


def _describe_labels(pair: dict[str, Any]) -> str:
    apart = [entry for entry in pair["by_label"] if entry["distinguishable"]]
    line = f"  by label: {pair['labels_distinguishable']} of {pair['labels_total']} differ by more than chance"
    counts = (
        f"{entry['label']} (only the first right {entry['only_first_right']}, only the second "
        f"{entry['only_second_right']}, p = {entry['p_value_adjusted']:.3g})"
        for entry in apart[:_SHOWN_LABELS]
    )
    return line + (f": {'; '.join(counts)}" if apart else "") + (" …" if len(apart) > _SHOWN_LABELS else "")
