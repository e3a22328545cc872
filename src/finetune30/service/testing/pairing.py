"""Two finished runs on the same test rows: a look for each, and whether they differ by more than chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.config.loading import validate_tree
from finetune30.errors import ConflictError, UsageError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.comparable import Answered
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.judging import judge_pairs
from finetune30.service.runs.open_records import Records, open_records, require_records
from finetune30.service.runs.outcomes import Outcomes, shape_outcomes
from finetune30.service.runs.sentences import name_apart
from finetune30.service.testing.look import LookTakenError, look_at, require_no_look
from finetune30.service.testing.sources import find_test_source
from finetune30.settings import Settings
from finetune30.store.test_looks import Look, load_looks, record_verdict

if TYPE_CHECKING:
    import polars as pl

    from finetune30.service.testing.measuring import Measured
    from finetune30.store import Run

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


def require_same_test_rows(records: Records, settings: Settings, runs: Sequence[Run]) -> None:
    """Raise UsageError for one run twice, ConflictError where two keep other rows for a test or one has no model.

    LookTakenError where one is looked at just now. Nothing is read.
    """
    if runs[0].id == runs[1].id:
        raise UsageError("one run is named twice", "name different runs")
    versions = versions_of(settings, records.store)
    places: list[tuple[Any, ...]] = []
    for run in runs:
        require_no_look(records, run)
        require_intact_model(records, require_model(run))
        manifest = versions.get(str(run.dataset_digest))
        config = validate_tree(run.config, source=f"the record of run {run.id[:8]}")
        source = find_test_source(config, manifest)
        source.require()
        data = config.data
        of_split = (data.dataset_name, data.dataset_config, data.revision) if source.kind == "split" else ()
        name = manifest.test_digest if source.kind == "version" else source.name
        places.append((source.kind, name, *of_split))
    if places[0] != places[1]:
        one, other = (f"run {run.id[:8]} '{run.name}'" for run in runs)
        raise ConflictError(
            f"{one} and {other} do not keep the same rows for a test",
            "train both with the same data.test_fraction and data.split_seed, data.test_split or data.test_file",
        )


def _on_common_rows(predictions: list[pl.DataFrame]) -> list[Outcomes]:
    """Return what came of the rows that both runs were judged on, in one order."""
    first, second = predictions
    first, second = (
        one.join(other.select("row_id"), on="row_id", how="semi") for one, other in ((first, second), (second, first))
    )
    if not first.height:
        raise ConflictError("no test row counts for both runs", "look at the rows, and at those that were trained on")
    return [shape_outcomes(one) for one in (first, second)]
