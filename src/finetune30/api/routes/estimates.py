"""What a run will take."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.schemas import Error, TrainRequest, Tree, errors
from finetune30.service.submitting.estimate import estimate_run
from finetune30.service.submitting.forecast import HubWatch, forecast_run
from finetune30.service.submitting.requests import load_requested_config

router = APIRouter(prefix="/config", tags=["configuration"])


class Estimate(BaseModel):
    """Judged by the configuration and by finished runs; null where there is nothing to go by."""

    rows: int | None = Field(description="Rows to train on, about where all of a file are.", examples=[500])
    steps: int | None = Field(description="Optimizer steps.", examples=[250])
    trainable_parameters: int | None = Field(examples=[37634])
    total_parameters: int | None = Field(examples=[22751620])
    memory_bytes: float | None = Field(examples=[744235008])
    least_memory_bytes: int | None = Field(
        description="Weights, gradients and optimizer state; activations and libraries come on top.",
        examples=[46105460],
    )
    seconds: float | None = Field(examples=[42.0])
    based_on_runs: int = Field(description="Finished runs with the same model, adapter, batch and length.")
    replaced: dict[str, str] = Field(
        description="What would stand in for a default that is neither here nor in reach; the figures are those of it.",
        examples=[{"distilbert-base-uncased": "starter"}],
    )
    replaced_settings: Tree = Field(
        description="Settings that would come with it.", examples=[{"training.num_train_epochs": 5}]
    )
    out_of_reach: Error | None = Field(description="What the run would fail with, here and now.")
    starter_offered: bool = Field(description="That is the model; the starter, made for English, would do: name it.")


@router.post("/estimate", summary="What a run will take", response_model=Estimate, responses=errors(404, 413, 415, 422))
def estimate(here: Here, body: TrainRequest, request: Request) -> Response:
    """Steps, parameters, memory and time to expect from a request to train, and what would stand in."""
    loaded = load_requested_config(body.model_dump(exclude_unset=True), here.settings)
    hub: HubWatch = request.app.state.hub_watch
    seen = forecast_run(loaded.config, loaded.explicit, hub)
    told = {
        "replaced": seen.replaced,
        "replaced_settings": seen.replaced_settings,
        "out_of_reach": seen.out_of_reach.as_dict() if seen.out_of_reach else None,
        "starter_offered": seen.starter_offered,
    }
    return Json({**estimate_run(seen.config, here.store, here.settings.data_folder), **told})
