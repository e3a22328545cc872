"""Whether the API lives, is ready, what it is, and what happened in it."""

from __future__ import annotations

import platform
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

import finetune30
from finetune30.api.answers import Json
from finetune30.api.context import Here, Who
from finetune30.api.health import HealthWatch, Readiness, ServiceHealth
from finetune30.api.schemas import RUN_ID, Tree, errors
from finetune30.api.telemetry import Telemetry
from finetune30.store.access import Role, load_audit
from finetune30.store.model_registry import find_askable
from finetune30.store.schema import known_revisions

router = APIRouter(tags=["system"])


class Health(BaseModel):
    """The API is there."""

    status: Literal["ok"]


class Version(BaseModel):
    """What runs here."""

    name: Literal["finetune30"]
    version: str = Field(examples=["0.1.0"])
    python: str = Field(examples=["3.11.7"])
    schema_revision: str = Field(description="Of the run database.", examples=["r0016_certificates"])


class Me(BaseModel):
    """Who asks, which models may be asked, and what a form need not offer because it would be refused."""

    name: str = Field(description="Of the key; empty where no keys are in use.", examples=["anna"])
    role: Role
    highest_priority: int = Field(
        description="That a key of this role may give a run, where it may submit one.", examples=[10]
    )
    asks: list[str] = Field(
        description="Names of models that have a version to answer, with their aliases, as "
        "`POST /experiments/NAME/predict` and `/chat` take them; a finished run's id may be asked, too. Empty for a "
        "role that asks none.",
        examples=[["reviews", "reviews@production"]],
    )


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


@router.get("/healthz", summary="Is it alive", response_model=Health, responses=errors())
async def read_health() -> Response:
    """Needs no key and touches nothing."""
    return Json({"status": "ok"})


@router.get("/readyz", summary="Is it ready", response_model=Health, responses=errors())
def read_readiness(here: Here, request: Request) -> Response:
    """Needs no key and names nothing. 507 while the database takes no change; runs are accepted without Redis."""
    ready: Readiness = request.app.state.readiness
    ready.require(here.store)
    return Json({"status": "ok"})


@router.get("/status", summary="How it is", response_model=ServiceHealth, responses=errors())
def read_status(here: Here, request: Request) -> Response:
    """Redis, database, workers, queue; processors, memory, disk and GPUs of the API's machine. No more than 2 s old."""
    watch: HealthWatch = request.app.state.health
    return Json(watch.read(here.store, here.settings))


@router.get("/me", summary="Who I am", response_model=Me, responses=errors())
def read_caller(here: Here, who: Who) -> Response:
    """Name and role of the key that asks, the models that it may ask, and the highest priority that it may give."""
    told = {"name": who.name, "role": who.role, "highest_priority": who.highest_priority(here.settings)}
    return Json({**told, "asks": find_askable(here.store) if who.role.includes(Role.CALLER) else []})


@router.get("/version", summary="What runs here", response_model=Version, responses=errors())
async def read_version() -> Response:
    """Versions of the package, Python and the database's schema."""
    return Json(
        {
            "name": "finetune30",
            "version": finetune30.__version__,
            "python": platform.python_version(),
            "schema_revision": known_revisions()[-1],
        }
    )


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors()},
)
async def read_metrics(here: Here, request: Request) -> Response:
    """Runs by state, queue and what waits for what, places, leases, durations, attempts, request latency."""
    telemetry: Telemetry = request.app.state.telemetry
    body, media_type = await run_in_threadpool(telemetry.render, here.store, here.settings.max_running_runs)
    return Response(body, headers={"Content-Type": media_type})


@router.get("/audit", summary="Audit trail", response_model=AuditPage, responses=errors(422))
def read_audit(
    here: Here,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[
        int | None, Query(ge=1, le=(1 << 63) - 1, description="`next_before` of the answer before.")
    ] = None,
    actor: Annotated[str | None, Query(max_length=200, description="Only changes of this key.")] = None,
) -> Response:
    """Who changed what and when, the newest first. Needs the role admin."""
    entries = load_audit(here.store, before=before, limit=limit, actor=actor)
    return Json(
        {
            "entries": [entry.as_dict() for entry in entries],
            "next_before": entries[-1].number if len(entries) == limit else None,
        }
    )
