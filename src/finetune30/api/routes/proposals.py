"""What data say about the training that suits them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.requested_data import ask_about_data
from finetune30.api.schemas import TrainRequest, Tree, errors

router = APIRouter(prefix="/datasets", tags=["datasets"])


class BaseModelHere(BaseModel):
    """A base model on this machine, and how it reads the texts."""

    name: str = Field(examples=["starter"])
    model_type: str = Field(examples=["bert"])
    unknown_share: float | None = Field(description="Share of tokens that it has none for; null: not tried.")
    tokens_per_character: float | None
    fits: bool = Field(description="It has tokens for these texts, others than single bytes.")


class Proposal(BaseModel):
    """What the rows are, and the settings that they want."""

    rows: dict[str, int] = Field(examples=[{"train": 300}])
    labels: list[str] = Field(description="The first ones.", examples=[["bad", "good"]])
    label_count: int
    problem_type: str
    script: str = Field(description="Of most texts; empty where they have no letters.", examples=["Han"])
    notes: list[str] = Field(description="How the file was read, where that was told from its bytes.")
    settings: Tree = Field(description="By dotted key.", examples=[{"model.num_labels": 3}])
    models: list[BaseModelHere] = Field(description="Those on this machine, the ones that read the texts first.")


@router.post(
    "/proposal",
    summary="Settings that suit the data of a request",
    response_model=Proposal,
    responses=errors(404, 413, 415, 422, 502, 503),
)
async def propose(here: Here, body: TrainRequest, request: Request) -> Response:
    """Number of labels, columns, rows, name, and the base models here that read the texts."""
    return Json(await ask_about_data("proposal", body.model_dump(exclude_unset=True), here.settings, request))
