"""The gate: decides before any training whether the rows will do, and sets faulty rows aside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import polars as pl

from finetune30.config.validation import GateConfig
from finetune30.data.encoding import NO_ANSWER_LEFT, TEMPLATE_REFUSES
from finetune30.data.texts import text_columns
from finetune30.data.validation.findings import RULE_SETTINGS
from finetune30.data.validation.row_rules import NO_TOKENS
from finetune30.data.validation.rule_shares import ALWAYS_DROPPED
from finetune30.data.validation.validate import Validation
from finetune30.errors import DataError, DataFileError
from finetune30.values import say_count

#: Rules that are counted alone, and against which limit; all other errors together are faults of single rows.
_OWN_LIMITS = {
    "contradictory_label": "max_contradictory_share",
    "contradictory_answer": "max_contradictory_share",
    "leakage": "max_leaking_share",
    "near_leakage": "max_leaking_share",
    "group_leakage": "max_leaking_share",
    # A training meets these when it encodes the rows that the other rules left.
    **{rule: rule for rule in (NO_TOKENS, NO_ANSWER_LEFT, TEMPLATE_REFUSES)},
}
_SETTINGS = dict.fromkeys((NO_TOKENS, NO_ANSWER_LEFT, TEMPLATE_REFUSES), "max_faulty_share")
_LIMIT_WORDS = {
    "max_faulty_share": "faulty",
    "max_contradictory_share": "training rows with contradictory labels or answers",
    "max_leaking_share": "training rows that stand in the evaluation rows",
    NO_TOKENS: "tokenless",
    NO_ANSWER_LEFT: "answerless",
    TEMPLATE_REFUSES: "template-refused",
}
_EXAMPLES = 3


@dataclass(frozen=True)
class GateResult:
    """Rows that may go on (`reason` null) and those set aside, with every limit's count and share."""

    rows: pl.DataFrame
    quarantine: pl.DataFrame
    limits: dict[str, Any]


def apply_gate(validation: Validation, originals: pl.DataFrame, gate: GateConfig, *, stops: bool = True) -> GateResult:
    """Let the rows pass, set faulty ones aside, or stop; `stops` False: for a look at rows that would be refused.

    `originals` are the rows as read (before any mending); the quarantine keeps their cells. Raises DataFileError in
    mode strict (the first fault in file order) and DataError where a share is above its limit.
    """
    errors = validation.findings.filter(pl.col("severity") == "error")
    if stops and gate.mode == "strict" and errors.height:
        order = originals.with_row_index("order").select("row_id", "order")
        first = (
            errors.join(order, on="row_id", maintain_order="left").sort("order", maintain_order=True).row(0, named=True)
        )
        found = f"{first['rule']}: {first['value']!r}: {first['fix']}"
        remedy = (
            f"{say_count(errors.height, 'findings stop')} the run (data.gate.mode is strict); list them with: ft30 "
            f"data validate"
        )
        raise DataFileError(first["file"], first["line"], first["column"], found, remedy)
    limits = _measure(validation.rows, gate)
    rows = validation.rows
    if gate.mode == "report":
        dropped = pl.col("reason").is_in(list(ALWAYS_DROPPED))
        rows = rows.with_columns(pl.when(dropped).then(pl.col("reason")).alias("reason"))
    elif stops:
        _stop_above_limits(limits, errors)
    return GateResult(rows, _quarantine(rows, originals, validation.findings), limits)


def open_gate(gate: GateConfig) -> GateConfig:
    """Return the gate without limits: it sets rows aside and never stops."""
    limits = {"max_faulty_share": 1.0, "max_contradictory_share": 1.0, "max_leaking_share": 1.0}
    return gate.model_copy(update={"mode": "quarantine", **limits})


def encode_quarantine(quarantine: pl.DataFrame) -> bytes:
    """Return the rows set aside as JSON lines: row_id, reason, what to do, and the cells as they were read."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in quarantine.to_dicts()).encode()


def _measure(rows: pl.DataFrame, gate: GateConfig) -> dict[str, Any]:
    """Return, limit by limit, the number of rows and their share; faulty rows count within their own split."""
    sizes = dict(rows["split"].value_counts().iter_rows())
    marked = rows.filter(pl.col("reason").is_not_null())
    kind = pl.col("reason").replace_strict(_OWN_LIMITS, default="max_faulty_share", return_dtype=pl.String)
    counts = marked.group_by(kind.alias("limit"), "split").len("rows").sort("limit", "split")
    return {
        f"{row['limit']}:{row['split']}": {
            "limit": row["limit"],
            "split": row["split"],
            "rows": row["rows"],
            "share": round(row["rows"] / sizes[row["split"]], 6),
            "allowed": getattr(gate, _SETTINGS.get(row["limit"], row["limit"])),
        }
        for row in counts.to_dicts()
    }


def _stop_above_limits(limits: dict[str, Any], errors: pl.DataFrame) -> None:
    above = [entry for entry in limits.values() if entry["share"] > entry["allowed"]]
    if not above:
        return
    messages, settings = [], []
    for entry in above:
        own = [rule for rule, limit in _OWN_LIMITS.items() if limit == entry["limit"]]
        chosen = pl.col("rule").is_in(own) if own else ~pl.col("rule").is_in(list(_OWN_LIMITS))
        hits = errors.filter(chosen & (pl.col("split") == entry["split"]))
        rules = ", ".join(f"{count} {rule}" for rule, count in hits["rule"].value_counts(sort=True).iter_rows())
        examples = "; ".join(f"{hit['place']} {hit['value']!r}" for hit in hits.head(_EXAMPLES).iter_rows(named=True))
        by_split = not own or entry["limit"] in _SETTINGS
        what = f"{_LIMIT_WORDS[entry['limit']]}" + (f" {entry['split']} rows" if by_split else "")
        share = f"{entry['share']:.1%}, allowed {entry['allowed']:.1%}"
        messages.append(f"{entry['rows']} {what} ({share}: {rules}), for example {examples}")
        settings += [RULE_SETTINGS[rule] for rule in hits["rule"].unique(maintain_order=True) if rule in RULE_SETTINGS]
        settings.append(f"data.gate.{_SETTINGS.get(entry['limit'], entry['limit'])}")
    listed = ", ".join(dict.fromkeys(settings))
    raise DataError(
        "; ".join(messages),
        f"mend the rows (ft30 data validate lists them all), or change {listed}",
        details={"limits": above},
    )


def _quarantine(rows: pl.DataFrame, originals: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """Return the rows set aside with their cells as read and the reason's explanation."""
    aside = rows.filter(pl.col("reason").is_not_null()).select("row_id", "split", "reason")
    why = findings.select("row_id", pl.col("rule").alias("reason"), "place", "fix").unique(
        ["row_id", "reason"], keep="first"
    )
    cells = originals.select("row_id", *text_columns(originals), pl.col("label_text").alias("label"))
    joined = aside.join(why, on=["row_id", "reason"], how="left", maintain_order="left")
    return joined.join(cells, on="row_id", how="left", maintain_order="left")
