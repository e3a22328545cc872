"""Rules about rows of conversations; the other rules see what is said in them."""

from __future__ import annotations

import polars as pl

from finetune30.data.conversations.checks import find_fault, find_mark
from finetune30.data.conversations.views import read_conversations
from finetune30.data.texts import CONVERSATION
from finetune30.data.validation.findings import FindingList

_UNREADABLE = "this is no conversation; write a list of messages, with role and content in each"


def check_conversations(
    rows: pl.DataFrame, found: FindingList, faults: pl.DataFrame | None, *, allow_empty: bool
) -> pl.DataFrame:
    """Mark rows that cannot be read, whose turns, answers or calls are wrong, or that hold special tokens as text.

    `faults`: what was wrong when the rows were read, row_id, rule and fix.
    """
    if faults is not None and faults.height:
        _add(found, rows.join(faults, on="row_id", maintain_order="left"))
        rows = found.mark(rows)
    kept = rows.filter(pl.col("reason").is_null())
    conversations = read_conversations(kept[CONVERSATION])
    wrong: list[tuple[int, str, str]] = []
    marked: list[tuple[int, str]] = []
    for position, conversation in enumerate(conversations):
        if conversation is None:
            wrong.append((position, "broken_conversation", _UNREADABLE))
            continue
        if (fault := find_fault(conversation, allow_empty=allow_empty)) is not None:
            wrong.append((position, fault.rule, fault.fix))
        if found.wanted("special_token") and (fix := find_mark(conversation)) is not None:
            marked.append((position, fix))
    hits = kept[[position for position, _, _ in wrong]]
    _add(found, hits.with_columns(_texts("rule", [w[1] for w in wrong]), _texts("fix", [w[2] for w in wrong])))
    hits = kept[[position for position, _ in marked]].with_columns(_texts("fix", [fix for _, fix in marked]))
    found.add("special_token", hits, pl.col("fix"))
    return found.mark(rows)


def _add(found: FindingList, hits: pl.DataFrame) -> None:
    for (rule,), part in hits.group_by("rule", maintain_order=True):
        found.add(str(rule), part, pl.col("fix"))


def _texts(name: str, values: list[str]) -> pl.Series:
    return pl.Series(name, values, dtype=pl.String)
