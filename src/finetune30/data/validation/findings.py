"""Findings: one a row and rule, in columns, with the place `file:line:column`, the value and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from finetune30.config.validation import RuleName, Severity

#: Longest piece of a value that a finding shows.
SHOWN_CHARACTERS = 60

SCHEMA = {
    "row_id": pl.String,
    "split": pl.String,
    "rule": pl.String,
    "severity": pl.String,
    "cell": pl.String,
    "value": pl.String,
    "fix": pl.String,
}

#: Severity of every rule unless the configuration says otherwise.
#: error: the row is set aside by the gate; warn: reported; fix: mended on the way in; off: not looked for.
DEFAULT_SEVERITIES: dict[RuleName, Severity] = {
    "missing_label": "error",
    "unknown_label": "error",
    "empty_text": "error",
    "too_short": "error",
    "too_long": "error",
    "truncated": "warn",
    "html": "fix",
    "control_characters": "fix",
    "mojibake": "warn",
    "replacement_character": "warn",
    "repeated_header": "error",
    "columns_swapped": "error",
    "exact_duplicate": "warn",
    "near_duplicate": "warn",
    "contradictory_label": "error",
    "leakage": "error",
    "near_leakage": "warn",
    "group_leakage": "warn",
    "small_class": "warn",
    "constant_text": "warn",
    "label_in_text": "warn",
    "script_mix": "warn",
    "broken_conversation": "error",
    "unknown_role": "error",
    "role_order": "error",
    "empty_answer": "error",
    "broken_tool_call": "error",
    "special_token": "warn",
    "contradictory_answer": "warn",
}

#: Rules about the whole of a conversation: a row under one of them says nothing that others could judge.
WHOLE_ROW: tuple[RuleName, ...] = (
    "broken_conversation",
    "unknown_role",
    "role_order",
    "empty_answer",
    "broken_tool_call",
)

#: Keys of the configuration that decide what a rule drops.
RULE_SETTINGS = {
    "too_short": "data.validation_rules.min_text_length",
    "too_long": "data.validation_rules.max_text_length",
    "empty_text": "data.validation_rules.allow_empty",
}


class FindingList:
    """Collects findings; rules that are off are left out, and rows under an error rule get that rule as reason.

    `texts` are the columns of text that every row must have, `main` is the first of them.
    """

    def __init__(self, severities: Mapping[str, str], texts: Sequence[str]) -> None:
        self._severities: dict[str, str] = {str(rule): level for rule, level in DEFAULT_SEVERITIES.items()} | {
            **severities
        }
        self.texts, self.main = tuple(texts), texts[0]
        self._parts: list[pl.DataFrame] = []
        self._errors: list[pl.DataFrame] = []

    def severity(self, rule: str) -> str:
        """Return the severity of a rule."""
        return self._severities[rule]

    def wanted(self, rule: str) -> bool:
        """Say whether the rule is looked for at all."""
        return self._severities[rule] != "off"

    def add(
        self,
        rule: str,
        hits: pl.DataFrame,
        fix: str | pl.Expr,
        *,
        cell: str | None = None,
        severity: str | None = None,
    ) -> None:
        """Add one finding for every row of `hits`.

        `fix` is a text or an expression over the columns of `hits`; `cell` is a column of text (the main one unless
        another is named) or `label`.
        """
        level, cell = severity or self._severities[rule], cell or self.main
        if level == "off" or not hits.height:
            return
        self._parts.append(
            hits.select(
                "row_id",
                "split",
                pl.lit(rule).alias("rule"),
                pl.lit(level).alias("severity"),
                pl.lit(cell).alias("cell"),
                shorten(pl.col("label_text" if cell == "label" else cell)).alias("value"),
                (pl.lit(fix) if isinstance(fix, str) else fix).cast(pl.String).alias("fix"),
            )
        )
        if level == "error":
            self._errors.append(hits.select("row_id", pl.lit(rule).alias("error_rule")))

    def frame(self) -> pl.DataFrame:
        """Return all findings (columns of SCHEMA) in the order in which they were added."""
        return pl.concat([pl.DataFrame(schema=SCHEMA), *self._parts])

    def mark(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows, those under an error rule with the first such rule as `reason`; forgets the errors."""
        if not self._errors:
            return rows
        errors = pl.concat(self._errors).unique("row_id", keep="first", maintain_order=True)
        self._errors = []
        joined = rows.join(errors, on="row_id", how="left", maintain_order="left")
        return joined.with_columns(pl.coalesce("reason", "error_rule").alias("reason")).drop("error_rule")


def shorten(values: pl.Expr) -> pl.Expr:
    """Return values cut to what a report shows, with an ellipsis where something is missing."""
    texts = values.cast(pl.String).fill_null("")
    cut = texts.str.slice(0, SHOWN_CHARACTERS) + "…"
    return pl.when(texts.str.len_chars() > SHOWN_CHARACTERS).then(cut).otherwise(texts)


def count_findings(findings: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rule, severity, split and number of findings, worst first."""
    order = {"error": 0, "fix": 1, "warn": 2}
    counts = findings.group_by("rule", "severity", "split").len("count").to_dicts()
    return sorted(counts, key=lambda row: (order[row["severity"]], -row["count"], row["rule"], row["split"]))


def describe_findings(findings: pl.DataFrame, examples: int = 3) -> list[str]:
    """Return the findings grouped for a terminal: one line a group and a few examples with place and remedy."""
    lines = []
    for group in count_findings(findings):
        lines.append(f"{group['severity']:<5} {group['rule']} ({group['split']}): {group['count']}")
        same = (pl.col("rule") == group["rule"]) & (pl.col("split") == group["split"])
        hits = findings.filter(same & (pl.col("severity") == group["severity"])).head(examples)
        lines += [f"        {hit['place']}  {hit['value']!r}  {hit['fix']}" for hit in hits.iter_rows(named=True)]
    return lines
