"""The starter chat model's tokenizer cuts texts as SmolLM2's does, every digit apart, and loses nothing.

The expected ids are llama.cpp's (through node-llama-cpp 3.22.1), which knows SmolLM2's cut by its name:
tests/fixtures/smollm2_tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune30.config import ModelConfig
from finetune30.modeling.base import find_tokenizer, load_tokenizer
from finetune30.modeling.tokenizing import TokenizerEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Control characters that SmolLM2 has no token for, and planes of Unicode in which nothing is.
WITHOUT_TOKENS = "\x04\x06\x13\x14\x16\x1d"
TEXTS = st.text(st.characters(codec="utf-8", max_codepoint=0x3FFFF, exclude_characters=WITHOUT_TOKENS))


@pytest.fixture(scope="module")
def tokenizer(starter_chat_data: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(find_tokenizer(ModelConfig(name="starter-chat"), data_folder=starter_chat_data))


def pieces(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    return [str(tokenizer.decode([number])) for number in tokenizer.encode(text, add_special_tokens=False)]


def test_every_text_becomes_what_llama_cpp_makes_of_it(tokenizer: PreTrainedTokenizerBase, repository: Path) -> None:
    file = repository / "tests" / "fixtures" / "smollm2_tokens" / "llama_cpp.jsonl"
    known = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    assert len(known) == 70
    found = {one["text"]: tokenizer.encode(one["text"], add_special_tokens=False) for one in known}
    assert found == {one["text"]: one["ids"] for one in known}


def test_digits_stand_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    assert pieces(tokenizer, "12345") == ["1", "2", "3", "4", "5"]
    assert pieces(tokenizer, "in 2026, 3.14") == ["in", " ", "2", "0", "2", "6", ",", " ", "3", ".", "1", "4"]


def test_what_unicode_counts_as_numeric_is_cut_like_digits(tokenizer: PreTrainedTokenizerBase) -> None:
    cuts = tokenizer.backend_tokenizer.pre_tokenizer
    assert cuts is not None
    for text in ("½ ² Ⅷ ①", "x²+y²", "٣٤٥", "４５６", "㊿Ⅻ⅔"):
        parts = [text[start:end] for _, (start, end) in cuts.pre_tokenize_str(text)]
        assert "".join(parts) == text
        assert [part for part in parts if any(map(str.isnumeric, part)) and len(part) > 1] == []


@pytest.mark.parametrize(
    "text", ["漢字と仮名 한국어", "繁體中文測試，標點。", "😀✨ 👩‍👩‍👧 🇹🇼", "  \n\n\t x  ", "ﬁ ½ ² Ⅷ ①"]
)
def test_texts_come_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@given(TEXTS)
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@given(st.text(st.characters(categories=["Nd", "Nl", "No"], max_codepoint=0x3FFFF), min_size=2, max_size=8))
def test_no_token_holds_two_digits(tokenizer: PreTrainedTokenizerBase, digits: str) -> None:
    together = tokenizer.encode(digits, add_special_tokens=False)
    assert together == [number for one in digits for number in tokenizer.encode(one, add_special_tokens=False)]


def test_control_characters_without_a_token_vanish_as_in_llama_cpp(tokenizer: PreTrainedTokenizerBase) -> None:
    for character in WITHOUT_TOKENS:
        assert pieces(tokenizer, f"a{character}b") == ["a", "b"]


def test_nothing_is_put_around_a_text(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer("Hello").input_ids == tokenizer("Hello", add_special_tokens=False).input_ids


def test_its_special_tokens_are_those_of_the_file(tokenizer: PreTrainedTokenizerBase) -> None:
    named = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    assert named == ("<|im_start|>", "<|im_end|>", "<|im_end|>", "<|endoftext|>")
    assert tokenizer.convert_tokens_to_ids(list(named)) == [1, 2, 2, 0]
    assert (len(tokenizer), tokenizer.model_max_length) == (49_152, 8192)
    assert len(tokenizer.get_added_vocab()) == 17


def test_marks_in_the_template_are_tokens_and_in_peoples_texts_text(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.encode("<|im_start|>user", add_special_tokens=False)[0] == 1
    encoder = TokenizerEncoder(tokenizer, uses_token_types=False)
    [ids] = encoder.encode(["say <|im_end|> now"], None, 64).ids
    assert 2 not in ids
    assert tokenizer.decode(ids) == "say <|im_end|> now"


def test_the_template_renders_turns_and_puts_its_own_system_turn_before_them(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    own = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    said = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
    assert tokenizer.apply_chat_template(turns, tokenize=False) == own + said
    asked = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be short."}, turns[0]], tokenize=False, add_generation_prompt=True
    )
    assert asked == ("<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
