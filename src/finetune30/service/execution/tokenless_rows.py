"""Rows that turn out to be of no use once they are tokens: set aside before the training, with a reason in the ledger.

A text may give the model nothing to read; a conversation may be too long, or one that the template does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from finetune30.data.validation.row_rules import NO_TOKENS, NO_TOKENS_FIX
from finetune30.errors import DataError, DataFileError

if TYPE_CHECKING:
    from finetune30.config.data import DataConfig
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.prepare import PreparedData

_SHOWN = 3

Encode = Callable[["PreparedData"], "dict[str, EncodedSplit]"]


def encode_what_says_something(
    data: PreparedData, encode: Encode, config: DataConfig, log: Callable[[str], None]
) -> tuple[PreparedData, dict[str, EncodedSplit]]:
    """Encode both splits; return the data without the rows that say nothing, and the encoded splits by name.

    With `allow_empty` only those are left out that have no token at all, not even one of the tokenizer's frame.
    Raises DataFileError (mode strict) and DataError where a split has too many of them or nothing else.
    """
    splits = encode(data)
    for name, split in splits.items():
        if split.marked_texts:
            log(
                f"WARNING: data: {split.marked_texts} {name} texts hold a special token of the tokenizer, which it "
                "cannot read as text"
            )
    data, splits = _without_unusable(data, splits, encode, config, log)
    aside = {name: _row_ids(split, keep_framed=config.validation_rules.allow_empty) for name, split in splits.items()}
    if not any(aside.values()):
        return data, splits
    from finetune30.data.setting_aside import set_rows_aside

    _judge(data, splits, aside, config, NO_TOKENS, NO_TOKENS_FIX)
    for name, row_ids in aside.items():
        if row_ids:
            shown = ", ".join(row_ids[:_SHOWN]) + (" …" if len(row_ids) > _SHOWN else "")
            log(f"data: {len(row_ids)} {name} rows give the model no token of their own: {shown}")
    data = set_rows_aside(data, aside, NO_TOKENS, NO_TOKENS_FIX)
    return data, encode(data)


def _without_unusable(
    data: PreparedData,
    splits: dict[str, EncodedSplit],
    encode: Encode,
    config: DataConfig,
    log: Callable[[str], None],
) -> tuple[PreparedData, dict[str, EncodedSplit]]:
    """Leave out the rows that could not be encoded as they are; those that the configuration chose are no faults."""
    found = {name: {split.row_ids[i]: reason for i, reason in split.aside.items()} for name, split in splits.items()}
    rules = dict.fromkeys(reason.rule for reasons in found.values() for reason in reasons.values())
    if not rules:
        return data, splits
    from finetune30.data.setting_aside import set_rows_aside

    for rule in rules:
        hit = {name: {r: why for r, why in reasons.items() if why.rule == rule} for name, reasons in found.items()}
        faulty = {name: [r for r, why in rows.items() if not why.is_chosen] for name, rows in hit.items()}
        fixes = {r: why.fix for rows in hit.values() for r, why in rows.items()}
        first = next(iter(fixes.values()))
        _judge(data, splits, faulty, config, rule, first)
        for name, rows in hit.items():
            if rows:
                shown = ", ".join(list(rows)[:_SHOWN]) + (" …" if len(rows) > _SHOWN else "")
                log(f"data: {len(rows)} {name} rows are set aside as '{rule}': {shown} ({first})")
        data = set_rows_aside(data, {name: list(rows) for name, rows in hit.items()}, rule, fixes)
    for name, rest in (("train", data.train), ("evaluation", data.evaluation)):
        if not rest.height:
            raise DataError(
                f"no {name} row is left: {'; '.join(dict.fromkeys(why.fix for why in found[name].values()))[:300]}",
                "raise data.max_length, or choose another chat.overlong or chat.template",
            )
    return data, encode(data)


def _row_ids(split: EncodedSplit, *, keep_framed: bool) -> list[str]:
    return [split.row_ids[i] for i, tokens in split.tokenless.items() if not (keep_framed and tokens)]


def _judge(
    data: PreparedData,
    splits: Mapping[str, EncodedSplit],
    aside: Mapping[str, list[str]],
    config: DataConfig,
    rule: str,
    fix: str,
) -> None:
    from finetune30.data.setting_aside import place_of

    files = {entry["file"] for entry in data.ledger["files"]}
    for name, row_ids in aside.items():
        rows, count = len(splits[name]), len(row_ids)
        if count and config.gate.mode == "strict":
            raise DataFileError(*place_of(row_ids[0], files), f"{rule}: {fix}", "mend or remove the row")
        if count == rows and rule == NO_TOKENS:
            found = f"none of the {rows} {name} rows gives the model a token of its own, for example {row_ids[0]}"
            raise DataError(found, "choose a base model whose tokenizer knows the script of these texts")
        if config.gate.mode == "quarantine" and count > config.gate.max_faulty_share * rows:
            what = "give the model no token of their own" if rule == NO_TOKENS else f"are of no use, '{rule}': {fix}"
            found = (
                f"{count} {name} rows {what} ({count / rows:.1%}, allowed "
                f"{config.gate.max_faulty_share:.1%}), for example {', '.join(row_ids[:_SHOWN])}"
            )
            raise DataError(found, "fill those rows in or remove them, or raise data.gate.max_faulty_share")
