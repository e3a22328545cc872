"""Answers of language models to conversations: whole, or as server-sent events while they come.

Every token is asked for on its own, by a thread of the slow ones: few threads serve all answers, and whoever leaves is
given up with the token in work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from finetune30.api.answers import Json
from finetune30.api.event_stream import write_event
from finetune30.api.shares import Shares
from finetune30.errors import Finetune30Error, QuotaError
from finetune30.service.models.model_process import AnswerInWork, ModelProcesses
from finetune30.store import Run

#: Answers in work at a time: each keeps keys and values of its whole conversation in the memory of the model's process.
MOST_ANSWERS = 16

Result = TypeVar("Result")


class AnswerStream:
    """Answers /experiments/{id}/chat."""

    def __init__(self, models: ModelProcesses, threads: CapacityLimiter) -> None:
        self._models, self._threads = models, threads
        self._shares = Shares(MOST_ANSWERS, _refuse)

    async def answer(
        self, request: Request, load: Callable[[], Run], question: Mapping[str, Any], caller: str, *, streams: bool
    ) -> Response:
        """Return the answer to a conversation with the run that `load` finds.

        Raises what `load` and `ModelProcesses.begin_answer` raise, QuotaError when the caller has its share of answers.
        """
        self._shares.require(caller)
        self._shares.take(caller)
        try:
            in_work = await self._run(lambda: self._models.begin_answer(load(), question))
        except BaseException:
            self._shares.free(caller)
            raise
        spoken = _Spoken(in_work, self._run, lambda: self._shares.free(caller))
        return _EventResponse(spoken) if streams else await spoken.tell_whole(request)

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await to_thread.run_sync(work, limiter=self._threads)


def _refuse(own: int) -> QuotaError:
    return QuotaError(f"{own} answers of this caller are in work", "wait until one of them ended")


class _Spoken:
    """An answer that is being told; `free` is called once it is left."""

    def __init__(self, in_work: AnswerInWork, run: Callable[..., Any], free: Callable[[], None]) -> None:
        self._in_work, self._run, self._free = in_work, run, free
        self._texts: list[str] = []

    async def tell_whole(self, request: Request) -> Response:
        """Return the answer once it ended; nothing more is computed when the caller has gone."""
        try:
            while not await request.is_disconnected():
                if "finish_reason" in (step := await self._step()):
                    return Json(self._whole(step))
            return Response(status_code=499)  # nobody reads it
        finally:
            await self.leave()

    async def events(self) -> AsyncIterator[str]:
        """Yield `text` for every piece, and `end` with the whole answer, or `error`."""
        try:
            while "finish_reason" not in (step := await self._step()):
                if step["text"]:
                    yield write_event("text", step)
            yield write_event("end", self._whole(step))
        except Finetune30Error as error:
            yield write_event("error", error.as_dict())

    async def leave(self) -> None:
        """Give the answer up where it has not ended."""
        with CancelScope(shield=True):
            await self._run(self._in_work.leave)
        self._free()

    async def _step(self) -> dict[str, Any]:
        step: dict[str, Any] = await self._run(self._in_work.step)
        self._texts.append(step.get("text", ""))
        return step

    def _whole(self, end: Mapping[str, Any]) -> dict[str, Any]:
        return {"answer": "".join(self._texts), **end, "prompt_tokens": self._in_work.prompt_tokens}


class _EventResponse(StreamingResponse):
    """The events of an answer, which is left however the response ends, before its first event too."""

    def __init__(self, spoken: _Spoken) -> None:
        super().__init__(spoken.events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._spoken = spoken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._spoken.leave()
