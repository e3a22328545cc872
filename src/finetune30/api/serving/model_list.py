"""GET /v1/models: the language models that are served here, as clients of OpenAI list them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.serving.context import Here
from finetune30.errors import NotFoundError
from finetune30.service.serving.slots import Slot

router = APIRouter(prefix="/v1", tags=["language models"])


@router.get("/models", summary="The models that are served")
async def list_models(here: Here) -> Response:
    """Every name of a language model whose version answers, with that version."""
    return Json({"object": "list", "data": [_describe(slot) for slot in here.slots.slots if _talks(slot)]})


@router.get("/models/{name}", summary="A model that is served")
async def read_model(here: Here, name: str) -> Response:
    """One of them."""
    slot = here.slots.find_slot(name)
    if not _talks(slot):
        raise NotFoundError(f"no language model {name[:80]!r} answers here", "see GET /v1/models")
    return Json(_describe(slot))


def _talks(slot: Slot) -> bool:
    return slot.live is not None and slot.live.talks is not None


def _describe(slot: Slot) -> dict[str, Any]:
    assert slot.live is not None  # noqa: S101 - only those that answer are told
    version = slot.live.version
    return {
        "id": str(slot.reference),
        "object": "model",
        "created": int(version.created_at.timestamp()),
        "owned_by": version.created_by or "finetune30",
        "ft30": slot.live.describe(),
    }
