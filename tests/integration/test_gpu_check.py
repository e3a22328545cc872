"""The script for a machine with a GPU, dry-run on the CPU with what such a machine has: no tables, database, queue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gpu_check.parts import PARTS
from benchmarks.gpu_check.running import run_part

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

#: What a bare machine that trains need not have.
ABSENT = ("polars", "sqlalchemy", "celery", "fastapi", "streamlit", "redis", "alembic")
NOT_ON_A_CPU = {
    "memory": "memory that runs out is made by filling a GPU",
    "language-models-8b": "tiny sizes would say no more than language-models-1b",
    "language-models-8b-nf4": "tiny sizes would say no more than language-models-1b",
}


def run(
    repository: Path, absent: Path, output: Path, *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", "--out", str(output), *words],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(absent), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )


def lines_of(output: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (output / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({line["part"] for line in lines}) == len(lines), "one line a part"
    return {line["part"]: line for line in lines}


@pytest.fixture(scope="module")
def absent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose modules stand before those that are installed, and cannot be imported."""
    folder = tmp_path_factory.mktemp("absent")
    for name in ABSENT:
        (folder / f"{name}.py").write_text(f'raise ModuleNotFoundError("{name} is absent")\n', encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def checked(repository: Path, absent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole dry run."""
    output = tmp_path_factory.mktemp("gpu-check")
    done = run(repository, absent, output, "--device", "cpu")
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout == (output / "table.md").read_text(encoding="utf-8")
    return output


def test_every_part_is_ok_or_says_why_it_was_not_run(checked: Path) -> None:
    lines = lines_of(checked)
    assert list(lines) == [part.name for part in PARTS if not part.compares_peers]
    not_run = {name: line["reason"] for name, line in lines.items() if line["state"] == "not run"}
    assert {name: not_run.pop(name) for name in NOT_ON_A_CPU} == NOT_ON_A_CPU
    missing = {"qlora": "bitsandbytes is not installed", "gpu-kernels": "Triton is not installed"}
    assert not_run.items() <= missing.items()
    for name, line in lines.items():
        if line["state"] != "not run":
            assert (line["state"], line["reason"]) == ("ok", ""), name
            assert line["findings"], name
    resumed = lines["exact-resume"]["findings"][-1]
    assert resumed["found"] == "equal: adapter, optimizer, random_streams; from step 6"
    table = (checked / "table.md").read_text(encoding="utf-8")
    assert "| memory | | not run: memory that runs out is made by filling a GPU | | |" in table


def test_one_part_is_repeated_and_one_that_fails_leaves_the_others(
    repository: Path, absent: Path, checked: Path
) -> None:
    before = lines_of(checked)
    # Without a device that CUDA may see, the first part fails as it would on a machine with a broken driver.
    failed = run(repository, absent, checked, "--device", "cuda", "--only", "environment", CUDA_VISIBLE_DEVICES="")
    assert failed.returncode == 1, failed.stderr
    after = lines_of(checked)
    assert after["environment"]["state"] == "failed"
    assert after["environment"]["reason"] == "PyTorch sees a CUDA device"
    others = before.keys() - {"environment"}
    assert {name: after[name] for name in others} == {name: before[name] for name in others}
    assert "**failed**" in failed.stdout
    repeated = run(repository, absent, checked, "--device", "cpu", "--only", "environment")
    assert repeated.returncode == 0, repeated.stderr
    assert lines_of(checked)["environment"]["state"] == "ok"
    assert "**failed**" not in repeated.stdout


def test_without_a_gpu_nothing_passes_as_checked(repository: Path, absent: Path, tmp_path: Path) -> None:
    words = ("--device", "cuda", "--only", "environment", "language-models-8b")
    done = run(repository, absent, tmp_path, *words, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1, done.stderr
    assert lines_of(tmp_path)["language-models-8b"]["reason"] == "PyTorch sees no CUDA device"


def test_a_part_that_takes_too_long_has_failed(tmp_path: Path) -> None:
    line = run_part(PARTS[0], "cpu", tmp_path, tmp_path, tmp_path / "sites", 0.01)
    assert (line["state"], line["findings"]) == ("failed", [])
    assert line["reason"].startswith("took longer than")


def test_peers_are_not_begun_without_their_time(repository: Path, absent: Path, tmp_path: Path) -> None:
    done = run(repository, absent, tmp_path, "--device", "cpu", "--peers", "--seconds", "100")
    assert done.returncode == 0, done.stderr
    reasons = {line["reason"] for line in lines_of(tmp_path).values()}
    assert reasons == {"peers take 330 s, and 100 s were given"}


def test_a_peer_that_is_not_installed_is_named(repository: Path, absent: Path, tmp_path: Path) -> None:
    words = ("--device", "cpu", "--only", "peer-unsloth", "--sites", str(tmp_path / "sites"))
    done = run(repository, absent, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert lines_of(tmp_path)["peer-unsloth"]["reason"] == "unsloth is not installed"
