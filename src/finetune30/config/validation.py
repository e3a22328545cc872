"""The sections about rows that are not trained on: rules of every training, and the gate before it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from finetune30.config.field_types import Section


class ValidationRules(Section):
    """Row rules that run on every training."""

    min_text_length: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Shortest text kept, in characters; null: no limit, short ones are reported.",
    )
    max_text_length: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Longest text kept, in characters; null: no limit, long ones are counted.",
    )
    allow_empty: bool = Field(False, description="Keep rows whose text is empty or blank.")
    remove_html: bool = Field(True, description="Strip HTML tags and unescape entities before the checks.")

    @model_validator(mode="after")
    def _lengths_in_order(self) -> ValidationRules:
        low, high = self.min_text_length, self.max_text_length
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_text_length {low} is above max_text_length {high}")
        return self


RuleName = Literal[
    "missing_label",
    "unknown_label",
    "empty_text",
    "too_short",
    "too_long",
    "truncated",
    "html",
    "control_characters",
    "mojibake",
    "replacement_character",
    "repeated_header",
    "columns_swapped",
    "exact_duplicate",
    "near_duplicate",
    "contradictory_label",
    "leakage",
    "near_leakage",
    "group_leakage",
    "small_class",
    "constant_text",
    "label_in_text",
    "script_mix",
    "broken_conversation",
    "unknown_role",
    "role_order",
    "empty_answer",
    "broken_tool_call",
    "special_token",
    "contradictory_answer",
]
Severity = Literal["error", "warn", "fix", "off"]
FixableRule = Literal["html", "control_characters", "mojibake"]


class GateConfig(Section):
    """What happens to faulty rows before a training may start."""

    mode: Literal["quarantine", "strict", "report"] = Field(
        "quarantine",
        description="quarantine: set faulty rows aside; strict: stop at the first; report: only say so.",
    )
    max_faulty_share: float = Field(
        0.01, ge=0.0, le=1.0, description="Share of faulty rows above which the run stops (per split)."
    )
    max_contradictory_share: float = Field(
        0.01, ge=0.0, le=1.0, description="Share of training rows with contradictory labels above which the run stops."
    )
    max_leaking_share: float = Field(
        0.01,
        ge=0.0,
        le=1.0,
        description="Share of training rows found in the evaluation rows above which the run stops.",
    )
    near_duplicates: bool = Field(True, description="Search near duplicates too (MinHash), not only exact ones.")
    min_class_rows: int = Field(5, ge=1, le=1_000_000, description="Training rows below which a class counts as small.")
    error_rules: list[RuleName] = Field([], description="Rules whose rows are set aside, beside those that always are.")
    warn_rules: list[RuleName] = Field([], description="Rules that only report.")
    fix_rules: list[FixableRule] = Field([], description="Rules whose rows are mended on the way in.")
    off_rules: list[RuleName] = Field([], description="Rules that are not looked for at all.")

    @property
    def severities(self) -> dict[str, Severity]:
        """Severity of every rule that is named; the others keep their own."""
        lists: dict[Severity, list[Any]] = {
            "error": self.error_rules,
            "warn": self.warn_rules,
            "fix": self.fix_rules,
            "off": self.off_rules,
        }
        return {rule: severity for severity, rules in lists.items() for rule in rules}

    @model_validator(mode="after")
    def _one_severity_a_rule(self) -> GateConfig:
        named = [*self.error_rules, *self.warn_rules, *self.fix_rules, *self.off_rules]
        twice = sorted({str(rule) for rule in named if named.count(rule) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands in two of error_rules, warn_rules, fix_rules, off_rules")
        return self
