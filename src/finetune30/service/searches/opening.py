"""Opening the test rows for the end of a search: all repeats of trial 0 and of the best are judged on them, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finetune30 import failpoints
from finetune30.data.groups import GROUP
from finetune30.errors import ConflictError, Finetune30Error
from finetune30.service.runs.open_records import Records
from finetune30.service.runs.outcomes import groups_of
from finetune30.service.searches.judging import compare_sides, shape_judging
from finetune30.service.searches.standing import Standing
from finetune30.service.searches.testable import find_end_to_test
from finetune30.service.sets.outcomes import load_set_outcomes
from finetune30.service.statistics.groups import join_groups
from finetune30.service.testing.holding import held
from finetune30.service.testing.look import look_at, shape_error
from finetune30.settings import Settings
from finetune30.store.run_sets import load_set
from finetune30.store.search_ends import (
    SearchEnd,
    SearchTest,
    close_test,
    hold_test,
    is_untested,
    leave_unopened,
    list_tests,
    load_end,
    open_test,
)

Log = Callable[[str], None]


def open_test_rows_once(
    records: Records, standing: Standing, settings: Settings, log: Log, *, by: str = "", device: str | None = None
) -> None:
    """Judge all repeats of a judged end on the test rows, where these were never opened for the search.

    May be called again after it was cut off: who was killed before the opening was on record has opened nothing. Where
    they cannot be opened, the reason is on record. Raises what reading and evaluating raise, after recording it.
    """
    end = load_end(records.store, standing.search.id)
    if end is None or not is_untested(records.store, end):
        return
    try:
        find_end_to_test(records, standing, settings)
    except Finetune30Error as error:
        leave_unopened(records.store, end, error.message)
    else:
        open_test_rows(records, standing, settings, log, by=by, device=device, count=1)


def open_test_rows(
    records: Records,
    standing: Standing,
    settings: Settings,
    log: Log,
    *,
    by: str = "",
    device: str | None = None,
    count: int | None = None,
) -> SearchTest | None:
    """Judge all repeats on the test rows, and return what came of it.

    It is counted before a row is read, for the search and for every run, so one that is killed or fails counts too.
    `count`: which look this is to be; None is returned where somebody else has taken that one, or takes it. Raises
    ConflictError where one goes on, unless a count is given; what `find_end_to_test` raises; and what reading and
    evaluating raise, after recording it.
    """
    store = records.store
    end = find_end_to_test(records, standing, settings)
    test = open_test(store, end, by, lease_seconds=settings.lease_seconds, count=count)
    if test is None:
        if count is not None:
            return None
        raise ConflictError(
            f"somebody looks at the test rows of search {end.search_id[:8]} at present",
            f"see it with: ft30 search show {end.search_id[:8]}",
        )
    failpoints.reach("search.after_test_row")
    with held(
        lambda: hold_test(store, test, settings.lease_seconds),
        settings.heartbeat_seconds,
        f"test look {end.search_id[:8]}",
    ):
        try:
            result = _measure(records, standing, end, test.count, settings, log, by, device)
        except BaseException as error:
            close_test(store, test, error=shape_error(error))
            raise
    close_test(store, test, result=result)
    return list_tests(store, end.search_id)[test.count - 1]


def _measure(
    records: Records,
    standing: Standing,
    end: SearchEnd,
    count: int,
    settings: Settings,
    log: Log,
    by: str,
    device: str | None,
) -> dict[str, Any]:
    import polars as pl

    sides = []
    found = [load_set_outcomes(records, load_set(records.store, set_id)) for set_id in end.sets]
    for repeats in found:
        frames = []
        for one in repeats.judged:
            look, measured = look_at(records, settings, one.run, log, by=by, device=device, beside_others=True)
            kept = measured.predictions
            frames.append(kept.select("row_id", pl.col("outcome").cast(pl.Float64), pl.col(f"^{GROUP}$")))
        sides.append(frames)
    # a configuration may leave rows out that it cannot read: those count that all have
    rows = sides[0][0].select("row_id")
    for frame in (one for side in sides for one in side):
        rows = rows.join(frame.select("row_id"), on="row_id", how="semi")
    rows = rows.sort("row_id")
    outcomes = [_stack(side, rows) for side in sides]
    groups = join_groups([groups_of(rows.join(one, on="row_id", how="left", maintain_order="left")) for one in frames])
    judging = shape_judging(end, found, (end.verdict or {}).get("other_metric"), count)
    said = compare_sides(standing.spec.confirm.least_gain, judging, outcomes, tried=count, groups=groups)
    return {**said, "digest": (look.result or {})["digest"]}


def _stack(frames: list[Any], rows: Any) -> Any:
    import numpy as np

    return np.stack(
        [rows.join(one, on="row_id", how="left", maintain_order="left")["outcome"].to_numpy() for one in frames], axis=1
    )
