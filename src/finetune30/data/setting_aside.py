"""Rows that turn out to be unusable after they were prepared: out of the rows, into ledger, report and quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from finetune30.data.ledger import check_ledger, file_of, sum_ledger
from finetune30.data.prepare import PreparedData, count_used, version_rows_of
from finetune30.data.texts import text_columns
from finetune30.data.validation.findings import shorten
from finetune30.data.versions.storage import SPLITS, digest_version


def set_rows_aside(
    data: PreparedData, row_ids: Mapping[str, Collection[str]], reason: str, fixes: str | Mapping[str, str]
) -> PreparedData:
    """Return the data without the rows named by split, which every record says under `reason`.

    `fixes` is what to do, for all of them or by row.
    """

    def fix_of(row_id: str) -> str:
        return fixes if isinstance(fixes, str) else fixes[row_id]

    used = {"train": data.train, "evaluation": data.evaluation}
    out = {split: pl.col("row_id").is_in(list(row_ids.get(split, ()))) for split in SPLITS}
    aside = {split: used[split].filter(out[split]) for split in SPLITS}
    used = {split: used[split].filter(~out[split]) for split in SPLITS}
    ledger = _move_in_ledger(data.ledger, aside, reason)
    version_rows = {split: version_rows_of(used[split], data.problem) for split in SPLITS}
    files = {entry["file"] for entry in ledger["files"]}
    findings = [found for split in SPLITS for found in _findings(aside[split], split, reason, fix_of, files)]
    counts = [
        {"rule": reason, "severity": "error", "split": split, "count": rows.height}
        for split, rows in aside.items()
        if rows.height
    ]
    report = {
        **data.report,
        **count_used(used, data.problem, data.targets),
        "findings": [*data.report["findings"], *findings],
        "findings_summary": [*counts, *data.report["findings_summary"]],
        "ledger": ledger,
    }
    return replace(
        data,
        train=used["train"],
        evaluation=used["evaluation"],
        digest=digest_version(data.targets, version_rows, data.schema, data.held_back),
        ledger=ledger,
        report=report,
        quarantine=_with_quarantined(data.quarantine, aside, reason, fix_of),
        version_rows=version_rows,
    )


def warn_of_rows(data: PreparedData, told: Mapping[str, Mapping[str, Mapping[str, str]]]) -> PreparedData:
    """Return the data with warnings about rows that are used; `told`: rule -> split -> row id -> what to know."""
    used = {"train": data.train, "evaluation": data.evaluation}
    files = {entry["file"] for entry in data.ledger["files"]}
    findings: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    for rule, splits in told.items():
        for split, words in splits.items():
            if words:
                rows = used[split].filter(pl.col("row_id").is_in(list(words)))
                findings += _findings(rows, split, rule, words.__getitem__, files, "warn")
                counts.append({"rule": rule, "severity": "warn", "split": split, "count": rows.height})
    report = {
        **data.report,
        "findings": [*data.report["findings"], *findings],
        "findings_summary": [*data.report["findings_summary"], *counts],
    }
    return replace(data, report=report)


def place_of(row_id: str, files: Collection[str]) -> tuple[str, int, int]:
    """Return file, line and column (0: unknown) of `<file>:<line>[:<column>]`."""
    file = file_of(row_id, files)
    line, _, column = row_id.removeprefix(f"{file}:").partition(":")
    return file, int(line), int(column or 0)


def _move_in_ledger(ledger: Mapping[str, Any], aside: Mapping[str, pl.DataFrame], reason: str) -> dict[str, Any]:
    entries = [{**entry, "dropped": dict(entry["dropped"])} for entry in ledger["files"]]
    files = {entry["file"] for entry in entries}
    for split, rows in aside.items():
        for file, count in Counter(file_of(row_id, files) for row_id in rows["row_id"]).items():
            entry = next(entry for entry in entries if (entry["file"], entry["split"]) == (file, split))
            entry["used"] -= count
            entry["dropped"] = dict(sorted({**entry["dropped"], reason: count}.items()))
    moved = {**ledger, "files": entries, "totals": {split: sum_ledger(entries, split) for split in ledger["totals"]}}
    check_ledger(moved)
    return moved


def _findings(
    rows: pl.DataFrame,
    split: str,
    rule: str,
    fix_of: Callable[[str], str],
    files: Collection[str],
    severity: str = "error",
) -> list[dict[str, Any]]:
    main = text_columns(rows)[0]
    values = rows.select(shorten(pl.col(main))).to_series()
    found = []
    for row_id, value in zip(rows["row_id"], values, strict=True):
        file, line, column = place_of(row_id, files)
        said = {"row_id": row_id, "split": split, "rule": rule, "severity": severity, "cell": main, "value": value}
        found.append({**said, "fix": fix_of(row_id), "file": file, "line": line, "column": column, "place": row_id})
    return found


def _with_quarantined(
    quarantine: pl.DataFrame, aside: Mapping[str, pl.DataFrame], reason: str, fix_of: Callable[[str], str]
) -> pl.DataFrame:
    parts = [
        rows.select(
            "row_id",
            pl.lit(split).alias("split"),
            pl.lit(reason).alias("reason"),
            pl.col("row_id").alias("place"),
            pl.Series("fix", [fix_of(row_id) for row_id in rows["row_id"]], dtype=pl.String),
            *text_columns(rows),
            pl.col("label_text").alias("label"),
        )
        for split, rows in aside.items()
        if rows.height
    ]
    return pl.concat([quarantine, *parts], how="diagonal_relaxed")
