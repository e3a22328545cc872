"""Conversations as tokens: which carry loss, what is cut, and what is set aside."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune30.data.encoding import IGNORED
from finetune30.modeling.base import BaseSource
from finetune30.modeling.conversations.encoder import ConversationEncoder
from finetune30.modeling.conversations.opening import open_template
from finetune30.modeling.conversations.tokenized_row import CONTEXT, SUPERVISED
from support.chat_models import CHATML, TEMPLATES, build_tiny_tokenizer


@cache
def encoder(name="chatml", **options):
    tokenizer = build_tiny_tokenizer(TEMPLATES[name])
    template = open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None)
    settings = {"train_on": "assistant", "overlong": "keep_answer", "known_tokens": len(tokenizer), **options}
    return ConversationEncoder(tokenizer, template, **settings)


def row(*contents):
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]}


def text_of(made, tokens, kind):
    return made.tokenizer.decode([t for t, k in zip(tokens.ids, tokens.kinds, strict=True) if k == kind])


def test_every_token_is_of_one_kind():
    made = encoder()
    tokens = made.tokenize(row("where", "here", "and", "there"))
    assert text_of(made, tokens, SUPERVISED) == "here<|im_end|>there<|im_end|>"
    assert text_of(made, tokens, CONTEXT) == "whereand"
    assert made.tokenizer.decode(tokens.ids) == made.template.render(row("where", "here", "and", "there")["messages"])


def test_targets_are_the_following_tokens_and_end_with_the_end_mark():
    made = encoder()
    split = made.encode_rows([json.dumps(row("where", "here")), json.dumps(row("a", "b"))], 64)
    for i, answer in enumerate(("here<|im_end|>", "b<|im_end|>")):
        start, stop = split.offsets[i], split.offsets[i + 1]
        targets = split.targets[start:stop]
        asked = np.flatnonzero(targets != IGNORED)
        assert made.tokenizer.decode(targets[asked]) == answer
        assert (split.tokens[start:stop][asked + 1] == targets[asked]).all()
    assert split.token_counts["supervised"].sum() == (split.targets != IGNORED).sum()


def test_special_tokens_in_messages_are_text():
    made = encoder()
    tokens = made.tokenize(row("<|im_end|>", "<|im_start|>b"))
    marks = [i for i, token in enumerate(tokens.ids) if token in (1, 2)]
    assert [tokens.text[slice(*tokens.places[i])] for i in marks] == ["<|im_start|>", "<|im_end|>"] * 2
    assert made.tokenizer.decode(tokens.ids) == tokens.text


def test_asking_gives_the_tokens_that_stand_before_the_answer():
    made = encoder("injecting")
    for question in ("where", "<|im_end|>", "你好"):
        tokens = made.tokenize(row(question, "here"))
        first = int(np.flatnonzero(tokens.kinds == SUPERVISED)[0])
        assert made.ask([{"role": "user", "content": question}]) == tokens.ids[:first]


def test_a_prompt_that_is_no_prefix_in_tokens_still_asks_for_the_first_answer_token():
    made = encoder()
    tokens = made.tokenize({"prompt": "the ", "completion": "shop"})
    assert text_of(made, tokens, SUPERVISED).lstrip() == "shop<|im_end|>"
    assert made.tokenizer.decode(tokens.ids) == "the shop<|im_end|>"


#: Turns without any mark behind them; a line break before what is said is a token of its own.
ENDLESS = TEMPLATES["endless"].replace(": '", ":\n'")
#: ChatML for a tokenizer that does not know its marks: they are text there.
TEXTUAL = CHATML.replace("<|im_start|>", "<|turn|>").replace("<|im_end|>", "<|over|>")


@pytest.mark.parametrize("text", [ENDLESS, TEXTUAL])
@pytest.mark.parametrize("train_on", ["assistant", "all"])
def test_fault_8_where_the_template_writes_no_end_mark_the_end_stands_right_behind_the_answer(text, train_on):
    tokenizer = build_tiny_tokenizer(text)
    template = open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None)
    made = ConversationEncoder(tokenizer, template, train_on=train_on, overlong="cut", known_tokens=None)
    assert made.end_token_id == tokenizer.eos_token_id
    one = row("hi", "hello", "bye", "see you")
    tokens = made.tokenize(one)
    assert tokens.answer is not None
    first, stop = tokens.answer
    assert stop == len(tokens.ids)
    assert (tokens.kinds[first:] == SUPERVISED).all()
    assert tokenizer.decode(tokens.ids[first:]) == "see you<|im_end|>"
    assert tokens.ids[:first] == made.ask(one["messages"][:-1])
    assert tokens.ids.count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize("overlong", ["drop", "keep_answer", "cut"])
def test_a_row_that_is_too_long(overlong):
    made = encoder(overlong=overlong)
    long = row("where " * 30, "far away", "and now", "here")
    whole = made.tokenize(long)
    limit = 40
    fitted = made.fit(long, limit)
    if overlong == "drop":
        assert (fitted.aside.rule, fitted.aside.is_chosen) == ("overlong", True)
        return
    assert len(fitted.tokens.ids) <= limit
    assert int(fitted.cut.sum()) + len(fitted.tokens.ids) == len(whole.ids)
    if overlong == "keep_answer":
        assert fitted.aside is None
        assert text_of(made, fitted.tokens, SUPERVISED) == "here<|im_end|>"
    else:
        assert fitted.aside.rule == "no_answer_left"


def test_a_single_exchange_loses_its_context_from_the_left_and_never_its_answer():
    made = encoder()
    fitted = made.fit(row("where " * 50, "here"), 20)
    assert len(fitted.tokens.ids) == 20
    assert text_of(made, fitted.tokens, SUPERVISED) == "here<|im_end|>"
    none = made.fit(row("where", "here " * 50), 20)
    assert none.aside.rule == "no_answer_left"
    assert len(none.tokens.ids) == 0


def test_the_last_exchange_that_is_learnt_stays_where_later_answers_are_only_read():
    made = encoder()
    long = row("where is the shop " * 9, "here", "and", "there")
    long["messages"][-1]["weight"] = 0
    fitted = made.fit(long, len(made.tokenize(long).ids) - 5)
    assert fitted.aside is None
    assert text_of(made, fitted.tokens, SUPERVISED) == "here<|im_end|>"


def test_rows_that_the_template_refuses_are_set_aside_with_its_words():
    made = encoder("strict")
    split = made.encode_rows([json.dumps(row("a", "b")), json.dumps(row("a", "b", "c"))], 64)
    assert not split.aside
    refused = {"messages": [{"role": "assistant", "content": "a"}]}
    split = made.encode_rows([json.dumps(refused), json.dumps(row("a", "b"))], 64)
    assert list(split.aside) == [0]
    assert "roles must alternate" in split.aside[0].fix


def test_a_bare_text_asks_for_every_token_but_its_first():
    made = encoder()
    tokens = made.tokenize({"text": "the shop opens"})
    assert tokens.kinds[0] == CONTEXT
    assert (tokens.kinds[1:] == SUPERVISED).all()
    assert tokens.ids[-1] == made.tokenizer.eos_token_id


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=20).filter(str.strip), min_size=2, max_size=6),
    st.integers(4, 60),
    st.sampled_from(["drop", "keep_answer", "cut"]),
)
def test_no_token_vanishes_and_no_row_is_left_without_an_answer(contents, limit, overlong):
    made = encoder(overlong=overlong)
    whole = made.tokenize(row(*contents))
    fitted = made.fit(row(*contents), limit)
    if fitted.aside is None:
        assert len(fitted.tokens.ids) <= limit
        assert (fitted.tokens.kinds == SUPERVISED).any()
        assert fitted.tokens.kinds[0] != SUPERVISED
        assert len(fitted.tokens.ids) + int(fitted.cut.sum()) == len(whole.ids)


@given(
    words=st.lists(st.sampled_from(("the", "shop", "茶", "🚲", "opens")), max_size=80), max_length=st.integers(2, 40)
)
@settings(max_examples=60, deadline=None)
def test_parts_of_a_long_text_hold_every_token_once(words, max_length):
    made = encoder()
    text = {"text": " ".join(words)}
    whole, parts = made.tokenize(text), made.fit_parts(text, max_length)
    assert [token for part in parts for token in part.tokens.ids] == whole.ids
    sizes = [len(part.tokens.ids) for part in parts]
    assert max(sizes) <= max_length
    assert max(sizes) - min(sizes) <= 1
    for part in parts:
        assert part.tokens.kinds[0] != SUPERVISED
        assert (part.tokens.kinds[1:] == SUPERVISED).all()
    split = made.encode_rows([json.dumps(row("a", "b")), json.dumps(text)], 40)
    assert split.row_ids == ["0", *["1"] * len(made.fit_parts(text, 40))]
    assert split.row_count == 2


@pytest.mark.parametrize(("overlong", "parts"), [("keep_answer", 3), ("cut", 1), ("drop", 1)])
def test_a_long_text_comes_in_parts_unless_it_is_to_be_cut_or_dropped(overlong, parts):
    made = encoder(overlong=overlong)
    text = {"text": "the shop opens at nine"}
    length = -(-len(made.tokenize(text).ids) // 3)
    found = made.fit_parts(text, length)
    assert len(found) == parts
    assert [part.aside is not None for part in found] == [overlong == "drop"] * parts
