"""`ft30` starts the processes of a training itself, as torchrun would: the same run, its ends and its goings-on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from support.exactness import fingerprint
from support.gang import Gang
from support.members import wait_for_members, wait_until_gone

pytestmark = pytest.mark.integration

Whole = tuple[Gang, dict[str, Any]]
TWO = ("train", "--config", "config.yaml", "--training.processes", "2")
SLOWLY = "training.after_step:1+:wait1"


def begin_slowly(gang: Gang, results: str, *command: str, after: int = 0) -> tuple[int, dict[int, int]]:
    """Start a command and wait for a checkpoint after a step.

    Returns:
        The process ids of the one that starts the others, and of those by their rank.
    """
    environment = {"FT30_RESULTS_FOLDER": results, "FT30_FAILPOINT": SLOWLY}
    pid = gang.servers[0].start(*command, cwd=gang.lab.folder, **environment)
    gang.wait_for_checkpoint(after, results)
    return pid, wait_for_members(pid, 2)


def test_the_run_is_that_of_torchrun_and_it_is_repeated_by_as_many(whole: Whole) -> None:
    gang, by_hand = whole
    trained = gang.lab.ft30(*TWO, results="own")
    assert trained.returncode == 0, trained.stderr
    assert fingerprint(gang.lab.run_folder("own")) == by_hand
    replayed = gang.lab.ft30("replay", "latest", "--json", results="own")
    report = json.loads(replayed.stdout)
    assert (replayed.returncode, report["identical"], report["environment"]) == (0, True, [])
    (run,) = [path.parent for path in gang.lab.folder.glob("own/*/replay.json")]
    assert json.loads((run / "metrics.json").read_text())["environment"]["processes"]["world_size"] == 2


def test_a_killed_process_a_killed_starter_and_a_stopped_one_end_as_with_one_process(whole: Whole) -> None:
    gang, uninterrupted = whole
    _, members = begin_slowly(gang, "ends", *TWO)
    os.kill(members[1], signal.SIGKILL)
    ended, row = gang.servers[0].wait(), gang.row("ends")
    assert (ended.returncode, row["status"], row["error"]["error"]) == (1, "FAILED", "peer_lost"), ended.stderr
    assert f"ft30 resume {row['id'][:8]}" in ended.stderr
    assert f"process 1 (process {members[1]} on " in row["error"]["message"]
    assert ", ended by SIGKILL (often: out of memory)) of 2 is gone" in row["error"]["message"]

    reached = gang.checkpoints("ends")[-1]
    pid, members = begin_slowly(gang, "ends", "resume", "latest", after=reached)
    os.kill(pid, signal.SIGKILL)
    assert gang.servers[0].wait().returncode == -signal.SIGKILL
    wait_until_gone(members.values())

    reached = gang.checkpoints("ends")[-1]
    pid, members = begin_slowly(gang, "ends", "resume", "latest", after=reached)
    os.kill(pid, signal.SIGINT)
    ended, row = gang.servers[0].wait(), gang.row("ends")
    assert (ended.returncode, row["status"]) == (130, "CANCELLED"), ended.stderr
    assert gang.checkpoints("ends")[-1] > reached
    wait_until_gone(members.values())

    other = gang.lab.ft30("resume", "latest", "--set", "training.processes=3", results="ends")
    assert (other.returncode, gang.row("ends")) == (1, row)
    assert "training.processes: 2 -> 3" in other.stderr
    ended = gang.lab.ft30("resume", "latest", results="ends")
    assert ended.returncode == 0, ended.stderr
    assert fingerprint(gang.lab.run_folder("ends")) == uninterrupted


def test_another_number_than_a_launcher_started_is_refused_the_same_one_taken(
    make_gang: Callable[..., Gang],
) -> None:
    gang = make_gang({"training.max_steps": 1})
    three = (*TWO[:-1], "3")
    first, second = gang.run(*three, results="refused")
    assert (first.returncode, second.returncode) == (2, 2), first.stderr + second.stderr
    assert "training.processes is 3, but 2 processes were started" in first.stderr
    assert "to train in these, set training.processes to 2 on the command line" in first.stderr
    alone = gang.lab.ft30(*three, results="refused", RANK="0", WORLD_SIZE="1")
    assert (alone.returncode, "but 1 processes were started" in alone.stderr) == (2, True)
    assert not [path for path in gang.lab.folder.glob("refused/*") if path.is_dir()]
    for command, results in ((TWO, "same"), (TWO[:-2], "left_out")):
        first, second = gang.run(*command, results=results)
        assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    recorded = gang.lab.run_folder("same") / "config.yaml"
    again = ("train", "--config", str(recorded), "--training.processes")
    first, second = gang.run(*again[:-1], results="alike")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    alone = gang.lab.ft30(*again, "1", results="alone")
    assert alone.returncode == 0, alone.stderr
    of_one = ("train", "--config", str(gang.lab.run_folder("alone") / "config.yaml"))
    first, second = gang.run(*of_one, results="of_one")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    started = gang.lab.ft30(*three, results="three")
    assert started.returncode == 0, started.stderr
    assert fingerprint(gang.lab.run_folder("three"))["metrics"]["environment"]["processes"]["world_size"] == 3
