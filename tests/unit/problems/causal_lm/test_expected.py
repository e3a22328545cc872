"""Whether an answer holds what was expected of it: whole words and whole numbers, in several scripts."""

from __future__ import annotations

import pytest

from finetune30.problems.causal_lm.expected import holds, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Half past\n nine ", "half past nine"),
        ("ＮＴ＄７０", "nt$70"),
        ("早上 9 點半 開門", "早上9點半開門"),
        ("搭 Bus 5 到", "搭bus 5到"),
        ("九點：30", "九點:30"),
        ("it\u2019s a ten\u2011minute walk", "it's a ten-minute walk"),
        ("STRASSE, Straße", "strasse, strasse"),
        ("cafe\u0301", "caf\u00e9"),
        ("70，150", "70, 150"),
        ("１，１６０", "1,160"),
        ("", ""),
        (" \u3000", ""),
    ],
)
def test_plain_takes_away_what_makes_no_difference(text: str, expected: str) -> None:
    assert plain(text) == expected
    assert plain(expected) == expected


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("A cup is NT$70.", "70"),
        ("70", "70"),
        ("We unlock at HALF past\nnine.", "Half Past Nine"),
        ("At 9:30, every day.", "9:30"),
        ("Costs 170 or 70.", "70"),
        ("In 70, 150 and 200.", "150"),
        ("Take a ten\u2011minute walk.", "ten-minute"),
        ("Sure! C++ is one.", "C++"),
        ("aaa bb", "bb"),
        ("Un café.", "CAFE\u0301"),
        ("Это чай.", "чай"),
        ("한국의 수도는 서울입니다", "서울"),
        ("首都は東京です。", "東京"),
        ("一杯70元。", "70 元"),
        ("一杯 70 元。", "70"),
        ("２４ 種。", "24"),
        ("一杯 70，5 杯 350。", "70"),
        ("早上9：30開門。", "9:30"),
        ("我們在河邊街七號。", "七號"),
        ("星期三十點開門。", "星期三"),
        ("星期三十點開門。", "十點"),
        ("總共 3 萬元。", "3 萬"),
    ],
)
def test_an_answer_holds_what_stands_there_as_a_whole(answer: str, key: str) -> None:
    assert holds(answer, [key])


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("A cup is NT$170.", "70"),
        ("It costs 2.70.", "70"),
        ("It is NT$2,500.", "500"),
        ("It is NT$2,500.", "2"),
        ("At 9:30.", "9"),
        ("At 19:30.", "9:30"),
        ("It takes 705 days.", "70"),
        ("We often do.", "ten"),
        ("Several tents.", "ten"),
        ("Trois cafés.", "café"),
        ("Encore une fête.", "fet"),
        ("Чайник.", "чай"),
        ("नमस्ते", "नमस"),
        ("一杯 170 元。", "70"),
        ("走路二十分鐘。", "十分鐘"),
        ("在河邊街十七號。", "七號"),
        ("共有三十一天。", "三十"),
        ("總共 3 萬元。", "3"),
        ("", "70"),
        ("I do not know.", "70"),
    ],
)
def test_an_answer_does_not_hold_parts_of_words_and_numbers(answer: str, key: str) -> None:
    assert not holds(answer, [key])


def test_one_of_several_expected_texts_is_enough() -> None:
    assert holds("We open at half past nine.", ["9:30", "half past nine"])
    assert holds("We open at 9:30.", ("9:30", "half past nine"))
    assert not holds("We open at ten.", ["9:30", "half past nine"])


def test_a_text_that_stands_whole_after_one_that_does_not_is_found() -> None:
    assert holds("Not 170, 70.", ["70"])
    assert holds("no-no-now no-no", ["no-no"])


def test_nothing_is_held_where_nothing_is_expected() -> None:
    assert not holds("Anything.", [])


@pytest.mark.parametrize("blank", ["", "  ", "\u3000\n"])
def test_a_blank_expected_text_is_refused(blank: str) -> None:
    with pytest.raises(ValueError, match="an expected text is blank"):
        holds("Anything.", ["70", blank])


def test_one_text_in_the_place_of_several_is_refused() -> None:
    with pytest.raises(TypeError, match="not one text: '70'"):
        holds("A cup is 7.", "70")
