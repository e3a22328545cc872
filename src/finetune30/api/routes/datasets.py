"""Dataset versions, and data files that are sent here."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, read_in_turn
from finetune30.api.request_bodies import receive_file
from finetune30.api.schemas import Moment, Tree, errors
from finetune30.config.problem_types import has_token_kinds
from finetune30.config.text_encodings import require_encoding
from finetune30.errors import UsageError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.datasets.reading_process import Readings
from finetune30.service.datasets.uploads import FileUpload, ReadFile
from finetune30.service.datasets.versions import diff_trees, list_versions, show_version
from finetune30.service.submitting.limits import require_room_for_upload

#: What a listing takes over from the tree of a version.
_SUMMARY = (
    "digest",
    "created_at",
    "tags",
    "rows",
    "size_bytes",
    "problem_type",
    "targets",
    "label_names",
    "choices",
    "source",
    "parent",
    "note",
)

router = APIRouter(prefix="/datasets", tags=["datasets"])

VersionName = Annotated[
    str, Path(min_length=1, max_length=100, description="Digest, beginning of one, or tag.", examples=["reviews-v1"])
]


class DatasetVersion(BaseModel):
    """An immutable set of rows, named by its content."""

    model_config = ConfigDict(extra="allow")

    digest: str
    created_at: Moment
    tags: list[str]
    rows: dict[str, int] = Field(examples=[{"train": 500, "evaluation": 100}])
    columns: list[Tree] = Field(
        description="Name, dtype and role (text, target, origin) of each column of the rows, in order.",
        examples=[[{"name": "text", "dtype": "string", "role": "text"}]],
    )
    problem_type: str
    has_token_kinds: bool = Field(description="Whether `POST /datasets/tokens` shows its rows.")
    targets: Tree = Field(
        description="What the problem knows about the targets.", examples=[{"label_names": ["0", "1"]}]
    )
    label_names: list[str]
    choices: list[str] | None = Field(
        description="The values of which a target is one; null where there is no such list.", examples=[["0", "1"]]
    )
    source: Tree
    parent: str | None
    note: str


class DatasetList(BaseModel):
    """Versions, the newest first."""

    versions: list[DatasetVersion]


class DatasetDetails(DatasetVersion):
    """A version with its statistics, recipe and the runs that used it."""

    statistics: Tree
    recipe: list[Tree]
    runs: list[Tree] = Field(
        description="Those that SUCCEEDED first, the best of each score before the others; only they can judge labels.",
        examples=[[{"id": "…", "name": "test_async", "status": "SUCCEEDED", "score": 0.88}]],
    )


class DatasetDiff(BaseModel):
    """What differs between two versions, row by row."""

    before: str
    after: str
    counts: dict[str, int] = Field(
        examples=[{"added": 1, "removed": 0, "relabelled": 2, "changed": 0, "unchanged": 97}]
    )
    columns: list[Tree] = Field(description="Those of both versions.")
    rows: list[Tree] = Field(description="Kind, split, origin, values, and in label_before what stood in label.")


class UploadedFile(BaseModel):
    """A data file that was kept."""

    dataset_name: str = Field(description="What data.dataset_name of a request to train takes.")
    size: int = Field(description="Bytes.")
    sha256: str
    columns: list[str] = Field(examples=[["text", "label"]])
    rows: int


@router.get("", summary="List dataset versions", response_model=DatasetList, responses=errors())
def list_datasets(here: Here) -> Response:
    """Every version in the data folder."""
    return Json({"versions": [_summary(tree) for tree in list_versions(versions_of(here.settings, here.store))]})


@router.get("/diff", summary="Compare dataset versions", response_model=DatasetDiff, responses=errors(404, 422))
def diff_datasets(
    here: Here,
    a: Annotated[str, Query(min_length=1, max_length=100, description="The version before.")],
    b: Annotated[str, Query(min_length=1, max_length=100, description="The version after.")],
    limit: Annotated[int, Query(ge=0, le=10_000, description="Rows shown; counts are of all.")] = 200,
) -> Response:
    """Rows added, removed, relabelled and changed."""
    return Json(diff_trees(versions_of(here.settings, here.store), a, b, limit))


@router.get("/{name}", summary="One dataset version", response_model=DatasetDetails, responses=errors(404, 422))
def read_dataset(here: Here, name: VersionName) -> Response:
    """Its manifest, and the runs that used it."""
    tree = show_version(versions_of(here.settings, here.store), here.store, name)
    return Json({**_summary(tree), **{key: tree[key] for key in ("statistics", "recipe", "runs")}})


@router.post(
    "/files",
    summary="Send a data file",
    status_code=201,
    response_model=UploadedFile,
    responses=errors(413, 415, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def send_file(
    here: Here,
    request: Request,
    name: Annotated[str, Query(min_length=1, max_length=100, description="File name.", examples=["reviews.csv"])],
    encoding: Annotated[str | None, Query(max_length=50, description="What data.encoding will say.")] = None,
    sheet: Annotated[str | None, Query(max_length=500, description="What data.sheet will say.")] = None,
) -> Response:
    """Send a data file of any kind that is read, as it is (no form); refused when it cannot be read as rows."""
    from finetune30.data.sources.files import READERS

    await run_in_threadpool(require_room_for_upload, here.settings)
    known = known_encoding(encoding)
    with FileUpload(here.settings.data_folder, name, tuple(READERS)) as upload:
        await receive_file(request, upload.write)
        kept = await read_in_turn(request, lambda readings: upload.keep(_reader(readings, known, sheet)))
    request.state.target = kept.dataset_name
    return Json(kept.as_dict(), status_code=201)


def _reader(readings: Readings, encoding: str | None, sheet: str | None) -> ReadFile:
    def read(path: FilePath, name: str) -> tuple[list[str], int]:
        found = readings.ask("upload", name, path=str(path), encoding=encoding, sheet=sheet)
        return found["columns"], found["rows"]

    return read


def known_encoding(name: str | None) -> str | None:
    """Return the name of an encoding. Raises UsageError where Python knows none of that name."""
    try:
        return None if name is None else require_encoding(name)
    except ValueError as error:
        raise UsageError(str(error), "name one as Python does, such as big5 or cp1252") from None


def _summary(tree: dict[str, Any]) -> dict[str, Any]:
    """Return what a listing says of a version: its tree without the pieces."""
    told = {key: tree[key] for key in _SUMMARY}
    return {**told, "columns": tree["schema"], "has_token_kinds": has_token_kinds(tree["problem_type"])}
