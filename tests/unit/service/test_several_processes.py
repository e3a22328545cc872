"""The command that starts as many processes as before, and how other ones differ from a record."""

from __future__ import annotations

import pytest

from finetune30.service.submitting.several_processes import command_of, count_on_one_host, list_other_processes


@pytest.mark.parametrize(
    ("processes", "command"),
    [
        (None, "ft30 resume abc"),
        ({"per_host": [4]}, "ft30 resume abc"),
        (
            {"per_host": [2, 2]},
            "torchrun --nnodes 2 --node-rank N --master-addr ADDRESS --nproc-per-node 2 -m finetune30 resume abc",
        ),
    ],
)
def test_the_command_starts_as_many(processes: dict[str, list[int]] | None, command: str) -> None:
    assert command_of(processes, "resume", "abc") == command


def test_one_host_starts_as_many_and_several_hosts_are_started_by_hand() -> None:
    counts = [count_on_one_host(record) for record in (None, {"per_host": [4]}, {"per_host": [2, 2]})]
    assert counts == [1, 4, 1]


def test_other_numbers_or_places_differ() -> None:
    assert list_other_processes(None, [1]) == []
    assert list_other_processes({"per_host": [2]}, [2]) == []
    assert list_other_processes({"per_host": [2]}, [1, 1]) == [
        "processes.world_size: 2 -> 2",
        "processes.per_host: [2] -> [1, 1]",
    ]
    assert list_other_processes(None, [2])[0] == "processes.world_size: 1 -> 2"
