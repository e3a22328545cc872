"""What the store promises of searches again, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.run_store_lab import Lab, new_postgresql_database
from unit.store.test_searches import (  # noqa: F401
    test_a_search_and_each_trial_are_written_once,
    test_a_search_that_was_stopped_gets_no_trial_and_its_cancelled_ones_stay_open,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def lab(postgresql: Any, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(new_postgresql_database(postgresql), tmp_path / "results")
    yield lab
    lab.store.close()
