"""What is said about a run that ended or cannot go on is done to the letter, and the run is then the right one."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune30.config import ExperimentConfig
from finetune30.store import RunStatus, open_store
from support.exactness import STEPS, Lab, fingerprint
from support.fork_server import Ended
from support.patience import patient
from support.present import present
from support.rows import write_reviews

pytestmark = pytest.mark.integration

MakeLab = Callable[..., Lab]
Demanding = Callable[..., tuple[Lab, dict[str, Any]]]
#: Trainings that go on for long enough to be interrupted, and to be met while they run.
LONG = {"training.early_stopping_patience": None, "training.num_train_epochs": 10, "training.logging_steps": 1}
ENDLESS = {**LONG, "training.num_train_epochs": 2000}


def killed_lab(make_lab: MakeLab, point: str = "training.after_step:7") -> Lab:
    lab = make_lab()
    assert lab.train("results", FT30_FAILPOINT=point).returncode == -signal.SIGKILL
    return lab


def remedy_of(ended: Ended) -> str:
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stderr.partition("\nTry: ")[2].strip()


def type_line(lab: Lab, line: str, **values: str) -> Ended:
    """Run a line as it is printed, its words in capitals replaced by values; it must end well."""
    name, *words = shlex.split(line)
    assert name == "ft30", line
    ended = lab.ft30(*(values.get(word, word) for word in words))
    assert ended.returncode == 0, ended.stderr
    return ended


def runs_of(lab: Lab) -> dict[str, dict[str, Any]]:
    listed = json.loads(lab.ft30("runs", "list", "--json").stdout)["runs"]
    return {run["id"]: run for run in listed}


def only_run(lab: Lab) -> str:
    (run_id,) = runs_of(lab)
    return run_id[:8]


def begun_since(lab: Lab, *before: str) -> dict[str, Any]:
    """Return configuration of the run that is none of those: it must have succeeded."""
    (run,) = [run for run_id, run in runs_of(lab).items() if run_id[:8] not in before]
    assert run["status"] == "SUCCEEDED"
    return dict(yaml.safe_load((lab.folder / "results" / run["folder"] / "config.yaml").read_text()))


def require_whole(lab: Lab, run_id: str, demanding: Demanding) -> None:
    """Require that a run ended with the very bytes of one that nothing happened to."""
    folder = lab.folder / "results" / next(run["folder"] for key, run in runs_of(lab).items() if key.startswith(run_id))
    assert fingerprint(folder) == demanding()[1]


def test_a_run_whose_process_is_gone_goes_on_as_its_record_says(make_lab: MakeLab, demanding: Demanding) -> None:
    lab = killed_lab(make_lab)
    run_id = only_run(lab)
    shown = json.loads(lab.ft30("runs", "show", run_id, "--json").stdout)["run"]["error"]
    assert shown["remedy"] == f"go on from its last checkpoint: ft30 resume {run_id}"
    type_line(lab, f"ft30 resume {run_id}")
    require_whole(lab, run_id, demanding)


def test_a_run_whose_checkpoints_are_gone_says_that_it_begins_anew(make_lab: MakeLab, demanding: Demanding) -> None:
    lab = killed_lab(make_lab)
    run_id, folder = only_run(lab), lab.run_folder("results")
    shutil.rmtree(folder / "attempts" / "1" / "checkpoints")
    type_line(lab, f"ft30 resume {run_id}")
    assert "WARNING: no checkpoint to resume from: training from the start" in (folder / "logs.txt").read_text()
    require_whole(lab, run_id, demanding)


def test_a_changed_run_goes_on_unchanged_or_begins_anew_from_its_weights(
    make_lab: MakeLab, demanding: Demanding
) -> None:
    lab = killed_lab(make_lab)
    run_id = only_run(lab)
    asked = f"ft30 resume {run_id} --set training.seed=7"
    assert remedy_of(lab.ft30(*asked.split()[1:])) == (
        f"go on unchanged: ft30 resume {run_id}; or begin a new run from its weights: add --warm-start"
    )
    type_line(lab, f"{asked} --warm-start")
    begun = begun_since(lab, run_id)["training"]
    assert (begun["seed"], "checkpoint-00000006" in begun["start_adapter"]) == (7, True)
    type_line(lab, f"ft30 resume {run_id}")
    require_whole(lab, run_id, demanding)


def test_changes_in_the_runs_own_file_are_taken_out_or_given_to_a_new_run(
    make_lab: MakeLab, demanding: Demanding
) -> None:
    lab = killed_lab(make_lab)
    run_id, path = only_run(lab), lab.run_folder("results") / "config.yaml"
    text = path.read_text()
    path.unlink()  # the link, not the attempt's own file
    path.write_text(text.replace("learning_rate: 0.01", "learning_rate: 0.02"))
    remedies = {remedy_of(lab.ft30("resume", run_id, *flags)) for flags in ((), ("--warm-start",))}
    begin = f"ft30 resume {run_id} --warm-start --set training.learning_rate=0.02"
    assert remedies == {
        f"take the changes out of {path.relative_to(lab.folder)}, then: ft30 resume {run_id}; or begin a new run from "
        f"its weights with them: {begin}"
    }
    type_line(lab, begin)
    assert begun_since(lab, run_id)["training"]["learning_rate"] == 0.02
    path.write_text(text)
    type_line(lab, f"ft30 resume {run_id}")
    require_whole(lab, run_id, demanding)


def test_other_rows_are_put_back_or_trained_on_from_the_weights(make_lab: MakeLab, demanding: Demanding) -> None:
    lab = killed_lab(make_lab)
    run_id, rows = only_run(lab), lab.folder / "train.csv"
    before = rows.read_bytes()
    write_reviews(rows, 23, first=1)
    assert remedy_of(lab.ft30("resume", run_id)) == (
        "restore what changed, or begin a new run from its weights: ft30 resume RUN --warm-start"
    )
    type_line(lab, "ft30 resume RUN --warm-start", RUN=run_id)
    assert "checkpoint-00000006" in begun_since(lab, run_id)["training"]["start_adapter"]
    rows.write_bytes(before)
    type_line(lab, f"ft30 resume {run_id}")
    require_whole(lab, run_id, demanding)


def test_a_run_without_weights_is_trained_anew(make_lab: MakeLab, demanding: Demanding) -> None:
    lab = killed_lab(make_lab, "training.after_step:1")
    run_id = only_run(lab)
    path = (lab.run_folder("results") / "config.yaml").relative_to(lab.folder)
    assert remedy_of(lab.ft30("resume", run_id, "--warm-start")) == f"train anew: ft30 train --config {path}"
    type_line(lab, f"ft30 train --config {path}")
    begun_since(lab, run_id)
    (again,) = [key for key in runs_of(lab) if not key.startswith(run_id)]
    require_whole(lab, again, demanding)


def test_a_run_that_never_began_is_trained_from_the_start(make_lab: MakeLab) -> None:
    lab = make_lab()
    config = ExperimentConfig.model_validate(yaml.safe_load((lab.folder / "config.yaml").read_text()))
    named = config.model_copy(update={"experiment_name": "never begun"})
    store = open_store(f"sqlite:///{lab.folder}/results/experiments.db")
    run = store.create(named, kind="queued", results_root=lab.folder / "results")
    assert store.request_cancel(run.id).status is RunStatus.CANCELLED
    remedy = remedy_of(lab.ft30("resume", run.id, "--warm-start"))
    assert remedy == f"train it from the start: ft30 resume '{run.folder}'"
    type_line(lab, remedy.partition(": ")[2])
    assert present(store.get(run.id).metrics)["total_steps"] == STEPS
    store.close()


def test_the_head_of_a_configuration_says_how_its_run_is_repeated(make_lab: MakeLab) -> None:
    lab = make_lab()
    config = yaml.safe_load((lab.folder / "config.yaml").read_text())
    (lab.folder / "config.yaml").write_text(yaml.safe_dump({**config, "experiment_name": "of two words"}))
    assert lab.train("results").returncode == 0
    first, run_id = lab.run_folder("results"), only_run(lab)
    (line,) = [line for line in (first / "config.yaml").read_text().splitlines() if "ft30 train" in line]
    type_line(lab, line.lstrip("# "))
    (again,) = [key for key in runs_of(lab) if not key.startswith(run_id)]
    assert fingerprint(lab.folder / "results" / runs_of(lab)[again]["folder"]) == fingerprint(first)


@contextmanager
def training(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """A real training of a lab, that takes steps."""
    command = [sys.executable, "-m", "finetune30", "train", "--config", "config.yaml"]
    environment = {**os.environ, "FT30_RESULTS_FOLDER": "results", "PYTHONPATH": lab.server.python_path}
    with subprocess.Popen(
        command, cwd=lab.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in present(process.stderr):
            if line.startswith("train step"):
                break
        yield process
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGINT)])
def test_an_interrupted_training_goes_on_to_its_end(make_lab: MakeLab, signals: tuple[signal.Signals, ...]) -> None:
    lab = make_lab(LONG)
    with training(lab) as process:
        for number in signals:  # the second one stops at once
            process.send_signal(number)
        said = present(process.stderr).read()
        assert process.wait(patient(60)) == 130, said
    run_id = only_run(lab)
    assert said.rstrip().endswith(f"Try: go on with: ft30 resume {run_id}")
    assert ("Error: interrupted" in said) == (len(signals) == 2)
    type_line(lab, f"ft30 resume {run_id}")
    metrics = json.loads((lab.run_folder("results") / "metrics.json").read_text())
    assert metrics["total_steps"] == 40


def test_a_running_run_is_stopped_before_another_begins_from_its_weights(make_lab: MakeLab) -> None:
    lab = make_lab(ENDLESS)
    with training(lab) as process:
        begin = ("resume", "latest", "--warm-start", "--set", "training.num_train_epochs=1")
        remedy = remedy_of(lab.ft30(*begin))
        run_id = only_run(lab)
        assert remedy == f"stop it first: ft30 runs cancel {run_id}"
        type_line(lab, f"ft30 runs cancel {run_id}")
        present(process.stderr).read()
        assert process.wait(patient(60)) == 130
    assert lab.ft30(*begin).returncode == 0
    assert re.search(r"checkpoint-\d+$", begun_since(lab, run_id)["training"]["start_adapter"])


def test_without_runs_one_is_started_as_is_said(make_lab: MakeLab) -> None:
    lab = make_lab()
    assert lab.ft30("runs", "list").stdout.strip() == "No runs yet. Start one with: ft30 train"
    start = "start one with: ft30 train, or name the folder of the runs in FT30_RESULTS_FOLDER"
    assert remedy_of(lab.ft30("runs", "show", "latest")) == start
    # What `ft30 train` takes without flags is config/default.yaml of the folder that one stands in.
    (lab.folder / "config").mkdir()
    Path(lab.folder / "config.yaml").rename(lab.folder / "config" / "default.yaml")
    type_line(lab, "ft30 train")
    assert "SUCCEEDED" in lab.ft30("runs", "show", "latest").stdout
    assert only_run(lab) in lab.ft30("runs", "list").stdout
