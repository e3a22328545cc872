"""`problem_type: auto`: the problem is told from the targets of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune30.problems.shared.columns import TEXT_AND_LABEL

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.problem import Problem, Role

#: The problems that targets tell.
TOLD = ("single_label_classification", "multi_label_classification", "regression")
#: Whole numbers of more values than this are quantities unless the configuration says otherwise.
_MAX_NUMERIC_CLASSES = 100


@dataclass(frozen=True)
class ToldFromTargets:
    """One class, several, or a quantity: see `settle`."""

    columns: tuple[Role, ...] = TEXT_AND_LABEL

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> tuple[Problem, pl.Series]:
        """Tell the problem: lists are several classes, one output is regression.

        Where `outputs` is unknown, numbers that are not all whole, or whole ones of more than a hundred values, count
        as quantities.
        """
        from finetune30.problems.classification.data import MULTI, SINGLE
        from finetune30.problems.regression.data import REGRESSION
        from finetune30.problems.shared.targets import normalize_targets

        present = normalize_targets(targets).drop_nulls()
        sample = present.head(1000)
        chosen: Problem = SINGLE
        if separator is not None or (len(sample) and (sample.str.starts_with("[") & sample.str.ends_with("]")).all()):
            chosen = MULTI
        elif outputs == 1 or (outputs is None and _are_quantities(present)):
            chosen = REGRESSION
        return chosen.settle(targets, separator, outputs)


def _are_quantities(present: pl.Series) -> bool:
    import polars as pl

    from finetune30.problems.shared.targets import INTEGER

    distinct = present.unique()
    if not len(distinct) or distinct.cast(pl.Float64, strict=False).null_count():
        return False
    return not distinct.str.contains(INTEGER).all() or len(distinct) > _MAX_NUMERIC_CLASSES


TOLD_FROM_TARGETS = ToldFromTargets()
