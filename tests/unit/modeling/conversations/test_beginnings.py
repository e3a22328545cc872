"""A tokenizer that puts a mark before every text by itself: it stands there once, in training and in questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune30.modeling.base import BaseSource
from finetune30.modeling.conversations.encoder import ConversationEncoder
from finetune30.modeling.conversations.opening import open_template
from finetune30.modeling.conversations.tokenized_row import SUPERVISED
from support.chat_models import CHATML, build_tiny_tokenizer

BEGIN = "<|endoftext|>"
QUESTION = {"role": "user", "content": "where is the shop"}
ROW = {"messages": [QUESTION, {"role": "assistant", "content": "here"}]}


def build_encoder(template: str) -> ConversationEncoder:
    from tokenizers.processors import TemplateProcessing

    tokenizer = build_tiny_tokenizer(template)
    tokenizer.bos_token = BEGIN
    number = tokenizer.convert_tokens_to_ids(BEGIN)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, number)]
    )
    assert tokenizer("a").input_ids[0] == number
    opened = open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None)
    return ConversationEncoder(
        tokenizer, opened, train_on="assistant", overlong="keep_answer", known_tokens=len(tokenizer)
    )


@pytest.mark.parametrize(("template", "marks"), [("{{ bos_token }}" + CHATML, 1), (CHATML, 0)])
def test_a_conversation_has_the_marks_that_its_template_writes(template: str, marks: int) -> None:
    made = build_encoder(template)
    number: Any = made.tokenizer.convert_tokens_to_ids(BEGIN)
    tokens = made.tokenize(ROW)
    assert tokens.ids.count(number) == marks
    first = next(place for place, kind in enumerate(tokens.kinds) if kind == SUPERVISED)
    assert made.ask([QUESTION]) == list(tokens.ids[:first])
    rendered: Any = made.tokenizer.apply_chat_template([QUESTION], add_generation_prompt=True, return_dict=True)
    assert made.ask([QUESTION]) == list(rendered["input_ids"])


def test_a_plain_text_and_its_continuation_begin_with_the_mark_once() -> None:
    made = build_encoder(CHATML)
    number: Any = made.tokenizer.convert_tokens_to_ids(BEGIN)
    tokens = made.tokenize({"text": "we sell tea"})
    asked = made.ask_text("we sell tea")
    assert (tokens.ids[0], tokens.ids.count(number)) == (number, 1)
    assert asked == made.tokenizer("we sell tea").input_ids
    assert list(tokens.ids[: len(asked)]) == asked
