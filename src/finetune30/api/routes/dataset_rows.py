"""Rows: a look at them before a training, those of a version, and other labels for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.requested_data import ask_about_data
from finetune30.api.routes.datasets import VersionName
from finetune30.api.schemas import TrainRequest, Tree, errors
from finetune30.service.datasets.operations import versions_of
from finetune30.service.datasets.preview import load_version_rows
from finetune30.service.datasets.relabel import relabel_rows
from finetune30.service.submitting.limits import require_disk_reserve

router = APIRouter(prefix="/datasets", tags=["datasets"])

Split = Literal["train", "evaluation"]
MOST_CHANGES = 10_000


class DataPreview(BaseModel):
    """What a training would see."""

    dataset_name: str
    replaced: dict[str, str] = Field(description="What stands in for the default set where nobody answers.")
    problem_type: str
    has_token_kinds: bool = Field(description="Whether `POST /datasets/tokens` shows such rows.")
    label_names: list[str]
    columns: Tree = Field(description="The file's column for each role of the problem, and all that are `available`.")
    named_columns: dict[str, str | None] = Field(
        description="The same by the key below `data` that names it; a key that the configuration lacks cannot be set.",
        examples=[{"text_column": "review", "text_pair_column": None, "label_column": "stars"}],
    )
    row_columns: list[Tree] = Field(description="Name, dtype and role of each column of the rows.")
    rows: list[Tree] = Field(description="The first ones of every split.")
    label_counts: dict[str, dict[str, int]]
    report: Tree = Field(
        description="As `data_report.json` has it: what the rows were taken for (`detected`), how files were read and "
        "where their lines went (`files`), what each rule drops (`rule_shares`), findings, gate."
    )
    ledger: Tree = Field(description="Where every row went, and every physical line of text files (`lines`).")


class NewVersion(TrainRequest):
    """A request to train, of which only the data counts, and why the version is made."""

    note: str = Field("", max_length=1000)


class RowOfRequest(TrainRequest):
    """A request to train, of which one row is looked at."""

    row: str | None = Field(
        None,
        max_length=1000,
        description="Line of the first file, or `FILE:LINE`, as `origin` of a preview says; null: the first row used.",
        examples=["chats.jsonl:7"],
    )


class TokenPiece(BaseModel):
    """Tokens of one kind that stand beside each other."""

    kind: Literal["supervised", "context", "template", "truncated"]
    text: str
    ids: list[int]


class RowTokens(BaseModel):
    """A row as a language model is trained on it."""

    row_id: str = Field(examples=["chats.jsonl:7"])
    split: Split
    model: str = Field(description="Whose tokens they are.")
    max_length: int = Field(description="Tokens that a row may have.")
    counts: dict[str, int] = Field(examples=[{"supervised": 20, "context": 15, "template": 41, "truncated": 0}])
    pieces: list[TokenPiece] = Field(description="In the order of the row.")
    dropped_characters: int = Field(description="Characters of its messages that the chat template leaves out.")
    unlike_asked: int = Field(
        description="Answers without loss: they would be asked behind another text than stands before them."
    )
    aside: Tree | None = Field(description="Rule and remedy where a training would set the row aside.")


class MadeVersion(BaseModel):
    """The version that holds the rows."""

    digest: str
    rows: dict[str, int] = Field(examples=[{"train": 500, "evaluation": 100}])
    is_new: bool = Field(description="False: these very rows were a version already.")
    replaced: dict[str, str] = Field(description="What stood in for the default set where nobody answered.")


class VersionRows(BaseModel):
    """Rows of one split."""

    digest: str
    total: int
    columns: list[Tree] = Field(description="Name, dtype and role of each column.")
    rows: list[Tree]


class LabelChange(BaseModel):
    """One row with another label, or without a place in the new version."""

    model_config = ConfigDict(extra="forbid")

    split: Split
    index: int = Field(ge=0, le=(1 << 62), description="Place in its split, from 0.")
    label: str | None = Field(
        max_length=1000,
        description="As the version writes it: a name, a JSON list of names, or a number; in a column that holds no "
        "text, its JSON. Null removes the row.",
    )
    column: str | None = Field(None, max_length=200, description="Which target, where there are several.")


class LabelChanges(BaseModel):
    """Other labels for rows of a version."""

    model_config = ConfigDict(extra="forbid")

    changes: list[LabelChange] = Field(min_length=1, max_length=MOST_CHANGES)
    note: str = Field("", max_length=1000)


class RelabelledVersion(BaseModel):
    """The version that was made."""

    digest: str
    parent: str
    is_new: bool = Field(description="False: these very rows were a version already.")
    changed: int
    removed: int


@router.post(
    "/preview",
    summary="Look at the data of a request",
    response_model=DataPreview,
    responses=errors(404, 413, 415, 422, 502, 503),
)
async def preview(here: Here, body: TrainRequest, request: Request) -> Response:
    """First rows, columns, label counts, findings and ledger of what a request would train on."""
    return Json(await ask_about_data("preview", body.model_dump(exclude_unset=True), here.settings, request))


@router.post(
    "/tokens",
    summary="One row, token by token",
    response_model=RowTokens,
    responses=errors(404, 413, 415, 422, 502, 503),
)
async def show_tokens(here: Here, body: RowOfRequest, request: Request) -> Response:
    """What of a row carries loss, what is context, what the template writes, and what is cut."""
    asked = body.model_dump(exclude_unset=True, exclude={"row"})
    return Json(await ask_about_data("tokens", asked, here.settings, request, row=body.row))


@router.post(
    "",
    summary="Make a version",
    status_code=201,
    response_model=MadeVersion,
    responses=errors(404, 413, 415, 422, 502, 503),
)
async def create_version(here: Here, body: NewVersion, request: Request) -> Response:
    """Store all rows of what a request would train on as a version; the same rows are always the same version."""
    await run_in_threadpool(require_disk_reserve, here.settings.data_folder, here.settings.disk_reserve_bytes)
    asked = body.model_dump(exclude_unset=True, exclude={"note"})
    made = await ask_about_data("version", asked, here.settings, request, note=body.note)
    request.state.target = made["digest"]
    return Json(made, status_code=201)


@router.get("/{name}/rows", summary="Rows of a version", response_model=VersionRows, responses=errors(404, 422))
def read_rows(
    here: Here,
    name: VersionName,
    split: Annotated[Split, Query()] = "train",
    offset: Annotated[int, Query(ge=0, le=(1 << 62))] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Rows with all their columns, in the order of the version."""
    return Json(load_version_rows(versions_of(here.settings, here.store), name, split, offset, limit))


@router.post(
    "/{name}/labels",
    summary="Give rows other labels",
    status_code=201,
    response_model=RelabelledVersion,
    responses=errors(404, 413, 415, 422),
)
def relabel(here: Here, name: VersionName, body: LabelChanges) -> Response:
    """Make a new version; the one before stays as it is."""
    changes: list[dict[str, Any]] = [change.model_dump() for change in body.changes]
    return Json(relabel_rows(versions_of(here.settings, here.store), name, changes, body.note), status_code=201)
