"""What is said about finished runs, their models and their data is done to the letter, with models that have learnt."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune30.errors import ServiceUnavailableError
from finetune30.service.models.model_process import ModelProcesses
from finetune30.store import Run, open_store
from support.fork_server import ForkServer
from support.kinds import SINGLE_LABEL, KindsLab
from support.patience import wait_until

pytestmark = pytest.mark.integration

NAME = SINGLE_LABEL.name
TEXT = "the film was great great"


def refusal(lab: KindsLab, *arguments: str, code: int = 1) -> str:
    ended = lab.server.run(*arguments, cwd=lab.folder)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stderr.partition("\nTry: ")[2].strip() or ended.stderr.removeprefix("Try: ").strip()


def ask_process(
    lab: KindsLab, *arguments: str, asked: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that may read standard input."""
    return subprocess.run(
        [sys.executable, "-m", "finetune30", *arguments],
        cwd=lab.folder, env={**os.environ, **environment}, input=asked, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip


def test_a_model_is_asked_by_texts_a_file_or_lines(kinds_lab: KindsLab, tmp_path: Path) -> None:
    refused = ask_process(kinds_lab, "predict", NAME)
    assert refused.returncode == 2
    assert refused.stderr.rstrip().endswith("Try: give texts, --file FILE, or lines on standard input")
    (tmp_path / "asked.txt").write_text(f"{TEXT}\n")
    answers = (
        kinds_lab.ft30("predict", NAME, TEXT, "--json").stdout,
        kinds_lab.ft30("predict", NAME, "--file", str(tmp_path / "asked.txt"), "--json").stdout,
        ask_process(kinds_lab, "predict", NAME, "--json", asked=f"{TEXT}\n").stdout,
    )
    assert [json.loads(answer)["labels"] for answer in answers] == [["zest"]] * 3


def test_the_card_of_a_model_names_the_command_that_asks_it(kinds_lab: KindsLab) -> None:
    card = (kinds_lab.run_folder(NAME) / "artifacts" / "final_model" / "README.md").read_text(encoding="utf-8")
    command = re.search(r"`(ft30 predict \w+ \"some text\")`", card)
    assert command is not None
    words = shlex.split(command[1])[1:]
    assert kinds_lab.ft30(*words).stdout.endswith("\tsome text\n")
    assert kinds_lab.ft30(*words[:2], TEXT).stdout.startswith("zest")


def test_a_run_without_a_model_is_another_of_the_list(kinds_lab: KindsLab) -> None:
    config = yaml.safe_load((kinds_lab.folder / f"{NAME}.yaml").read_text())
    config["data"]["text_column"] = "nowhere"
    (kinds_lab.folder / "broken.yaml").write_text(yaml.safe_dump({**config, "experiment_name": "broken"}))
    refusal(kinds_lab, "train", "--config", "broken.yaml")
    remedy = refusal(kinds_lab, "predict", "broken", TEXT)
    assert remedy == "choose a SUCCEEDED one: ft30 runs list --status SUCCEEDED"
    listed = kinds_lab.ft30(*remedy.partition("ft30 ")[2].split()).stdout
    assert "broken" not in listed
    (line,) = [line for line in listed.splitlines() if f" {NAME} " in line]
    assert kinds_lab.ft30("predict", line.split()[0], TEXT).stdout.startswith("zest")


def test_damaged_outcomes_are_found_by_the_command_that_is_named(kinds_lab: KindsLab, tmp_path: Path) -> None:
    kinds_lab.train(SINGLE_LABEL, "other", num_train_epochs=1)
    path = kinds_lab.run_folder(NAME) / "predictions.parquet"
    shutil.copy(path, tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    try:
        said = kinds_lab.server.run("compare", NAME, "other", cwd=kinds_lab.folder)
        command = re.search(
            r"the predictions of run '[\w-]+' cannot be read: .*; see: (ft30 runs verify \w+)", said.stdout
        )
        assert command is not None, said.stdout + said.stderr
        ended = kinds_lab.server.run(*command[1].split()[1:], cwd=kinds_lab.folder)
        assert (ended.returncode, "predictions.parquet has 100 bytes instead of" in ended.stderr) == (1, True)
    finally:
        shutil.copy(tmp_path / path.name, path)
    assert kinds_lab.ft30("runs", "verify", NAME).stdout.endswith("files are as they were published\n")
    whole = kinds_lab.server.run("compare", NAME, "other", cwd=kinds_lab.folder)
    assert "cannot be read" not in whole.stdout + whole.stderr


def test_suspects_are_reviewed_into_a_version_and_trained_on_as_is_printed(
    fork_server: ForkServer, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    lab = KindsLab.make(fork_server, tmp_path, tiny_model())
    with (tmp_path / f"{NAME}-train.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    planted = next(row for row in rows if "great great" in row[0])
    planted[1] = "anger"  # a wrong label, which the model doubts
    with (tmp_path / f"{NAME}-train.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    lab.train(SINGLE_LABEL, "first")
    (tmp_path / "other.csv").write_text("text,new_label\na text,zest\n")
    remedy = refusal(lab, "data", "relabel", "other.csv")
    assert remedy == "use a file of: ft30 data suspects RUN --export FILE"
    told = lab.ft30("data", "suspects", "first", "--export", "review.csv", "--all")
    said = re.search(
        r"rows to review: review\.csv; fill in 'new_label', then: (ft30 data relabel review\.csv)", told.stderr
    )
    assert said is not None, told.stderr
    _fill_in(tmp_path / "review.csv", planted[0], "zest")
    relabelled = lab.ft30(*said[1].split()[1:]).stdout
    assert "1 label changed, 0 rows removed" in relabelled
    command = re.search(r"train on it: (ft30 train --dataset version:\w+)", relabelled)
    assert command is not None
    lab.ft30(
        *command[1].split()[1:], "--config", "first.yaml", "--experiment_name", "second", "--data.eval_file", "null"
    )
    tree = json.loads(lab.ft30("runs", "show", "second", "--json").stdout)["run"]
    assert command[1].rpartition(":")[2] in json.dumps(tree["config"]["data"]["dataset_name"])
    shown = json.loads(lab.ft30("data", "versions", "show", str(tree["dataset_digest"]), "--json").stdout)
    assert shown["runs"]


def _fill_in(path: Path, text: str, label: str) -> None:
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    assert text in {row["text"] for row in rows}
    for row in rows:
        row["new_label"] = label if row["text"] == text else ""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_version_is_trained_on_as_its_making_prints(kinds_lab: KindsLab) -> None:
    made = kinds_lab.ft30("data", "versions", "create", f"{NAME}-train.csv").stdout
    command = re.search(r"train on it: (ft30 train --dataset version:(\w+))", made)
    assert command is not None
    flags = ("--config", f"{NAME}.yaml", "--experiment_name", "of-a-version", "--epochs", "1")
    kinds_lab.ft30(*command[1].split()[1:], *flags)
    config = yaml.safe_load((kinds_lab.run_folder("of-a-version") / "config.yaml").read_text())
    assert config["data"]["dataset_name"] == f"version:{command[2]}"


@pytest.fixture
def models(kinds_lab: KindsLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModelProcesses, Run]]:
    monkeypatch.chdir(kinds_lab.folder)
    store = open_store("sqlite:///results/experiments.db")
    run = store.get(NAME)
    store.close()
    opened = ModelProcesses()
    yield opened, run
    opened.close()


def test_a_model_whose_process_ended_is_asked_again(models: tuple[ModelProcesses, Run]) -> None:
    asked, run = models
    assert asked.ask(run, [TEXT], None)[0]["labels"] == ["zest"]
    pid = asked._held[run.id]._process.pid
    os.kill(pid, signal.SIGSTOP)
    errors: list[ServiceUnavailableError] = []

    def ask() -> None:
        try:
            asked.ask(run, [TEXT], None)
        except ServiceUnavailableError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(asked._held[run.id]._turn.locked, 20, "it is asked")
    os.kill(pid, signal.SIGKILL)
    asking.join(60)
    assert [error.remedy for error in errors] == ["ask again; if it stays so: ft30 predict RUN TEXT shows why"]
    assert asked.ask(run, [TEXT], None)[0]["labels"] == ["zest"]


def test_a_model_that_cannot_be_loaded_says_why_to_who_asks_in_a_terminal(
    models: tuple[ModelProcesses, Run], kinds_lab: KindsLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch").mkdir()  # an installation that is damaged
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: file too short')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    asked, run = models
    for _ in range(2):
        with pytest.raises(ServiceUnavailableError, match=r"the model's process failed: OSError: libtorch_cpu\.so"):
            asked.ask(run, [TEXT], None)
    shown = ask_process(kinds_lab, "predict", run.id[:8], TEXT, PYTHONPATH=path)
    assert shown.returncode == 1
    assert "libtorch_cpu.so: file too short" in shown.stderr


def doubts_of(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["doubts"])


def advice_of(folder: Path) -> list[str]:
    return [words["en"] for doubt in doubts_of(folder) for words in doubt["advice"]]


def test_runs_whose_seeds_chose_other_rows_are_trained_on_the_same_ones_as_is_said(kinds_lab: KindsLab) -> None:
    def train(name: str, seed: int, *more: str) -> None:
        kinds_lab.ft30(
            "train", "--device", "cpu", "--lora.target_modules", "auto", "--dataset", f"{NAME}-train.csv",
            "--model.name", "base", "--num_labels", "3",
            "--experiment_name", name, "--seed", str(seed), "--max_steps", "1", "--data.max_length", "32", *more,
        )  # fmt: skip

    own = ("--data.split_seed", "null")
    train("seed one", 1, *own)
    train("seed two", 2, *own)
    said = kinds_lab.ft30("compare", "seed one", "seed two").stdout.splitlines()[0]
    ((key, seed),) = re.findall(r"seeds chose them; set (data\.split_seed) to (\d+) and train all again$", said)
    train("again one", 1, f"--{key}", seed)
    train("again two", 2, f"--{key}", seed)
    found = json.loads(kinds_lab.ft30("compare", "again one", "again two", "--json").stdout)
    assert found["data_difference"]["same"] is True
    assert found["groups"][0]["rows"] > 0
    train("default one", 1)
    train("default two", 2)
    found = json.loads(kinds_lab.ft30("compare", "default one", "default two", "--json").stdout)
    assert (found["left_out"], len(found["pairs"])) == ([], 1), "the shipped default has a seed of its own for rows"
