"""The benchmark runs as documented, without files: every contender trains, predicts and stands in the table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.material import load_rows

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]


def test_starter_reviews_are_rows_of_two_numbered_labels() -> None:
    rows = load_rows(None, 50)
    assert len(rows) == 50
    assert {label for _, label in rows} == {0, 1}


def test_every_contender_stands_in_the_table(repository: Path, tmp_path: Path) -> None:
    table = tmp_path / "build" / "table.md"
    sizes = ["--rows", "4", "--pairs", "1", "--batches", "2", "--precisions", "fp32", "--starts", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *sizes, "--output", str(table)],
        cwd=repository,
        env={**os.environ, "TMPDIR": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1700,
    )
    assert done.returncode == 0, done.stderr
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.read_text().splitlines() if "|" in line]
    rates = {row[1]: float(row[2]) for row in cells if row[0] == "2"}
    assert list(rates) == ["usual fp32", "tuned fp32", "general fp32", "packed fp32"]
    assert min(rates.values()) > 0
    starts = {row[0]: float(row[1]) for row in cells if row[0] in ("packed bf16", "general bf16")}
    assert len(starts) == 2
    assert "Measured GEMM limit: fp32 " in table.read_text()
