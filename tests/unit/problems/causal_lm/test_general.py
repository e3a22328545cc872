"""General conversations as a model reads them: so many as are wanted, of both languages, none where none can be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from finetune30.modeling.conversations.encoder import ConversationEncoder
from finetune30.modeling.conversations.opening import open_template
from finetune30.problems.causal_lm.general import FILE, encode_general
from support.chat_models import TEMPLATES, build_tiny_tokenizer

ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def encoder_of(template: str | None) -> ConversationEncoder:
    tokenizer = build_tiny_tokenizer(template)
    nowhere: Any = None  # a source is named in messages only
    found = open_template(tokenizer, nowhere, None)
    return ConversationEncoder(tokenizer, found, train_on="assistant", overlong="keep_answer", known_tokens=None)


@pytest.mark.parametrize("template", TEMPLATES)
def test_so_many_as_are_wanted_are_read_by_every_template(template: str) -> None:
    encoder = encoder_of(TEMPLATES[template])
    for count in (1, 2, 7, len(ROWS), 1000):
        split = encode_general(encoder, count)
        assert split is not None
        assert len(split) == min(count, len(ROWS))
        assert (split.token_counts["supervised"] > 0).all()
        assert (split.lengths <= 512).all()


def test_few_are_of_both_languages() -> None:
    split = encode_general(encoder_of(TEMPLATES["chatml"]), 2)
    assert split is not None
    texts = [
        bytes(build_tiny_tokenizer().decode(split.tokens[split.offsets[i] : split.offsets[i + 1]]), "utf-8").isascii()
        for i in range(2)
    ]
    assert texts == [True, False]


def test_none_are_asked_where_none_are_wanted_or_there_is_no_template() -> None:
    assert encode_general(encoder_of(TEMPLATES["chatml"]), 0) is None
    assert encode_general(encoder_of(None), 5) is None
