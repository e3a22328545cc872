"""Which questions are asked at the end of a training: the last ones, whole, of rows from everywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from finetune30.data.encoding import IGNORED, EncodedSplit
from finetune30.modeling.conversations.encoder import ConversationEncoder
from finetune30.modeling.conversations.opening import open_template
from finetune30.problems.causal_lm.questions import Question, choose_questions, encode_questions
from support.chat_families import OPENED_THOUGHT
from support.chat_models import CHATML, TEMPLATES, build_tiny_tokenizer

Row = Mapping[str, Any]


@cache
def encoder_of(template: str | None = CHATML, **changes: Any) -> ConversationEncoder:
    tokenizer = build_tiny_tokenizer(template)
    nowhere: Any = None  # a source is named in messages only
    wanted = {"train_on": "assistant", "overlong": "keep_answer", "known_tokens": None, **changes}
    return ConversationEncoder(tokenizer, open_template(tokenizer, nowhere, None), **wanted)


def talk(*contents: str, **more: Any) -> Row:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)], **more}


def questions_of(encoder: ConversationEncoder, *rows: Row, count: int = 100, longest: int = 1000) -> list[Question]:
    return choose_questions(encoder.encode_rows([json.dumps(row) for row in rows], longest), count)


def read(encoder: ConversationEncoder, ids: list[int]) -> str:
    return str(encoder.tokenizer.decode(ids))


@pytest.mark.parametrize("train_on", ["assistant", "last", "all"])
def test_a_completion_is_asked_by_its_prompt(train_on: str) -> None:
    encoder = encoder_of(train_on=train_on)
    (asked,) = questions_of(encoder, {"prompt": "we sell", "completion": " tea and bread"})
    assert read(encoder, asked.prompt) == "we sell"
    assert read(encoder, asked.reference) == " tea and bread<|im_end|>"
    assert asked.asked == "we sell"


@pytest.mark.parametrize("train_on", ["assistant", "last", "all"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_last_answer_is_asked_with_its_own_question(template: str, train_on: str) -> None:
    encoder = encoder_of(TEMPLATES[template], train_on=train_on)
    (asked,) = questions_of(encoder, talk("first", "one", "second", "two", expected=["two"]))
    assert encoder.ask(talk("first", "one", "second")["messages"]) == asked.prompt
    assert read(encoder, asked.reference).lstrip().startswith("two")  # the space that some templates ask with is learnt
    assert asked.reference[-1] == encoder.end_token_id
    assert (asked.asked, asked.expected) == ("second", ("two",))


def test_an_answer_that_would_be_asked_for_otherwise_is_not_asked() -> None:
    """The template asks behind a thought that it opens, and the row has none."""
    assert questions_of(encoder_of(OPENED_THOUGHT), talk("first", "one")) == []


def test_a_row_whose_last_answer_is_cut_is_not_asked() -> None:
    encoder = encoder_of(overlong="cut")
    row = talk("first", "one", "second", "we sell tea and bread", expected=["tea"])
    whole = len(encoder.tokenize(row).ids)
    split = encoder.encode_rows([json.dumps(row)], whole - 3)
    assert (split.targets != IGNORED).any()
    assert choose_questions(split, 1) == []
    assert len(questions_of(encoder, row, longest=whole)) == 1


@pytest.mark.parametrize("train_on", ["assistant", "last", "all"])
def test_a_row_whose_last_answer_is_not_to_be_learnt_is_not_asked(train_on: str) -> None:
    """An earlier answer would stand beside the last one's question, and what is expected of that."""
    row = talk("first", "one", "second", "two", expected=["two"])
    row["messages"][-1]["weight"] = 0
    assert questions_of(encoder_of(train_on=train_on), row) == []


def test_a_row_without_its_oldest_turns_is_asked_with_what_is_left() -> None:
    encoder = encoder_of()
    row = talk("the shop opens at nine " * 5, "one", "second", "two")
    (asked,) = questions_of(encoder, row, longest=len(encoder.tokenize(row).ids) - 1)
    assert asked.prompt == encoder.ask(talk("second")["messages"])


def test_a_question_without_its_beginning_is_asked_with_what_is_left() -> None:
    encoder = encoder_of()
    row = talk("the shop opens at nine " * 5 + "or not?", "one")
    longest = len(encoder.tokenize(row).ids) - 7
    split = encoder.encode_rows([json.dumps(row)], longest)
    (asked,) = choose_questions(split, 1)
    assert read(encoder, asked.reference) == "one<|im_end|>"
    assert read(encoder, asked.prompt).endswith(" or not?<|im_end|>\n<|im_start|>assistant\n")
    assert [*asked.prompt, *asked.reference] == split.tokens[:-1].tolist()  # behind it the template breaks the line


def test_what_comes_behind_the_last_answer_is_not_what_it_answers() -> None:
    (asked,) = questions_of(encoder_of(), talk("first", "one", "second"))
    assert asked.asked == "first"


def test_a_long_text_is_asked_once() -> None:
    encoder = encoder_of(template=None)
    rows = [{"text": "where is the shop " * times} for times in (40, 1)]
    split = encoder.encode_rows([json.dumps(row) for row in rows], 32)
    assert len(split) > 3
    found = choose_questions(split, 10)
    assert [one.row_id for one in found] == ["0", "1"]
    assert [len(one.prompt) for one in found] == [1, 1]
    assert len(found[0].reference) == split.lengths[0] - 1


def test_rows_come_evenly_from_the_whole_file() -> None:
    rows = [talk(f"question {number}", f"answer {number}") for number in range(9)]
    taken = {
        count: [int(q.row_id) for q in questions_of(encoder_of(), *rows, count=count)] for count in (0, 1, 3, 9, 20)
    }
    assert taken == {0: [], 1: [0], 3: [0, 4, 8], 9: list(range(9)), 20: list(range(9))}


def test_questions_as_rows_ask_for_the_wanted_answers_alone() -> None:
    encoder = encoder_of()
    rows = [json.dumps(talk("first", "one", "second", "two")), json.dumps(talk("third", "three"))]
    last = on_last_answers(encoder).encode_rows(rows, 100)
    found = encode_questions(choose_questions(encoder.encode_rows(rows, 100), 2))
    ends = [int(stop) for _, stop in last.answers.values()]
    for row, stop in enumerate(ends):
        one, other = (part(split, row)[:stop] for split in (found, last))
        assert one == other


def on_last_answers(encoder: ConversationEncoder) -> ConversationEncoder:
    """Return an encoder under which the last answer alone carries loss."""
    return ConversationEncoder(
        encoder.tokenizer, encoder.template, train_on="last", overlong=encoder.overlong, known_tokens=None
    )


def part(split: EncodedSplit, row: int) -> list[tuple[int, int]]:
    place = slice(split.offsets[row], split.offsets[row + 1])
    return list(zip(split.tokens[place].tolist(), split.targets[place].tolist(), strict=True))
