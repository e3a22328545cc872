"""The JSON of the record: runs in a listing and whole, their figures, logs and files."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune30.api.schemas import RUN_ID, Moment, Progress, Status, Tree
from finetune30.blocks import Block

ScoreFormat = Literal["percent", "number"]


class Experiment(BaseModel):
    """A run as a listing shows it."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=[RUN_ID])
    name: str = Field(examples=["test_async"])
    status: Status
    attempt: int
    folder: str = Field(examples=["test_async_20260131_120000"])
    model_name: str | None = Field(examples=["distilbert-base-uncased"])
    dataset_name: str | None = Field(examples=["glue"])
    dataset_digest: str | None = Field(description="The dataset version.")
    device: str | None
    precision: str | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    train_runtime: float | None = Field(description="Seconds.", examples=[93.4])
    score: float | None = Field(description="The one figure by which runs are judged.", examples=[0.89])
    score_name: str | None = Field(description="What it is: its key in the metrics.", examples=["eval_accuracy"])
    score_greater_is_better: bool | None = Field(description="False: less is better.", examples=[True])
    score_format: ScoreFormat | None = Field(description="percent: a share from 0 to 1; null: nobody said.")
    eval_accuracy: float | None = Field(description="0 to 1; `score` is there for every kind.", examples=[0.89])
    eval_f1: float | None
    eval_loss: float | None
    error: Tree | None
    progress: Progress | None
    replaced: dict[str, str] = Field(
        description="What stands in for a default out of reach; usually empty.",
        examples=[{"distilbert-base-uncased": "starter"}],
    )
    replaced_settings: Tree = Field(description="Settings that came with what stands in, by dotted key.")
    submitted_by: str | None
    note: str = Field(description="What people wrote.", examples=["the one of the report"])
    tags: list[str] = Field(examples=[["baseline"]])
    starred: bool
    archived: bool = Field(description="Hidden in listings unless asked for.")
    edits: int = Field(description="Changes by people so far; send it with the next one.", examples=[2])


class ListedExperiment(Experiment):
    """A run in a listing, with the values that were asked for."""

    values: Tree | None = Field(
        None, description="By dotted key, metrics as `metrics.NAME`; with `columns` or `differences` only."
    )


class ExperimentPage(BaseModel):
    """One page of a listing."""

    experiments: list[ListedExperiment]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")
    total: int | None = Field(description="All that the filters keep; only counted with `with_total=true`.")
    differing: list[str] | None = Field(
        description="With `differences=true`: keys configured differently among these runs, what decides most first.",
        examples=[["training.learning_rate", "lora.r"]],
    )
    metrics: list[str] | None = Field(
        description="With `differences=true`: the numbers that came out.", examples=[["metrics.eval_loss"]]
    )


class PublishedFile(BaseModel):
    """A file of a run."""

    name: str = Field(examples=["artifacts/final_model/adapter_model.safetensors"])
    size: int = Field(description="Bytes.", examples=[3554208])


class ExperimentDetails(Experiment):
    """Everything about one run."""

    config: Tree = Field(description="The configuration tree.")
    config_digest: str
    config_summary: Tree = Field(description="What decides most, by dotted key.")
    metrics: Tree | None
    blocks: list[Block] = Field(description="The result, piece by piece as it is drawn; `kind` tells which.")
    ledger_totals: Tree = Field(description="Where the input rows went.")
    ledger_lines: list[Tree] = Field(description="Where the physical lines of each text file went.")
    files: list[PublishedFile]
    replay: Tree | None = Field(
        description="Of a replay: `replay_of`, `identical` (null where the original is gone or damaged), what differs."
    )
    answers_conversations: bool = Field(
        description="Whether its model can be talked with: POST /experiments/{id}/chat."
    )
    mirrors: list[Tree] = Field(
        description="How far each tracker knows the run: `mirror`, `target`, `records`, `complete`, `error`."
    )
    links: Tree


class BestRun(BaseModel):
    """The best run of one data version by one score, in the direction of that score."""

    dataset_digest: str = Field(description="The dataset version.")
    dataset_name: str | None = Field(examples=["glue"])
    score_name: str = Field(examples=["eval_accuracy"])
    score: float = Field(examples=[0.93])
    score_greater_is_better: bool
    score_format: ScoreFormat | None
    run_id: str = Field(examples=[RUN_ID])
    run_name: str = Field(examples=["test_async"])


class Stats(BaseModel):
    """Totals over all runs; accuracy and runtime are those of SUCCEEDED ones."""

    total: int = Field(examples=[128])
    by_status: dict[str, int] = Field(examples=[{"SUCCEEDED": 120, "FAILED": 5, "QUEUED": 2, "RUNNING": 1}])
    mean_accuracy: float | None = Field(examples=[0.87])
    best_accuracy: float | None = Field(description="The greatest, whatever the data: see `best`.", examples=[0.93])
    best_run_id: str | None = Field(description="The run of that accuracy.")
    mean_runtime_seconds: float | None
    total_runtime_seconds: float
    last_30_days: dict[str, int] = Field(description="Runs created on each day (UTC), oldest first.")
    best: list[BestRun] = Field(
        description="The best run of each data version and score used last (at most 20), the latest first."
    )
    archived: int = Field(description="Runs that listings hide unless asked for.")
    tags: dict[str, int] = Field(description="Runs of each tag.", examples=[{"baseline": 4}])


class History(BaseModel):
    """Logged steps and evaluations, oldest first."""

    records: list[Tree] = Field(
        examples=[[{"type": "train", "step": 10, "epoch": 0.04, "loss": 0.69, "learning_rate": 0.00048}]]
    )
    next: int = Field(description="Give it as `after` to get only what came since.", examples=[1])
    attempt: int = Field(description="When it grows, a new attempt began its own history: ask again from 0.")


class LogPiece(BaseModel):
    """A piece of logs.txt."""

    text: str
    offset: int = Field(description="Give it as `offset` to get only what came since. Bytes.", examples=[18231])
    size: int = Field(description="Bytes of the whole log.", examples=[18231])
    attempt: int = Field(description="When it grows, a new attempt began its own log: ask again from 0.")


class Artifact(PublishedFile):
    """A published file and where to get it."""

    sha256: str
    link: str = Field(examples=[f"/experiments/{RUN_ID}/artifacts/metrics.json"])


class ArtifactList(BaseModel):
    """The published files of a run, as its manifest vouches for them."""

    manifest_sha256: str | None
    artifacts: list[Artifact]
    package_bytes: int | None = Field(
        description="Size of model.zip before compression; null where it cannot be made: asking for it says why."
    )


class QuarantinePage(BaseModel):
    """Rows that a run was not trained on."""

    total: int
    rows: list[Tree] = Field(
        examples=[[{"row_id": "r.csv:7", "reason": "too_short", "fix": "…", "text": "", "label": "0"}]]
    )
