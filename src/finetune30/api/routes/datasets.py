"""Dataset versions, and data files that are sent here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.schemas import Moment, Tree, errors
from finetune30.errors import UsageError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.datasets.uploads import FileUpload
from finetune30.service.submitting.limits import require_disk_reserve
from finetune30.store.dataset_versions import DatasetIndex

if TYPE_CHECKING:
    from finetune30.data.versions.manifest import Manifest
    from finetune30.data.versions.storage import VersionStore

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
    problem_type: str
    label_names: list[str]
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
    runs: list[Tree] = Field(examples=[[{"id": "…", "name": "test_async"}]])


class DatasetDiff(BaseModel):
    """What differs between two versions, row by row."""

    before: str
    after: str
    counts: dict[str, int] = Field(
        examples=[{"added": 1, "removed": 0, "relabelled": 2, "changed": 0, "unchanged": 97}]
    )
    rows: list[Tree]


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
    versions = versions_of(here.settings, here.store)
    tags = _tags_by_digest(versions)
    return Json({"versions": [_summary(manifest, tags) for manifest in versions.list_all()]})


@router.get("/diff", summary="Compare dataset versions", response_model=DatasetDiff, responses=errors(404, 422))
def diff_datasets(
    here: Here,
    a: Annotated[str, Query(min_length=1, max_length=100, description="The version before.")],
    b: Annotated[str, Query(min_length=1, max_length=100, description="The version after.")],
    limit: Annotated[int, Query(ge=0, le=10_000, description="Rows shown; counts are of all.")] = 200,
) -> Response:
    """Rows added, removed, relabelled and changed."""
    from finetune30.data.versions.compare import diff_versions

    return Json(diff_versions(versions_of(here.settings, here.store), a, b).as_dict(limit=limit))


@router.get("/{name}", summary="One dataset version", response_model=DatasetDetails, responses=errors(404, 422))
def read_dataset(here: Here, name: VersionName) -> Response:
    """Its manifest, and the runs that used it."""
    versions = versions_of(here.settings, here.store)
    manifest = versions.get(name)
    used_by = [
        {"id": run_id, "name": run_name} for run_id, run_name in DatasetIndex(here.store).runs_of(manifest.digest)
    ]
    shown = {"statistics": manifest.statistics, "recipe": list(manifest.recipe), "runs": used_by}
    return Json({**_summary(manifest, _tags_by_digest(versions)), **shown})


@router.post(
    "/files",
    summary="Send a data file",
    status_code=201,
    response_model=UploadedFile,
    responses=errors(413, 415, 422),
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
) -> Response:
    """CSV, TSV, JSON, JSONL or Parquet, as it is (no form); refused when it cannot be read as rows."""
    require_disk_reserve(here.settings.data_folder, here.settings.disk_reserve_bytes + here.settings.max_upload_bytes)
    try:
        with FileUpload(here.settings.data_folder, name) as upload:
            async for piece in request.stream():
                await run_in_threadpool(upload.write, piece)
            kept = await run_in_threadpool(upload.keep)
    except ClientDisconnect:
        raise UsageError("the caller went away in the middle of the file", "send it again") from None
    request.state.target = kept.dataset_name
    return Json(kept.as_dict(), status_code=201)


def _tags_by_digest(versions: VersionStore) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tag, digest in versions.tags().items():
        found.setdefault(digest, []).append(tag)
    return found


def _summary(manifest: Manifest, tags: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "digest": manifest.digest,
        "created_at": manifest.created_at.isoformat(),
        "tags": tags.get(manifest.digest, []),
        "rows": manifest.rows,
        "size_bytes": manifest.size_bytes,
        "problem_type": manifest.problem_type,
        "label_names": list(manifest.label_names),
        "source": manifest.source,
        "parent": manifest.parent,
        "note": manifest.note,
    }
