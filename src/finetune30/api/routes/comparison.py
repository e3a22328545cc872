"""Runs side by side."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.schemas import RUN_ID, Tree, errors
from finetune30.service.runs.comparison import compare_runs
from finetune30.store.dataset_versions import DatasetIndex

router = APIRouter(prefix="/experiments", tags=["experiments"])


class Verdict(BaseModel):
    """Whether a difference in accuracy is more than chance; null where that cannot be told, and why."""

    model_config = ConfigDict(extra="allow")

    distinguishable: bool | None
    message: str = Field(examples=["not distinguishable from chance: accuracy differs by +1.00 points …"])


class FlippedRow(BaseModel):
    """An evaluation row on which predictions differ."""

    row_id: str
    text: str | None = Field(description="Null where the dataset version is no longer stored.")
    label: Any
    predictions: list[Any]


class Comparison(BaseModel):
    """Values in lists are in the order of the runs."""

    runs: list[Tree]
    config_difference: dict[str, list[Any]] = Field(examples=[{"lora.r": [8, 16]}])
    metrics: dict[str, list[float | None]] = Field(examples=[{"eval_accuracy": [0.88, 0.89]}])
    curves: list[list[Tree]] = Field(description="History records; of more than 500 training steps every n-th.")
    data_difference: Tree = Field(examples=[{"digests": ["ab…", "ab…"], "same": True}])
    verdict: Verdict
    pairs: list[Tree] = Field(description="The verdict of every pair, with counts, interval and p-value.")
    flipped: list[FlippedRow] = Field(description="At most 200.")
    flipped_total: int


@router.get("/compare", summary="Compare runs", response_model=Comparison, responses=errors(404, 409, 422))
def compare(
    here: Here,
    ids: Annotated[
        str,
        Query(
            max_length=2000,
            description="Two to eight runs, separated by commas.",
            examples=[f"{RUN_ID},{RUN_ID[::-1]}"],
        ),
    ],
) -> Response:
    """Configuration, metrics, curves, data versions, flipped rows, and whether the difference is more than chance.

    McNemar's exact test on the same evaluation rows, with an interval (Agresti and Min 2005); Holm for several pairs.
    """
    from finetune30.data.versions.storage import VersionStore

    wanted = [part.strip() for part in ids.split(",") if part.strip()]
    versions = VersionStore(here.settings.data_folder, DatasetIndex(here.store))
    return Json(compare_runs(here.records, wanted, versions))
