"""Evaluation rows on which runs disagree, with their texts as far as the data is still stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from finetune30.service.runs.comparable import Group
from finetune30.service.runs.evaluation_rows import load_row_texts
from finetune30.store import Run

if TYPE_CHECKING:
    from finetune30.data.versions.storage import VersionStore

#: Rows shown, shared among the groups; counts are of all.
SHOWN_ROWS = 200


def list_flipped(groups: Sequence[Group], runs: int, versions: VersionStore) -> tuple[list[dict[str, Any]], int]:
    """Return rows whose predictions differ within a group, and how many there are.

    Losses are sorted by how far apart they are. `predictions` and `outcomes` have an entry for each of the `runs` that
    are compared, null for those that did not answer the row.
    """
    listed: list[dict[str, Any]] = []
    total = 0
    for group in groups:
        frame = _differing(group)
        total += frame.height
        shown = frame.head(SHOWN_ROWS // len(groups))
        texts = _load_texts([answered.run for answered in group], versions) if shown.height else {}
        listed += [_describe(row, group, runs, texts) for row in shown.iter_rows(named=True)]
    return listed, total


def _differing(group: Group) -> pl.DataFrame:
    """Return row_id, label, and prediction and outcome of every run (`p0`, `o0` …) where predictions differ."""
    first = group[0].outcomes.frame
    columns = [first["row_id"], first["label"]]
    for number, answered in enumerate(group):
        frame = answered.outcomes.frame
        columns += [frame["prediction"].alias(f"p{number}"), frame["outcome"].alias(f"o{number}")]
    frame = pl.DataFrame(columns)
    numbers = range(1, len(group))
    differing = frame.filter(pl.any_horizontal(pl.col(f"p{number}").ne_missing(pl.col("p0")) for number in numbers))
    if not group[0].outcomes.is_loss:
        return differing
    losses = [pl.col(f"o{number}") for number in range(len(group))]
    return differing.sort(pl.max_horizontal(losses) - pl.min_horizontal(losses), descending=True, maintain_order=True)


def _describe(row: dict[str, Any], group: Group, runs: int, texts: dict[str, str]) -> dict[str, Any]:
    predictions: list[Any] = [None] * runs
    outcomes: list[Any] = [None] * runs
    for number, answered in enumerate(group):
        predictions[answered.place], outcomes[answered.place] = row[f"p{number}"], row[f"o{number}"]
    return {
        "row_id": row["row_id"],
        "text": texts.get(row["row_id"]),
        "label": row["label"],
        "predictions": predictions,
        "outcomes": outcomes,
    }


def _load_texts(runs: Sequence[Run], versions: VersionStore) -> dict[str, str]:
    """Return main texts by row id, as far as a version of the data is still stored."""
    for run in runs:
        if texts := load_row_texts(run, versions):
            return {row_id: next(iter(cells.values())) for row_id, cells in texts.items()}
    return {}
