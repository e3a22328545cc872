"""Row rules that run on every training: HTML, empty, too short, too long, missing label.

Each rule marks rows in columns; the first reason that applies to a row is the one in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from finetune30.config.schema import ValidationRules
from finetune30.data.html_text import contains_html, strip_html_column

#: Longest piece of a value that a finding shows.
SHOWN_CHARACTERS = 60

FINDING_SCHEMA = {
    "row_id": pl.String, "rule": pl.String, "severity": pl.String, "value": pl.String, "fix": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class RuleOutcome:
    """Rows with `reason` filled in (null: kept) and one finding for every row and rule that met."""

    rows: pl.DataFrame
    findings: pl.DataFrame


def apply_row_rules(rows: pl.DataFrame, rules: ValidationRules) -> RuleOutcome:
    """Apply the rules to rows with columns `row_id`, `text`, `text_pair`, `label_text`.

    Lengths are characters of the text without outer white space. A null text counts as empty.
    """
    findings: list[pl.DataFrame] = []
    rows = rows.with_columns(pl.col("text").fill_null(""))
    if rules.remove_html:
        rows, marked = _remove_html(rows)
        findings.append(marked)
    has_pair = rows["text_pair"].null_count() < rows.height
    text, pair = pl.col("text").str.strip_chars(), pl.col("text_pair").str.strip_chars()
    empty = text.str.len_bytes() == 0
    if has_pair:
        empty = empty | pair.is_null() | (pair.str.len_bytes() == 0)
    length = text.str.len_chars()
    too_long = length > rules.max_text_length
    if has_pair:
        too_long = too_long | (pair.str.len_chars() > rules.max_text_length).fill_null(value=False)
    checks = [
        ("missing_label", pl.col("label_text").is_null(), "label_text", "give the row a label"),
        ("empty_text", empty & (not rules.allow_empty), "text", "fill in the text, or set allow_empty: true"),
        ("too_short", (length < rules.min_text_length) & ~empty, "text", f"min_text_length is {rules.min_text_length}"),
        ("too_long", too_long, "text", f"max_text_length is {rules.max_text_length}"),
    ]
    rows = rows.with_columns(mask.alias(f"_{name}") for name, mask, _, _ in checks)
    reason = pl.col("reason")
    for name, _, column, fix in checks:
        hit = rows.filter(f"_{name}")
        if hit.height:
            findings.append(build_findings(hit["row_id"], name, "error", hit[column], fix))
        reason = reason.fill_null(pl.when(pl.col(f"_{name}")).then(pl.lit(name)))
    rows = rows.with_columns(reason.alias("reason")).drop([f"_{name}" for name, *_ in checks])
    return RuleOutcome(rows, concat_findings(findings))


def build_findings(row_ids: pl.Series, rule: str, severity: str, values: pl.Series, fix: str) -> pl.DataFrame:
    """Return one finding a row; values are shortened."""
    short = shorten(values)
    return pl.DataFrame({"row_id": row_ids, "value": short}).select(
        "row_id", pl.lit(rule).alias("rule"), pl.lit(severity).alias("severity"), "value", pl.lit(fix).alias("fix")
    )


def concat_findings(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Return all findings in one frame (empty, with the right columns, where there are none)."""
    return pl.concat([pl.DataFrame(schema=FINDING_SCHEMA), *(part.select(list(FINDING_SCHEMA)) for part in parts)])


def shorten(values: pl.Series) -> pl.Series:
    """Return values cut to what a report shows, with an ellipsis where something is missing."""
    texts = values.cast(pl.String).fill_null("")
    cut = texts.str.slice(0, SHOWN_CHARACTERS) + "…"
    return pl.select(pl.when(texts.str.len_chars() > SHOWN_CHARACTERS).then(cut).otherwise(texts)).to_series()


def _remove_html(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    marked: list[pl.DataFrame] = []
    for column in ("text", "text_pair"):
        where = contains_html(rows[column])
        hit = rows.filter(where)
        if hit.height:
            marked.append(build_findings(hit["row_id"], "html", "fix", hit[column], "tags and entities were removed"))
            rows = rows.with_columns(strip_html_column(rows[column], where).alias(column))
    return rows, concat_findings(marked)
