"""Which end of a search has repeats that can be judged on test rows; nothing is read, so that the API may ask."""

from __future__ import annotations

from finetune30.errors import ConflictError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.repeats import runs_of_end
from finetune30.service.searches.standing import Standing
from finetune30.service.testing.sources import find_test_source
from finetune30.settings import Settings
from finetune30.store import RunStatus
from finetune30.store.search_ends import SearchEnd, load_end


def find_end_to_test(records: Records, standing: Standing, settings: Settings) -> SearchEnd:
    """Return the end whose repeats can be judged on test rows, before any of these is read.

    Raises ConflictError where nothing is said of it yet, where there is nothing to compare, and without test rows;
    StorageError where the model of a repeat is gone or damaged.
    """
    search = standing.search
    end = load_end(records.store, search.id)
    if end is None or end.judged_at is None:
        raise ConflictError(
            f"search {search.id[:8]} has not judged its best trial yet",
            f"see it with: ft30 search show {search.id[:8]}",
        )
    if not end.sets or (end.verdict or {}).get("verdict") is None:
        raise ConflictError(
            f"search {search.id[:8]} has no repeats to test: {(end.verdict or {}).get('message', '')}",
            f"see it with: ft30 search show {search.id[:8]}",
        )
    manifest = versions_of(settings, records.store).get(search.dataset_digest)
    try:
        find_test_source(standing.config, manifest).require()
    except ConflictError as error:
        raise ConflictError(f"search {search.id[:8]} '{search.name}': {error.message}", error.remedy) from error
    for run in runs_of_end(records.store, end):
        if run.status is RunStatus.SUCCEEDED:
            require_intact_model(records, require_model(run))
    return end
