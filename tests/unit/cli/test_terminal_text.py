"""Words that several commands share."""

from __future__ import annotations

from finetune30.cli.terminal_text import describe_place


def test_a_run_that_a_worker_has_taken_has_no_number() -> None:
    assert describe_place(3) == "number 3 in the queue"
    assert describe_place(None) == "taken by a worker already"
