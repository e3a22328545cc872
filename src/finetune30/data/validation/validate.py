"""All rules over all rows, in the order in which one fault may hide another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from finetune30.config.data import DataConfig
from finetune30.data.cleaning import clean_rows
from finetune30.data.conversations.views import has_conversations, with_answers, with_contents, with_questions
from finetune30.data.encoding import CountTokens
from finetune30.data.loading import LoadedRows
from finetune30.data.validation.conversation_rules import check_conversations
from finetune30.data.validation.findings import DEFAULT_SEVERITIES, FindingList, count_findings
from finetune30.data.validation.places import locate_findings
from finetune30.data.validation.row_rules import (
    check_characters,
    check_contents,
    check_labels,
    check_texts,
    check_tokens,
    check_unknown_labels,
)
from finetune30.data.validation.rule_shares import RuleShare, measure_rules
from finetune30.data.validation.set_rules import (
    check_classes,
    check_constants,
    check_groups,
    check_repeats,
    check_scripts,
    check_turns,
)
from finetune30.errors import ConfigError

#: Cleaning steps behind the rules whose severity is `fix`, in the order in which they run.
_FIX_STEPS = {"mojibake": "mojibake", "html": "remove_html", "control_characters": "control_characters"}
_FIX_WORDS = {
    "mojibake": "the characters were put right",
    "html": "tags and entities were removed",
    "control_characters": "invisible characters were removed",
}


@dataclass(frozen=True)
class Validation:
    """Rows with a `reason` for every row that an error rule marked, and the findings with their places.

    `shares`: what each rule that drops rows takes away, and what the length limits that are not set would.
    """

    rows: pl.DataFrame
    findings: pl.DataFrame
    recipe: tuple[dict[str, Any], ...] = field(default=())
    shares: tuple[RuleShare, ...] = ()

    @property
    def error_count(self) -> int:
        """Number of findings of severity error."""
        return self.findings.filter(pl.col("severity") == "error").height

    def summary(self) -> list[dict[str, Any]]:
        """Return rule, severity, split and count, worst first."""
        return count_findings(self.findings)


def validate_rows(
    loaded: LoadedRows,
    config: DataConfig,
    *,
    expected_labels: int | None = None,
    count_tokens: CountTokens | None = None,
) -> Validation:
    """Apply every rule to the loaded rows.

    `expected_labels`: the model's number of labels, where known. `count_tokens` turns texts (and pairs) into token
    counts. Which rules about targets apply is the problem's to say.
    """
    rows = loaded.rows
    severities: dict[str, str] = {**config.gate.severities}
    if not config.validation_rules.remove_html:
        severities.setdefault("html", "warn")
    for rule, severity in _unset_limits(config).items():
        severities.setdefault(rule, severity)
    for rule, severity in loaded.problem.rules.severities:
        severities.setdefault(rule, severity)
    found = _start(severities, loaded)
    rows, recipe = _apply_fixes(rows.with_columns(pl.col(*found.texts).fill_null("")), found)
    rows = _check_rows(rows, found, loaded, config, expected_labels, count_tokens)
    shares = measure_rules(with_contents(rows), found, config.validation_rules, config.gate)
    return Validation(rows, locate_findings(found.frame(), loaded.tables, loaded.columns), recipe, shares)


def broken_rules(rows: pl.DataFrame, loaded: LoadedRows, config: DataConfig, rules: Sequence[str]) -> pl.Series:
    """Mark the rows that break any of the named rules (for the cleaning step drop_by_rule).

    Raises ConfigError for a rule that does not exist.
    """
    unknown = [rule for rule in rules if rule not in DEFAULT_SEVERITIES]
    if unknown:
        raise ConfigError(f"there is no rule {', '.join(unknown)}", f"use one of {', '.join(DEFAULT_SEVERITIES)}")
    severities: dict[str, str] = {rule: "error" if rule in rules else "off" for rule in DEFAULT_SEVERITIES}
    found = _start(severities, loaded)
    marked = _check_rows(rows, found, loaded, config, None, None)
    return rows["reason"].is_null() & marked["reason"].is_not_null()


def _unset_limits(config: DataConfig) -> dict[str, str]:
    """Return the severity of the rules about length whose limit nobody set: they drop no row.

    Short texts are few, and each may be a slip. Long ones may be most of a set: they are counted.
    """
    rules = config.validation_rules
    unset = {"too_short": "warn"} if rules.min_text_length is None else {}
    return unset | ({"too_long": "off"} if rules.max_text_length is None else {})


def _start(severities: Mapping[str, str], loaded: LoadedRows) -> FindingList:
    roles = [role for role in loaded.problem.columns if role.kind == "text"]
    main = roles[0].name
    return FindingList(severities, [role.name for role in roles if role.name == main or not role.is_optional])


def _check_rows(
    rows: pl.DataFrame,
    found: FindingList,
    loaded: LoadedRows,
    config: DataConfig,
    expected_labels: int | None,
    count_tokens: CountTokens | None,
) -> pl.DataFrame:
    columns, rules = loaded.columns, loaded.problem.rules
    conversations = has_conversations(rows)
    if conversations:
        allow_empty = config.validation_rules.allow_empty
        rows = check_conversations(rows, found, loaded.faults, allow_empty=allow_empty)
    said = with_contents(rows)
    if columns.target_column is not None:
        said = check_labels(said, found, str(columns.chosen[found.main]), columns.target_column)
    if rules.classes:
        said = check_unknown_labels(said, found, expected_labels)
    said = check_texts(said, found, config.validation_rules)
    said = check_characters(said, found)
    said = check_contents(said, found, has_names=columns.target_column is not None and not rules.quantity)
    near = config.gate.near_duplicates
    if conversations:
        asked = check_repeats(with_questions(_marked_as(said, rows)), found, near=near, wholes=said[found.main])
        asked = check_turns(asked, rows, found)
        answered = check_scripts(check_constants(with_answers(_marked_as(asked, rows)), found), found)
        said = _marked_as(answered, said)
    else:
        said = check_scripts(check_constants(check_repeats(said, found, near=near), found), found)
    said = check_groups(said, found)
    if rules.classes:
        said = check_classes(said, found, config.gate.min_class_rows)
    if count_tokens is not None:
        allow_empty = config.validation_rules.allow_empty
        said = check_tokens(said, rows, found, count_tokens, config.max_length, allow_empty=allow_empty)
    return _marked_as(said, rows)


def _marked_as(marked: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the reasons that the same rows have in another view."""
    return rows.with_columns(marked["reason"])


def _apply_fixes(rows: pl.DataFrame, found: FindingList) -> tuple[pl.DataFrame, tuple[dict[str, Any], ...]]:
    """Run the cleaning steps of all rules set to `fix`; the finding shows the text as it was."""
    recipe = tuple({"step": step} for rule, step in _FIX_STEPS.items() if found.severity(rule) == "fix")
    if not recipe:
        return rows, recipe
    result = clean_rows(rows, recipe)
    for rule, step in _FIX_STEPS.items():
        rest = with_contents(rows)
        for cell, ids in result.changed_ids.get(step, {}).items():  # a row is found once, at its first such text
            hit = pl.col("row_id").is_in(ids.implode())
            found.add(rule, rest.filter(hit), _FIX_WORDS[rule], cell=cell)
            rest = rest.filter(~hit)
    return result.rows, recipe
