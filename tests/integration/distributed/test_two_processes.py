"""Two processes told by the environment that they are one training: one run, exact, resumed and replayed as such."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.exactness import fingerprint
from support.gang import Gang
from support.patience import patient

pytestmark = pytest.mark.integration

STEPS = 6  # 23 rows by 2 x 3 x 2 processes are 2 steps an epoch
#: A launcher's group of one, in which a command starts no others.
ALONE = {"RANK": "0", "WORLD_SIZE": "1"}
Whole = tuple[Gang, dict[str, Any]]


def test_they_train_one_run_that_two_repeat_and_one_does_not(whole: Whole) -> None:
    gang, before = whole
    folder = gang.lab.run_folder("whole")
    assert before["metrics"]["total_steps"] == STEPS
    processes = {"world_size": 2, "per_host": [2], "backend": "gloo"}
    assert before["metrics"]["environment"]["processes"] == processes
    written = (folder / "config.yaml").read_text()
    assert "  ft30 train --config" in written
    assert "  processes: 2" in written  # so that command starts as many

    alone = gang.lab.ft30("replay", "latest", results="whole", **ALONE)
    assert alone.returncode == 1
    assert "processes.world_size: 2 -> 1" in alone.stderr
    assert f"ft30 replay {gang.row('whole')['id'][:8]}" in alone.stderr
    replayed, followed = gang.run("replay", "latest", "--json", results="whole")
    report = json.loads(replayed.stdout)
    assert (replayed.returncode, followed.returncode, followed.stdout) == (0, 0, "")
    assert (report["identical"], report["environment"]) == (True, [])


def test_a_lost_process_ends_the_attempt_by_name_and_two_go_on_bit_for_bit(whole: Whole) -> None:
    gang, uninterrupted = whole
    lost, killed = gang.run(
        "train", "--config", "config.yaml", results="lost", only=({}, {"FT30_FAILPOINT": "training.after_step:3"})
    )
    row = gang.row("lost")
    assert (killed.returncode, lost.returncode, row["status"]) == (-9, 1, "FAILED")
    assert row["error"]["error"] == "peer_lost"
    assert re.search(r"process 1 \(process \d+ on \S+\) of 2 ", row["error"]["message"])
    assert gang.checkpoints("lost")[-1] == 2

    alone = gang.lab.ft30("resume", "latest", results="lost", **ALONE)
    assert (alone.returncode, gang.row("lost")) == (1, row)  # refused before anything is touched
    command = f"ft30 resume {row['id'][:8]}"
    assert all(text in alone.stderr for text in ("world_size: 2 -> 1", "per_host: [2] -> [1]", command))

    # Process 0 is killed this time: the other one ends by itself, and the next command finds the run lost.
    first, second = gang.run("resume", "latest", results="lost", only=({"FT30_FAILPOINT": "training.after_step:2"}, {}))
    assert (first.returncode, second.returncode) == (-9, 1)
    assert "process 0" in second.stderr
    first, second = gang.run("resume", "latest", results="lost")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert fingerprint(gang.lab.run_folder("lost")) == uninterrupted
    one = ("--set", "training.processes=1")
    begun = gang.lab.ft30("resume", row["id"][:8], "--warm-start", *one, results="lost")  # what one process may do
    assert begun.returncode == 0, begun.stderr


def test_a_result_that_is_there_already_is_taken_over_and_nobody_waits_for_a_training(whole: Whole) -> None:
    gang, uninterrupted = whole
    killed, _ = gang.run(
        "train", "--config", "config.yaml", results="adopted", only=({"FT30_FAILPOINT": "publish.before_row:1"}, {})
    )
    assert killed.returncode == -9, killed.stderr
    first, second = gang.run("resume", "latest", results="adopted")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (gang.row("adopted")["status"], second.stdout, second.stderr) == ("SUCCEEDED", "", "")
    assert fingerprint(gang.lab.run_folder("adopted")) == uninterrupted


def test_signals_end_all_in_agreement_with_a_checkpoint(whole: Whole) -> None:
    gang, uninterrupted = whole
    slowly = "training.after_step:1+:wait1"
    gang.start("train", "--config", "config.yaml", results="stopped", FT30_FAILPOINT=slowly)
    gang.wait_for_step(1, "stopped")
    gang.signal(signal.SIGTERM)
    gang.signal(signal.SIGTERM)  # a launcher passes on what the whole group got already
    first, second = gang.wait()
    row, kept = gang.row("stopped"), gang.checkpoints("stopped")
    assert (first.returncode, second.returncode, second.stderr) == (130, 130, "")
    assert (row["status"], row["error"]["error"]) == ("FAILED", "handed_back")
    assert f"stopped after step {kept[-1]} of {STEPS}" in row["error"]["message"]
    assert f"ft30 resume {row['id'][:8]}" in row["error"]["remedy"]

    gang.start("resume", "latest", results="stopped", FT30_FAILPOINT=slowly)
    gang.wait_for_step(kept[-1] + 1, "stopped")
    gang.signal(signal.SIGINT)
    first, second = gang.wait()
    assert (first.returncode, second.returncode, gang.row("stopped")["status"]) == (130, 130, "CANCELLED")
    assert gang.checkpoints("stopped")[-1] > kept[-1]
    first, second = gang.run("resume", "latest", results="stopped")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert fingerprint(gang.lab.run_folder("stopped")) == uninterrupted


def test_a_slow_process_is_waited_for_and_memory_and_versions_are_shared(make_gang: Callable[..., Gang]) -> None:
    gang = make_gang({"training.load_best_model_at_end": False})
    stored = gang.lab.ft30("data", "versions", "create", "train.csv", "--tag", "kept", FT30_DATA_FOLDER="versions")
    assert stored.returncode == 0, stored.stderr
    second_is_slow = "evaluation.start:1:wait20,training.memory:2:raise"
    first, second = gang.run(
        "train",
        *("--config", "config.yaml", "--dataset", "version:kept", "--data.eval_file", "null"),
        results="slow",
        only=(
            {"FT30_DATA_FOLDER": "versions"},
            {"FT30_FAILPOINT": second_is_slow},
        ),
        FT30_PEER_TIMEOUT_SECONDS="8",
    )
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    history = [json.loads(line) for line in (gang.lab.run_folder("slow") / "history.jsonl").read_text().splitlines()]
    halved = [record for record in history if record.get("event") == "out_of_memory"]
    assert [(record["step"], record["micro_batch_size"]) for record in halved] == [(0, 1)]
    assert json.loads((gang.lab.run_folder("slow") / "metrics.json").read_text())["micro_batch_size"] == 1


def test_a_process_that_vanishes_is_lost_after_the_time_out(make_gang: Callable[..., Gang]) -> None:
    """Stopped, it keeps its connections open and answers nothing, as a host does whose cable was pulled."""
    gang = make_gang()
    gang.start(
        "train",
        *("--config", "config.yaml"),
        results="vanished",
        only=({}, {"FT30_FAILPOINT": "training.after_step:2:wait100"}),
        FT30_PEER_TIMEOUT_SECONDS="8",
    )
    gang.wait_for_step(2, "vanished")
    os.kill(gang.pids[1], signal.SIGSTOP)
    began = time.monotonic()
    first = gang.servers[0].wait()
    seconds = time.monotonic() - began
    os.kill(gang.pids[1], signal.SIGKILL)
    gang.servers[1].wait()
    error = gang.row("vanished")["error"]
    assert first.returncode == 1
    assert (error["error"], error["details"]["lost"][0]["rank"]) == ("peer_lost", 1)
    assert "gave no sign of life for 8 s" in error["message"]
    assert seconds < patient(20)


def test_what_a_launcher_half_says_is_refused_before_anything_is_recorded(make_gang: Callable[..., Gang]) -> None:
    gang = make_gang()
    for variables, said in (
        ({"RANK": "1"}, "WORLD_SIZE does not say"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT"),
        (
            {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "no-such-host.invalid", "MASTER_PORT": "29500"},
            "does not resolve on host",
        ),
    ):
        ended = gang.lab.ft30("train", "--config", "config.yaml", results="refused", **variables)
        assert ended.returncode != 0, variables
        assert said in ended.stderr
    assert not Path(gang.lab.folder / "refused").exists()
