"""What the store promises of searches and of looks at test rows again, on a real PostgreSQL."""

from __future__ import annotations

import pytest

from unit.store.test_searches import (  # noqa: F401
    test_a_search_and_each_trial_are_written_once,
    test_a_search_that_was_stopped_gets_no_trial_and_its_cancelled_ones_stay_open,
    test_an_end_its_verdict_and_each_opening_of_test_rows_are_written_once,
)
from unit.store.test_test_looks import (  # noqa: F401
    test_a_look_is_held_while_it_is_renewed_and_no_other_begins_beside_it,
    test_of_all_who_ask_for_the_same_look_one_has_it,
)

pytestmark = pytest.mark.integration
