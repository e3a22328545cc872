"""Terminal views of data: analysis, findings, cleaning, versions, differences, suspects."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune30.cli.terminal_text import show_controls
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.data.validation.validate import Validation

#: The column of rows that holds conversations, as JSON.
CONVERSATION = "conversation"
_LABELS_SHOWN = 20
_BAR_WIDTH = 30
_TEXT_SHOWN = 70
_PERCENTILES = ("5", "50", "95", "99")


def print_analysis(analysis: dict[str, Any]) -> None:
    """Print label counts, lengths, vocabulary and duplicates of every split, and a comparison where there is one."""
    console = Console(highlight=False)
    for split, tree in analysis["splits"].items():
        console.print(
            f"\n[bold]{_safe(analysis['dataset_name'])}[/bold] {split}: {say_count(tree['total_samples'], 'rows', ',')}"
        )
        if tree["label_counts"]:
            _print_labels(console, tree)
        if tree.get("conversations"):
            _print_conversations(console, tree["conversations"])
        _print_lengths(console, tree["lengths"])
        words, copies = tree["vocabulary"], tree["duplicates"]
        console.print(
            f"words: {words['total_words']:,}, {words['distinct_words']:,} different, "
            f"{words['words_seen_once']:,} seen once; texts: {copies['distinct_texts']:,} different, "
            f"{say_count(copies['repeated_rows'], 'rows repeat', ',')} one, "
            f"{copies['same_but_for_case_and_punctuation']:,} differ only "
            "in case or punctuation"
        )
    if "drift" in analysis:
        _print_drift(console, analysis["drift"])


def print_findings(tree: dict[str, Any], validation: Validation, examples: int) -> None:
    """Print how files were read and where their lines went, findings by rule, what rules drop, what a training does."""
    from finetune30.data.validation.findings import describe_findings

    console = Console(highlight=False)
    _print_files(console, tree["files"])
    for line in describe_findings(validation.findings, examples):
        console.print(_safe(line), soft_wrap=True)
    for share in validation.shares:
        console.print(_safe(share.describe()), soft_wrap=True)
    total = sum(group["count"] for group in tree["summary"])
    console.print(
        f"{say_count(tree['rows'], 'rows', ',')}: {say_count(total, 'findings', ',')}, {tree['errors']:,} of them "
        f"errors",
        soft_wrap=True,
    )
    if tree["refusal"]:
        console.print(f"a training would not start: {_safe(tree['refusal'])}", soft_wrap=True)
    elif tree["set_aside"]:
        console.print(f"a training would set {say_count(tree['set_aside'], 'rows', ',')} aside and use the others")


def _print_files(console: Console, files: list[dict[str, Any]]) -> None:
    """Print of each text file how it was read and what its lines are."""
    from finetune30.data.sources.physical_lines import describe_lines

    for file in files:
        read = [f"{key} {file[key]!r}" for key in ("encoding", "separator", "quotes") if key in file]
        if read:
            console.print(_safe(f"{file['file']}: {', '.join(read)}"), soft_wrap=True)
        if file["lines"] is not None:
            console.print(_safe(f"{file['file']}: {describe_lines(file['lines'])}"), soft_wrap=True)


def print_cleaning(tree: dict[str, Any]) -> None:
    """Print what every step did and the files."""
    console = Console(highlight=False)
    for step in tree["recipe"]:
        name = step["step"]
        changed, dropped = tree["changed"].get(name, 0), tree["dropped"].get(name)
        count, done = (changed, "changed") if dropped is None else (dropped, "dropped")
        console.print(f"{name:<20} {say_count(count, 'rows', ',')} {done}")
    console.print(
        f"{say_count(tree['rows_before'], 'rows', ',')} before, {tree['rows_after']:,} after; content "
        f"{tree['content_digest'][:12]}"
    )
    for file in tree["files"]:
        console.print(_safe(file), soft_wrap=True)


def print_versions(found: list[dict[str, Any]]) -> None:
    """Print a table of versions."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (("version", "left"), ("created (UTC)", "left"), ("train", "right"), ("evaluation", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    for name in ("labels", "source", "tags", "note"):
        table.add_column(name)
    for tree in found:
        rows, labels = tree["rows"], tree["label_names"]
        table.add_row(
            tree["digest"][:12],
            f"{datetime.fromisoformat(tree['created_at']):%Y-%m-%d %H:%M}",
            f"{rows.get('train', 0):,}",
            f"{rows.get('evaluation', 0):,}",
            str(len(labels)) if labels else tree["problem_type"],
            _safe(str(tree["source"].get("name", ""))),
            ", ".join(tree["tags"]),
            _safe(tree["note"]),
        )
    Console(highlight=False).print(table)


