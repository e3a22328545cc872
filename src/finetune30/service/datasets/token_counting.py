"""Counting tokens for analysis and validation, where a tokenizer can be had."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune30.config import ExperimentConfig
from finetune30.config.schema import ModelConfig
from finetune30.data.encoding import TokenCounts, find_tokenless
from finetune30.data.texts import learns_conversations
from finetune30.data.unknown_tokens import WARNING_SHARE, describe_unknown
from finetune30.errors import Finetune30Error

if TYPE_CHECKING:
    from finetune30.config.chat import ChatConfig
    from finetune30.data.encoding import CountTokens
    from finetune30.data.problem import Problem
    from finetune30.hub.fetching import OnTransfer
    from finetune30.modeling.base import BaseSource

_TOKENIZED_ROWS = 10_000
_NO_LIMIT = 1 << 30


def find_token_counter(
    models: Sequence[ModelConfig],
    problem: Problem,
    chat: ChatConfig,
    log: Callable[[str], None],
    data_folder: Path,
    on_transfer: OnTransfer | None = None,
    *,
    max_length: int | None = None,
) -> CountTokens | None:
    """Return what counts tokens under the first model's tokenizer that can be had; None, with a word, without one.

    Conversations are counted as they are trained on, with all that the chat template writes; within `max_length`
    tokens, those that a training would set aside are told. Of a hub model only the tokenizer's files are fetched.
    """
    from finetune30.modeling.base import find_tokenizer

    talks = learns_conversations(problem)
    for model in models:
        try:
            source = find_tokenizer(model, log, on_transfer, data_folder=data_folder)
            if talks:
                counter: CountTokens | None = _count_rows(source, problem, chat, log, max_length or _NO_LIMIT)
            else:
                counter = _count_texts(source, model.name, log)
        except Finetune30Error as error:
            log(f"data: no tokens under '{model.name}': {error.message}")
            continue
        if counter is not None:
            log(f"data: tokens are counted under '{model.name}'")
            return counter
        log(f"data: no tokens under '{model.name}': it has no tokenizer.json")
    return None


def _count_rows(
    source: BaseSource, problem: Problem, chat: ChatConfig, log: Callable[[str], None], max_length: int
) -> CountTokens:
    from finetune30.problems.trainables import load_trainable

    trainable: Any = load_trainable(problem.name, {}).with_base(source, ExperimentConfig(chat=chat), log)
    encoder = trainable.build_encoder(source, None)

    def count(rows: list[str], _: list[str] | None) -> TokenCounts:
        split = encoder.encode_rows(rows, max_length)
        numbers = np.asarray(split.row_ids, dtype=np.int64)  # parts of a text have the number of their row
        whole = np.bincount(numbers, split.lengths + split.token_counts["truncated"], len(rows)).astype(np.int64)
        in_parts = [i for i, row in enumerate(rows) if encoder.comes_in_parts(json.loads(row))]
        aside = {int(numbers[place]): reason for place, reason in split.aside.items()}
        return TokenCounts(whole.tolist(), in_parts=in_parts, aside=aside, overlong=chat.overlong)

    return count


def _count_texts(source: BaseSource, name: str, log: Callable[[str], None]) -> CountTokens | None:
    from finetune30.modeling.text_encoder import load_text_encoder

    encoder = load_text_encoder(source, uses_token_types=False)
    if encoder is None:
        return None
    tokenizer = encoder

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
            log(f"WARNING: data: {describe_unknown(unknown, sum(lengths), name).en}")
        return TokenCounts(lengths, tokenless)

    return count
