"""One answer of a language model, told in the shapes of OpenAI: whole, or as server-sent events."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from finetune30.api.answers import Json, dump_json
from finetune30.api.serving.chat_requests import Sampled
from finetune30.api.serving.context import Serving
from finetune30.api.serving.error_shapes import shape_of
from finetune30.api.serving.stop_texts import StopTexts
from finetune30.api.serving.timed_stream import TimedStream
from finetune30.errors import Finetune30Error
from finetune30.service.serving.slots import Loaded
from finetune30.service.serving.talking import Event, late_answer

_LOOK_SECONDS = 0.5
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Shape:
    """How a route names its answers, and the pieces of one."""

    prefix: str
    whole: str
    piece: str


CHAT = Shape("chatcmpl", "chat.completion", "chat.completion.chunk")
COMPLETION = Shape("cmpl", "text_completion", "text_completion")


class ToldAnswer:
    """Begun as it is made; the model is left as soon as the answer has ended, or nobody listens."""

    def __init__(
        self, here: Serving, request: Request, loaded: Loaded, body: Sampled, prompt: list[int], shape: Shape
    ) -> None:
        assert loaded.talks is not None  # noqa: S101 - only language models are asked so
        self._here, self._loaded, self._body, self._prompt, self._shape = here, loaded, body, prompt, shape
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._stops = StopTexts(body.stops)
        self._tokens, self._ids, self._reason = 0, tuple[int, ...](), "stop"
        self._head = {
            "id": f"{shape.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": loaded.version.name,
            "system_fingerprint": f"ft30_{loaded.version.adapter_sha256[:16]}",
            "ft30": {**loaded.describe(), "truncated": False},
        }
        loop = asyncio.get_running_loop()
        self._talk = here.talks.begin(
            loaded.talks,
            prompt,
            body.sampling(),
            lambda event: _pass_on(loop, self._events, event),
            here.limits_of(request).deadline,
            always=here.is_own(request),
        )

    async def whole(self, request: Request) -> Response:
        """Return the answer once it ended; nothing more is computed when the caller has gone."""
        texts = []
        pieces = self._pieces()
        try:
            while True:
                step = asyncio.ensure_future(anext(pieces, None))
                while not (await asyncio.wait({step}, timeout=_LOOK_SECONDS))[0]:
                    if await request.is_disconnected():
                        step.cancel()
                        return Response(status_code=499)  # nobody reads it
                if (text := step.result()) is None:
                    break
                texts.append(text)
        finally:
            self._leave()
        return Json(self._whole("".join(texts)), headers=self._loaded.headers)

    def stream(self) -> Response:
        """Return the answer as server-sent events."""
        headers = {**self._loaded.headers, "X-Accel-Buffering": "no"}
        return TimedStream(self._chunks(), headers, "text/event-stream")

    async def _pieces(self) -> AsyncIterator[str]:
        """Yield texts until the answer ends; raises what the model raised, DeadlineError while it reads."""
        while True:
            try:
                event = await asyncio.wait_for(self._events.get(), max(0.0, self._talk.until - time.monotonic()))
            except TimeoutError:
                raise late_answer() from None
            if isinstance(event, Finetune30Error):
                raise event
            if not isinstance(event, str):
                self._reason = "stop" if event.reason == "stop" else "length"
                self._tokens, self._ids = len(event.ids), event.ids
                yield self._stops.end()
                return
            self._tokens += 1
            yield self._stops.pass_on(event)
            if self._stops.found:  # later tokens may be there already; they are none of the answer
                self._ids = tuple(self._talk.ids[: self._tokens])
                self._tokens = len(self._ids)
                return

    async def _chunks(self) -> AsyncGenerator[bytes]:
        try:
            if self._shape is CHAT:
                yield self._chunk(self._delta({"role": "assistant", "content": ""}, None))
            async for text in self._pieces():
                if text:
                    yield self._chunk(self._delta({"content": text}, None))
            yield self._chunk(self._delta({}, self._reason) | self._own_ids(), **self._asked_ids())
            if self._body.stream_options is not None and self._body.stream_options.include_usage:
                yield _event({**self._head, "object": self._shape.piece, "choices": [], "usage": self._usage()})
            yield _DONE
        except Finetune30Error as error:
            self._here.telemetry.count_refused(error.code)
            yield _event(shape_of(error))
        finally:
            self._leave()

    def _delta(self, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": delta} if self._shape is CHAT else {"text": delta.get("content", "")}
        return {"index": 0, **said, "logprobs": None, "finish_reason": reason}

    def _chunk(self, choice: dict[str, Any], **further: Any) -> bytes:
        return _event({**self._head, "object": self._shape.piece, "choices": [choice], **further})

    def _own_ids(self) -> dict[str, list[int]]:
        return {"token_ids": list(self._ids)} if self._body.return_token_ids else {}

    def _asked_ids(self) -> dict[str, list[int]]:
        return {"prompt_token_ids": self._prompt} if self._body.return_token_ids else {}

    def _whole(self, text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        said: dict[str, Any] = {"message": message} if self._shape is CHAT else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": self._reason, **self._own_ids()}
        told = {**self._head, "object": self._shape.whole, "choices": [choice], "usage": self._usage()}
        return told | self._asked_ids()

    def _usage(self) -> dict[str, int]:
        asked = len(self._prompt)
        return {"prompt_tokens": asked, "completion_tokens": self._tokens, "total_tokens": asked + self._tokens}

    def _leave(self) -> None:
        self._talk.left = True
        version = self._loaded.version
        self._here.telemetry.count_tokens(version.model, version.number, self._tokens)


def _pass_on(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event], event: Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(events.put_nowait, event)


def _event(tree: dict[str, Any]) -> bytes:
    return b"data: " + dump_json(tree) + b"\n\n"
