"""What each rule that drops rows takes away, as a share of the rows that are good otherwise, and what it might."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from finetune30.config.validation import GateConfig, ValidationRules
from finetune30.data.encoding import NO_ANSWER_LEFT, TEMPLATE_REFUSES
from finetune30.data.validation.findings import RULE_SETTINGS, WHOLE_ROW, FindingList
from finetune30.data.validation.row_rules import NO_TOKENS, breaking_lengths, length_limits

#: Rows under these rules cannot be trained on (or the user's own rules exclude them), whatever the gate's mode.
ALWAYS_DROPPED = (
    "missing_label",
    "unknown_label",
    "empty_text",
    "too_short",
    "too_long",
    "repeated_header",
    "columns_swapped",
    *WHOLE_ROW,
    NO_TOKENS,
    NO_ANSWER_LEFT,
    TEMPLATE_REFUSES,
)


@dataclass(frozen=True)
class RuleShare:
    """Rows of a split under one rule.

    `rows` of `of` rows that no other rule drops. `drops`: the rule sets them aside; else they stay, as its limit is not
    set, or the gate only reports (`limit` is None then). `limit` is in characters, `setting` the key that decides
    (None: the rule has none of its own).
    """

    rule: str
    split: str
    rows: int
    of: int
    drops: bool
    limit: int | None = None
    setting: str | None = None

    @property
    def share(self) -> float:
        """Share of the rows that are good otherwise."""
        return self.rows / self.of

    def describe(self) -> str:
        """Return one line for log and terminal."""
        counted = f"{self.rows:,} of {self.of:,} {self.split} rows ({self.share:.1%})"
        if self.drops:
            by = f", by {self.setting} ({self.limit})" if self.limit is not None else ""
            return f"{self.rule} drops {counted}{by}"
        if self.limit is None:
            return f"{self.rule} marks {counted}; they stay, as data.gate.mode is report"
        than = "shorter" if self.rule == "too_short" else "longer"
        cut = "" if self.rule == "too_short" else "; what is beyond data.max_length tokens is cut"
        return f"{counted} are {than} than {self.limit} characters and stay, as {self.setting} is not set{cut}"

    def as_tree(self) -> dict[str, object]:
        """Return what a report holds, JSON."""
        return {
            "rule": self.rule,
            "split": self.split,
            "rows": self.rows,
            "of": self.of,
            "share": round(self.share, 6),
            "drops": self.drops,
            "limit": self.limit,
            "setting": self.setting,
        }


def sets_aside(rule: str, gate: GateConfig) -> bool:
    """Tell whether rows that an error rule marked are set aside, or stay and are only reported."""
    return gate.mode != "report" or rule in ALWAYS_DROPPED


def measure_rules(
    rows: pl.DataFrame, found: FindingList, rules: ValidationRules, gate: GateConfig
) -> tuple[RuleShare, ...]:
    """Return what every rule that marked rows (`reason`) drops, largest first, and what unset limits would."""
    short, long = length_limits(rules)
    limits = {"too_short": short, "too_long": long}
    good = dict(rows.filter(pl.col("reason").is_null())["split"].value_counts().iter_rows())
    counts = rows.filter(pl.col("reason").is_not_null()).group_by("split", "reason").len("rows")
    shares = [
        RuleShare(rule, split, count, count + good.get(split, 0), True, limits.get(rule), RULE_SETTINGS.get(rule))
        if sets_aside(rule, gate)
        else RuleShare(rule, split, count, count + good.get(split, 0), False, None, "data.gate.mode")
        for split, rule, count in counts.sort("rows", "split", "reason", descending=[True, False, False]).iter_rows()
    ]
    unset = {"too_short": rules.min_text_length is None, "too_long": rules.max_text_length is None}
    judged = zip(unset, breaking_lengths(rows, found.texts, short, long), strict=True)
    for rule, breaking in judged:
        if unset[rule] and found.severity(rule) != "error":
            shares += _unlimited(rows, rule, list(breaking.values()), limits[rule])
    return tuple(shares)


def _unlimited(rows: pl.DataFrame, rule: str, breaking: Sequence[pl.Expr], limit: int) -> list[RuleShare]:
    """Count the good rows that the usual length would drop if it were set."""
    kept = rows.filter(pl.col("reason").is_null())
    counts = kept.group_by("split", maintain_order=True).agg(pl.any_horizontal(*breaking).sum().alias("rows"), pl.len())
    return [
        RuleShare(rule, split, count, of, False, limit, RULE_SETTINGS[rule])
        for split, count, of in counts.iter_rows()
        if count
    ]
