"""The JSON that requests bring and answers carry, as OpenAPI describes it: what several routes share.

Answers are built by the services as plain trees; models document them, and tests hold both to the same shape. Runs that
are followed stand in `task_schemas`, the record in `run_schemas`; what a single route answers stands beside it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from finetune30.store import RunStatus

RUN_ID = "9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c"
Moment = Annotated[str, Field(description="ISO 8601, UTC.", examples=["2026-01-31T12:00:00+00:00"])]
Status = Annotated[RunStatus, Field(examples=["RUNNING"])]
Tree = dict[str, Any]


class Error(BaseModel):
    """The one shape of every error."""

    error: str = Field(description="Stable code.", examples=["not_found"])
    message: str = Field(description="What failed, the value, what is allowed.", examples=["there is no run 'abc'"])
    remedy: str = Field(description="The next thing to do; may be empty.", examples=["see all runs: GET /experiments"])
    details: Tree | None = Field(None, description="More, for machines; `faults` lists every fault of a request.")


class TrainRequest(BaseModel):
    """What to train. Everything is optional; what is left out comes from `preset`, else from config/default.yaml."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    experiment_name: Any = Field(None, description="Name of the run and its folder.", examples=["test_async"])
    epochs: Any = Field(None, description="training.num_train_epochs", examples=[1])
    learning_rate: Any = Field(None, description="training.learning_rate", examples=[0.0005])
    train_samples: Any = Field(None, description="data.train_samples", examples=[500])
    eval_samples: Any = Field(None, description="data.eval_samples", examples=[100])
    batch_size: Any = Field(None, description="training.per_device_train_batch_size", examples=[8])
    seed: Any = Field(None, description="training.seed", examples=[42])
    device: Any = Field(None, description="training.device", examples=["cpu"])
    model: Any = Field(None, description="model.name", examples=["starter"])
    num_labels: Any = Field(None, description="model.num_labels", examples=[2])
    dataset: Any = Field(None, description="data.dataset_name", examples=["starter"])
    preset: str | None = Field(
        None, max_length=100, description="Name of a shipped configuration: GET /config/presets.", examples=["starter"]
    )
    config: Tree | None = Field(
        None,
        description="Any part of the configuration tree: GET /config/schema.",
        examples=[{"lora": {"r": 16}, "training": {"warmup_ratio": 0.1}}],
    )
    priority: int = Field(0, ge=-100, le=100, description="Higher is earlier.")


class Progress(BaseModel):
    """How far a run is; keys come as they become known."""

    model_config = ConfigDict(extra="allow")

    stage: str | None = Field(None, description="`fetching` while files come from the hub.", examples=["fetching"])
    name: str | None = Field(
        None, description="What is being fetched.", examples=["distilbert/distilbert-base-uncased"]
    )
    done_bytes: int | None = Field(None, examples=[120_000_000])
    total_bytes: int | None = Field(None, examples=[268_000_000])
    step: int | None = Field(None, examples=[120])
    total_steps: int | None = Field(None, examples=[250])
    epoch: float | None = Field(None, examples=[0.48])
    percent: float | None = Field(None, examples=[48.0])
    loss: float | None = Field(None, examples=[0.41])
    learning_rate: float | None = Field(None, examples=[0.00026])
    samples_per_second: float | None = Field(None, examples=[61.2])
    eta_seconds: float | None = Field(None, examples=[8.5])
    peak_memory_bytes: int | None = Field(None, examples=[734003200])
    best_step: int | None = Field(None, description="Whose weights were the best so far.", examples=[100])


class ConfigAnswer(BaseModel):
    """A configuration."""

    config: Tree = Field(description="The tree.")
    yaml: str = Field(description="The same as a configuration file.")


def describe_parameters(query: type[BaseModel]) -> list[Tree]:
    """Return OpenAPI's description of the query parameters that a model's fields are, as FastAPI gives it.

    For routes that read their query themselves; fields whose schemas stand elsewhere ($defs) are not described.
    """
    found = []
    for name, schema in query.model_json_schema()["properties"].items():
        left = {key: value for key, value in schema.items() if key != "default" or value is not None}
        described = {"description": schema["description"]} if "description" in schema else {}
        found.append({"name": name, "in": "query", "required": False, "schema": left, **described})
    return found


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI answers of a route's errors, those of the gate included."""
    known = {
        400: "The request cannot be read.",
        401: "A key is needed, or is unknown or revoked.",
        403: "Host name, web page or role is not allowed.",
        404: "There is no such thing.",
        409: "The present state does not allow it.",
        412: "Somebody else moved the alias since; details.alias is where it leads now.",
        413: "The body is beyond the limit.",
        415: "The body is of another type.",
        416: "The range is outside of the file.",
        422: "The request has faults; all of them are listed.",
        428: "The header If-Match is missing.",
        429: "Too many open runs or streams.",
        500: "Something unexpected; the log of the API says more.",
        502: "The hub is out of reach.",
        503: "A service is out of reach.",
        504: "It took longer than it may.",
        507: "Disk or database refused.",
    }
    wanted = sorted({400, 401, 403, 507, *statuses})
    return {status: {"model": Error, "description": known[status]} for status in wanted}
