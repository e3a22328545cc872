"""Intervals cover, tests call equal things different no more often than they say, and rows needed are those needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, t

from finetune30.problems import load_problem
from finetune30.service.statistics.folds import fold_mean
from finetune30.service.statistics.mcnemar import exact_p_value
from finetune30.service.statistics.sample_size import rows_needed, visible_difference
from finetune30.service.statistics.score_interval import mean_score_interval, score_interval
from finetune30.service.statistics.seeds import compare_seeds, discordant_share

#: What a simulated rate at a nominal 5 % may be.
MOST_FALSE_POSITIVES = 0.075
LABELS = ("a", "b", "c")


@pytest.mark.parametrize(
    ("difference", "discordant", "rows"),
    [(0.01, 0.05, 3923), (0.01, 0.10, 7847), (0.02, 0.10, 1960), (0.05, 0.20, 626)],
)
def test_rows_needed_are_those_of_connors_formula(difference: float, discordant: float, rows: int) -> None:
    assert abs(rows_needed(difference, discordant) - rows) <= 1
    assert visible_difference(rows + 1, discordant) == pytest.approx(difference, rel=5e-3)
    assert visible_difference(216) == pytest.approx(0.060, abs=0.001)  # the starter's evaluation rows


def test_so_many_rows_have_the_power_that_is_said() -> None:
    difference, discordant = 0.05, 0.10
    rows = rows_needed(difference, discordant)
    better, worse = (discordant + difference) / 2, (discordant - difference) / 2
    generator = np.random.default_rng(1)
    counts = generator.multinomial(rows, [worse, better, 1 - discordant], size=2000)
    found = np.mean([exact_p_value(int(one), int(other)) < 0.05 for one, other, _ in counts])
    assert 0.72 < found < 0.88


def seeds_of(rows: int, seeds: int, generator: np.random.Generator, shift: float = 0.0) -> NDArray[np.float64]:
    """Right or wrong rows of seeds: some rows are hard for all, and some seeds do better on all rows."""
    hard = generator.normal(0.84, 1.0, size=(rows, 1))
    lucky = generator.normal(0.0, 0.08, size=(1, seeds))
    return (hard + lucky + generator.normal(shift, 0.5, size=(rows, seeds)) > 0).astype(np.float64)


def compare_equals(seeds: int, shift: float, times: int = 120) -> float:
    """Return how often two configurations on the same 150 rows are told apart."""
    generator = np.random.default_rng(7)
    found = 0
    for _ in range(times):
        hard = generator.normal(0.84, 1.0, size=(150, 1))
        sides = []
        for moved in (0.0, shift):
            lucky = generator.normal(0.0, 0.08, size=(1, seeds))
            noise = generator.normal(moved, 0.5, size=(150, seeds))
            sides.append((hard + lucky + noise > 0).astype(np.float64))
        found += compare_seeds(*sides).p_value < 0.05
    return found / times


def test_equal_configurations_are_rarely_told_apart_over_seeds_and_better_ones_mostly() -> None:
    assert compare_equals(5, 0.0) <= MOST_FALSE_POSITIVES
    assert compare_equals(5, 0.6, times=30) > 0.8


def test_one_seed_of_each_is_compared_by_its_rows_alone() -> None:
    generator = np.random.default_rng(3)
    first, second = seeds_of(80, 1, generator), seeds_of(80, 1, generator)
    found = compare_seeds(first, second)
    assert found.p_seeds is None
    assert found.p_value == found.p_rows
    assert found.difference == pytest.approx(float(second.mean() - first.mean()))


def test_seeds_without_any_spread_are_compared_all_the_same() -> None:
    right, wrong = np.ones((20, 2)), np.zeros((20, 2))
    assert compare_seeds(right, right).p_value == 1.0
    assert compare_seeds(wrong, right).p_value < 0.001
    nearly = right.copy()
    nearly[0, 0] = 0.0  # one side without a spread, which is no reason for a warning
    assert compare_seeds(nearly, right).p_value > 0.05


def test_discordant_rows_are_those_on_which_two_seeds_differ() -> None:
    right = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 1]], dtype=np.float64)
    pairs = [(0, 1), (0, 2), (1, 2)]
    wanted = np.mean([(right[:, one] != right[:, other]).mean() for one, other in pairs])
    assert discordant_share(right) == pytest.approx(float(wanted))
    assert discordant_share(right[:, :1]) is None


def cross_validate(times: int, folds: int, repeats: int) -> tuple[float, float]:
    """Return how often two equally good learners (nearest means of two halves of the features) are told apart.

    By the corrected t and by the plain one.
    """
    generator = np.random.default_rng(11)
    corrected = naive = 0
    for _ in range(times):
        labels = generator.integers(0, 2, size=120)
        points = generator.normal(size=(120, 6)) + 0.5 * (2 * labels[:, None] - 1)
        differences = []
        for _ in range(repeats):
            fold = generator.permutation(120) % folds
            for held in range(folds):
                train, test = fold != held, fold == held
                right = []
                for part in (slice(0, 3), slice(3, 6)):
                    middle = [points[train & (labels == label), part].mean(axis=0) for label in (0, 1)]
                    distances = [((points[test, part] - one) ** 2).sum(axis=1) for one in middle]
                    right.append((distances[1] < distances[0]).astype(int) == labels[test])
                differences.append(float(right[1].mean() - right[0].mean()))
        corrected += fold_mean(differences, folds).p_value < 0.05
        spread = float(np.std(differences, ddof=1)) or 1.0
        plain = abs(np.mean(differences)) / (spread / np.sqrt(len(differences)))
        naive += 2 * t.sf(plain, len(differences) - 1) < 0.05
    return corrected / times, naive / times


def test_equal_learners_are_rarely_told_apart_over_folds_where_the_plain_t_is_fooled() -> None:
    corrected, naive = cross_validate(250, 5, 4)
    assert corrected <= MOST_FALSE_POSITIVES
    assert naive > 0.2


def test_the_interval_over_folds_is_that_of_the_paper() -> None:
    values = [0.80, 0.84, 0.79, 0.83, 0.82]
    found = fold_mean(values, 5)
    error = np.sqrt((1 / 5 + 1 / 4) * np.var(values, ddof=1))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.high - found.mean == pytest.approx(t.ppf(0.975, 4) * error)
    assert fold_mean([0.1, 0.1, 0.1], 3).p_value == 0.0
    assert fold_mean([0.0, 0.0, 0.0], 3).p_value == 1.0


def lists_of(generator: np.random.Generator, rows: int) -> pl.DataFrame:
    asked = generator.random((rows, 3)) < (0.5, 0.3, 0.2)
    answered = np.where(generator.random((rows, 3)) < 0.8, asked, ~asked)
    named = [
        [[name for name, there in zip(LABELS, row, strict=True) if there] for row in part] for part in (asked, answered)
    ]
    kinds = pl.List(pl.String)
    return pl.DataFrame(
        {
            "row_id": [str(row) for row in range(rows)],
            "label": pl.Series(named[0], dtype=kinds),
            "prediction": pl.Series(named[1], dtype=kinds),
            "outcome": (asked == answered).all(axis=1),
        }
    )


def test_the_interval_of_f1_covers_the_f1_of_many_rows() -> None:
    from sklearn.metrics import f1_score

    problem, targets = load_problem("multi_label_classification"), {"label_names": list(LABELS)}
    many = lists_of(np.random.default_rng(0), 40_000)
    memberships = [
        np.array([[name in row for name in LABELS] for row in many[side].to_list()]) for side in ("label", "prediction")
    ]
    truth = float(f1_score(*memberships, average="macro"))
    draws: Any = problem
    assert draws.score_resamples(many, targets, np.ones((1, many.height)))[0] == pytest.approx(truth)
    covered = 0
    for number in range(60):
        found = score_interval(problem, lists_of(np.random.default_rng(number + 1), 150), targets)
        assert found is not None
        assert "Efron" in found.method
        covered += found.low <= truth <= found.high
    assert covered >= 52  # 95 %, less what 60 draws leave to chance


def test_the_interval_of_one_accuracy_is_wilsons() -> None:
    problem = load_problem("single_label_classification")
    frame = pl.DataFrame({"row_id": list(map(str, range(50))), "outcome": [True] * 40 + [False] * 10})
    found = score_interval(problem, frame, {"label_names": ["a", "b"]})
    assert found is not None
    low, high = binom.ppf([0.025, 0.975], 50, 0.8) / 50  # about the same
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.035)
    assert score_interval(problem, frame.head(0), {}) is None


def test_the_interval_of_seeds_that_are_all_right_keeps_a_width_and_covers() -> None:
    problem, names = load_problem("single_label_classification"), {"label_names": ["a", "b"]}
    right = pl.DataFrame({"row_id": list(map(str, range(17))), "outcome": [True] * 17})
    both, alone = mean_score_interval(problem, [right, right], names), score_interval(problem, right, names)
    assert both is not None
    assert alone is not None
    assert (both.low, both.high) == (alone.low, alone.high)
    assert both.low < 0.85
    covered = 0
    for number in range(200):
        stream = np.random.default_rng(number)
        hard = stream.random(60) < 0.2
        runs = [right_or_wrong(np.where(hard, stream.random(60) < 0.5, stream.random(60) < 0.95)) for _ in range(3)]
        found = mean_score_interval(problem, runs, names)
        assert found is not None
        covered += found.low <= 0.2 * 0.5 + 0.8 * 0.95 <= found.high
    assert covered >= 184


def right_or_wrong(outcome: Any) -> pl.DataFrame:
    return pl.DataFrame({"row_id": list(map(str, range(len(outcome)))), "outcome": outcome})


def test_the_interval_of_a_mean_loss_covers_and_that_of_seeds_is_over_the_same_rows() -> None:
    problem = load_problem("regression")
    covered = 0
    for number in range(80):
        losses = np.random.default_rng(number).exponential(1.0, size=100)
        frame = pl.DataFrame({"row_id": list(map(str, range(100))), "outcome": losses})
        found = score_interval(problem, frame, {})
        assert found is not None
        covered += found.low <= 1.0 <= found.high
        both = mean_score_interval(problem, [frame, frame], {})
        assert (both and both.low, both and both.high) == (found.low, found.high)
    assert covered >= 68


def test_a_loss_a_token_counts_rows_by_their_tokens() -> None:
    problem: Any = load_problem("causal_lm")
    frame = pl.DataFrame({"row_id": ["a", "b"], "outcome": [1.0, 3.0], "tokens_asked": [30, 10]})
    assert problem.score_resamples(frame, {}, np.array([[1.0, 1.0], [2.0, 0.0]])).tolist() == [1.5, 1.0]
    assert score_interval(problem, frame, {}) is not None
