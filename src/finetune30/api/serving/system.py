"""Whether a server of models is there, whether it answers, what it counts."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.serving.context import Here

router = APIRouter(tags=["system"])


@router.get("/healthz", summary="Whether the server is there")
async def healthz() -> Response:
    """200 as long as the process answers."""
    return Json({"status": "ok"})


@router.get("/readyz", summary="Whether every name answers")
async def readyz(here: Here) -> Response:
    """200 once every name has a version that passed its check through HTTP; 503 before, and while the server stops.

    503 too where a thread that asks the models has ended: start the server again.
    """
    is_ready = here.slots.is_ready and here.is_alive and not here.is_draining
    told = {"ready": is_ready, "draining": here.is_draining, "models": [slot.describe() for slot in here.slots.slots]}
    return Json(told, status_code=200 if is_ready else 503, headers={} if is_ready else {"Retry-After": "1"})


@router.get("/metrics", summary="Metrics for Prometheus")
def metrics(here: Here) -> Response:
    """Requests, rows, batches, refusals, swaps, the versions that answer."""
    content, kind = here.telemetry.render(here)
    return Response(content, media_type=kind)
