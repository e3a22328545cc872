"""The built package, without a checkout around it, finds its shipped configurations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.integration


def test_presets_are_inside_the_built_package(tmp_path):
    build = [sys.executable, "setup.py", "-q", "egg_info", "-e", tmp_path, "build_py", "-d", tmp_path / "lib"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "lib")}

    def ft30(*arguments: str) -> str:
        command = [sys.executable, "-m", "finetune30", *arguments]
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shipped = sorted(path.stem for path in (ROOT / "config").glob("*.yaml") if not path.name.startswith("temp_"))
    listed = ft30("config", "presets")
    assert sorted(line.split()[0] for line in listed.splitlines()) == shipped
    assert str(tmp_path) in ft30("config", "presets", "--json")
    assert "offline_fallback: starter" in ft30("train", "--dry_run")
