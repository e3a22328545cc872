"""Finished models in other forms: having them made, how they came out, taking them away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response, StreamingResponse

from finetune30.api.answers import Json
from finetune30.api.context import Here, Services, Who
from finetune30.api.downloads import Download
from finetune30.api.routes.experiments import ExperimentId, FullId, load_by_id, read_model_package
from finetune30.api.schemas import Moment, Tree, errors
from finetune30.errors import Finetune30Error, ModelError
from finetune30.service.exports.asked import Asked
from finetune30.service.exports.choices import list_choices
from finetune30.service.exports.in_work import ExportsInWork, remove_export, require_adapter
from finetune30.service.exports.kinds import ZIP
from finetune30.service.exports.listing import WholeExport, describe_export, find_whole_export, list_exports
from finetune30.service.models.model_package import PackageSizes, build_model_package
from finetune30.store import Run
from finetune30.store.model_names import parse_reference

router = APIRouter(prefix="/experiments/{experiment_id}/exports", tags=["experiments"])

ExportName = Annotated[
    str, Path(max_length=64, description="As `name` of it: its form, and a precision that is not the usual one.")
]
_OF_ONE = errors(404, 409, 422)
_BYTES = {"schema": {"type": "string", "format": "binary"}}


class ExportRequest(BaseModel):
    """What to make of a finished run's model, as the options of `ft30 export` say it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    form: Literal["zip", "merged", "onnx", "gguf"] = Field(alias="as", description="The form.", examples=["merged"])
    precision: Literal["f32", "f16", "q8_0", "int8"] | None = Field(
        None, description="That of the weights; null: f32, of gguf f16."
    )
    into: Literal["dequantised", "whole"] | None = Field(
        None, description="Which base an adapter of a quantised base is merged into; null: both are measured only."
    )
    accept_gap: float | None = Field(
        None, gt=0, description="Publish it although logits lie up to this far apart; its receipt keeps who said so."
    )
    overwrite: bool = Field(False, description="Make one anew that is there.")


class FormChoice(BaseModel):
    """A form, and whether this model can have it here."""

    name: str = Field(description="What an export of it is called.", examples=["onnx-int8"])
    form: str = Field(alias="as", examples=["onnx"])
    precision: str | None = Field(description="That of the weights; null where nothing is converted.")
    bases: list[str] = Field(description="What `into` may be; empty unless the base is quantised.")
    possible: bool
    error: Tree | None = Field(description="Why not.")


class Export(BaseModel):
    """One export: how far it is, and what came of it."""

    name: str = Field(examples=["merged"])
    form: str = Field(alias="as", examples=["merged"])
    precision: str | None = Field(examples=["f32"])
    state: Literal["waiting", "making", "ready", "refused", "failed", "interrupted"] = Field(
        description="refused: it is not the trained model, nothing was published. interrupted: what made it is gone."
    )
    stage: str | None = Field(description="What is done at present.")
    asked_by: str | None = Field(description="Name of the key; null: by nobody over the API.")
    asked_at: Moment | None
    ended_at: Moment | None
    error: Tree | None = Field(
        description="What ended the last attempt; `details.measured` has the figures of one that was refused."
    )
    receipt: Tree | None = Field(description="Of one that is there: gaps, bound, flips, scores, who read it.")
    bytes: int | None = Field(description="All its files.")
    links: dict[str, str] = Field(description="self, and of one that is there files: all of them as .zip.")


class ExportFile(BaseModel):
    """A file of an export."""

    name: str = Field(examples=["model.safetensors"])
    size: int
    sha256: str | None = Field(description="As its SHA256SUMS has it; null for that file.")
    link: str


class ExportDetails(Export):
    """One export, with its files."""

    files: list[ExportFile] = Field(description="Empty unless it is there.")


class ExportList(BaseModel):
    """The forms that there are, and the exports of a run."""

    run_id: str
    forms: list[FormChoice]
    exports: list[Export] = Field(description="The adapter itself (`zip`) first; those that are there or asked for.")


@router.post(
    "",
    summary="Have an export made",
    status_code=202,
    response_model=Export,
    responses=errors(404, 409, 422, 503),
)
def create_export(here: Here, who: Who, experiment_id: ExperimentId, body: ExportRequest, request: Request) -> Response:
    """A process of its own makes it and holds it against the adapter, one after the other; follow it at `Location`.

    409: the run has not finished, or the export is there (see `overwrite`) or being made. 422: no form for this model.
    503: what makes or reads it is not installed.
    """
    run = here.store.get(experiment_id)
    if body.form == ZIP:
        if (body.precision, body.into, body.accept_gap) != (None, None, None):
            raise ModelError(
                "precision, into and accept_gap are for forms that are measured", "leave them out of a zip"
            )
        require_adapter(here.records, run)
        name: str = ZIP
        described = _describe_package(here, run, request)
    else:
        asked = Asked(
            form=body.form,
            precision=body.precision,
            into=body.into,
            accepted_gap=body.accept_gap,
            by=who.label,
            called=experiment_id if parse_reference(experiment_id) is not None else None,
        )
        works: ExportsInWork = request.app.state.exports
        name = works.start(here.records, run, asked, overwrite=body.overwrite)
        described = describe_export(here.records, run, name)
    request.state.target = f"{run.id} as {name}"
    return Json(_linked(run, described), status_code=202, headers={"Location": _place(run, name)})


