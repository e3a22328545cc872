"""Long dialogues are told by a few of their beginnings, and just as if each of them was rendered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune30.modeling.base import BaseSource
from finetune30.modeling.conversations import beginnings
from finetune30.modeling.conversations.encoder import ConversationEncoder
from finetune30.modeling.conversations.opening import open_template
from finetune30.modeling.conversations.shortening import shorter_ones
from finetune30.modeling.conversations.template import ChatTemplate
from support.chat_families import FAMILIES, MISLEADING
from support.chat_models import CHATML, TEMPLATES, build_tiny_tokenizer

#: Written otherwise from turn to turn, from some turn on, or without the oldest turns: no few beginnings tell of all.
NUMBERED = CHATML.replace("m['content'] +", "(loop.index ~ '. ') + m['content'] +")
LATE = CHATML.replace("'<|im_end|>' +", "('!' if loop.index > 6 else '') + '<|im_end|>' +")
FORGETFUL = CHATML.replace("for m in messages", "for m in messages[-10:]")
#: Look into the question that is asked last: they ask another way, or refuse to.
ASKED = CHATML.replace(
    "assistant\n' }}", "assistant\n' + ('<think>' if '/think' in messages[-1]['content'] else '') }}"
)
WARY = CHATML.replace(
    "{% if add_generation_prompt %}",
    "{% if add_generation_prompt %}{% if '/think' in messages[-1]['content'] %}{{ raise_exception('no') }}{% endif %}",
)
LOOKING = {"asked": ASKED, "wary": WARY}
ALL = {**TEMPLATES, **FAMILIES, **MISLEADING, "numbered": NUMBERED, "late": LATE, "forgetful": FORGETFUL, **LOOKING}
UNLEARNT = {"role": "assistant", "content": "not so", "weight": 0}
SYSTEM = {"role": "system", "content": "Be brief"}


def encoder(name: str, **options: Any) -> ConversationEncoder:
    tokenizer = build_tiny_tokenizer(ALL[name])
    template = open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None, "2025-03-09")
    chosen = {"train_on": "assistant", "overlong": "keep_answer", "known_tokens": None, **options}
    return ConversationEncoder(tokenizer, template, **chosen)


def dialogue(turns: int, **changed: str) -> dict[str, Any]:
    """Return questions and answers in turn; `changed`: other texts, by their turns (`t4`)."""
    roles = ("user", "assistant")
    said = [changed.get(f"t{i}", f"turn {i}: the shop") for i in range(turns)]
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]}


ROWS = {
    "plain": dialogue(22),
    "alike": dialogue(20, **{f"t{i}": "user" for i in range(20)}),
    "spaced": dialogue(20, t3=" hello \n", t8="\n\nwhat", t19="bye \n"),
    "thought": dialogue(20, t5="<think>\nwhy\n</think>\n\nso", t19="<think>\nwhy\n</think>\n\nso"),
    "marks": dialogue(20, t4="<|im_end|>", t7="assistant\n<|im_start|>user"),
    "system": {"messages": [SYSTEM, *dialogue(20)["messages"]]},
    "unlearnt": {"messages": [*dialogue(7)["messages"], UNLEARNT, *dialogue(20)["messages"][8:]]},
    "looked into": dialogue(24, t8="/think of it"),
    "joined": {"messages": [*dialogue(20)["messages"], {"role": "assistant", "content": "and more"}]},
}


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_is_told_by_a_few_beginnings_is_what_all_of_them_tell(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = encoder(name)
    told = {kind: made.fit(row, 10_000) for kind, row in ROWS.items()}
    monkeypatch.setattr(beginnings, "LONG", 1_000_000)
    for kind, row in ROWS.items():
        found, wanted = told[kind], made.fit(row, 10_000)
        assert found.tokens.ids == wanted.tokens.ids, kind
        assert found.tokens.kinds.tolist() == wanted.tokens.kinds.tolist(), kind
        assert (found.tokens.answer, found.tokens.question) == (wanted.tokens.answer, wanted.tokens.question)
        assert (found.aside, found.dropped_characters, found.unlike_asked, found.left_out, found.asked_with) == (
            *(wanted.aside, wanted.dropped_characters, wanted.unlike_asked, wanted.left_out, wanted.asked_with),
        )


@pytest.mark.parametrize("name", ["chatml", "injecting", "strict", "qwen", "llama", "mistral", "thinking", "endless"])
def test_a_dialogue_of_twice_as_many_turns_renders_twice_as_many_messages(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []
    render = ChatTemplate.render

    def count(self: ChatTemplate, messages: Any, tools: Any = None, *, asks: bool = False) -> str:
        rendered.append(len(messages))
        return render(self, messages, tools, asks=asks)

    made = encoder(name)
    monkeypatch.setattr(ChatTemplate, "render", count)
    sizes = []
    for turns in (40, 80):
        rendered.clear()
        made.fit(dialogue(turns), 100_000)
        sizes.append((len(rendered), sum(rendered)))
    assert all(more <= 2.1 * few for few, more in zip(*sizes, strict=True))


@pytest.mark.parametrize("name", ["chatml", "thinking", "gemma", "numbered"])
def test_as_few_of_the_oldest_turns_go_as_have_to(name: str) -> None:
    made = encoder(name)
    row = dialogue(24, t6="the shop opens " * 9, t11="<think>\nwhy\n</think>\n\nso")
    whole = len(made.tokenize(row).ids)
    sizes = [len(made.tokenize(one).ids) for one in shorter_ones(row)]
    for limit in (*range(sizes[-1], sizes[-1] + 8), *sizes[:3], sizes[0] - 1, whole - 1):
        kept = next(one for one, size in zip(shorter_ones(row), sizes, strict=True) if size <= limit)
        assert made.fit(row, limit).tokens.ids == made.tokenize(kept).ids
