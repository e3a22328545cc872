"""Rows behind a result: what the model answered for each evaluation row, and how good it is on parts of them."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.routes.experiments import MOST_BYTES, ExperimentId
from finetune30.api.schemas import Tree, errors
from finetune30.errors import DataError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.evaluation_frames import EvaluationFrames
from finetune30.service.runs.evaluation_rows import load_evaluation_rows
from finetune30.service.runs.slices import load_slices

router = APIRouter(prefix="/experiments", tags=["experiments"])

Filter = Annotated[
    str,
    Query(
        alias="filter",
        max_length=20_000,
        description="JSON object, column to value, as blocks carry it; `{}`: every row.",
        examples=['{"label": "negative", "prediction": "positive"}'],
    ),
]
Contains = Annotated[
    str, Query(max_length=1000, description="Rows of which a text contains this, in any case.", examples=["refund"])
]


class EvaluationRow(BaseModel):
    """A row: its texts, under the names that the problem has for them, and all that is kept of its answer."""

    model_config = ConfigDict(extra="allow")

    row_id: str = Field(examples=["reviews.csv:7"])
    text: str | None = Field(None, description="Null where the dataset version is no longer stored.")
    text_pair: str | None = None
    label: Any = Field(None, examples=["negative"])
    prediction: Any = Field(None, examples=["positive"])
    index: int | None = Field(
        description="Place in the split evaluation of the dataset version: what relabelling takes."
    )
    stored: Tree | None = Field(
        description="The targets of that row as the version has them.", examples=[{"label": "0"}]
    )


class EvaluationRows(BaseModel):
    """Evaluation rows of a run that a filter keeps."""

    run_id: str
    version: str | None = Field(description="Digest of the dataset version, null where it is no longer stored.")
    total: int = Field(description="All that the filter keeps.")
    columns: list[str] = Field(description="What a filter may name.", examples=[["row_id", "label", "prediction"]])
    sortable: list[str] = Field(description="What rows may be sorted by.", examples=[["row_id", "confidence"]])
    rows: list[EvaluationRow] = Field(
        description="Also `probabilities` (in the order of the metrics' `labels`), `outcome` (right or wrong) and "
        "`confidence` where classes are answered, `residual` (prediction less label) and `error` (its size) where "
        "numbers are; `length` (characters), `script` and `file`.",
    )


class Slices(BaseModel):
    """How good the answers are on parts of the evaluation rows."""

    run_id: str
    rows: int = Field(description="All that the filter keeps.")
    measure: str | None = Field(
        description="What came of a row: `right` (or wrong), or a loss; null where rows keep neither.",
        examples=["right"],
    )
    sortable: list[str] = Field(description="What rows may be sorted by.")
    groups: int | None = Field(
        description="In how many groups the rows come, which intervals and tests of parts do not count by; null: none."
    )
    tables: list[Tree] = Field(
        description="Blocks of the kind table with the `key` whose values are their parts: length, script, file; "
        "`filters[i]` lists the rows of line i. Those with one part only are left out.",
    )


@router.get(
    "/{experiment_id}/rows",
    summary="Evaluation rows of a run",
    response_model=EvaluationRows,
    responses=errors(404, 409, 422),
)
def read_evaluation_rows(
    here: Here,
    request: Request,
    experiment_id: ExperimentId,
    wanted: Filter = "{}",
    text: Contains = "",
    sort_by: Annotated[
        str | None, Query(max_length=200, description="One of `sortable`; left out: the order of the evaluation.")
    ] = None,
    desc: Annotated[bool, Query(description="Descending.")] = False,
    offset: Annotated[int, Query(ge=0, le=MOST_BYTES)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Rows that the model was evaluated on, with their texts; a block's filter gives those behind a piece of it."""
    frames: EvaluationFrames = request.app.state.evaluations
    found = load_evaluation_rows(
        frames,
        here.records,
        here.store.get(experiment_id),
        versions_of(here.settings, here.store),
        _read_filter(wanted),
        text=text,
        sort_by=sort_by,
        descending=desc,
        offset=offset,
        limit=limit,
    )
    return Json(found)


@router.get(
    "/{experiment_id}/slices",
    summary="Parts of the evaluation rows",
    response_model=Slices,
    responses=errors(404, 409, 422),
)
def read_slices(
    here: Here, request: Request, experiment_id: ExperimentId, wanted: Filter = "{}", text: Contains = ""
) -> Response:
    """Rows, mean outcome and its 95 % interval by length, script and file, of the rows that a filter keeps."""
    frames: EvaluationFrames = request.app.state.evaluations
    versions = versions_of(here.settings, here.store)
    run = here.store.get(experiment_id)
    return Json(load_slices(frames, here.records, run, versions, _read_filter(wanted), text))


def _read_filter(text: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the filter is no JSON: {error}", 'write it like {"label": "negative"}') from error
    if not isinstance(tree, dict):
        raise DataError("the filter is no JSON object", 'write it like {"label": "negative"}')
    return tree
