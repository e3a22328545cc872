"""Evaluation rows that rules set aside: how many, under which rules, and the score that counts them as wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finetune30.values import is_number

if TYPE_CHECKING:
    from finetune30.data.problem import Score

#: Reasons in a ledger by which no rule sets a row aside.
_NO_RULES = frozenset({"not_sampled", "set_aside_as_test"})
#: Rows under these rules ask nothing: no answer to them is right or wrong.
_ASK_NOTHING = frozenset({"missing_label", "repeated_header"})


def describe_set_aside(ledger: Mapping[str, Any], score: Score, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands beside a score, JSON.

    rows: those that rules set aside; by_rule: the same, rule by rule; passed: those that rules let through, from which
    `eval_samples` may have drawn; asked: passed and set aside, less those that ask nothing (without a label, a header).
    split_off: there was no evaluation file, so these are rows of the file from which the evaluation rows were drawn.
    metric, value: the share of right answers, as evaluated; counted_as_wrong: the same over all that was asked, with
    the rows set aside counted as wrong. All three are null where the problem has no such share.
    """
    split_off = any("split_off_from" in entry for entry in ledger["files"])
    total = ledger["totals"]["train" if split_off else "evaluation"]
    by_rule = {rule: count for rule, count in total["dropped"].items() if rule not in _NO_RULES}
    rows = sum(by_rule.values())
    passed = total["input"] - rows
    asked = passed + sum(count for rule, count in by_rule.items() if rule not in _ASK_NOTHING)
    value = metrics.get(score.share_right) if score.share_right is not None else None
    known = is_number(value) and asked > 0
    return {
        "rows": rows,
        "by_rule": by_rule,
        "passed": passed,
        "asked": asked,
        "split_off": split_off,
        "metric": score.share_right if known else None,
        "value": value if known else None,
        "counted_as_wrong": value * passed / asked if known else None,
    }


def say_set_aside(found: Mapping[str, Any]) -> str | None:
    """Return one line for the log about what `describe_set_aside` describes; None where no row was set aside."""
    if not found["rows"]:
        return None
    rules = ", ".join(f"{count:,} {rule}" for rule, count in found["by_rule"].items())
    whose = "rows of the file that they were split off from" if found["split_off"] else "evaluation rows"
    said = f"evaluation: rules set {found['rows']:,} of {found['rows'] + found['passed']:,} {whose} aside ({rules})"
    if found["metric"] is None:
        return said
    return f"{said}; {found['metric']} is {found['value']:.4f}, and {found['counted_as_wrong']:.4f} with them as wrong"
