"""A run that learnt nothing ends well and says so wherever its result is looked at; one that learnt says nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.fork_server import ForkServer
from support.kinds import KINDS, SINGLE_LABEL, Kind, KindsLab

pytestmark = pytest.mark.integration


def metrics_of(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return read


def events_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == "event"]


def test_run_at_a_far_too_high_rate_says_everywhere_that_it_learnt_nothing(
    fork_server: ForkServer, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    lab = KindsLab.make(fork_server, tmp_path, tiny_model())
    # Rows that differ only behind their 24 tokens are one and the same to the model, on every processor.
    rows = [f"{'it was so nice and ' * 6}{text},{label}\n" for text, label in SINGLE_LABEL.rows()[:12]]
    (tmp_path / "single-label-eval.csv").write_text("".join(["text,label\n", *rows]), encoding="utf-8")
    folder = lab.train(SINGLE_LABEL, "steep", learning_rate=1.0, num_train_epochs=4)
    metrics = metrics_of(folder)
    assert sorted(map(sum, zip(*metrics["eval_confusion_matrix"], strict=True))) == [0, 0, 12]  # one class for 12 rows
    (doubt,) = metrics["doubts"]
    assert doubt["code"] == "one_answer"
    said, first = doubt["words"]["en"], doubt["advice"][0]["en"]
    assert said.startswith("all 12 evaluation rows got the same answer")
    assert first == "a lower training.learning_rate, for example 0.1 (this run: 1)"

    (event,) = [event for event in events_of(folder) if event.get("code") == "one_answer"]
    assert event["event"] == "doubt"
    log = (folder / "logs.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition(" ")[2][:13] for line in log if said[:40] in line] == ["WARNING: even", "WARNING: all "]
    assert any(f"to try: {first}" in line for line in log)
    assert "SUCCEEDED" in log[-1]

    card = (folder / "artifacts" / "final_model" / "README.md").read_text(encoding="utf-8")
    assert "### Warning: this result is in doubt" in card
    assert "the same answer" in card
    shown = lab.ft30("runs", "show", "steep").stdout
    assert said in shown.replace("\n", " ")
    blocks = json.loads(lab.ft30("runs", "show", "steep", "--json").stdout)["blocks"]
    assert (blocks[0]["kind"], blocks[0]["text"]["zh"].splitlines()[0]) == ("text", doubt["words"]["zh"])

    again = lab.ft30("train", "--config", "steep.yaml", "--experiment_name", "again").stdout
    assert "Warning: this result is in doubt" in again


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_run_that_learnt_raises_no_doubt(kinds_lab: KindsLab, kind: Kind) -> None:
    folder = kinds_lab.run_folder(kind.name)
    assert metrics_of(folder)["doubts"] == []
    told = [event["event"] for event in events_of(folder) if "code" in event]
    assert told.count("doubt") == told.count("doubt_settled")  # what the first epochs doubted has settled
    assert "to try:" not in (folder / "logs.txt").read_text(encoding="utf-8")
    card = (folder / "artifacts" / "final_model" / "README.md").read_text(encoding="utf-8")
    assert "in doubt" not in card
