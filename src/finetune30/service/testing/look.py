"""One look at the test rows of a finished run: on record before they are read, its result on record after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30 import failpoints
from finetune30.config.loading import validate_tree
from finetune30.errors import ConflictError, Finetune30Error
from finetune30.problems import load_problem
from finetune30.service.datasets.operations import versions_of
from finetune30.service.execution.publication import score_of
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.open_records import Records, open_records, require_records
from finetune30.service.runs.test_looks import say_looks
from finetune30.service.testing.admission import LookTakenError
from finetune30.service.testing.holding import held
from finetune30.service.testing.sources import find_test_source
from finetune30.settings import Settings
from finetune30.store.test_looks import Look, end_look, hold_look, load_looks, open_look

if TYPE_CHECKING:
    from finetune30.data.versions.manifest import Manifest
    from finetune30.service.testing.measuring import Measured
    from finetune30.service.testing.rows import OpenedRows
    from finetune30.store import Run

Log = Callable[[str], None]


def look_at_test_rows(
    settings: Settings,
    run_name: str,
    log: Log,
    *,
    by: str = "",
    device: str | None = None,
    output_dir: Path | None = None,
    count: int | None = None,
) -> Look:
    """Evaluate the run's saved adapter on its test rows and return the look, which has a result.

    The look is counted before a row is read, so one that is killed or fails counts too. `count`: which look this is to
    be. Raises NotFoundError, ConflictError (no model, no test rows), LookTakenError where one goes on or somebody else
    has that one, StorageError, and what reading and evaluating raise, after recording it.
    """
    require_records(settings, output_dir)
    with open_records(settings, output_dir) as records:
        look, _ = look_at(records, settings, records.store.get(run_name), log, by=by, device=device, count=count)
        return look


def look_at(
    records: Records,
    settings: Settings,
    run: Run,
    log: Log,
    *,
    by: str = "",
    device: str | None = None,
    count: int | None = None,
    beside_others: bool = False,
) -> tuple[Look, Measured]:
    """Look as `look_at_test_rows` does; return the look and what was measured, row by row.

    With `beside_others` another look may go on: one that is part of a search's, of which there is one at a time.
    """
    from finetune30.modeling.saved_targets import load_targets
    from finetune30.service.testing.measuring import measure_rows
    from finetune30.service.testing.rows import open_rows

    folder = require_intact_model(records, require_model(run))
    versions = versions_of(settings, records.store)
    manifest = versions.get(str(run.dataset_digest))
    config = validate_tree(run.config, source=f"the record of run {run.id[:8]}")
    try:
        source = find_test_source(config, manifest)
    except ConflictError as error:
        raise ConflictError(f"run {run.id[:8]} '{run.name}': {error.message}", error.remedy) from error
    source.require()
    lease = settings.lease_seconds
    look = open_look(records.store, run.id, by, lease_seconds=lease, count=count, beside_others=beside_others)
    if look is None:
        raise LookTakenError.of(run)
    log(f"{source.describe()} is opened for the {say_looks(look.count)}")
    failpoints.reach("test_look.after_row")
    with held(lambda: hold_look(records.store, look, lease), settings.heartbeat_seconds, f"test look {run.id[:8]}"):
        try:
            opened = open_rows(source, config, manifest, versions, load_targets(folder)["targets"], log)
            failpoints.reach("test_look.after_rows")
            measured = measure_rows(run, config, folder, opened.frame, log, settings.data_folder, device)
            result = _describe(manifest, opened, measured, source.describe())
        except BaseException as error:
            end_look(records.store, look, error=shape_error(error))
            raise
    failpoints.reach("test_look.before_result")
    end_look(records.store, look, result=result)
    return load_looks(records.store, [run.id])[run.id][look.count - 1], measured


def _describe(manifest: Manifest, opened: OpenedRows, measured: Measured, source: str) -> dict[str, Any]:
    from finetune30.service.runs.outcomes import groups_of
    from finetune30.service.statistics.groups import count_groups
    from finetune30.service.statistics.score_interval import score_interval

    problem = load_problem(manifest.problem_type)
    interval = score_interval(problem, measured.predictions, measured.targets)
    left_out = {**opened.left_out, **measured.left_out}
    return {
        "source": source,
        "digest": opened.digest,
        "rows": measured.predictions.height,
        "rows_read": opened.read,
        "left_out": left_out,
        "near_leakage": opened.near,
        "group_leakage": opened.shared,
        "groups": count_groups(groups_of(measured.predictions)),
        "problem_type": problem.name,
        "targets": dict(measured.targets),
        "metrics": {**measured.metrics, "eval_samples": measured.predictions.height},
        **score_of(problem.score, measured.metrics),
        "interval": None if interval is None else interval.as_dict(),
    }


def shape_error(error: BaseException) -> dict[str, Any]:
    """Return an error as records hold it."""
    if isinstance(error, Finetune30Error):
        return error.as_dict()
    return Finetune30Error(f"{type(error).__name__}: {error}", "look again").as_dict()