def print_version(tree: dict[str, Any]) -> None:
    """Print a version: facts, recipe, runs and first rows."""
    console = Console(highlight=False)
    for key in ("digest", "created_at", "problem_type", "parent", "note"):
        if tree[key]:
            console.print(f"{key:<14}{_safe(str(tree[key]))}", soft_wrap=True)
    console.print(f"{'source':<14}{_safe(str(tree['source'].get('name', '')))}")
    console.print(f"{'rows':<14}{', '.join(f'{split} {count:,}' for split, count in tree['rows'].items())}")
    columns = [f"{column['name']} ({column['role']})" for column in tree["schema"] if column["role"] != "origin"]
    console.print(f"{'columns':<14}{_safe(', '.join(columns))}", soft_wrap=True)
    if tree["label_names"]:
        console.print(f"{'labels':<14}{_safe(', '.join(tree['label_names'][:_LABELS_SHOWN]))}")
    for key in ("tags", "recipe", "runs"):
        names = [
            value if isinstance(value, str) else value.get("step") or f"{value['id'][:8]} {value['name']}"
            for value in tree[key]
        ]
        if names:
            console.print(f"{key:<14}{_safe(', '.join(names))}")
    for split, rows in tree["first_rows"].items():
        for row in rows:
            targets, texts = (_values(row, tree["schema"], role) for role in ("target", "text"))
            lines = _turns(row.get(CONVERSATION))
            console.print(_safe(f"{split}  {targets}  {'' if lines else texts}".rstrip()), soft_wrap=True)
            for line in lines:
                console.print(_safe(f"  {_cut(line)}"), soft_wrap=True)


def print_diff(tree: dict[str, Any]) -> None:
    """Print counts of differences and the first rows of them."""
    console = Console(highlight=False)
    console.print(", ".join(f"{count:,} {kind}" for kind, count in tree["counts"].items()))
    signs = {"added": "+", "removed": "-", "relabelled": "~", "changed": "~"}
    for row in tree["rows"]:
        former = {name.removesuffix("_before"): value for name, value in row.items() if name.endswith("_before")}
        labels, texts = (
            _change(_values(former, tree["columns"], role), _values(row, tree["columns"], role))
            for role in ("target", "text")
        )
        console.print(
            _safe(f"{signs[row['kind']]} {row['kind']:<10} {row['origin']}  [{labels}]  {texts}"), soft_wrap=True
        )
    hidden = sum(count for kind, count in tree["counts"].items() if kind != "unchanged") - len(tree["rows"])
    if hidden > 0:
        console.print(f"… and {hidden:,} more (--limit)")


def print_suspects(tree: dict[str, Any]) -> None:
    """Print the rows whose label the model doubts most."""
    console = Console(highlight=False)
    console.print(
        f"{tree['suspects']:,} of {say_count(tree['rows'], 'training rows are', ',')} suspects "
        f"({_safe(tree['method'])})",
        soft_wrap=True,
    )
    for row in tree["ranking"]:
        given, texts = (_values(row, tree["columns"], role) for role in ("target", "text"))
        sign = "?" if row["is_suspect"] else " "
        line = f"{sign} {row['score']:.3f}  {row['origin']}  {given} -> {row['suggested_label']}  {texts}"
        console.print(_safe(line), soft_wrap=True)


