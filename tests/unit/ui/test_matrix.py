"""Which names of a large matrix are shown first."""

from __future__ import annotations

from finetune30.ui.matrix import most_confused


def test_names_with_most_wrong_answers_come_first() -> None:
    counts = [
        [90, 0, 0, 1],
        [0, 5, 4, 0],
        [0, 2, 7, 0],
        [0, 0, 0, 50],
    ]
    # Beside the diagonal, in row and column: 1, 6, 6, 1.
    assert most_confused(counts) == [1, 2, 0, 3]
    assert most_confused([]) == []
