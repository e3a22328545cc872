"""Runs on record: listing, totals, everything about one, its files, deletion."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, get_origin
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.responses import FileResponse, Response, StreamingResponse

from finetune30.api.answers import Json, dump_json
from finetune30.api.context import Here, Who
from finetune30.api.downloads import Download
from finetune30.api.run_schemas import (
    ArtifactList,
    ExperimentDetails,
    ExperimentPage,
    History,
    LogPiece,
    QuarantinePage,
    Stats,
)
from finetune30.api.schemas import RUN_ID, ConfigAnswer, describe_parameters, errors
from finetune30.config.loading import dump_recorded
from finetune30.errors import NotFoundError
from finetune30.files import load_json, load_json_lines
from finetune30.service.models.model_package import PackageSizes, build_model_package
from finetune30.service.runs.details import load_run_details
from finetune30.service.runs.differences import configured_values, describe_differences
from finetune30.service.runs.listing import RunQuery
from finetune30.service.runs.logs import load_log_piece
from finetune30.store import Run
from finetune30.store.kept_rows import KeptRows

router = APIRouter(prefix="/experiments", tags=["experiments"])

MOST_BYTES = (1 << 63) - 1
ExperimentId = Annotated[
    str,
    Path(
        max_length=200,
        description="Id, its beginning, folder, exact name (the newest of it), `latest`, or a version of a model: "
        "`NAME@alias`, `NAME:7`, `NAME`.",
        examples=[RUN_ID],
    ),
]
FullId = Annotated[str, Path(max_length=200, description="The full id.", examples=[RUN_ID])]
#: Answers of a route about one run.
_OF_ONE = errors(404, 409, 422)
_FULL_ID = re.compile(r"[0-9a-f]{32}")


class ListQuery(RunQuery):
    """Which runs, in which order."""

    with_total: bool = Field(False, description="Count all that the filters keep.")
    columns: list[Annotated[str, Field(max_length=100)]] = Field(
        [], max_length=100, description="Keys of the configuration whose values to add.", examples=[["training.seed"]]
    )
    differences: bool = Field(False, description="Add what differs among the runs of this page, and all metrics.")


#: Parameters that may be given several times.
_LISTS = frozenset(name for name, field in ListQuery.model_fields.items() if get_origin(field.annotation) is list)


async def _read_query(request: Request) -> ListQuery:
    """Read a query as FastAPI does, which takes a third of the time of an answer for a model with lists."""
    given = request.query_params
    values = {name: given.getlist(name) if name in _LISTS else given[name] for name in given}
    try:
        return ListQuery.model_validate(values)
    except ValidationError as error:
        faults = [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from error


@router.get(
    "",
    summary="List runs",
    response_model=ExperimentPage,
    responses=errors(422),
    openapi_extra={"parameters": describe_parameters(ListQuery)},
)
def list_experiments(here: Here, query: Annotated[ListQuery, Depends(_read_query)], request: Request) -> Response:
    """Runs by name, status, score, runtime, dates, tags, model and dataset version, page by page; no archived ones."""
    wanted = query.as_filter()
    total = here.store.count(wanted) if query.with_total else None
    told: dict[str, Any] = {"differing": None, "metrics": None}
    if not query.differences and not query.columns:
        listed: KeptRows[bytes] = request.app.state.listed_runs
        rows, next_cursor = here.store.find_kept_page(wanted, listed)
        rest = dump_json({"next_cursor": next_cursor, "total": total, **told})
        return Json(b'{"experiments":[' + b",".join(rows) + b"]," + rest[1:])
    found = here.store.find_page(replace(wanted, with_metrics=query.differences, with_config=True))
    if query.differences:
        told, values = describe_differences(found.runs, query.columns)
    else:
        values = configured_values(found.runs, query.columns)
    shown = [{**_listed(run), "values": own} for run, own in zip(found.runs, values, strict=True)]
    return Json({"experiments": shown, "next_cursor": found.next_cursor, "total": total, **told})


def build_listed_runs() -> KeptRows[bytes]:
    """Return the place where the JSON of listed runs is kept."""
    return KeptRows(lambda run: dump_json(_listed(run)))


def _listed(run: Run) -> dict[str, Any]:
    return run.as_dict(leaving_out=("config", "metrics"))


@router.get("/stats", summary="Totals over all runs", response_model=Stats, responses=errors())
def read_stats(here: Here) -> Response:
    """Runs by status, runtime, runs a day, and the best run of each data version by each score."""
    return Json(here.store.stats().as_dict())


@router.get("/{experiment_id}", summary="Everything about a run", response_model=ExperimentDetails, responses=_OF_ONE)
def read_experiment(here: Here, experiment_id: ExperimentId) -> Response:
    """Row, configuration, metrics, the result as blocks to draw, ledger totals and files."""
    run = here.store.get(experiment_id)
    details = load_run_details(here.records, run)
    shown = {key: value for key, value in details.items() if key not in ("run", "path")}
    return Json({**details["run"], **shown, "links": _links(run)})


@router.get("/{experiment_id}/history", summary="Curves of a run", response_model=History, responses=_OF_ONE)
def read_history(
    here: Here,
    experiment_id: ExperimentId,
    after: Annotated[int, Query(ge=0, le=MOST_BYTES, description="`next` of the answer before.")] = 0,
) -> Response:
    """Every logged step and evaluation; empty until the first one."""
    run = here.store.get(experiment_id)
    records = load_json_lines(here.records.require_folder(run).history)
    return Json({"records": records[after:], "next": len(records), "attempt": run.attempt})


@router.get("/{experiment_id}/logs", summary="Log of a run", response_model=LogPiece, responses=_OF_ONE)
def read_logs(
    here: Here,
    experiment_id: ExperimentId,
    tail: Annotated[int | None, Query(ge=0, le=10_000, description="Only the last lines.")] = None,
    offset: Annotated[int, Query(ge=0, le=MOST_BYTES, description="From this byte on.")] = 0,
) -> Response:
    """A piece of at most 256 KiB; follow the log by asking again with the `offset` of the answer before."""
    run = here.store.get(experiment_id)
    piece = load_log_piece(here.records.require_folder(run).logs, tail=tail, offset=offset)
    return Json({"text": piece.text, "offset": piece.offset, "size": piece.size, "attempt": run.attempt})


@router.get("/{experiment_id}/config", summary="Configuration of a run", response_model=ConfigAnswer, responses=_OF_ONE)
def read_config(here: Here, experiment_id: ExperimentId) -> Response:
    """The tree, and the YAML that repeats the run."""
    run = here.store.get(experiment_id)
    return Json({"config": run.config, "yaml": dump_recorded(run.config)})


@router.get("/{experiment_id}/report", summary="Data report of a run", response_model=dict[str, Any], responses=_OF_ONE)
def read_report(here: Here, experiment_id: ExperimentId) -> Response:
    """Validation, analysis and the ledger of every input row."""
    run = here.store.get(experiment_id)
    report = load_json(here.records.require_folder(run).data_report)
    if report is None:
        raise NotFoundError(f"run {run.id} has no data report yet", "wait until its data is prepared")
    return Json(report)


@router.get("/{experiment_id}/quarantine", summary="Rows set aside", response_model=QuarantinePage, responses=_OF_ONE)
def read_quarantine(
    here: Here,
    experiment_id: ExperimentId,
    offset: Annotated[int, Query(ge=0, le=MOST_BYTES)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Rows that the gate kept away from the training, with their cells as read, the reason and what to do."""
    rows = load_json_lines(here.records.require_folder(here.store.get(experiment_id)).quarantine)
    return Json({"total": len(rows), "rows": rows[offset : offset + limit]})


