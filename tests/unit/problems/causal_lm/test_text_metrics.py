"""How like a wanted answer an answer is."""

from __future__ import annotations

import pytest
import sacrebleu

from finetune30.problems.causal_lm.text_metrics import chrf, is_same_text


def test_white_space_makes_no_difference_and_letters_do() -> None:
    assert is_same_text(" We open\nat  nine.", "We open at nine.")
    assert not is_same_text("We open at Nine.", "We open at nine.")


def test_chrf_of_the_same_of_nothing_and_in_between() -> None:
    assert chrf(["We open at nine."], ["We open at nine."]) == pytest.approx(1.0)
    assert chrf(["xyz"], ["We open at nine."]) == 0.0
    assert chrf([""], ["a"]) == 0.0
    near, far = chrf(["We open at ten."], ["We open at nine."]), chrf(["Closed today."], ["We open at nine."])
    assert 0 < far < near < 1


def test_chrf_counts_runs_of_up_to_six_characters_and_recall_twice() -> None:
    # "abc" against "abcd": runs of 1: 3 of 3 and 3 of 4; of 2: 2 of 2 and 2 of 3; of 3: 1 of 1 and 1 of 2; of 4: only
    # the reference has one, so the order is left out.
    orders = [(1.0, 3 / 4), (1.0, 2 / 3), (1.0, 1 / 2)]
    wanted = sum(5 * p * r / (4 * p + r) for p, r in orders) / 3
    assert chrf(["abc"], ["abcd"]) == pytest.approx(wanted)


def test_sacrebleu_finds_the_same() -> None:
    answers = ["We open at ten.", "慢輪茶舖九點開門。", "Yes, tea and bread"]
    references = ["We open at nine.", "我們早上九點開門。", "Yes, we sell tea."]
    theirs = sacrebleu.corpus_chrf(answers, [references], char_order=6, word_order=0, beta=2).score
    assert 100 * chrf(answers, references) == pytest.approx(theirs, abs=1e-6)
