"""A store on a new SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.run_store_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(f"sqlite:///{tmp_path}/results/experiments.db", tmp_path / "results")
    yield lab
    lab.store.close()