def _print_labels(console: Console, tree: dict[str, Any]) -> None:
    counts = tree["label_counts"]
    largest, width = max(counts.values()), max(len(str(name)) for name in counts)
    sign = "#" if console.options.ascii_only else "█"
    for name, count in list(counts.items())[:_LABELS_SHOWN]:
        bar = sign * max(1, round(_BAR_WIDTH * count / largest)) if count else ""
        share = count / max(tree["total_samples"], 1)
        console.print(f"  {_safe(name):<{min(width, 30)}} {count:>8,} {share:>6.1%} {bar}")
    if len(counts) > _LABELS_SHOWN:
        console.print(f"  … and {len(counts) - _LABELS_SHOWN} more labels")
    verdict = "balanced" if tree["is_balanced"] else "not balanced"
    console.print(f"imbalance_ratio: {tree['imbalance_ratio']} ({verdict}: at most 3 counts as balanced)")


def _print_lengths(console: Console, lengths: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("length")
    for name in ("mean", "min", *(f"{p} %" for p in _PERCENTILES), "max"):
        table.add_column(name, justify="right")
    for unit in ("characters", "words", "tokens"):
        values = lengths[unit]
        if values and values["mean"] is not None:
            middle = [f"{values['percentiles'][p]:g}" for p in _PERCENTILES]
            table.add_row(unit, f"{values['mean']:g}", str(values["min"]), *middle, str(values["max"]))
    console.print(table)
    if lengths["suggested_max_length"]:
        console.print(f"suggested max_length: {lengths['suggested_max_length']} (truncates at most 1 % of the rows)")


def _print_drift(console: Console, drift: dict[str, Any]) -> None:
    console.print(
        f"\ncompared with {_safe(str(drift['name']))} ({drift['rows'][0]:,} against "
        f"{say_count(drift['rows'][1], 'rows', ',')})"
    )
    for part in ("labels", "lengths"):
        test = drift[part]
        verdict = "differs" if test["differs"] else "no difference that matters"
        numbers = f"statistic {test['statistic']:.4g}, effect {test['effect']:.3f}, p = {test['p_value']:.3g}"
        console.print(f"  {part}: {verdict} ({numbers}; {_safe(test['test'])})", soft_wrap=True)
    console.print(f"  words unknown to it: {drift['vocabulary']['unknown_share']:.1%}")


def _values(row: dict[str, Any], columns: list[dict[str, Any]], role: str) -> str:
    """Return what a row has in the columns of a role, in one line."""
    found = [
        " / ".join(_turns(row[name])) or row[name] if name == CONVERSATION else row[name]
        for name in (column["name"] for column in columns if column["role"] == role)
    ]
    there = [value for value in found if value not in (None, "")]
    return " | ".join(
        _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for value in there
    )


def _turns(cell: Any) -> list[str]:
    """Return a line a turn of a cell in canonical form, none where it is no conversation."""
    from finetune30.data.conversations.conversation import load

    try:
        return load(cell).lines() if isinstance(cell, str) else []
    except (ValueError, RecursionError):
        return []


def _print_conversations(console: Console, tree: dict[str, Any]) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in tree["kinds"].items())
    turns = ", ".join(f"{count:,} of {turns}" for turns, count in tree["turns"].items())
    scripts = ", ".join(f"{count:,} {script}" for script, count in tree["scripts"].items())
    console.print(f"conversations: {kinds}; rows by turns: {turns}; answers by script: {scripts}", soft_wrap=True)
    for role, counts in tree["roles"].items():
        console.print(f"  {role:<10} {counts['turns']:>8,} turns {counts['characters']:>12,} characters")
    tools = tree["tools"]
    if tools["rows"]:
        declared = ", ".join(f"{name} ({count:,})" for name, count in tools["declared"].items())
        console.print(
            _safe(
                f"  tools in {say_count(tools['rows'], 'rows', ',')}, called in "
                f"{say_count(tools['turns_with_calls'], 'turns', ',')}: {declared}"
            ),
            soft_wrap=True,
        )
    for lines in tree["examples"]:
        console.print("")
        for line in lines:
            console.print(_safe(f"  {_cut(line)}"), soft_wrap=True)


def _change(before: str, after: str) -> str:
    return after if before in ("", after) else f"{before} -> {after}"


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_SHOWN else text[: _TEXT_SHOWN - 1] + "…"


def _safe(text: str) -> str:
    return escape(show_controls(str(text)))
