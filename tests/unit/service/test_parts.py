"""Whether a part of the rows differs from the rest: the p-values are those of SciPy's tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact, ttest_ind

from finetune30.service.statistics.parts import fisher_p_value, welch_p_value


@pytest.mark.parametrize(
    "table", [(30, 40, 100, 200), (0, 30, 90, 100), (40, 40, 60, 60), (7, 30, 3, 31), (31, 32, 5, 900)]
)
def test_shares_are_compared_by_fishers_exact_test(table: tuple[int, int, int, int]) -> None:
    right, rows, other_right, other_rows = table
    wanted = fisher_exact([[right, rows - right], [other_right, other_rows - other_right]]).pvalue
    assert fisher_p_value(*table) == pytest.approx(wanted)


def test_a_part_that_is_all_rows_differs_from_nothing() -> None:
    assert fisher_p_value(30, 40, 0, 0) == 1.0


def test_losses_are_compared_by_welchs_test() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.normal(0.5, 1.0, 40), generator.normal(0.0, 2.0, 300)
    wanted = ttest_ind(first, second, equal_var=False).pvalue
    assert welch_p_value(first, second) == pytest.approx(wanted)
    assert welch_p_value(first[:1], second) is None
    assert welch_p_value(np.ones(40), np.ones(30)) is None, "without spread nothing is told"
    for lost in (np.inf, np.nan):  # a p-value that is no number would make those of all other parts 1
        assert welch_p_value(np.append(first, lost), second) is None
