"""Server-sent events of a task: what changed, in order and resumable, and how far the run is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from finetune30.api.shares import Shares
from finetune30.errors import Finetune30Error, QuotaError
from finetune30.service.submitting.status import load_task
from finetune30.store import RunStore

POLL_SECONDS = 0.5
#: Proxies drop connections on which nothing comes for a minute.
SILENCE_SECONDS = 15.0
MOST_STREAMS = 200
_FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


class EventStream:
    """Answers /task/{id}/events; `stop` ends every stream, so that the API can end."""

    def __init__(self, most_running: int | None = None) -> None:
        self._most_running = most_running
        self._shares = Shares(MOST_STREAMS, _refuse)
        self._stopping = False

    def stop(self) -> None:
        """End every stream at its next look; browsers come back by themselves."""
        self._stopping = True

    async def answer(self, store: RunStore, task_id: str, last_event_id: str | None, caller: str) -> Response:
        """Return the stream. Raises NotFoundError, QuotaError when the caller has its share of streams open."""
        task = await run_in_threadpool(load_task, store, task_id, self._most_running)
        self._shares.require(caller)
        seen = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 19 else 0
        return StreamingResponse(
            self._follow(store, task, seen, caller), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    async def _follow(self, store: RunStore, task: dict[str, Any], seen: int, caller: str) -> AsyncIterator[str]:
        self._shares.take(caller)
        try:
            yield "retry: 2000\n\n"
            shown: dict[str, Any] | None = None
            spoken = time.monotonic()
            while not self._stopping:
                pieces = []
                for event in await run_in_threadpool(store.events, task["task_id"], seen):
                    pieces.append(write_event("change", event.as_dict(), event.number))
                    seen = event.number
                if task != shown:
                    pieces.append(write_event("task", task))
                    shown = task
                if task["status"] in _FINAL:
                    yield "".join([*pieces, write_event("end", {"status": task["status"]})])
                    return
                if pieces or time.monotonic() - spoken > SILENCE_SECONDS:
                    spoken = time.monotonic()
                    yield "".join(pieces) or ": still here\n\n"
                await asyncio.sleep(POLL_SECONDS)
                task = await run_in_threadpool(load_task, store, task["task_id"], self._most_running)
        except Finetune30Error as error:  # the run was deleted, or the database went away
            yield write_event("error", error.as_dict())
        finally:
            self._shares.free(caller)


def _refuse(own: int) -> QuotaError:
    return QuotaError(f"{own} event streams of this caller are open", "close some, or ask GET /task/{id} instead")


def write_event(kind: str, tree: dict[str, Any], number: int | None = None) -> str:
    """Return a server-sent event; `number` is what a reader goes on from after a break."""
    data = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    numbered = "" if number is None else f"id: {number}\n"
    return f"{numbered}event: {kind}\ndata: {data}\n\n"
