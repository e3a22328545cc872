"""`ft30 mirrors` beside a training: it takes nothing from it, and what it missed is there in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.exactness import Lab, fingerprint
from support.fork_server import ForkServer
from support.mirrored import silent_server
from support.patience import patient, wait_until

pytestmark = pytest.mark.integration

FAST = {"FT30_MIRROR_SECONDS": "0.05", "FT30_MIRROR_TIMEOUT_SECONDS": "0.5"}


@contextmanager
def following(folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`ft30 mirrors` in a process of its own; stopped as `ft30 up` stops it."""
    with subprocess.Popen(
        [sys.executable, "-m", "finetune30", "mirrors"], cwd=folder, env={**os.environ, **FAST, **environment}
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def states_of(lab: Lab, results: str) -> dict[str, Any]:
    listed = lab.ft30("mirror", "latest", "--list", "--json", results=results)
    assert listed.returncode == 0, listed.stderr
    found = json.loads(listed.stdout)
    return {mirror["mirror"]: mirror for mirror in found["run"]} | {"followed": found["followed"]}


def is_followed(lab: Lab) -> bool:
    if not (lab.folder / "mirrored" / "experiments.db").is_file():
        return False
    found = json.loads(lab.ft30("mirror", "--list", "--json", results="mirrored").stdout)
    return len(found["followed"]) == 2


def is_tended(lab: Lab) -> bool:
    followed = states_of(lab, "results")["followed"]
    return bool(followed) and bool(followed[0]["is_followed"])


def event_files(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.rglob("events.out.tfevents*")}


def test_a_training_beside_mirrors_of_which_one_dies_and_one_hangs_comes_out_the_same(
    fork_server: ForkServer, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    lab = Lab(fork_server, tmp_path / "lab", tiny_model())
    assert lab.train("alone").returncode == 0
    with silent_server() as address:
        both = {"FT30_RESULTS_FOLDER": "mirrored", "FT30_MIRRORS": "tensorboard,mlflow", "FT30_MLFLOW_URL": address}
        with following(lab.folder, **both, FT30_FAILPOINT="mirror.after_send:1") as dying:
            wait_until(lambda: is_followed(lab), 30, "runs are followed")
            assert lab.train("mirrored").returncode == 0
            assert dying.wait(timeout=patient(15)) == -signal.SIGKILL
        with following(lab.folder, **both):
            wait_until(lambda: states_of(lab, "mirrored").get("tensorboard", {}).get("complete"), 30, "all of the run")
            wait_until(lambda: any(one["error"] for one in states_of(lab, "mirrored")["followed"]), 30, "a time-out")
    assert fingerprint(lab.run_folder("alone")) == fingerprint(run_folder(lab, "mirrored"))
    followed = {one["name"]: one for one in states_of(lab, "mirrored")["followed"]}
    assert (followed["tensorboard"]["behind"], followed["mlflow"]["behind"]) == (0, 1)
    assert "did not answer within 0.5 s" in followed["mlflow"]["error"]
    shown = lab.ft30("mirror", "latest", "--list", results="mirrored")
    assert "complete" in shown.stdout
    assert "out of reach: MLflow at" in shown.stdout
    assert "complete" in lab.ft30("runs", "show", "latest", results="mirrored").stdout

    elsewhere = {"FT30_TENSORBOARD_FOLDER": "elsewhere"}
    carried = lab.ft30("mirror", "latest", "--to", "tensorboard", results="mirrored", **elsewhere)
    assert carried.returncode == 0, carried.stderr
    there = event_files(lab.folder / "elsewhere")
    assert there == event_files(lab.folder / "mirrored" / "tensorboard"), "as if nothing had been killed"
    assert len(there) == 1


def test_old_runs_are_carried_by_asking_and_what_is_missing_is_said(
    fork_server: ForkServer, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    lab = Lab(fork_server, tmp_path / "lab", tiny_model())
    assert lab.train("results").returncode == 0
    nowhere = lab.ft30("mirror", "latest")
    assert nowhere.returncode == 2
    assert "Try: say where to: --to tensorboard, or set FT30_MIRRORS=tensorboard for all runs" in nowhere.stderr
    for arguments in ((), ("latest", "--all")):
        unclear = lab.ft30("mirror", *arguments, "--to", "tensorboard")
        assert unclear.returncode == 2
        assert "Try: carry the newest: ft30 mirror latest" in unclear.stderr
    assert (
        "No mirror is followed. Begin with: FT30_MIRRORS=tensorboard ft30 mirrors"
        in lab.ft30("mirror", "--list").stdout
    )
    with following(lab.folder, FT30_RESULTS_FOLDER="results", FT30_MIRRORS="tensorboard"):
        wait_until(lambda: states_of(lab, "results")["followed"], 30, "it is followed")
    assert states_of(lab, "results")["followed"][0]["behind"] == 0, "older runs are not its business"
    for words, told in (
        ("--list", "no process follows it"),
        ("--stop --to tensorboard", "FT30_MIRRORS=tensorboard ft30 mirrors would follow it again"),
    ):
        assert told in lab.ft30("mirror", *words.split()).stdout
        with following(lab.folder, FT30_RESULTS_FOLDER="results", FT30_MIRRORS="tensorboard"):
            wait_until(lambda: is_tended(lab), 30, "a process follows it again")
    carried = lab.ft30("mirror", "latest", FT30_MIRRORS="tensorboard")
    assert carried.returncode == 0, carried.stderr
    assert "records there" in carried.stdout
    before = event_files(lab.folder / "results" / "tensorboard")
    assert lab.ft30("mirror", "--all", "--to", "tensorboard").returncode == 0
    assert event_files(lab.folder / "results" / "tensorboard") == before


def run_folder(lab: Lab, results: str) -> Path:
    """Return the folder of the only run, beside which event files lie."""
    (found,) = (path.parent for path in (lab.folder / results).glob("*/manifest.json"))
    return found
