"""Runs that several processes train together: the command that starts as many, and how other ones differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def launched_command(per_host: list[int], *words: str) -> str:
    """Return the command that starts so many processes with these words of `ft30`, as it can be typed."""
    program = ["finetune30", *words]
    if len(per_host) == 1:
        return " ".join(["torchrun", "--nproc-per-node", str(per_host[0]), "-m", *program])
    return " ".join(["torchrun", "…", f"({sum(per_host)} processes as before)", "-m", *program])


def command_of(processes: Mapping[str, Any] | None, *words: str) -> str:
    """Return the command that starts as many processes as a record tells (its environment's `processes`)."""
    return launched_command(processes["per_host"], *words) if processes else " ".join(["ft30", *words])


def list_other_processes(recorded: Mapping[str, Any] | None, per_host: list[int]) -> list[str]:
    """Return how a record's processes differ from so many on each host; a record without any is of one process."""
    before = recorded["per_host"] if recorded else [1]
    if before == per_host:
        return []
    return [f"processes.world_size: {sum(before)} -> {sum(per_host)}", f"processes.per_host: {before} -> {per_host}"]
