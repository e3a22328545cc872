"""What the store promises of mirrors again, on a real PostgreSQL."""

from __future__ import annotations

import pytest

from unit.store.test_mirrors import (  # noqa: F401
    test_a_cursor_is_held_by_one_process_until_it_gives_it_back_or_its_time_is_over,
    test_a_mirror_is_behind_until_it_was_told_the_state_and_again_after_every_edit_and_retry,
    test_a_refused_run_waits_and_is_counted,
    test_runs_that_were_queued_before_a_mirror_was_followed_are_left_to_whoever_asks,
)

pytestmark = pytest.mark.integration
