"""What is settled before test rows are opened: that nobody looks just now, and that two runs keep the same ones.

Nothing is read here, and whoever only asks stays free of what computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune30.config.loading import validate_tree
from finetune30.errors import ConflictError, UsageError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.details import require_intact_model, require_model
from finetune30.service.runs.open_records import Records
from finetune30.service.testing.sources import find_test_source
from finetune30.settings import Settings
from finetune30.store import Run
from finetune30.store.test_looks import load_looks


class LookTakenError(ConflictError):
    """Somebody else has taken the look that was asked for, or looks at present."""

    @classmethod
    def of(cls, run: Run) -> LookTakenError:
        """Return the error for a run."""
        return cls(
            f"somebody looks at the test rows of run {run.id[:8]} at present",
            f"see it with: ft30 test {run.id[:8]} --show",
        )


def require_no_look(records: Records, run: Run) -> None:
    """Raise LookTakenError where a look at the test rows of a run goes on."""
    if any(look.goes_on for look in load_looks(records.store, [run.id])[run.id]):
        raise LookTakenError.of(run)


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
