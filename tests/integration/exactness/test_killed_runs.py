"""Kill -9 at any point of a real run, resume, and find the same bytes as without."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys

import pytest

from support.exactness import STEPS, fingerprint, history_of
from support.present import present

pytestmark = pytest.mark.integration

#: Every kind of point, and how often the demanding run passes it.
POINTS = {
    "training.after_step": STEPS,
    "evaluation.start": 4,
    "evaluation.batch": 5,
    "evaluation.end": 4,
    "checkpoint.after_each_file": 29,
    "checkpoint.before_manifest": 6,
    "checkpoint.before_rename": 6,
    "checkpoint.before_rotation": 6,
    "result.before_staging": 1,
    "result.after_adapter": 1,
    "result.before_publishing": 1,
    "publish.before_manifest": 1,
    "publish.after_manifest": 1,
    "publish.after_each_move": 5,
    "publish.before_last_move": 1,
    "publish.before_row": 1,
}
EVERY_POINT = [f"{name}:{n}" for name, times in POINTS.items() for n in range(1, times + 1)]
#: All steps, and each other kind at its hardest: in the middle of the run, with checkpoints before and after.
IN_SHORT = [
    *(f"training.after_step:{n}" for n in range(1, STEPS + 1)),
    *("evaluation.start:2", "evaluation.batch:1", "evaluation.end:4"),
    *(f"checkpoint.after_each_file:{n}" for n in (1, 15, 19)),
    *("checkpoint.before_manifest:1", "checkpoint.before_rename:3", "checkpoint.before_rotation:4"),
    *("result.before_staging:1", "result.after_adapter:1", "result.before_publishing:1"),
    *("publish.before_manifest:1", "publish.after_manifest:1"),
    *("publish.after_each_move:1", "publish.after_each_move:4"),
    *("publish.before_last_move:1", "publish.before_row:1"),
]


def kill_and_resume(lab, expected, *points, form="short"):
    """Kill a run at each point in turn (one an attempt), resume it, compare it.

    Tests share a lab; the form of the test keeps the results of two that kill at the same point apart.
    """
    results = "-".join([form, *points]).replace(":", ".")
    ended = lab.train(results, FT30_FAILPOINT=points[0])
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    for point in points[1:]:
        ended = lab.ft30("resume", "latest", results=results, FT30_FAILPOINT=point)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    ended = lab.ft30("resume", "latest", results=results)
    assert ended.returncode == 0, ended.stderr
    found = fingerprint(lab.run_folder(results))
    assert found == expected


@pytest.mark.parametrize("point", IN_SHORT)
def test_killed_run_resumes_to_the_same_bytes(demanding, point):
    kill_and_resume(*demanding(), point)


@pytest.mark.parametrize(
    "points", [("training.after_step:3", "training.after_step:6"), ("checkpoint.before_rename:2",) * 2]
)
def test_twice_killed_run_resumes_to_the_same_bytes(demanding, points):
    kill_and_resume(*demanding(), *points)


@pytest.mark.parametrize("point", ["training.after_step:7", "checkpoint.after_each_file:15"])
def test_killed_run_on_the_packed_path_resumes_to_the_same_bytes(demanding, point):
    kill_and_resume(*demanding("packed"), point)


@pytest.fixture(scope="module")
def keeping(make_lab):
    """The demanding run where the lower layer is frozen and what it makes of every row is kept."""
    lab = make_lab({"training.engine": "packed", "lora.layers_to_transform": [1], "model.dropout": 0.0})
    ended = lab.train("whole")
    assert ended.returncode == 0, ended.stderr
    assert "run once a row" in (lab.run_folder("whole") / "logs.txt").read_text()
    return lab, fingerprint(lab.run_folder("whole"))


@pytest.mark.parametrize("point", ["training.after_step:2", "training.after_step:7", "evaluation.batch:3"])
def test_killed_run_that_keeps_frozen_states_resumes_to_the_same_bytes(keeping, point):
    kill_and_resume(*keeping, point)


def test_evaluating_logging_and_saving_more_often_change_no_weight(make_lab):
    last = {"training.engine": "packed", "training.load_best_model_at_end": False}
    often = {"training.eval_steps": 1, "training.early_stopping_patience": 99, "training.logging_steps": 1}
    ends = []
    for changes in ({**last, "training.eval_steps": 12}, {**last, **often, "training.save_steps": 1}):
        lab = make_lab(changes)
        assert lab.train("results").returncode == 0
        ends.append(fingerprint(lab.run_folder("results")))
    assert len(ends[1]["history"]) > len(ends[0]["history"])
    assert ends[0]["tensors"] == ends[1]["tensors"]
    assert ends[0]["digests"] == ends[1]["digests"]


@pytest.mark.chaos
@pytest.mark.parametrize("engine", ["general", "packed"])
@pytest.mark.parametrize("point", EVERY_POINT)
def test_every_point_of_both_engines_resumes_to_the_same_bytes(demanding, engine, point):
    # The seed of the list of points: under another one a run may evaluate once less and never reach the last of them.
    kill_and_resume(*demanding(engine), point, form="every")


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("engine", ["general", "packed"])
@pytest.mark.parametrize("point", IN_SHORT)
def test_every_kind_of_point_under_more_seeds_resumes_to_the_same_bytes(demanding, engine, seed, point):
    kill_and_resume(*demanding(engine, seed), point)


@pytest.mark.chaos
@pytest.mark.parametrize("pair", list(itertools.product((1, 5, 8), (1, 2, 4))))
def test_every_pair_of_kills_resumes_to_the_same_bytes(demanding, pair):
    kill_and_resume(*demanding(), *(f"training.after_step:{n}" for n in pair), form="pair")


@pytest.mark.parametrize("engine", ["general", "packed"])
def test_the_list_of_points_is_what_a_run_passes(demanding, engine):
    lab, _ = demanding(engine)
    ended = lab.train("traced", FT30_FAILPOINT_TRACE=str(lab.folder / "trace"))
    assert ended.returncode == 0, ended.stderr
    passed = (lab.folder / "trace").read_text().split()
    # Full disks and full memory have their own tests; after its last row a run has nothing left to resume; heartbeats
    # come with time, so only a slow run passes one; the schema is made before there is a run.
    elsewhere = {"disk.write", "training.memory", "finish.after_row", "heartbeat", "schema.before_commit"}
    assert {name: passed.count(name) for name in set(passed) - elsewhere} == POINTS


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no manifest"])
def test_damaged_newest_checkpoint_is_skipped_for_the_one_before(demanding, damage):
    lab, expected = demanding()
    results = f"damaged-{damage}"
    assert lab.train(results, FT30_FAILPOINT="training.after_step:9").returncode == -signal.SIGKILL
    newest = lab.run_folder(results) / "attempts" / "1" / "checkpoints" / "checkpoint-00000008"
    optimizer = newest / "optimizer.safetensors"
    content = optimizer.read_bytes()
    if damage == "truncated":
        optimizer.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        optimizer.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        (newest / "manifest.json").unlink()
    ended = lab.ft30("resume", "latest", results=results)
    assert ended.returncode == 0, ended.stderr
    assert "WARNING: checkpoint checkpoint-00000008 is damaged" in ended.stderr
    assert "resuming from step 6" in ended.stderr
    assert fingerprint(lab.run_folder(results)) == expected


def test_cold_processes_without_the_fork_server_agree(demanding):
    """The same commands as complete processes, interpreter start and imports included."""
    lab, expected = demanding()
    environment = {**os.environ, "FT30_RESULTS_FOLDER": "cold"}
    command = [sys.executable, "-m", "finetune30"]
    killed = subprocess.run(
        [*command, "train", "--config", "config.yaml"],
        cwd=lab.folder,
        env={**environment, "FT30_FAILPOINT": "training.after_step:5"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = subprocess.run([*command, "resume", "latest"], cwd=lab.folder, env=environment, capture_output=True)
    assert resumed.returncode == 0, resumed.stderr
    assert fingerprint(lab.run_folder("cold")) == expected


def test_interrupted_run_keeps_a_checkpoint_and_goes_on(demanding):
    lab, expected = demanding()
    with subprocess.Popen(
        [sys.executable, "-m", "finetune30", "train", "--config", "config.yaml"],
        cwd=lab.folder,
        env={**os.environ, "FT30_RESULTS_FOLDER": "interrupted"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in present(process.stderr):
            if line.startswith("training path:"):
                process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    steps = len(history_of(lab.run_folder("interrupted")))
    ended = lab.ft30("resume", "latest", results="interrupted")
    assert ended.returncode == 0, ended.stderr
    assert "resuming from step" in ended.stderr
    assert len(expected["history"]) > steps
    assert fingerprint(lab.run_folder("interrupted")) == expected
