"""Tags of versions, and what validation says about their rows."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, read_in_turn
from finetune30.api.routes.datasets import VersionName
from finetune30.api.schemas import Tree, errors
from finetune30.errors import NotFoundError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.datasets.version_report import VersionReports

router = APIRouter(prefix="/datasets", tags=["datasets"])


class Tag(BaseModel):
    """A name that people remember."""

    model_config = ConfigDict(extra="forbid")

    tag: str = Field(min_length=1, max_length=80, examples=["reviews-v1"])
    move: bool = Field(False, description="Let a tag of another version point here from now on.")


class TaggedVersion(BaseModel):
    """A version and all its tags."""

    digest: str
    tags: list[str]


class VersionReport(BaseModel):
    """Validation and analysis of all rows under the default rules."""

    digest: str
    dataset_name: str
    rows: int
    problem_type: str
    detected: list[Tree] = Field(
        description="What the rows were taken for that no configuration says, on what evidence, and the key to set.",
        examples=[
            [
                {
                    "found": "the problem is single_label_classification",
                    "because": "every row has one label, and the labels are 2 different names",
                    "key": "model.problem_type",
                }
            ]
        ],
    )
    files: list[Tree] = Field(
        description="How each file was read (encoding, separator, quotes, notes), and where its physical lines went."
    )
    rule_shares: list[Tree] = Field(
        description="Rows and share that each rule drops, and those that a length limit would drop if it were set."
    )
    analysis: Tree
    errors: int = Field(description="Findings of severity error.")
    summary: list[Tree] = Field(
        examples=[[{"rule": "exact_duplicate", "severity": "warn", "split": "train", "count": 2}]]
    )
    findings: list[Tree] = Field(description="The first ones.")
    would_train: bool
    refusal: str | None = Field(description="Why a training on it would not start.")
    set_aside: int = Field(description="Rows that a training would set aside.")
    quarantine: list[Tree] = Field(description="The first of these rows, with reason, place and remedy.")


@router.post(
    "/{name}/tags",
    summary="Tag a version",
    status_code=201,
    response_model=TaggedVersion,
    responses=errors(404, 409, 413, 415, 422),
)
def add_tag(here: Here, name: VersionName, body: Tag, request: Request) -> Response:
    """Let a tag point at a version; wherever a version is named, its tag will do."""
    versions = versions_of(here.settings, here.store)
    manifest = versions.tag(body.tag, name, move=body.move)
    request.state.target = f"{body.tag} -> {manifest.digest}"
    return Json(_tagged(versions.tags(), manifest.digest), status_code=201)


@router.delete("/{name}/tags/{tag}", summary="Remove a tag", response_model=TaggedVersion, responses=errors(404, 422))
def remove_tag(
    here: Here, name: VersionName, tag: Annotated[str, Path(min_length=1, max_length=80)], request: Request
) -> Response:
    """Take a tag from a version; the version stays."""
    versions = versions_of(here.settings, here.store)
    digest = versions.resolve(name)
    if versions.tags().get(tag) != digest:
        raise NotFoundError(f"version {digest[:12]} has no tag {tag!r}", "see its tags: GET /datasets/{name}")
    versions.untag(tag)
    request.state.target = f"{tag} -> nothing"
    return Json(_tagged(versions.tags(), digest))


@router.get(
    "/{name}/report", summary="Validate a version", response_model=VersionReport, responses=errors(404, 422, 503)
)
async def read_version_report(here: Here, name: VersionName, request: Request) -> Response:
    """Findings, analysis and quarantine; the first question about a large version takes some seconds."""
    reports: VersionReports = request.app.state.version_reports
    digest = await run_in_threadpool(versions_of(here.settings, here.store).resolve, name)
    return Json(await read_in_turn(request, lambda _: reports.load(digest)))


def _tagged(tags: dict[str, str], digest: str) -> dict[str, Any]:
    return {"digest": digest, "tags": [tag for tag, pointed in tags.items() if pointed == digest]}
