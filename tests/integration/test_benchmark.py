"""The benchmark runs as documented, without files: every contender trains, predicts and stands in the table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.material import load_rows
from benchmarks.versions import interval_of_median

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


def test_versions_are_compared_in_pairs(repository: Path, tmp_path: Path) -> None:
    # The same version twice: what is tested is that both run and stand in the table.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.versions", ".", ".", "--rows", "36", "--pairs", "1", "--bases", "tiny"],
        cwd=repository,
        env={**os.environ, "TMPDIR": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1700,
    )
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()][2:]
    assert [row[:4] for row in rows] == [
        ["tiny", precision, batch, kind]
        for precision, batch in (("fp32", "2"), ("bf16", "16"))
        for kind in ("train", "evaluate")
    ]
    assert all(float(row[5]) > 0 for row in rows)


@pytest.mark.parametrize(("count", "place"), [(6, 1), (9, 2), (15, 4), (25, 8)])
def test_interval_of_the_median_is_that_of_the_sign_test(count: int, place: int) -> None:
    # Ranks from the table of the sign test at 5 % (Conover, Practical Nonparametric Statistics).
    values = [float(value) for value in range(count, 0, -1)]
    assert interval_of_median(values) == (place, count + 1 - place)


def test_two_versions_of_the_api_are_asked_in_turn(repository: Path, tmp_path: Path) -> None:
    few = ["--runs", "60", "--rounds", "1", "--requests", "22", "--together", "--against", "."]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.api_load", *few],
        cwd=repository,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" 0 errors") == 4, done.stdout
    assert "answers a second of CPU, new / old: " in done.stdout
