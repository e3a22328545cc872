"""The JSON of runs as their submitters follow them, from the queue to the end."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune30.api.schemas import RUN_ID, Moment, Progress, Status, Tree


class Links(BaseModel):
    """Where to go on."""

    task: str = Field(examples=[f"/task/{RUN_ID}"])
    events: str = Field(examples=[f"/task/{RUN_ID}/events"])
    cancel: str = Field(examples=[f"/task/{RUN_ID}/cancel"])
    experiment: str = Field(examples=[f"/experiments/{RUN_ID}"])


class Accepted(BaseModel):
    """A run that is durably queued."""

    task_id: str = Field(examples=[RUN_ID])
    experiment_id: str = Field(description="The same id.", examples=[RUN_ID])
    experiment_name: str = Field(examples=["test_async"])
    status: Status
    queue_position: int | None = Field(description="1 is next; null once the run is no longer QUEUED.", examples=[1])
    folder: str = Field(description="Below the results folder.", examples=["test_async_20260131_120000"])
    notes: list[str] = Field(description="What went less than well, for people; usually empty.")
    links: Links


class TaskError(BaseModel):
    """Why a run failed, or why its attempt before was lost."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(examples=["data_error"])
    message: str
    remedy: str
    cause: str = Field(description="Class of causes.", examples=["data"])
    retry_may_help: bool


class Waiting(BaseModel):
    """Why a run has not begun, and the figures that the message names."""

    code: Literal[
        "no_worker",
        "other_version",
        "running_limit",
        "too_few_places",
        "gathering",
        "places_kept",
        "places_busy",
        "starting",
    ]
    message: str
    ahead: int = Field(description="Runs that are taken before it, as things are.", examples=[3])
    busy: int = Field(description="Places that running runs take.")
    places: int = Field(description="Places of all workers.")
    needed: int = Field(description="Places of one worker that the run takes, as many as it has processes.")
    largest: int = Field(description="Places of the worker that has the most.")
    running: int = Field(description="Runs of the submitter that are running.")
    allowed: int | None = Field(description="How many the submitter may have running; null: no limit.")
    owner: str
    fault: str | None = Field(description="What the workers do not know of its configuration; else null.")


class Task(BaseModel):
    """A run as its submitter follows it."""

    task_id: str = Field(examples=[RUN_ID])
    experiment_id: str = Field(examples=[RUN_ID])
    experiment_name: str = Field(examples=["test_async"])
    status: Status
    queue_position: int | None
    waiting: Waiting | None = Field(description="Why it waits; null unless QUEUED by a worker's queue.")
    priority: int
    attempt: int = Field(description="Attempts begun so far.", examples=[1])
    cancel_requested: bool
    progress: Progress | None
    result: Tree | None = Field(description="The metrics, once SUCCEEDED.")
    error: TaskError | None
    replaced: dict[str, str] = Field(
        description="What stands in for a default out of reach; usually empty.",
        examples=[{"distilbert-base-uncased": "starter"}],
    )
    replaced_settings: Tree = Field(description="Settings that came with what stands in, by dotted key.")
    folder: str
    device: str | None = Field(examples=["cpu"])
    precision: str | None = Field(examples=["fp32"])
    submitted_by: str | None = Field(description="Name of the key; null: a person at that machine.")
    worker: str | None = Field(description="Who carries it out now.")
    created_at: Moment
    queued_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
