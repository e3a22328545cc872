"""The JSON that requests bring and answers carry, as OpenAPI describes it.

Answers are built by the services as plain trees; these models document them, and tests hold both to the same shape.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune30.blocks import Block
from finetune30.store import RunStatus

RUN_ID = "9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c"
Moment = Annotated[str, Field(description="ISO 8601, UTC.", examples=["2026-01-31T12:00:00+00:00"])]
ScoreFormat = Literal["percent", "number"]
Status = Annotated[RunStatus, Field(examples=["RUNNING"])]
Tree = dict[str, Any]


class Fault(BaseModel):
    """One thing wrong with a request or configuration."""

    model_config = ConfigDict(extra="allow")

    key: str = Field(description="Dotted key, or the name of the parameter.", examples=["training.learning_rate"])
    problem: str = Field(examples=["2.0 is not allowed, must be a number above 0 and at most 1"])
    hint: str = Field("", description="The nearest known key, where there is one.")


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


class Waiting(BaseModel):
    """Why a run has not begun, and the figures that the message names."""

    code: Literal["no_worker", "running_limit", "places_busy", "starting"]
    message: str
    ahead: int = Field(description="Runs that are taken before it, as things are.", examples=[3])
    busy: int = Field(description="Runs that are running.")
    places: int = Field(description="Runs that the workers can carry out at a time.")
    running: int = Field(description="Of those that are running, the submitter's.")
    allowed: int | None = Field(description="How many the submitter may have running; null: no limit.")
    owner: str


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


class ConfigAnswer(BaseModel):
    """A configuration."""

    config: Tree = Field(description="The tree.")
    yaml: str = Field(description="The same as a configuration file.")


class PresetSummary(BaseModel):
    """A shipped configuration."""

    name: str = Field(examples=["starter"])
    summary: str
    command: str = Field(description="How to run it from a shell.")


class PresetList(BaseModel):
    """The shipped configurations."""

    presets: list[PresetSummary]


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


class Health(BaseModel):
    """The API is there."""

    status: Literal["ok"]


class Version(BaseModel):
    """What runs here."""

    name: Literal["finetune30"]
    version: str = Field(examples=["0.1.0"])
    python: str = Field(examples=["3.11.7"])
    schema_revision: str = Field(description="Of the run database.", examples=["r0008_fair_queue"])


class AuditPage(BaseModel):
    """Changes that were asked for, the newest first; `outcome` is the HTTP status, 102 until it is known."""

    entries: list[Tree] = Field(
        examples=[
            [
                {
                    "number": 7,
                    "at": "2026-01-31T12:00:00+00:00",
                    "actor": "anna",
                    "role": "submitter",
                    "action": "POST /train",
                    "target": RUN_ID,
                    "outcome": 202,
                    "client": "127.0.0.1",
                }
            ]
        ]
    )
    next_before: int | None = Field(description="Give it as `before` for older ones.")


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI answers of a route's errors, those of the gate included."""
    known = {
        400: "The request cannot be read.",
        401: "A key is needed, or is unknown or revoked.",
        403: "Host name, web page or role is not allowed.",
        404: "There is no such thing.",
        409: "The present state does not allow it.",
        413: "The body is beyond the limit.",
        415: "The body is of another type.",
        416: "The range is outside of the file.",
        422: "The request has faults; all of them are listed.",
        429: "Too many open runs or streams.",
        500: "Something unexpected; the log of the API says more.",
        502: "The hub is out of reach.",
        503: "A service is out of reach.",
        507: "Disk or database refused.",
    }
    wanted = sorted({400, 401, 403, 507, *statuses})
    return {status: {"model": Error, "description": known[status]} for status in wanted}
