"""What the registry promises of its rows again, on a real PostgreSQL."""

from __future__ import annotations

import pytest

from unit.store.test_model_registry import (  # noqa: F401
    test_a_version_under_an_alias_cannot_be_retired_nor_its_run_deleted,
    test_events_of_models_can_be_neither_changed_nor_removed,
    test_of_many_threads_that_promote_one_wins_each_generation,
    test_of_two_processes_that_promote_one_wins_and_the_other_is_told_who,
    test_versions_are_counted_and_the_same_files_are_the_version_that_is_there,
    test_who_saw_another_generation_is_told_who_moved_the_alias,
)

pytestmark = pytest.mark.integration
