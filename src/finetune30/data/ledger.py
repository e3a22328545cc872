"""The ledger: where every input row went, per file and split, to the row.

A row is used, moved from the training file to the evaluation rows, or dropped for one reason:
`input = used + moved_to_evaluation + sum(dropped)`. Truncated rows are used; they are counted beside. Of text files
the physical lines are accounted for too, each a row or counted under the reason why it is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import polars as pl

from finetune30.data.sources.physical_lines import check_lines, describe_lines
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError

MOVED = "moved_to_evaluation"
#: Files whose lines the log counts.
_SHOWN_FILES = 10


def build_ledger(rows: pl.DataFrame, tables: Iterable[SourceTable] = ()) -> dict[str, Any]:
    """Count rows (columns `file`, `origin` and final `split`, `reason`) into the ledger.

    `origin` is the split as which a row was read; a row with origin train and split evaluation was moved. `tables` are
    the files that the rows were read from.
    """
    entries: list[dict[str, Any]] = []
    for (file, split), part in rows.group_by("file", "origin", maintain_order=True):
        entries.append(_entry(str(file), str(split), part))
    moved = rows.filter((pl.col("origin") == "train") & (pl.col("split") == "evaluation"))
    for (file,), part in moved.group_by("file", maintain_order=True):
        entry = _entry(str(file), "evaluation", part.with_columns(origin=pl.lit("evaluation")))
        entries.append(entry | {"split_off_from": "train"})
    ledger = {
        "files": entries,
        "totals": {split: _total(entries, split) for split in ("train", "evaluation")},
        "lines": list_lines(tables),
    }
    check_ledger(ledger)
    return ledger


def list_lines(tables: Iterable[SourceTable]) -> list[dict[str, Any]]:
    """Return the account of the physical lines of every text file, JSON (see `PhysicalLines.as_tree`)."""
    return [{"file": table.name, **table.lines.as_tree()} for table in tables if table.lines is not None]


def check_ledger(ledger: Mapping[str, Any]) -> None:
    """Raise DataError where an entry does not add up: a row or a line would have vanished."""
    for entry in ledger["files"]:
        accounted = entry["used"] + entry[MOVED] + sum(entry["dropped"].values())
        if entry["input"] != accounted:
            place = f"{entry['file']} ({entry['split']})"
            raise DataError(f"the ledger of {place} accounts for {accounted} of {entry['input']} rows")
    read = {entry["file"]: entry["input"] for entry in ledger["files"] if "split_off_from" not in entry}
    for lines in ledger.get("lines", ()):
        check_lines(lines["file"], lines)
        # Rows of a file that was left out whole, as an evaluation file without labels is, are in no ledger.
        if read.get(lines["file"], lines["rows"]) != lines["rows"]:
            counted = f"{lines['rows']} rows were read from {lines['file']}"
            raise DataError(f"{counted}, the ledger says {read[lines['file']]}")


def reconcile(
    ledger: Mapping[str, Any], used_train: int, used_eval: int, truncated: Mapping[str, Collection[str]]
) -> dict[str, Any]:
    """Return the ledger with truncated rows added, after comparing it with what the trainer really consumed.

    `truncated` maps `train` and `evaluation` to the ids of the rows that were cut. Raises DataError (the run must
    fail) where the numbers differ.
    """
    consumed = {"train": used_train, "evaluation": used_eval}
    for split, count in consumed.items():
        expected = ledger["totals"][split]["used"]
        if expected != count:
            message = f"the ledger says {expected} {split} rows are used, the trainer consumed {count}"
            raise DataError(message, "the run is not trustworthy; please report this with its config.yaml")
    entries = [dict(entry) for entry in ledger["files"]]
    files = {entry["file"] for entry in entries}
    for split in consumed:
        by_file: dict[str, int] = {}
        for row_id in truncated.get(split, ()):
            file = _file_of(row_id, files)
            by_file[file] = by_file.get(file, 0) + 1
        for entry in entries:
            if entry["split"] == split:
                entry["truncated"] = by_file.pop(entry["file"], 0)
        if by_file:
            raise DataError(f"truncated rows of {', '.join(by_file)} are not in the ledger")
    totals = {split: _total(entries, split) for split in consumed}
    return {**ledger, "files": entries, "totals": totals, "reconciled": True}


def describe_ledger(ledger: Mapping[str, Any]) -> list[str]:
    """Return lines for the log, for example `train: 512 rows = 500 used (3 truncated) + 12 too_short`.

    One a split, and one for the physical lines of each of the first files.
    """
    accounts = ledger.get("lines", [])
    lines = [f"{entry['file']}: {describe_lines(entry)}" for entry in accounts[:_SHOWN_FILES]]
    if len(accounts) > _SHOWN_FILES:
        lines.append(f"{len(accounts) - _SHOWN_FILES} more files: their lines are in data_report.json")
    for split, total in ledger["totals"].items():
        cut = f" ({total['truncated']} truncated)" if total["truncated"] else ""
        parts = [f"{total['used']} used{cut}"]
        if total[MOVED]:
            parts.append(f"{total[MOVED]} moved to evaluation")
        parts += [f"{count} {reason}" for reason, count in total["dropped"].items()]
        lines.append(f"{split}: {total['input']} rows = {' + '.join(parts)}")
    return lines


def _file_of(row_id: str, files: Collection[str]) -> str:
    """Return the file part of `<file>:<line>[:<column>]`."""
    head = row_id.rpartition(":")[0]
    return head if head in files else head.rpartition(":")[0]


def _entry(file: str, split: str, part: pl.DataFrame) -> dict[str, Any]:
    stayed = part.filter(pl.col("split") == pl.col("origin"))
    dropped = stayed.filter(pl.col("reason").is_not_null())["reason"]
    counts = dict(sorted(dropped.value_counts().rows())) if len(dropped) else {}
    return {
        "file": file,
        "split": split,
        "input": part.height,
        "used": stayed.height - len(dropped),
        "truncated": 0,
        MOVED: part.height - stayed.height,
        "dropped": {str(reason): int(count) for reason, count in counts.items()},
    }


def _total(entries: list[dict[str, Any]], split: str) -> dict[str, Any]:
    own = [entry for entry in entries if entry["split"] == split]
    dropped: dict[str, int] = {}
    for entry in own:
        for reason, count in entry["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    sums = {key: sum(entry[key] for entry in own) for key in ("input", "used", "truncated", MOVED)}
    return sums | {"dropped": dict(sorted(dropped.items()))}
