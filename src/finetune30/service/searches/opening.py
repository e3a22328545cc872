"""Opening the test rows for the end of a search: all repeats of trial 0 and of the best are judged on them, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finetune30 import failpoints
from finetune30.errors import ConflictError, DataError, NotFoundError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.judging import compare_sides
from finetune30.service.searches.standing import Standing
from finetune30.service.sets.outcomes import load_set_outcomes
from finetune30.service.testing.look import look_at, shape_error
from finetune30.service.testing.sources import find_test_source
from finetune30.settings import Settings
from finetune30.store.run_sets import load_set
from finetune30.store.search_ends import SearchEnd, SearchTest, close_test, list_tests, load_end, open_test

Log = Callable[[str], None]


def find_end_to_test(records: Records, standing: Standing, settings: Settings) -> SearchEnd:
    """Return the end whose repeats can be judged on test rows.

    Raises ConflictError where nothing is said of it yet, where there is nothing to compare, and without test rows.
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
    return end


def has_rows_to_test(records: Records, standing: Standing, settings: Settings) -> bool:
    """Tell whether `open_test_rows` has something to open."""
    try:
        find_end_to_test(records, standing, settings)
    except (ConflictError, DataError, NotFoundError):
        return False
    return True


def open_test_rows_once(records: Records, standing: Standing, settings: Settings, log: Log) -> None:
    """Judge all repeats on the test rows, where there are any that were not opened for it. Raises what that does."""
    if has_rows_to_test(records, standing, settings):
        open_test_rows(records, standing, settings, log, only_first=True)


def open_test_rows(
    records: Records,
    standing: Standing,
    settings: Settings,
    log: Log,
    *,
    by: str = "",
    device: str | None = None,
    only_first: bool = False,
) -> SearchTest | None:
    """Judge all repeats on the test rows, and return what came of it; None with `only_first` where that was done.

    It is counted before a row is read, for the search and for every run, so one that is killed or fails counts too.
    Raises what `find_end_to_test` raises, and what reading and evaluating raise, after recording it.
    """
    store = records.store
    end = find_end_to_test(records, standing, settings)
    test = open_test(store, end, by, only_first=only_first)
    if test is None:
        return None
    failpoints.reach("search.after_test_row")
    try:
        result = _measure(records, standing, end, settings, log, by, device)
    except BaseException as error:
        close_test(store, test, error=shape_error(error))
        raise
    close_test(store, test, result=result)
    return list_tests(store, end)[test.count - 1]


def _measure(
    records: Records, standing: Standing, end: SearchEnd, settings: Settings, log: Log, by: str, device: str | None
) -> dict[str, Any]:
    import polars as pl

    sides, is_right = [], True
    for set_id in end.sets:
        frames = []
        for one in load_set_outcomes(records, load_set(records.store, set_id)).judged:
            look, measured = look_at(records, settings, one.run, log, by=by, device=device)
            kept = measured.predictions
            is_right = kept.schema["outcome"] == pl.Boolean
            frames.append(kept.select("row_id", pl.col("outcome").cast(pl.Float64)))
        sides.append(frames)
    # a configuration may leave rows out that it cannot read: those count that all have
    rows = sides[0][0].select("row_id")
    for frame in (one for side in sides for one in side):
        rows = rows.join(frame.select("row_id"), on="row_id", how="semi")
    rows = rows.sort("row_id")
    outcomes = [_stack(side, rows) for side in sides]
    said = compare_sides(standing, end, outcomes, is_right, tried=1)
    return {**said, "digest": (look.result or {})["digest"]}


def _stack(frames: list[Any], rows: Any) -> Any:
    import numpy as np

    return np.stack(
        [rows.join(one, on="row_id", how="left", maintain_order="left")["outcome"].to_numpy() for one in frames], axis=1
    )
