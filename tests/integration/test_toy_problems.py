"""A problem is a folder: some that the product does not know are trained, resumed, asked, listed, compared, drawn."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from support.fork_server import ForkServer
from support.patience import patient
from support.toys import ANSWERS, NEXT_TOKEN, ORDINAL, save_entry_points
from support.toys.lab import BASES, MARKS, OPENINGS, ToyLab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lab(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyLab]:
    folder = tmp_path_factory.mktemp("toys")
    with ForkServer(tmp_path_factory.mktemp("toys-server"), save_entry_points(folder / "installed")) as server:
        found = ToyLab(server, folder, tiny_model())
        for problem in BASES:
            found.train(problem, problem)
        yield found


@pytest.fixture(params=[ORDINAL, NEXT_TOKEN])
def problem(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def metrics_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_both_learn(lab: ToyLab) -> None:
    ordinal, text = (metrics_of(lab.run_folder(problem)) for problem in (ORDINAL, NEXT_TOKEN))
    assert ordinal["eval_steps_off"] < 0.3
    assert ordinal["targets"] == {"label_names": sorted(MARKS.values()), "thresholds": 2}
    assert text["eval_perplexity"] < 4  # a few words follow each word
    assert ordinal["engine"] == "packed"  # any loss over a head's outputs is differentiated there


def test_the_score_is_the_problems_own(lab: ToyLab, problem: str) -> None:
    metrics = metrics_of(lab.run_folder(problem))
    assert metrics["score_name"] in ("eval_steps_off", "eval_perplexity")
    assert metrics["score"] == metrics[metrics["score_name"]]
    assert metrics["score_greater_is_better"] is False
    assert metrics["score_format"] == "number"


def test_the_divisor_of_a_step_is_the_weight_of_all_its_micro_batches(lab: ToyLab) -> None:
    folder = lab.train(NEXT_TOKEN, "whole", max_steps=1, per_device_train_batch_size=16, gradient_accumulation_steps=1)
    cut = lab.train(NEXT_TOKEN, "cut", max_steps=1, per_device_train_batch_size=4, gradient_accumulation_steps=4)
    first, second = (metrics_of(run)["train_loss"] for run in (folder, cut))
    assert first == pytest.approx(second, rel=1e-6)


def test_a_killed_run_resumes_to_the_same_weights(lab: ToyLab, problem: str) -> None:
    expected = json.loads((lab.run_folder(problem) / "manifest.json").read_text())["digests"]
    name = f"{problem}-killed"
    config = lab.configure(problem, name, save_steps=2)
    ended = lab.run("train", "--config", config, FT30_FAILPOINT="training.after_step:5")
    assert ended.returncode < 0
    lab.ft30("resume", lab.run_folder(name).name)
    assert json.loads((lab.run_folder(name) / "manifest.json").read_text())["digests"] == expected


def test_what_is_kept_of_an_evaluation_is_the_problems_choice(lab: ToyLab) -> None:
    grades = pq.read_table(lab.run_folder(ORDINAL) / "predictions.parquet").to_pylist()
    assert {row["label"] for row in grades} <= set(MARKS.values())
    assert all(isinstance(row["outcome"], float) for row in grades)
    assert pq.read_table(lab.run_folder(NEXT_TOKEN) / "predictions.parquet").column_names == ["row_id"]


def test_questions_are_answered(lab: ToyLab) -> None:
    (answer,) = lab.ft30("predict", ORDINAL, "the film was great great slow", "--json").splitlines()
    assert json.loads(answer) == {"text": "the film was great great slow", "grade": "3 good"}
    (line,) = lab.ft30("predict", NEXT_TOKEN, "we loved the").splitlines()
    continuation, text = line.split("\t")
    assert text == "we loved the"
    assert continuation


def test_a_file_of_questions_is_read_by_the_problems_own_columns(lab: ToyLab) -> None:
    (lab.folder / "asked.csv").write_text("number,passage,other\n1,it was awful awful,x\n", encoding="utf-8")
    (answer,) = lab.ft30("predict", ORDINAL, "--file", "asked.csv", "--json").splitlines()
    assert json.loads(answer)["grade"] == "1 poor"
    lab.ft30("predict", NEXT_TOKEN, "--file", "asked.csv", "--output", "answers.csv")
    with (lab.folder / "answers.csv").open(encoding="utf-8", newline="") as stream:
        assert next(csv.DictReader(stream)).keys() == {"row_id", "text", "text_pair", "continuation", "number", "other"}


def test_rows_are_a_version_of_the_problems_columns(lab: ToyLab) -> None:
    digest = metrics_of(lab.run_folder(NEXT_TOKEN))["dataset_digest"]
    shown = json.loads(lab.ft30("data", "versions", "show", digest, "--json"))
    assert [column["name"] for column in shown["schema"]] == ["passage", "origin"]
    assert shown["problem_type"] == NEXT_TOKEN
    lab.ft30("data", "versions", "verify", digest)


def test_two_texts_of_any_name_are_cleaned_checked_and_encoded_together(lab: ToyLab) -> None:
    folder = lab.run_folder(ANSWERS)
    metrics = metrics_of(folder)
    assert metrics["eval_steps_off"] < 0.3  # which only the answer tells
    report = json.loads((folder / "data_report.json").read_text(encoding="utf-8"))
    assert {step["step"] for step in report["recipe"]} == {"remove_html", "control_characters"}
    assert {(found["rule"], found["cell"]) for found in report["findings"]} >= {
        ("html", "completion"),
        ("control_characters", "prompt"),
    }
    assert not [found for found in report["findings"] if "duplicate" in found["rule"]]  # a question is asked 12 times
    shown = json.loads(lab.ft30("data", "versions", "show", metrics["dataset_digest"], "--rows", "60", "--json"))
    assert [(c["name"], c["role"]) for c in shown["schema"]] == [
        ("prompt", "text"),
        ("completion", "text"),
        ("grade", "target"),
        ("origin", "origin"),
    ]
    rows = [row for rows in shown["first_rows"].values() for row in rows]
    assert {row["prompt"] for row in rows} == set(OPENINGS)
    assert {row["completion"].split()[0] for row in rows} == set(MARKS)
    assert "great great slow" in lab.ft30("data", "versions", "show", metrics["dataset_digest"], "--rows", "60")


def test_a_version_is_read_by_the_columns_of_its_problem(lab: ToyLab) -> None:
    for problem in (ANSWERS, NEXT_TOKEN):
        digest = metrics_of(lab.run_folder(problem))["dataset_digest"]
        version = f"version:{digest}"
        assert json.loads(lab.ft30("data", "validate", version, "--json"))["would_train"]
        analysis = json.loads(lab.ft30("data", "analyze", version, "--against", version, "--json"))
        assert analysis["problem_type"] == problem
        assert analysis["drift"]["drift"] is False
        config = lab.configure(problem, f"{problem}-again", max_steps=1)
        lab.ft30("train", "--config", config, "--dataset", version, "--set", "model.problem_type=auto")
        again = metrics_of(lab.run_folder(f"{problem}-again"))
        assert (again["problem_type"], again["dataset_digest"]) == (problem, digest)


def test_rows_are_the_same_where_both_texts_are(lab: ToyLab) -> None:
    rows = [("a fine day", "is it so", "1 poor"), ("a fine day", "it is so", "2 fair")]
    with (lab.folder / "twice.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("asked", "answer", "grade"), *rows, *rows, ("no answer came", " ", "2 fair")])
    config = lab.configure(ANSWERS, "twice", dataset="twice.csv")
    made = json.loads(lab.ft30("data", "versions", "create", "--config", config, "--clean", "--json"))
    assert made["rows"] == {"train": 2}  # copies and the row that lacks its second text are gone
    lab.ft30("data", "clean", "--config", config, "--out", "clean")
    with (lab.folder / "clean" / "train.csv").open(encoding="utf-8", newline="") as stream:
        assert [tuple(row.values()) for row in csv.DictReader(stream)] == rows


def test_a_column_that_no_key_names_is_asked_for_by_its_name(lab: ToyLab) -> None:
    (lab.folder / "other.csv").write_text("asked,said,grade\na,b,1 poor\n", encoding="utf-8")
    ended = lab.run("train", "--config", lab.configure(ANSWERS, "unnamed", dataset="other.csv"))
    assert ended.returncode == 1
    assert "name a column 'completion' or 'answer'" in ended.stderr


def test_pairs_are_asked_by_the_problems_own_columns(lab: ToyLab) -> None:
    (lab.folder / "pairs.csv").write_text("answer,asked\nawful awful slow,it is the room\n", encoding="utf-8")
    (answer,) = lab.ft30("predict", ANSWERS, "--file", "pairs.csv", "--json").splitlines()
    asked = {"row_id": "pairs.csv:2", "text": "it is the room", "text_pair": "awful awful slow"}
    assert json.loads(answer) == asked | {"grade": "1 poor"}


def test_a_problem_that_is_not_installed_is_named(lab: ToyLab, fork_server: ForkServer) -> None:
    ended = fork_server.run("predict", ORDINAL, "some text", cwd=lab.folder)
    assert ended.returncode == 2
    assert f"there is no problem '{ORDINAL}'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_both_stand_in_the_listing_under_their_scores(lab: ToyLab) -> None:
    listed = json.loads(lab.ft30("runs", "list", "--json", "--sort_by", "score"))["runs"]
    scores = {run["name"]: (run["score_name"], run["score"]) for run in listed}
    for problem in BASES:
        metrics = metrics_of(lab.run_folder(problem))
        assert scores[problem] == (metrics["score_name"], pytest.approx(metrics["score"]))
    listed = json.loads(lab.ft30("runs", "list", "--json", "--score_name", "eval_perplexity"))["runs"]
    names = {run["name"] for run in listed}
    assert (NEXT_TOKEN in names, ORDINAL in names) == (True, False)


def test_runs_are_compared_by_the_outcome_that_the_problem_keeps(lab: ToyLab) -> None:
    lab.train(ORDINAL, "hardly", num_train_epochs=1, learning_rate=1e-5)
    compared = json.loads(lab.ft30("compare", ORDINAL, "hardly", "--json"))
    (pair,) = compared["pairs"]
    assert pair["better"] == compared["runs"][0]["id"]
    lab.train(NEXT_TOKEN, "also", num_train_epochs=1)
    compared = json.loads(lab.ft30("compare", NEXT_TOKEN, "also", "--json"))
    assert len(compared["metrics"]["eval_perplexity"]) == 2  # nothing was kept a row, so there is no verdict
    assert compared["verdict"]["distinguishable"] is None


def test_results_are_drawn(lab: ToyLab) -> None:
    assert "steps off" in lab.ft30("runs", "show", ORDINAL)
    assert "perplexity" in lab.ft30("runs", "show", NEXT_TOKEN)
    card = (lab.run_folder(NEXT_TOKEN) / "artifacts" / "final_model" / "README.md").read_text(encoding="utf-8")
    assert "AutoPeftModelForCausalLM.from_pretrained" in card
    assert "perplexity" in card


def test_two_processes_divide_by_the_tokens_of_both(lab: ToyLab) -> None:
    one = lab.train(NEXT_TOKEN, "one", max_steps=3, per_device_train_batch_size=8, logging_steps=1)
    config = lab.configure(NEXT_TOKEN, "two", max_steps=3, per_device_train_batch_size=4, logging_steps=1)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "finetune30", "train", "--config", config],
        cwd=lab.folder,
        env=os.environ | {"PYTHONPATH": lab.server.python_path},
        capture_output=True,
        text=True,
        timeout=patient(600),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses_of(lab.run_folder("two")) == pytest.approx(losses_of(one), rel=2e-5)


def losses_of(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [record["loss"] for record in records if record["type"] == "train"]
