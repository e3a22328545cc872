"""Two finished runs on the same test rows: a look for each, and whether they differ by more than chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import ConflictError
from finetune30.service.runs.comparable import Answered
from finetune30.service.runs.judging import judge_pairs
from finetune30.service.runs.open_records import open_records, require_records
from finetune30.service.runs.outcomes import Outcomes, shape_outcomes
from finetune30.service.runs.sentences import name_apart
from finetune30.service.testing.admission import LookTakenError, require_same_test_rows
from finetune30.service.testing.look import look_at
from finetune30.settings import Settings
from finetune30.store.test_looks import Look, load_looks, record_verdict

if TYPE_CHECKING:
    import polars as pl

    from finetune30.service.testing.measuring import Measured

Log = Callable[[str], None]


def compare_on_test_rows(
    settings: Settings,
    references: tuple[str, str],
    log: Log,
    *,
    by: str = "",
    device: str | None = None,
    output_dir: Path | None = None,
    counts: Sequence[int | None] = (None, None),
) -> dict[str, Any]:
    """Look at the test rows of two runs and return `looks` and `pair` (as the comparison of runs has it), as JSON.

    The pair is kept beside both looks: with `names` (quoted, by id) and `looks` (the how manyth of each run, by id).
    `counts`: which looks these are to be.

    Each look is counted before a row is read; that both runs keep the same rows for a test is asked before that. What
    is compared are the rows that count for both: a row that one of them was trained on is left out. Raises UsageError
    for one run twice, ConflictError where the test rows are others or none count for both, LookTakenError where
    somebody else has the look at the first, and what looking raises.
    """
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        runs = [records.store.get(reference) for reference in references]
        require_same_test_rows(records, settings, runs)

        def look(place: int) -> tuple[Look, Measured]:
            return look_at(records, settings, runs[place], log, by=by, device=device, count=counts[place])

        found = [look(0)]
        try:
            found.append(look(1))
        except LookTakenError as error:  # since it was asked; the look at the first has been taken, and counts
            raise ConflictError(error.message, error.remedy) from error
        outcomes = _on_common_rows([measured.predictions for _, measured in found])
        group = [Answered(place, run, one) for place, (run, one) in enumerate(zip(runs, outcomes, strict=True))]
        (pair,) = judge_pairs([group])
        kept = {"names": name_apart(runs), "looks": {one.run_id: one.count for one, _ in found}}
        record_verdict(records.store, [one for one, _ in found], {**pair, **kept})
        looks = [load_looks(records.store, [one.run_id])[one.run_id][one.count - 1] for one, _ in found]
    return {"looks": [one.as_dict() for one in looks], "pair": pair}


def _on_common_rows(predictions: list[pl.DataFrame]) -> list[Outcomes]:
    """Return what came of the rows that both runs were judged on, in one order."""
    first, second = predictions
    first, second = (
        one.join(other.select("row_id"), on="row_id", how="semi") for one, other in ((first, second), (second, first))
    )
    if not first.height:
        raise ConflictError("no test row counts for both runs", "look at the rows, and at those that were trained on")
    return [shape_outcomes(one) for one in (first, second)]
