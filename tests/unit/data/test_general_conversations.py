"""The general conversations: whole, balanced, apart from each other and from the starter conversations."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import polars as pl
import pytest

from finetune30.data.sources import characters
from finetune30.data.validation.near_duplicates import find_near_duplicates, normalize
from finetune30.problems.causal_lm.expected import holds
from support.starter_texts import STARTER, has_full_width_marks, is_traditional, load, of_language, overlap, said

GENERAL = load("general.jsonl")
SHOP = [*load("conversations/train.jsonl"), *load("conversations/eval.jsonl")]
LANGUAGES = ("en", "zh")
#: Kinds of question, and how many of each there are in each language.
TOPICS = {
    "arithmetic": 2,
    "code": 3,
    "common-sense": 1,
    "cooking": 1,
    "geography": 2,
    "health": 1,
    "history": 1,
    "knowledge": 2,
    "letter": 1,
    "list": 1,
    "planning": 1,
    "poem": 1,
    "refusal": 2,
    "rewriting": 1,
    "science": 2,
    "summary": 1,
    "translation": 1,
}


def test_half_of_the_conversations_is_in_each_language_with_the_same_topics() -> None:
    assert len(GENERAL) == 48
    for language in LANGUAGES:
        rows = of_language(GENERAL, language)
        assert len(rows) == 24
        assert Counter(row["topic"] for row in rows) == TOPICS
        assert sum(len(row["messages"]) == 4 for row in rows) == 4


def test_rows_have_ids_of_their_own_and_roles_that_alternate_up_to_an_answer() -> None:
    assert len({row["id"] for row in GENERAL}) == len(GENERAL)
    assert {row["id"] for row in GENERAL}.isdisjoint(row["id"] for row in SHOP)
    for row in GENERAL:
        assert list(row) == ["id", "lang", "topic", "messages"], row["id"]
        assert row["lang"] in LANGUAGES
        roles = [message["role"] for message in row["messages"]]
        assert roles in (["user", "assistant"], ["user", "assistant"] * 2), row["id"]
        assert all(list(message) == ["role", "content"] for message in row["messages"]), row["id"]
        assert all(message["content"] == message["content"].strip() != "" for message in row["messages"]), row["id"]


def length(text: str, language: str) -> int:
    """Return the words of an English text, the characters that are letters or digits of a Chinese one."""
    return len(text.split()) if language == "en" else sum(character.isalnum() for character in text)


@pytest.mark.parametrize(("language", "shortest", "longest"), [("en", 15, 60), ("zh", 25, 100)])
def test_answers_are_a_few_sentences_long(language: str, shortest: int, longest: int) -> None:
    for answer in said(of_language(GENERAL, language), "assistant"):
        assert shortest <= length(answer, language) <= longest, answer


def test_no_question_or_answer_stands_twice_also_not_nearly() -> None:
    for role in ("user", "assistant"):
        texts = pl.Series(said(GENERAL, role))
        assert normalize(texts).n_unique() == len(texts) == 56
        assert find_near_duplicates(texts).rows() == []
    whole = pl.Series(["\n".join(message["content"] for message in row["messages"]) for row in GENERAL])
    assert find_near_duplicates(whole).rows() == []


def test_nothing_stands_in_the_starter_conversations_also_not_nearly() -> None:
    for role in ("user", "assistant"):
        general = said(GENERAL, role)
        trained = list(dict.fromkeys(said(SHOP, role)))
        assert set(normalize(pl.Series(general))).isdisjoint(normalize(pl.Series(trained)))
        near = find_near_duplicates(pl.Series([*general, *trained]))
        assert near.filter(pl.col("first") < len(general)).rows() == []


def test_questions_share_few_words_with_each_other_and_with_those_of_the_shop() -> None:
    for language in LANGUAGES:
        asked = said(of_language(GENERAL, language), "user")
        trained = said(of_language(SHOP, language), "user")
        assert [pair for pair in combinations(asked, 2) if overlap(*pair) > 0.5] == []
        assert [(a, t) for a in asked for t in trained if overlap(a, t) > 0.5] == []


def test_nothing_is_about_the_shop_of_the_starter_conversations() -> None:
    shop = ["Slow Wheel", "Yundu", "tea", "teas", "bicycle", "bicycles", "bike", "慢輪", "雲渡", "茶", "腳踏車", "單車"]
    assert [row["id"] for row in GENERAL for message in row["messages"] if holds(message["content"], shop)] == []


def test_chinese_is_traditional_with_full_width_marks() -> None:
    texts = [message["content"] for row in of_language(GENERAL, "zh") for message in row["messages"]]
    for text in texts:
        assert is_traditional(text), text
        assert has_full_width_marks(text), text
        assert text[-1] in "。！？", text
    assert characters.is_traditional_chinese("".join(texts))


def test_english_is_ascii_and_ends_its_sentences() -> None:
    for row in of_language(GENERAL, "en"):
        for message in row["messages"]:
            assert message["content"].isascii(), row["id"]
            assert message["content"][-1] in ".!?", row["id"]


def test_datasheet_counts_what_is_there() -> None:
    datasheet = (STARTER / "conversations" / "README.md").read_text(encoding="utf-8")
    two_turns = sum(len(row["messages"]) == 4 for row in GENERAL)
    assert f"{len(GENERAL)} conversations, 24 in each language, {two_turns} of them of two turns" in datasheet
    assert f"{len(GENERAL)} 則，中、英文各 24 則，其中 {two_turns} 則有兩輪" in datasheet
