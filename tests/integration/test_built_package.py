"""What is built from the repository works without it: presets, starter data, migrations travel in the wheel."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SOURCES = ("src", "config", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, built from a copy so that the checkout stays clean."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = repository / name
        if source.is_dir():
            shutil.copytree(
                source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.kernels")
            )
        elif source.exists():
            shutil.copy(source, copy / name)
    # That they are compiled and travel is what is asked here; that takes half a minute with the optimizer.
    setup = (copy / "setup.py").read_text(encoding="utf-8")
    assert setup.count('"-O3"') == 1
    (copy / "setup.py").write_text(setup.replace('"-O3"', '"-O0"'), encoding="utf-8")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*build, "--wheel-dir", "dist", "."], cwd=copy, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (copy / "dist").glob("finetune30-*.whl")
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run_installed(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "finetune30", *arguments],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_wheel_carries_every_file_of_the_package(installed: Path, repository: Path) -> None:
    package = repository / "src" / "finetune30"
    wanted = {
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    carried = {str(path.relative_to(installed / "finetune30")) for path in (installed / "finetune30").rglob("*")}
    assert wanted - carried == set()


def test_wheel_carries_kernels_where_there_is_a_compiler(installed: Path) -> None:
    if sys.platform != "linux" or shutil.which("g++") is None:
        pytest.skip("no kernels are compiled here")
    folder = installed / "finetune30" / "training" / "packed" / "native"
    variants = {"avx2", "avx512", "avx512_bf16"} if platform.machine() == "x86_64" else {"baseline"}
    assert {path.stem for path in folder.glob("*.kernels")} == variants


def test_presets_are_found_without_a_checkout(installed: Path, repository: Path) -> None:
    done = run_installed(installed, "config", "presets")
    assert done.returncode == 0, done.stderr
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    assert listed == {path.stem for path in (repository / "config").glob("*.yaml") if not path.stem.startswith("temp_")}
    assert str(installed) in run_installed(installed, "config", "presets", "--json").stdout


def test_default_configuration_is_the_shipped_one_without_a_checkout(installed: Path) -> None:
    done = run_installed(installed, "config", "show")
    assert done.returncode == 0, done.stderr
    assert "offline_fallback: starter" in done.stdout
