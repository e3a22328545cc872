"""How long a training will take, said once and on a CPU only."""

from __future__ import annotations

import pytest

from finetune30.service.execution.expected_time import ExpectedTime, describe_seconds


def follow(device: str, a_step: float, steps: int, total: int) -> list[str]:
    said: list[str] = []
    expected = ExpectedTime(device, said.append)
    for step in range(1, steps + 1):
        expected.follow({"step": step, "total_steps": total}, step * a_step)
    return said


def test_the_time_left_is_said_once_enough_is_known() -> None:
    # 3 s a step: 5 steps after the first there are 994 left, 2982 s
    assert follow("cpu", 3.0, 50, 1000) == [
        "about 50 min to go on this CPU: 1,000 steps at 0.33 steps/s (data.train_samples and training.max_steps make "
        "it less)"
    ]


@pytest.mark.parametrize(
    ("device", "a_step", "steps", "total"),
    [("cuda", 3.0, 50, 1000), ("cpu", 3.0, 3, 1000), ("cpu", 0.1, 20, 1000), ("cpu", 3.0, 50, 10)],
    ids=["a GPU", "too few steps", "too early", "nearly done"],
)
def test_nothing_is_said_where_it_is_not_known_or_not_long(device: str, a_step: float, steps: int, total: int) -> None:
    assert follow(device, a_step, steps, total) == []


def test_a_long_time_is_said_in_hours() -> None:
    assert [describe_seconds(seconds) for seconds in (20, 61, 3600, 7800)] == [
        "1 min",
        "1 min",
        "1 h 00 min",
        "2 h 10 min",
    ]
