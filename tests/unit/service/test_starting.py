"""What a training in several processes ends with, by what its processes ended with."""

from __future__ import annotations

import pytest

from finetune30.service.execution.starting import choose_exit_code


@pytest.mark.parametrize(
    ("codes", "chosen"),
    [
        ({0: 1}, 1),
        ({0: 3, 1: 1}, 3),
        ({1: -9}, -9),
        ({0: -9, 1: -15}, -9),
        ({0: -15, 1: 1}, 1),  # the first one was ended because the other had failed
        ({0: -15, 1: -15}, -15),
    ],
)
def test_one_exit_code_stands_for_all(codes: dict[int, int], chosen: int) -> None:
    assert choose_exit_code(codes) == chosen
