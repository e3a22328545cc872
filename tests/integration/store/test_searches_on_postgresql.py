"""What the store promises of searches again, on a real PostgreSQL."""

from __future__ import annotations

import pytest

from unit.store.test_searches import (  # noqa: F401
    test_a_search_and_each_trial_are_written_once,
    test_a_search_that_was_stopped_gets_no_trial_and_its_cancelled_ones_stay_open,
)

pytestmark = pytest.mark.integration
