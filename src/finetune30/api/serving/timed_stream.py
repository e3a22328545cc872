"""Answers that are sent while they are made, to whoever reads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Message, Send

#: The longest that a caller may leave what it was sent unread; the model, and its memory, are held as long.
STALLED_SECONDS = 60.0

_log = logging.getLogger(__name__)


class TimedStream(StreamingResponse):
    """Ends, with its connection, once its caller reads no more."""

    def __init__(self, pieces: AsyncGenerator[bytes], headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(pieces, headers=headers, media_type=media_type)
        self._pieces = pieces

    async def stream_response(self, send: Send) -> None:
        """Send piece by piece; the server closes a connection on which an answer has no end."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            _log.warning("a stream was ended: nothing of it was read for %g seconds", STALLED_SECONDS)
        finally:
            await self._pieces.aclose()  # or the model is held until Python comes by
