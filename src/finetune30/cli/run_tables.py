"""Runs as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finetune30.blocks import format_value
from finetune30.cli.blocks import print_blocks
from finetune30.cli.mirror_tables import mirror_rows
from finetune30.cli.terminal_text import show_controls
from finetune30.values import is_number, say_count

if TYPE_CHECKING:
    from finetune30.store import Run, RunPage

#: Width where nobody looks at a terminal: wide enough that no column is cut.
_PIPE_WIDTH = 200
_COLORS = {
    "QUEUED": "yellow",
    "RUNNING": "cyan",
    "PAUSED": "blue",
    "SUCCEEDED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
}


def print_run_table(page: RunPage, total: int) -> None:
    """Print one page of runs; `total` counts the runs of all pages."""
    console = build_console()
    if not page.runs:
        console.print("No runs that fit.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("ID", no_wrap=True)
    table.add_column("NAME", overflow="fold")
    is_tagged = any(run.tags for run in page.runs)
    if is_tagged:
        table.add_column("TAGS", overflow="fold")
    for heading in ("STATUS", "CREATED (UTC)"):
        table.add_column(heading, no_wrap=True)
    for heading in ("MODEL", "DATA"):
        table.add_column(heading, overflow="ellipsis", no_wrap=True, max_width=28)
    scores = {run.score_name for run in page.runs if run.score_name}
    is_mixed = len(scores) != 1
    for heading in ("SCORE" if is_mixed else _score_title(*scores).upper(), "LOSS", "RUNTIME"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in page.runs:
        table.add_row(
            run.id[:8],
            _name_text(run),
            *([", ".join(run.tags)] if is_tagged else []),
            _status_text(run),
            f"{run.created_at:%Y-%m-%d %H:%M:%S}",
            show_controls(run.model_name or ""),
            show_controls(run.dataset_name or ""),
            _score_text(run, with_name=is_mixed),
            _number(run.eval_loss, 4),
            _duration(run.train_runtime),
        )
    console.print(table)
    if len(page.runs) < total:
        console.print(Text(f"{len(page.runs)} of {say_count(total, 'runs')}", style="dim"))
    if page.next_cursor:
        console.print(Text(f"next page: --cursor {page.next_cursor}", style="dim"), soft_wrap=True)


def print_run_details(details: Mapping[str, Any]) -> None:
    """Print what `load_run_details` returns."""
    from finetune30.data.sources.physical_lines import describe_lines

    console = build_console()
    run = details["run"]
    _print_pairs(console, "", _head_rows(run, details["path"]))
    if error := run["error"]:
        _print_error(console, error)
    if run["status"] == "RUNNING" and run["progress"]:
        _print_pairs(console, "Progress", run["progress"])
    _print_pairs(console, "Configuration", details["config_summary"])
    print_blocks(console, details["blocks"])
    _print_pairs(
        console, "Metrics", {k: v for k, v in (run["metrics"] or {}).items() if not isinstance(v, list | dict)}
    )
    _print_ledger(console, details["ledger_totals"])
    lines = {show_controls(str(entry["file"])): describe_lines(entry) for entry in details["ledger_lines"]}
    _print_pairs(console, "Lines", lines)
    _print_pairs(console, "Mirrors", mirror_rows(details["mirrors"]))
    _print_pairs(console, "Files", {file["name"]: f"{file['size']:,} bytes" for file in details["files"]})


def print_history(entries: list[dict[str, Any]]) -> None:
    """Print records of history.jsonl; the columns are the numbers that occur in them."""
    console = build_console()
    if not entries:
        console.print("No steps logged yet.")
        return
    hidden = {"type", "time", "step", "epoch", "event", "message"}
    columns = dict.fromkeys(
        key for entry in entries for key, value in entry.items() if is_number(value) and key not in hidden
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("STEP", justify="right", no_wrap=True)
    table.add_column("EPOCH", justify="right", no_wrap=True)
    table.add_column("WHAT", overflow="fold")
    for key in columns:
        table.add_column(key, justify="right", no_wrap=True)
    for entry in entries:
        what = " ".join(str(entry[key]) for key in ("event", "message") if entry.get(key)) or str(entry.get("type", ""))
        numbers = (f"{entry[key]:.6g}" if is_number(entry.get(key)) else "" for key in columns)
        table.add_row(str(entry.get("step", "")), _number(entry.get("epoch"), 2), show_controls(what), *numbers)
    console.print(table)


def print_beside(heading: str, names: Sequence[str], values: Mapping[str, Sequence[Any]]) -> None:
    """Print a line for every key with its value of each run; nothing where there are no keys."""
    if not values:
        return
    console = build_console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(heading, no_wrap=True)
    for name in names:
        table.add_column(Text(show_controls(name)), overflow="fold", justify="right")
    for key, cells in values.items():
        table.add_row(Text(show_controls(key)), *(Text(show_controls(_shorten(cell))) for cell in cells))
    console.print()
    console.print(table)


def build_console() -> Console:
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def _head_rows(run: Mapping[str, Any], path: str) -> dict[str, Any]:
    stopping = run["cancel_requested"] and run["status"] == "RUNNING"
    rows = {
        "id": run["id"],
        "name": run["name"] + (" *" if run["starred"] else "") + (" (archived)" if run["archived"] else ""),
        "tags": ", ".join(run["tags"]),
        "note": run["note"],
        "status": run["status"] + (" (asked to stop)" if stopping else ""),
        "kind": run["kind"],
        "attempt": run["attempt"],
        **{moment: _moment(run[f"{moment}_at"]) for moment in ("created", "started", "finished")},
        "device": " ".join(value for value in (run["device"], run["precision"]) if value),
        "data digest": run["dataset_digest"],
        "folder": path,
    }
    return {key: value for key, value in rows.items() if value not in (None, "")}


def _print_error(console: Console, error: Mapping[str, Any]) -> None:
    rows = {"code": error.get("error"), "what": error.get("message"), "try": error.get("remedy")}
    _print_pairs(console, "Error", rows)
    if output := (error.get("details") or {}).get("output"):  # of a process that ended without recording its end
        console.print()
        console.print(Text("What it printed last", style="bold"))
        console.print(Text(show_controls(str(output), "\n\t")), soft_wrap=True)


def _print_pairs(console: Console, title: str, pairs: Mapping[str, Any]) -> None:
    if not pairs:
        return
    if title:
        console.print()
        console.print(Text(title, style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in pairs.items():
        shown = _shorten(value)
        table.add_row(Text(show_controls(str(key))), Text(show_controls(shown), style=_COLORS.get(shown, "")))
    console.print(table)


def _print_ledger(console: Console, totals: Mapping[str, Mapping[str, Any]]) -> None:
    rows = {}
    for split, total in totals.items():
        counts = {**{k: v for k, v in total.items() if k != "dropped"}, **(total.get("dropped") or {})}
        rows[split] = ", ".join(f"{show_controls(str(name))} {count}" for name, count in counts.items() if count)
    _print_pairs(console, "Rows", rows)


def _shorten(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "-" if value is None else str(value)


def _score_title(name: str) -> str:
    return show_controls(name.removeprefix("eval_").replace("_", " "))


def _score_text(run: Run, *, with_name: bool) -> str:
    """Return the score; where others stand beside it that measure something else, with what it is."""
    if run.score is None or run.score_name is None:
        return ""
    shown = format_value(run.score, "percent") if run.score_format == "percent" else _number(run.score, 4)
    return f"{_score_title(run.score_name)} {shown}" if with_name else shown


def _name_text(run: Run) -> str:
    """Return the name behind a star, with what hides it elsewhere."""
    return ("* " if run.starred else "") + run.name + (" (archived)" if run.archived else "")


def _status_text(run: Run) -> Text:
    text = str(run.status)
    match run.progress:
        case {"step": int(step), "total_steps": int(total)} if total > 0 and run.status == "RUNNING":
            text += f" {100 * step / total:.0f}%"
    return Text(text, style=_COLORS[run.status])


def _moment(iso: str | None) -> str:
    return f"{iso[:19].replace('T', ' ')} UTC" if iso else ""


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if is_number(value) else ""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{seconds:.1f} s" if seconds < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
