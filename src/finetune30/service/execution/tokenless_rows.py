"""Rows of which a text gives the model nothing to read: set aside before the training, with a reason in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from finetune30.data.validation.row_rules import NO_TOKENS, NO_TOKENS_FIX
from finetune30.errors import DataError, DataFileError

if TYPE_CHECKING:
    from finetune30.config.schema import DataConfig
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
    aside = {name: _row_ids(split, keep_framed=config.validation_rules.allow_empty) for name, split in splits.items()}
    if not any(aside.values()):
        return data, splits
    from finetune30.data.setting_aside import set_rows_aside

    _judge(data, splits, aside, config)
    for name, row_ids in aside.items():
        if row_ids:
            shown = ", ".join(row_ids[:_SHOWN]) + (" …" if len(row_ids) > _SHOWN else "")
            log(f"data: {len(row_ids)} {name} rows give the model no token of their own: {shown}")
    data = set_rows_aside(data, aside, NO_TOKENS, NO_TOKENS_FIX)
    return data, encode(data)


def _row_ids(split: EncodedSplit, *, keep_framed: bool) -> list[str]:
    return [split.row_ids[i] for i, tokens in split.tokenless.items() if not (keep_framed and tokens)]


def _judge(
    data: PreparedData, splits: Mapping[str, EncodedSplit], aside: Mapping[str, list[str]], config: DataConfig
) -> None:
    from finetune30.data.setting_aside import place_of

    files = {entry["file"] for entry in data.ledger["files"]}
    for name, row_ids in aside.items():
        rows, count = len(splits[name]), len(row_ids)
        if count and config.gate.mode == "strict":
            raise DataFileError(*place_of(row_ids[0], files), f"{NO_TOKENS}: {NO_TOKENS_FIX}", "mend or remove the row")
        if count == rows:
            found = f"none of the {rows} {name} rows gives the model a token of its own, for example {row_ids[0]}"
            raise DataError(found, "choose a base model whose tokenizer knows the script of these texts")
        if config.gate.mode == "quarantine" and count > config.gate.max_faulty_share * rows:
            found = (
                f"{count} {name} rows give the model no token of their own ({count / rows:.1%}, allowed "
                f"{config.gate.max_faulty_share:.1%}), for example {', '.join(row_ids[:_SHOWN])}"
            )
            raise DataError(found, "fill those rows in or remove them, or raise data.gate.max_faulty_share")
