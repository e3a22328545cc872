"""Runs that several processes train together: the command that starts as many, and how other ones differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def launched_command(per_host: list[int], *words: str) -> str:
    """Return the command that starts so many processes with these words of `ft30`.

    As it can be typed on one host; of several, each has its own N and all have the ADDRESS of the first one.
    """
    program = ["finetune30", *words]
    several = ["--nnodes", str(len(per_host)), "--node-rank", "N", "--master-addr", "ADDRESS"]
    hosts = several if len(per_host) > 1 else []
    # Of hosts with other numbers the first one's; the list of what differs shows all.
    return " ".join(["torchrun", *hosts, "--nproc-per-node", str(per_host[0]), "-m", *program])


def command_of(processes: Mapping[str, Any] | None, *words: str) -> str:
    """Return the command that starts as many processes as a record tells (its environment's `processes`)."""
    return launched_command(processes["per_host"], *words) if processes else " ".join(["ft30", *words])


def list_other_processes(recorded: Mapping[str, Any] | None, per_host: list[int]) -> list[str]:
    """Return how a record's processes differ from so many on each host; a record without any is of one process."""
    before = recorded["per_host"] if recorded else [1]
    if before == per_host:
        return []
    return [f"processes.world_size: {sum(before)} -> {sum(per_host)}", f"processes.per_host: {before} -> {per_host}"]
