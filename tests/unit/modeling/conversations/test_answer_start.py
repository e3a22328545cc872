"""Templates that ask with a space at the end: asked are the very tokens that stand before an answer in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from finetune30.modeling.base import BaseSource
from finetune30.modeling.conversations.answer_start import find_start
from finetune30.modeling.conversations.encoder import ConversationEncoder
from finetune30.modeling.conversations.opening import open_template
from support.chat_families import FAMILIES
from support.chat_models import CHATML, TEMPLATES, build_tiny_tokenizer

MARKED = CHATML.replace("'\n' + m['content']", "': ' + m['content']").replace("assistant\n'", "assistant: '")
SPACED = {"endless": TEMPLATES["endless"], "marked": MARKED, "two": MARKED.replace(": '", ":  '")}
HISTORY = [("user", "where"), ("assistant", "the shop"), ("user", "when")]


def build_metaspace_tokenizer(template: str) -> Any:
    """Return a tokenizer that writes a space as the beginning of the word behind it, in the manner of SentencePiece."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<unk>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(["user assistant : the shop see where when 1 2 \n"] * 5, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    made.chat_template = template
    return made


def encoder(build: Any, text: str) -> ConversationEncoder:
    tokenizer = build(text)
    template = open_template(tokenizer, BaseSource("tiny", "tiny", Path(), None), None)
    return ConversationEncoder(tokenizer, template, train_on="assistant", overlong="cut", known_tokens=None)


MADE = {
    (build.__name__, name): encoder(build, text)
    for build in (build_tiny_tokenizer, build_metaspace_tokenizer)
    for name, text in {**SPACED, "mistral": FAMILIES["mistral"], "chatml": CHATML}.items()
}


@pytest.mark.parametrize("made", MADE.values(), ids=map("-".join, MADE))
@settings(max_examples=15, deadline=None)
@given(
    answer=st.text("a1 你\U0001f600", max_size=6).map(lambda text: f"s{text}s") | st.sampled_from(["1 2", "的", "see"])
)
def test_what_is_asked_with_is_what_stands_before_the_answer(made: ConversationEncoder, answer: str) -> None:
    messages = [{"role": role, "content": said} for role, said in (*HISTORY, ("assistant", answer))]
    row = made.tokenize({"messages": messages})
    assert row.answer is not None
    assert made.ask(messages[:-1]) == row.ids[: row.answer[0]]


@pytest.mark.parametrize("name", [*SPACED, "mistral", "chatml"])
def test_the_template_s_own_spaces_are_no_part_of_an_answer_and_stay_in_a_text_that_is_gone_on_with(name: str) -> None:
    made = MADE["build_tiny_tokenizer", name]
    start = find_start(made)
    messages = [{"role": role, "content": said} for role, said in (*HISTORY, ("assistant", " see"))]
    row = made.tokenize({"messages": messages})
    assert row.answer is not None
    said = str(made.tokenizer.decode(row.ids[slice(*row.answer)], skip_special_tokens=True))
    assert start.spaces == {"chatml": 0, "two": 2}.get(name, 1)
    assert start.cut(said, made.ask(messages[:-1])) == " see"
    assert start.cut(said, made.ask_text("the shop")) == said
