"""The starter conversations: whole, true to their facts, said in many ways, and evaluated with words not trained on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations

import polars as pl
import pytest

from finetune30.config import STARTER_CHAT
from finetune30.data.sources import characters
from finetune30.data.starter import load_starter
from finetune30.data.validation.near_duplicates import find_near_duplicates, normalize
from finetune30.problems.causal_lm.expected import holds
from support.starter_texts import STARTER, Row, has_full_width_marks, is_traditional, load, of_language, overlap, said

LANGUAGES = ("en", "zh")
#: How often each fact is asked about in each language, in different words.
WORDINGS = 3

FACTS = {fact["id"]: fact for fact in load("conversations/facts.jsonl")}
TRAIN = load("conversations/train.jsonl")
EVAL = load("conversations/eval.jsonl")


def datasheet() -> str:
    return (STARTER / "conversations" / "README.md").read_text(encoding="utf-8")


# --- Whether a text holds a fact: the rule that the datasheet states.


def holds_fact(text: str, fact: str, language: str) -> bool:
    return holds(text, FACTS[fact]["answer"][language])


@pytest.mark.parametrize(
    ("text", "fact", "language", "expected"),
    [
        ("A cup is NT$70.", "tea-cup-price", "en", True),
        ("A cup is NT$170.", "tea-cup-price", "en", False),
        ("It is NT$2,500.", "rent-deposit", "en", False),
        ("We unlock at Half Past Nine.", "hours-open", "en", True),
        ("At 9:30.", "hours-friday", "en", False),
        ("一杯70元。", "tea-cup-price", "zh", True),
        ("一杯 170 元。", "tea-cup-price", "zh", False),
        ("２４ 種。", "tea-count", "zh", True),
    ],
)
def test_a_fact_is_held_by_whole_words_and_numbers_only(text: str, fact: str, language: str, expected: bool) -> None:
    assert holds_fact(text, fact, language) is expected


# --- Counts and form.


def test_conversations_are_many_and_half_of_them_in_each_language() -> None:
    assert len(TRAIN) >= 240
    assert len(EVAL) == 40
    assert len(FACTS) >= 120
    for rows in (TRAIN, EVAL):
        assert len(of_language(rows, "en")) == len(of_language(rows, "zh")) == len(rows) / 2


def test_rows_have_ids_of_their_own_known_facts_and_alternating_turns() -> None:
    rows = [*TRAIN, *EVAL]
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert list(row)[:4] == ["id", "lang", "fact", "messages"], row["id"]
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2), row["id"]
        assert all(set(message) == {"role", "content"} for message in row["messages"])
        assert all(message["content"] == message["content"].strip() != "" for message in row["messages"])
        assert set(row["fact"]) <= set(FACTS), row["id"]
    assert {len(row["messages"]) for row in EVAL} == {2}
    assert {len(row["messages"]) for row in TRAIN} == {2, 4, 6}


def test_facts_are_distinct_and_hold_their_own_keys() -> None:
    assert len(FACTS) == len(load("conversations/facts.jsonl"))
    for language in LANGUAGES:
        assert len({fact[language] for fact in FACTS.values()}) == len(FACTS)
        for name, fact in FACTS.items():
            assert list(fact) == ["id", "en", "zh", "answer"], name
            assert holds_fact(fact[language], name, language), name


def test_some_of_the_conversations_decline() -> None:
    for language in LANGUAGES:
        rows = of_language(TRAIN, language)
        assert 0.05 <= sum(not row["fact"] for row in rows) / len(rows) <= 0.12
        assert 1 <= sum(not row["fact"] for row in of_language(EVAL, language)) <= 2


def test_datasheet_counts_what_is_there() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in datasheet().splitlines() if line[:1] == "|"]
    stated = [row[1:] for row in rows[2:]]

    def counts(count: Callable[[list[Row]], object], rows: list[Row]) -> list[str]:
        return [str(count(part)) for part in (of_language(rows, "en"), of_language(rows, "zh"), rows)]

    def declining(rows: list[Row]) -> int:
        return sum(not row["fact"] for row in rows)

    def turns(rows: list[Row]) -> str:
        lengths = Counter(len(row["messages"]) for row in rows)
        return f"{lengths[4]} / {lengths[6]}"

    assert stated[:4] == [
        counts(len, TRAIN),
        counts(turns, TRAIN),
        counts(declining, TRAIN),
        counts(lambda rows: len(said(rows, "assistant")), TRAIN),
    ]
    assert stated[7:] == [counts(len, EVAL), counts(declining, EVAL)]
    assert f"{len(FACTS)} facts" in datasheet()
    assert f"{len(FACTS)} 項事實" in datasheet()


# --- Facts.


def test_every_fact_is_asked_about_as_often_in_each_language() -> None:
    for language in LANGUAGES:
        asked = Counter(fact for row in of_language(TRAIN, language) for fact in row["fact"])
        assert set(asked) == set(FACTS)
        assert set(asked.values()) == {WORDINGS}


def test_facts_of_the_evaluation_are_trained_in_its_language() -> None:
    for language in LANGUAGES:
        trained = {fact for row in of_language(TRAIN, language) for fact in row["fact"]}
        assert {fact for row in of_language(EVAL, language) for fact in row["fact"]} <= trained


def test_the_evaluation_expects_what_its_facts_say() -> None:
    for row in EVAL:
        assert row.get("expected") == (FACTS[row["fact"][0]]["answer"][row["lang"]] if row["fact"] else None)


def test_they_are_a_data_set_by_name() -> None:
    tables = load_starter(STARTER_CHAT)
    assert {split: [table.frame.height for table in found] for split, found in tables.items()} == {
        "train": [len(TRAIN)],
        "validation": [len(EVAL)],
    }


def test_each_answer_holds_the_fact_that_its_question_asks_and_no_question_tells_it() -> None:
    turns = 0
    for row in [row for row in (*TRAIN, *EVAL) if row["fact"]]:
        for fact, question, answer in zip(row["fact"], said([row], "user"), said([row], "assistant"), strict=True):
            assert holds_fact(answer, fact, row["lang"]), (row["id"], fact, answer)
            assert not holds_fact(question, fact, row["lang"]), (row["id"], fact, question)
            turns += 1
    assert turns == WORDINGS * len(LANGUAGES) * len(FACTS) + sum(len(row["fact"]) for row in EVAL)


# --- Variety.

_QUOTED = re.compile(r"「[^」]*」|\"[^\"]*\"")
_NAMES = re.compile(
    r"The Slow Wheel|Slow Club|River Mist|Night Ride|Downhill|Heron|Sesame|Nora|Theo|Aunt Mei|Ruby|Old Wen|Jun|"
    r"Mr\. Chiu|Yundu|Cloud Pass|慢輪茶舖|林諾|阿泰|梅姨|露露|老溫|小俊|芝麻|邱師傅|雲渡|雲嶺"
)
_NUMBER = (
    r"\d+(?:[.,:]\d+)*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty)\b|"
    r"[一二兩三四五六七八九十百千]+"
)
_MEASURED = re.compile(
    rf"(?:NT\$)?(?:{_NUMBER})\s*(?:[%元點分度輛種位天年]|分鐘|公里|公克|percent|minutes|days|weeks|kilometres)*|"
    r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?\b|星期|\b(?:April|October|November)\b"
)


def frames(text: str) -> Iterator[str]:
    """Yield each sentence without what differs between facts: names, numbers, times, prices and marks."""
    for pattern in (_QUOTED, _NAMES, _MEASURED):
        text = pattern.sub(" # ", text)
    for sentence in re.split(r"[.!?。！？]", text):
        if frame := re.sub(r"[^\w#]+", " ", sentence).strip().casefold():
            yield re.sub(r"#( #)*", "#", frame)


def test_frames_leave_out_names_numbers_times_and_prices() -> None:
    assert list(frames("A pot of River Mist is NT$1,160. Ask Theo!")) == ["a pot of # is #", "ask #"]


def test_no_frame_of_a_sentence_stands_more_than_five_times() -> None:
    counts = Counter(frame for row in (*TRAIN, *EVAL) for m in row["messages"] for frame in frames(m["content"]))
    assert {frame: count for frame, count in counts.items() if count > 5} == {}


def test_no_question_or_answer_is_a_near_duplicate_of_another() -> None:
    rows = [*TRAIN, *EVAL]
    for texts in (said(TRAIN, "assistant"), said(rows, "user"), ["\n".join(said([row], "user")) for row in rows]):
        assert len(set(normalize(pl.Series(texts)))) == len(texts)
        assert find_near_duplicates(pl.Series(texts)).rows() == []


def test_questions_of_the_evaluation_are_not_those_of_the_training() -> None:
    for language in LANGUAGES:
        trained = said(of_language(TRAIN, language), "user")
        asked = said(of_language(EVAL, language), "user")
        close = [(a, t, round(overlap(a, t), 2)) for a in asked for t in trained if overlap(a, t) > 0.5]
        assert close == []
        assert [pair for pair in combinations(asked, 2) if overlap(*pair) > 0.5] == []


# --- Languages.


@pytest.mark.parametrize(
    ("text", "expected"), [("九點半開門，公里", True), ("九点半开门", False), ("机会", False), ("便宜一万元", False)]
)
def test_simplified_characters_are_told(text: str, expected: bool) -> None:
    assert is_traditional(text) is expected


def test_chinese_is_traditional_with_full_width_marks() -> None:
    rows = [*of_language(TRAIN, "zh"), *of_language(EVAL, "zh")]
    texts = [message["content"] for row in rows for message in row["messages"]]
    texts += [text for fact in FACTS.values() for text in (fact["zh"], *fact["answer"]["zh"])]
    for text in texts:
        assert is_traditional(text), text
        assert has_full_width_marks(text), text
    assert characters.is_traditional_chinese("".join(texts))
    assert all(text[-1] in "。！？" for row in rows for text in said([row], "user") + said([row], "assistant"))


def test_english_is_ascii_and_ends_its_sentences() -> None:
    for row in [*of_language(TRAIN, "en"), *of_language(EVAL, "en")]:
        for message in row["messages"]:
            assert message["content"].isascii(), row["id"]
            assert message["content"][-1] in ".!?", row["id"]
