"""New questions are asked as most rows of the training were: under the same options of the template, kept with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune30.modeling.base import BaseSource
from finetune30.modeling.conversations.encoder import restore_encoder
from finetune30.modeling.conversations.opening import open_template
from finetune30.modeling.conversations.tokenized_row import SUPERVISED
from finetune30.problems.causal_lm.training import CHAT, LanguageModel
from support.chat_families import FAMILIES
from support.chat_models import TEMPLATES, build_tiny_tokenizer

ALL = {**TEMPLATES, **FAMILIES}
THOUGHT = "<think>\nadd\n</think>\n\n"


def row(*said: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]}


PLAIN, THINKS = row("1+1", "2"), row("1+1", f"{THOUGHT}2")


def opened(name: str, **chat: Any) -> tuple[LanguageModel, Any]:
    tokenizer = build_tiny_tokenizer(ALL[name])
    template = open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None)
    assert template is not None
    decided = {"template": template.describe(), "train_on": "assistant", "overlong": "keep_answer", **chat}
    return LanguageModel({CHAT: decided}), tokenizer


def trained_on(name: str, *rows: dict[str, Any]) -> tuple[LanguageModel, LanguageModel, Any]:
    """Return a problem before and after it saw its training rows, and an encoder as a saved model has it."""
    problem, tokenizer = opened(name)
    split = restore_encoder(tokenizer, problem.targets[CHAT], None).encode_rows(map(json.dumps, rows), 200)
    told: Any = problem.with_baseline_of(split)
    kept = json.loads(json.dumps(told.targets[CHAT]))
    return problem, told, restore_encoder(tokenizer, kept, None)


@pytest.mark.parametrize("name", ["thinking", "qwen"])
@pytest.mark.parametrize(("rows", "answered"), [((THINKS, THINKS, PLAIN), THINKS), ((PLAIN, PLAIN, THINKS), PLAIN)])
def test_fault_6_a_question_is_asked_as_most_answers_of_the_training_were(
    name: str, rows: tuple[dict[str, Any], ...], answered: dict[str, Any]
) -> None:
    _, _, saved = trained_on(name, *rows)
    tokens = saved.fit(answered, 200).tokens
    first = tokens.kinds.tolist().index(SUPERVISED)
    assert saved.ask(answered["messages"][:1]) == tokens.ids[:first]
    text = saved.tokenizer.decode(saved.ask(answered["messages"][:1]))
    assert ("<think>" in text) == (answered is PLAIN)


def test_rows_are_rendered_as_before_whatever_questions_are_asked_with() -> None:
    before, told, saved = trained_on("thinking", THINKS, THINKS, PLAIN)
    mine = restore_encoder(saved.tokenizer, before.targets[CHAT], None)
    for one in (PLAIN, THINKS, row("1+1", "2", "2+2", f"{THOUGHT}4")):
        assert saved.fit(one, 200).tokens.ids == mine.fit(one, 200).tokens.ids
    template = told.targets[CHAT]["template"]
    assert (template["options"], template["asks_with"]) == ({"enable_thinking": False}, {})
    assert template["digest"] == before.targets[CHAT]["template"]["digest"]
    assert saved.template.asking.plain_options == {}


@pytest.mark.parametrize(
    ("name", "rows"),
    [("thinking", (PLAIN, THINKS)), ("thinking", (PLAIN,)), ("chatml", (THINKS,)), ("thinking", ({"text": "a b"},))],
)
def test_nothing_is_kept_where_questions_are_asked_as_the_template_is_rendered(
    name: str, rows: tuple[dict[str, Any], ...]
) -> None:
    before, told, _ = trained_on(name, *rows)
    assert told is before
    assert "asks_with" not in told.targets[CHAT]["template"]


def test_what_is_loaded_for_a_run_keeps_its_encoder() -> None:
    problem, tokenizer = opened("thinking")
    problem._encoder = restore_encoder(tokenizer, problem.targets[CHAT], None)
    split = problem.encoder.encode_rows([json.dumps(THINKS)], 200)
    told: Any = problem.with_baseline_of(split)
    assert told is not problem
    assert told.encoder is problem.encoder
    assert "asks_with" not in problem.targets[CHAT]["template"]
