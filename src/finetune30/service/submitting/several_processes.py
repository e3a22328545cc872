"""Runs that several processes train together: the command that starts as many, and how other ones differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def launched_command(per_host: list[int], *words: str) -> str:
    """Return the command that starts so many processes with these words of `ft30`, as it can be typed.

    On one host that is `ft30` itself, which starts as many as the record says. Of several hosts each has its own N and
    all have the ADDRESS of the first one.
    """
    if len(per_host) == 1:
        return " ".join(["ft30", *words])
    hosts = ["--nnodes", str(len(per_host)), "--node-rank", "N", "--master-addr", "ADDRESS"]
    # Of hosts with other numbers the first one's; the list of what differs shows all.
    return " ".join(["torchrun", *hosts, "--nproc-per-node", str(per_host[0]), "-m", "finetune30", *words])


def count_on_one_host(processes: Mapping[str, Any] | None) -> int:
    """Return how many processes one host starts to do again what a record tells; 1 where several hosts have to."""
    per_host = processes["per_host"] if processes else [1]
    return int(per_host[0]) if len(per_host) == 1 else 1


def command_of(processes: Mapping[str, Any] | None, *words: str) -> str:
    """Return the command that starts as many processes as a record tells (its environment's `processes`)."""
    return launched_command(processes["per_host"], *words) if processes else " ".join(["ft30", *words])


def list_other_processes(recorded: Mapping[str, Any] | None, per_host: list[int]) -> list[str]:
    """Return how a record's processes differ from so many on each host; a record without any is of one process."""
    before = recorded["per_host"] if recorded else [1]
    if before == per_host:
        return []
    return [f"processes.world_size: {sum(before)} -> {sum(per_host)}", f"processes.per_host: {before} -> {per_host}"]
