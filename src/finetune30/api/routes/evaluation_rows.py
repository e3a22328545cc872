"""Rows behind a result: what the model answered for each evaluation row."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.routes.experiments import MOST_BYTES, ExperimentId
from finetune30.api.schemas import errors
from finetune30.errors import DataError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.evaluation_rows import load_evaluation_rows

router = APIRouter(prefix="/experiments", tags=["experiments"])


class EvaluationRow(BaseModel):
    """A row: its texts, under the names that the problem has for them, and all that is kept of its answer."""

    model_config = ConfigDict(extra="allow")

    row_id: str = Field(examples=["reviews.csv:7"])
    text: str | None = Field(None, description="Null where the dataset version is no longer stored.")
    text_pair: str | None = None
    label: Any = Field(None, examples=["negative"])
    prediction: Any = Field(None, examples=["positive"])


class EvaluationRows(BaseModel):
    """Evaluation rows of a run that a filter keeps, in the order of the evaluation."""

    run_id: str
    total: int = Field(description="All that the filter keeps.")
    columns: list[str] = Field(description="What a filter may name.", examples=[["row_id", "label", "prediction"]])
    rows: list[EvaluationRow] = Field(
        description="Also `probabilities` (in the order of the metrics' `labels`), `outcome` (right or wrong where "
        "classes are answered, the squared error where numbers are), `residual` (prediction less label) of numbers.",
    )


@router.get(
    "/{experiment_id}/rows",
    summary="Evaluation rows of a run",
    response_model=EvaluationRows,
    responses=errors(404, 409, 422),
)
def read_evaluation_rows(
    here: Here,
    experiment_id: ExperimentId,
    wanted: Annotated[
        str,
        Query(
            alias="filter",
            max_length=20_000,
            description="JSON object, column to value, as blocks carry it; `{}`: every row.",
            examples=['{"label": "negative", "prediction": "positive"}'],
        ),
    ] = "{}",
    offset: Annotated[int, Query(ge=0, le=MOST_BYTES)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Rows that the model was evaluated on, with their texts; a block's filter gives those behind a piece of it."""
    run = here.store.get(experiment_id)
    versions = versions_of(here.settings, here.store)
    found = load_evaluation_rows(here.records, run, _read_filter(wanted), versions, offset=offset, limit=limit)
    return Json(found)


def _read_filter(text: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the filter is no JSON: {error}", 'write it like {"label": "negative"}') from error
    if not isinstance(tree, dict):
        raise DataError("the filter is no JSON object", 'write it like {"label": "negative"}')
    return tree