@router.get(
    "/{experiment_id}/artifacts", summary="Published files of a run", response_model=ArtifactList, responses=_OF_ONE
)
def list_artifacts(here: Here, experiment_id: ExperimentId, request: Request) -> Response:
    """Names, sizes and sha256 from the manifest; there are none before the run SUCCEEDED."""
    run = here.store.get(experiment_id)
    files = here.records.require_folder(run).load_manifest()["files"]
    links = f"/experiments/{run.id}/artifacts/"
    listed = [{"name": name, **entry, "link": links + name} for name, entry in files.items()]
    sizes: PackageSizes = request.app.state.package_sizes
    size = sizes.find(here.records, run)
    return Json({"manifest_sha256": run.manifest_sha256, "artifacts": listed, "package_bytes": size})


@router.get(
    "/{experiment_id}/artifacts/{name:path}",
    summary="One published file",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {
            "description": "The range that was asked for.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                "multipart/byteranges": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        **errors(404, 409, 416, 422),
    },
)
def read_artifact(
    here: Here, experiment_id: ExperimentId, name: Annotated[str, Path(max_length=500, examples=["metrics.json"])]
) -> Response:
    """The bytes of a file that the manifest names; nothing else can be reached. Ranges are answered."""
    folder = here.records.require_folder(here.store.get(experiment_id))
    path = folder.artifact(name)
    return Download(path, folder.load_manifest()["files"][name]["sha256"])


@router.get(
    "/{experiment_id}/model.zip",
    summary="The model, to take away",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
        **_OF_ONE,
    },
)
def read_model_package(here: Here, experiment_id: ExperimentId) -> Response:
    """Adapter, base model (unless it is one of the hub) and the Python that loads them; no path of this machine."""
    package = build_model_package(here.records, here.store.get(experiment_id))
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(package.folder + '.zip')}",
        "Content-Security-Policy": "sandbox",
    }
    return StreamingResponse(package.write(), media_type="application/zip", headers=headers)


@router.delete("/{experiment_id}", summary="Delete a run", status_code=204, response_class=Response, responses=_OF_ONE)
def delete_experiment(here: Here, who: Who, experiment_id: FullId, request: Request) -> Response:
    """Remove row and folder of a run that is not RUNNING; its events stay."""
    run = load_by_id(here, experiment_id)
    who.require_own(run)
    request.state.target = run.id
    here.store.delete(run.id, here.settings.results_folder)
    return Response(status_code=204)


def load_by_id(here: Here, run_id: str) -> Run:
    """Return the run with this full id: what changes a run takes no abbreviations. Raises NotFoundError."""
    if not _FULL_ID.fullmatch(run_id):
        raise NotFoundError(f"there is no run {run_id[:64]!r}", "give the full id of 32 hexadecimal digits")
    return here.store.get(run_id)


def _links(run: Run) -> dict[str, str]:
    own = f"/experiments/{run.id}"
    parts = ("history", "logs", "config", "report", "quarantine", "artifacts", "model.zip")
    return {"self": own, "task": f"/task/{run.id}", **{part: f"{own}/{part}" for part in parts}}
