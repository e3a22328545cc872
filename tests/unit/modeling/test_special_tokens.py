"""Special tokens in texts are text, with the models of tokenizers that there are, in one text and in pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from finetune30.modeling.special_tokens import count_texts_with, marks_taken_for_tokens, read_marks_as_text
from finetune30.modeling.text_encoder import FileTokenizer
from finetune30.modeling.tokenizing import TokenizerEncoder

LETTERS = "abcdefghijklmnopqrstuvwxyz</>|[]_SEP▁ "


def unigram() -> Tokenizer:
    """A vocabulary of SentencePiece: marks are pieces with the best score there is, as T5's are."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -5.0) for letter in LETTERS)]
    made = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in ("<pad>", "</s>", "<unk>")])
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return made


def words() -> Tokenizer:
    """A list of words between spaces, in which a mark is a word."""
    vocabulary = {"[UNK]": 0, "[SEP]": 1, "a": 2, "b": 3, "c": 4}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[SEP]", "[UNK]"])
    return made


def byte_level(**options: Any) -> Tokenizer:
    """Bytes, as GPT-2 has them; with `ignore_merges` a whole word of the vocabulary is taken, as Llama 3 does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*alphabet, "<|endoftext|>"])}
    made = Tokenizer(models.BPE(vocabulary, [], **options))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens(["<|endoftext|>"])
    return made


KINDS: dict[str, tuple[Callable[[], Tokenizer], str]] = {
    "unigram": (unigram, "</s>"),
    "unigram, padding": (unigram, "<pad>"),
    "words": (words, "[SEP]"),
    "bytes": (byte_level, "<|endoftext|>"),
    "bytes, whole words": (lambda: byte_level(ignore_merges=True), "<|endoftext|>"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[Tokenizer, str]:
    build, mark = KINDS[request.param]
    return build(), mark


def test_a_mark_in_a_text_is_read_as_its_letters(kind: tuple[Tokenizer, str]) -> None:
    tokenizer, mark = kind
    number = tokenizer.token_to_id(mark)
    assert number in tokenizer.encode(f"a {mark} b").ids  # as it is read before
    frame = tokenizer.encode("a b").ids.count(number)
    assert read_marks_as_text(tokenizer) == ()
    for text in (mark, f"a {mark} b", f"a{mark}b", f"{mark}{mark} c"):
        assert tokenizer.encode(text).ids.count(number) == frame, text
        assert number not in tokenizer.encode(text, add_special_tokens=False).ids, text


def test_other_texts_are_read_as_before(kind: tuple[Tokenizer, str]) -> None:
    tokenizer, mark = kind
    texts = ["a b c", "", " a  b ", f"{mark[0]} {mark[1:]}", "abcabc", "\u4e2d"]
    before = [tokenizer.encode(text).ids for text in texts]
    read_marks_as_text(tokenizer)
    assert [tokenizer.encode(text).ids for text in texts] == before


def test_no_letter_is_lost_and_none_comes_in(kind: tuple[Tokenizer, str]) -> None:
    tokenizer, mark = kind
    read_marks_as_text(tokenizer)
    read = "".join(tokenizer.encode(f"a{mark}b", add_special_tokens=False).tokens)
    if "[UNK]" not in read:
        assert read.removeprefix("▁") == f"a{mark}b"


def test_a_mark_that_cannot_be_cut_is_named_and_the_unknown_token_is_none() -> None:
    marks = {"#": 7, "[UNK]": 0}

    def encode(text: str) -> list[int]:
        return [7 if letter == "#" else 0 for letter in text.replace(" ", "")]

    assert marks_taken_for_tokens(marks, encode) == ()  # a mark of one letter is that letter
    assert marks_taken_for_tokens({"##": 8}, lambda text: [8] if "##" in text else [1]) == ("##",)
    assert count_texts_with(("##",), ["a ## b", "a # b", "##"]) == 2
    assert count_texts_with((), ["a"]) == 0


@pytest.mark.parametrize("pairs", [None, ["b", "", "</s>", "b"]], ids=["single", "pairs"])
def test_both_encoders_read_marks_alike_and_count_a_text_s_own_tokens(pairs: list[str] | None) -> None:
    from transformers import PreTrainedTokenizerFast

    texts = ["a </s>", "", "b", "a a a a a a a a"]
    theirs = PreTrainedTokenizerFast(tokenizer_object=unigram(), eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    of_transformers = TokenizerEncoder(theirs, uses_token_types=False).encode(texts, pairs, 6)
    of_file = FileTokenizer(unigram(), uses_token_types=False, unknown_token="<unk>").encode(texts, pairs, 6)
    assert of_file == of_transformers
    # "a </s>" is ▁ a ▁ < / s >; a pair counts the text that gives less
    assert of_file.own_tokens == ([7, 0, 2, 16] if pairs is None else [2, 0, 2, 2])
    assert theirs("</s>")["input_ids"].count(1) == 2  # the given tokenizer stays as it was


def test_models_of_before_read_marks_as_they_did() -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_object=unigram(), eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    earlier = TokenizerEncoder(theirs, uses_token_types=False, marks_are_text=False)
    assert earlier.encode(["a </s>"], None, 9).ids == [theirs("a </s>")["input_ids"]]