@router.get("", summary="Exports of a run", response_model=ExportList, responses=_OF_ONE)
def read_exports(here: Here, experiment_id: ExperimentId, request: Request) -> Response:
    """What its model can be made here, and what was: state, receipt, or why it was refused."""
    run = here.store.get(experiment_id)
    forms = list_choices(require_adapter(here.records, run))
    found = [_describe_package(here, run, request), *list_exports(here.records, run)]
    listed = {"forms": [form.as_dict() for form in forms], "exports": [_linked(run, one) for one in found]}
    return Json({"run_id": run.id, **listed})


@router.get("/{name}", summary="One export", response_model=ExportDetails, responses=_OF_ONE)
def read_export(here: Here, experiment_id: ExperimentId, name: ExportName, request: Request) -> Response:
    """How far it is; once it is there, its receipt and its files."""
    run = here.store.get(experiment_id)
    if name == ZIP:
        require_adapter(here.records, run)
        return Json({**_linked(run, _describe_package(here, run, request)), "files": []})
    described = _linked(run, describe_export(here.records, run, name))
    files = find_whole_export(here.records, run, name).list_files() if described["state"] == "ready" else []
    links = f"{_place(run, name)}/files/"
    return Json({**described, "files": [{**file, "link": links + quote(file["name"])} for file in files]})


@router.delete("/{name}", summary="Remove an export", status_code=204, response_class=Response, responses=_OF_ONE)
def delete_export(here: Here, who: Who, experiment_id: FullId, name: ExportName, request: Request) -> Response:
    """Its files and what is on record of it go; the run stays, and it can be made again. 409: it is being made."""
    run = load_by_id(here, experiment_id)
    who.require_own(run)
    remove_export(here.records, run, name)
    request.state.target = f"{run.id} as {name}"
    return Response(status_code=204)


@router.get(
    "/{name}/files.zip",
    summary="An export, to take away",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": _BYTES}}, **_OF_ONE},
)
def read_export_package(here: Here, experiment_id: ExperimentId, name: ExportName) -> Response:
    """All files of one that is there, as they are, in one folder; packed while it is sent."""
    if name == ZIP:
        return read_model_package(here, experiment_id)
    found = find_whole_export(here.records, here.store.get(experiment_id), name)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.folder.name + '.zip')}",
        "Content-Security-Policy": "sandbox",
    }
    return StreamingResponse(_pack(found), media_type="application/zip", headers=headers)


@router.get(
    "/{name}/files/{file:path}",
    summary="One file of an export",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": _BYTES}},
        206: {"description": "The range that was asked for.", "content": {"application/octet-stream": _BYTES}},
        **errors(404, 409, 416, 422),
    },
)
def read_export_file(
    here: Here,
    experiment_id: ExperimentId,
    name: ExportName,
    file: Annotated[str, Path(max_length=500, examples=["receipt.json"])],
) -> Response:
    """The bytes of a file that belongs to it; nothing else can be reached. Ranges are answered."""
    return Download(*find_whole_export(here.records, here.store.get(experiment_id), name).find_file(file))


def _describe_package(here: Services, run: Run, request: Request) -> dict[str, Any]:
    """Return the adapter itself as an export: nothing is made, so it is there, or its files are at fault."""
    sizes: PackageSizes = request.app.state.package_sizes
    size, error = sizes.find(here.records, run), None
    if size is None:
        try:
            build_model_package(here.records, run)
        except Finetune30Error as fault:
            error = fault.as_dict()
    told = {"stage": None, "asked_by": None, "asked_at": None, "ended_at": None, "error": error, "receipt": None}
    state = "ready" if error is None else "failed"
    return {"name": ZIP, "as": ZIP, "precision": None, "state": state, **told, "bytes": size}


def _linked(run: Run, described: dict[str, Any]) -> dict[str, Any]:
    own = _place(run, described["name"])
    files = {"files": f"{own}/files.zip"} if described["state"] == "ready" else {}
    return {**described, "links": {"self": own, **files}}


def _place(run: Run, name: str) -> str:
    return f"/experiments/{run.id}/exports/{name}"


def _pack(export: WholeExport) -> Iterator[bytes]:
    stream = export.pack()
    for member in export.members():
        yield from stream.add(member)
    yield from stream.end()
