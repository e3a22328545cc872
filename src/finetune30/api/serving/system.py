"""Whether a server of models is there, whether it answers, what it counts."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from finetune30.api.access_gate import read_secret
from finetune30.api.answers import Json
from finetune30.api.context import Who
from finetune30.api.keys import KeyRing
from finetune30.api.serving.context import Here
from finetune30.errors import AuthenticationError, StorageError
from finetune30.store.access import Role

router = APIRouter(tags=["system"])


@router.get("/healthz", summary="Whether the server is there")
async def healthz() -> Response:
    """200 as long as the process answers."""
    return Json({"status": "ok"})


@router.get("/readyz", summary="Whether every name answers")
async def readyz(here: Here, request: Request) -> Response:
    """200 once every name has a version that passed its check through HTTP; 503 before, and while the server stops.

    503 too where a thread that asks the models has ended: start the server again. Why a version was
    refused is told to whoever may read: where no keys are in use, or with the key of a viewer.
    """
    why = await _may_read(request)
    is_ready = here.slots.is_ready and here.is_alive and not here.is_draining
    models = [slot.describe(why=why) for slot in here.slots.slots]
    told = {"ready": is_ready, "draining": here.is_draining, "models": models}
    return Json(told, status_code=200 if is_ready else 503, headers={} if is_ready else {"Retry-After": "1"})


async def _may_read(request: Request) -> bool:
    """Tell whether a request, which needs no key, shows one that may read; False where the keys are out of reach."""
    keys: KeyRing = request.app.state.keys
    if not keys.in_use:
        return True  # only this machine may call
    secret = read_secret(request.headers)
    try:
        if secret is not None and keys.is_stale():
            await run_in_threadpool(keys.refresh)
        return keys.find(secret).role.includes(Role.VIEWER)
    except (AuthenticationError, StorageError):
        return False


@router.get("/me", summary="Who I am")
async def read_caller(here: Here, who: Who) -> Response:
    """Name and role of the key that asks, whatever the role, and the names that it may ask here."""
    names = sorted({name for slot in here.slots.slots for name in slot.names})
    return Json({"name": who.name, "role": who.role, "asks": names if who.role.includes(Role.CALLER) else []})


@router.get("/metrics", summary="Metrics for Prometheus")
def metrics(here: Here) -> Response:
    """Requests, rows, batches, refusals, swaps, the versions that answer."""
    content, kind = here.telemetry.render(here)
    return Response(content, media_type=kind)
