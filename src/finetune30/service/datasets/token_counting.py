"""Counting tokens for analysis and validation, where a tokenizer can be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.config.schema import ModelConfig
from finetune30.data.encoding import TokenCounts, find_tokenless
from finetune30.data.unknown_tokens import WARNING_SHARE, describe_unknown
from finetune30.errors import Finetune30Error

if TYPE_CHECKING:
    from finetune30.data.encoding import CountTokens
    from finetune30.hub.fetching import OnTransfer

_TOKENIZED_ROWS = 10_000
_NO_LIMIT = 1 << 30


def find_token_counter(
    models: Sequence[ModelConfig],
    log: Callable[[str], None],
    data_folder: Path,
    on_transfer: OnTransfer | None = None,
) -> CountTokens | None:
    """Return what counts tokens under the first model's tokenizer that can be had; None, with a word, without one.

    Of a hub model only the tokenizer's files are fetched.
    """
    from finetune30.modeling.base import find_tokenizer
    from finetune30.modeling.text_encoder import FileTokenizer, load_text_encoder

    encoder: FileTokenizer | None = None
    for model in models:
        try:
            source = find_tokenizer(model, log, on_transfer, data_folder=data_folder)
            encoder = load_text_encoder(source, uses_token_types=False)
        except Finetune30Error as error:
            log(f"data: no tokens under '{model.name}': {error.message}")
            continue
        if encoder is not None:
            log(f"data: tokens are counted under '{model.name}'")
            break
        log(f"data: no tokens under '{model.name}': it has no tokenizer.json")
    if encoder is None:
        return None
    tokenizer, counted = encoder, model.name

    def count(texts: list[str], pairs: list[str] | None) -> TokenCounts:
        lengths: list[int] = []
        tokenless: list[int] = []
        unknown = 0
        for start in range(0, len(texts), _TOKENIZED_ROWS):
            part = slice(start, start + _TOKENIZED_ROWS)
            rows, others = texts[part], pairs[part] if pairs else None
            encoded = tokenizer.encode(rows, others, _NO_LIMIT)
            tokenless += [start + i for i in find_tokenless(encoded, rows, others)]
            lengths += encoded.full_lengths
            unknown += encoded.unknown_tokens
        if unknown > WARNING_SHARE * sum(lengths):
            log(f"WARNING: data: {describe_unknown(unknown, sum(lengths), counted).en}")
        return TokenCounts(lengths, tokenless)

    return count
