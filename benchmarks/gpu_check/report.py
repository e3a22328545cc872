"""The lines of all parts on the disk, and the table made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.gpu_check.parts import PARTS
from benchmarks.gpu_check.running import Line


def read_lines(path: Path) -> list[Line]:
    """Return the lines of an earlier call, none where there was none."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def forget(path: Path, names: Iterable[str]) -> None:
    """Take the lines of parts that are about to be repeated out; those of others stay."""
    kept = [line for line in read_lines(path) if line["part"] not in names]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
    partial.replace(path)


def append(path: Path, line: Line) -> None:
    """Write a part's line at once."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(line)}\n")


def build_table(lines: list[Line]) -> str:
    """Return a Markdown table: a row a finding, and one for each part that failed or was not run."""
    order = [part.name for part in PARTS]
    rows = ["| part | what | found | target | |", "|---|---|---|---|---|"]
    for line in sorted(lines, key=lambda line: order.index(line["part"])):
        for finding in line["findings"]:
            verdict = {True: "ok", False: "**failed**", None: ""}[finding["ok"]]
            cells = (line["part"], finding["what"], finding["found"], finding["target"], verdict)
            rows.append(f"| {' | '.join(map(_in_cell, cells))} |")
        if line["state"] == "not run":
            rows.append(f"| {line['part']} | | not run: {_in_cell(line['reason'])} | | |")
        elif line["state"] == "failed":
            rows.append(f"| {line['part']} | the part | {_in_cell(line['reason'])} | | **failed** |")
        else:
            rows.append(f"| {line['part']} | the part | {line['seconds']} s | | ok |")
    return "\n".join(rows) + "\n"


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
