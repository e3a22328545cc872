"""Evaluation rows that rules set aside stand beside the score wherever a result is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from support.fork_server import ForkServer
from support.kinds import REGRESSION, SINGLE_LABEL, KindsLab

pytestmark = pytest.mark.integration

OPEN = {"gate": {"max_faulty_share": 1.0}}
COUNTED, AS_WRONG = "Evaluation rows set aside by rules (3 empty_text, 1 missing_label)", "counted as wrong"


def test_score_comes_with_the_rows_that_were_set_aside_and_the_score_that_counts_them(
    fork_server: ForkServer, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    lab = KindsLab.make(fork_server, tmp_path, tiny_model())
    for kind in (SINGLE_LABEL, REGRESSION):
        label = next(iter(kind.marks.values()))
        with (tmp_path / f"{kind.name}-eval.csv").open("a", encoding="utf-8", newline="") as stream:
            stream.write(f'"",{label}\r\n' * 3 + "nobody knows what this is,\r\n\r\n")
    folder = lab.train(SINGLE_LABEL, "one", OPEN, num_train_epochs=3)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    outcomes = pl.read_parquet(folder / "predictions.parquet")["outcome"]
    assert len(outcomes) == 12
    found = metrics["evaluation_set_aside"]
    assert (found["rows"], found["passed"], found["asked"], found["split_off"]) == (4, 12, 15, False)
    assert found["by_rule"] == {"empty_text": 3, "missing_label": 1}
    assert found["counted_as_wrong"] == pytest.approx(outcomes.sum() / 15)

    log = (folder / "logs.txt").read_text(encoding="utf-8")
    assert "rules set 4 of 16 evaluation rows aside (3 empty_text, 1 missing_label)" in log
    assert "single-label-eval.csv: 18 lines = 16 rows + 1 header (line 1) + 1 blank (line 18)" in log
    assert "empty_text drops 3 of 15 evaluation rows (20.0%)" in log
    for text in (
        (folder / "artifacts" / "final_model" / "README.md").read_text(encoding="utf-8").replace("\\", ""),
        lab.ft30("runs", "show", "one").stdout,
    ):
        assert COUNTED in text
        assert AS_WRONG in text
    details = json.loads(lab.ft30("runs", "show", "one", "--json").stdout)
    assert [(entry["file"], entry["physical"]) for entry in details["ledger_lines"]] == [
        ("single-label-train.csv", 49),
        ("single-label-eval.csv", 18),
    ]
    blocks = details["blocks"]
    values = {block["title"]["en"]: block["value"] for block in blocks if block["kind"] == "figure"}
    assert values[COUNTED] == 4
    assert values["Accuracy, rows set aside counted as wrong"] == pytest.approx(outcomes.sum() / 15)

    folder = lab.train(REGRESSION, "number", OPEN, num_train_epochs=1)
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["evaluation_set_aside"]
    assert (found["rows"], found["counted_as_wrong"]) == (4, None)
    shown = lab.ft30("runs", "show", "number").stdout
    assert COUNTED in shown
    assert AS_WRONG not in shown
    assert "identical" in lab.ft30("replay", "number").stdout
