"""`ft30 compare`: what it says of runs, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scipy.stats import binomtest

import finetune30.cli.main as cli_main
from finetune30.config.schema import ExperimentConfig
from finetune30.store import RunFolder, open_store

RESULTS = Path("results")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ft30(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli_main.main(["compare", *arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


def finish(name: str, rank: int, **columns: list[Any]) -> None:
    """Record a run that SUCCEEDED with these columns of predictions."""
    store = open_store("sqlite:///results/experiments.db")
    config = ExperimentConfig.model_validate({"experiment_name": name, "lora": {"r": rank}})
    run = store.create(config, kind="queued", results_root=RESULTS)
    claim = store.claim(run.id, owner="elsewhere:boot:1:1", lease_seconds=60)
    assert claim is not None
    attempt = RunFolder(RESULTS / run.folder).open_attempt(claim.attempt)
    attempt.logs.write_text("")
    attempt.history.write_text("")
    attempt.reveal("data_report.json", b"{}")
    metrics = {"eval_accuracy": rank / 100}
    (attempt.outbox / "metrics.json").write_text(json.dumps(metrics))
    rows = [f"{name if rank > 50 else 'v'}.csv:{number}" for number in range(len(columns["label"]))]
    pl.DataFrame({"row_id": rows, **columns}).write_parquet(attempt.outbox / "predictions.parquet")
    store.succeed(claim, metrics, attempt.publish({}).manifest_sha256)
    store.close()


def test_two_runs_are_named_in_the_sentence_and_shown_side_by_side(ft30: Call) -> None:
    finish("good", 8, label=["a", "b"] * 10, prediction=["a", "b"] * 10)
    finish("bad", 16, label=["a", "b"] * 10, prediction=["a", "a"] * 10)
    code, out, err = ft30("good", "bad")
    assert (code, err) == (0, "")
    first, flipped, *tables = out.splitlines()
    assert first.startswith("'good' is 50.0 points better than 'bad' (95 % interval ")
    assert first.endswith(f", p = {binomtest(0, 10).pvalue:.3g}; 20 rows)")
    assert flipped == "10 rows with other predictions"
    shown = [line.split() for line in tables]
    assert ["eval_accuracy", "0.08", "0.16"] in shown
    assert ["lora.r", "8", "16"] in shown


def test_a_run_on_other_rows_is_named_and_the_others_are_compared(ft30: Call) -> None:
    for name, rank, given in (("good", 8, "b"), ("bad", 16, "a"), ("elsewhere", 64, "a")):
        finish(name, rank, label=["a", "b"] * 10, prediction=["a", given] * 10)
    lines = ft30("good", "bad", "elsewhere")[1].splitlines()
    assert lines[0].startswith("'good' is 50.0 points better than 'bad'")
    assert lines[1].startswith("not compared: 'elsewhere': the evaluation rows differ (20 in run ")


def test_runs_without_a_partner_say_why(ft30: Call) -> None:
    finish("one", 64, label=["a"], prediction=["a"])
    finish("other", 72, label=["a"], prediction=["a"])
    assert ft30("one", "other")[1].startswith("not compared row by row: the evaluation rows differ (1 in run ")


def test_labels_that_differ_are_counted(ft30: Call) -> None:
    labels = [["joy", "rage"]] * 12
    finish("both", 8, label=labels, prediction=labels)
    finish("half", 16, label=labels, prediction=[["joy"]] * 12)
    line = ft30("both", "half")[1].splitlines()[1]
    # Two labels are looked at: the p-value of 12 to 0 is doubled.
    assert line == (
        "  by label: 1 of 2 differ by more than chance: rage (only the first right 12, only the second 0, "
        f"p = {2 * binomtest(0, 12).pvalue:.3g})"
    )


def test_json_holds_what_the_api_answers(ft30: Call) -> None:
    finish("near", 8, label=[1.0, 2.0], prediction=[1.0, 2.5])
    finish("far", 16, label=[1.0, 2.0], prediction=[2.0, 4.0])
    found = json.loads(ft30("near", "far", "--json")[1])
    assert (found["verdict"]["measure"], found["verdict"]["gain"]) == ("squared_error", 2.375)
    assert found["flipped"][0]["outcomes"] == [0.25, 4.0]


@pytest.mark.parametrize(("runs", "code"), [((), 2), (("one",), 2), (("one", "latest"), 2), (("one", "none"), 1)])
def test_other_than_two_to_eight_different_runs_are_refused(ft30: Call, runs: tuple[str, ...], code: int) -> None:
    finish("one", 8, label=["a"], prediction=["a"])
    assert ft30(*runs)[0] == code
