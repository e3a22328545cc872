"""Files as answers: whole or in ranges, their errors in the one shape."""

from __future__ import annotations

import base64
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from finetune30.api.answers import Json

_REFUSED = {
    400: ("range_invalid", "the header Range cannot be read", "write it as bytes=0-1023"),
    416: ("range_not_satisfiable", "the range is outside of the file", "Content-Range tells the size of the file"),
}


class Download(FileResponse):
    """A file to save under its own name, never to be shown as a page."""

    def __init__(self, path: Path, sha256: str) -> None:
        digest = base64.b64encode(bytes.fromhex(sha256)).decode()
        headers = {"Repr-Digest": f"sha-256=:{digest}:", "Content-Security-Policy": "sandbox"}
        super().__init__(path, media_type="application/octet-stream", filename=path.name, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or what is wrong with the range."""
        refusal: Json | None = None

        async def send_shaped(message: Message) -> None:
            nonlocal refusal
            if message["type"] == "http.response.start" and message["status"] in _REFUSED:
                code, text, remedy = _REFUSED[message["status"]]
                refusal = Json({"error": code, "message": text, "remedy": remedy}, status_code=message["status"])
                place = MutableHeaders(raw=message["headers"]).get("content-range")
                if place is not None:
                    refusal.headers["Content-Range"] = place
            elif refusal is None:
                await send(message)

        await super().__call__(scope, receive, send_shaped)
        if refusal is not None:
            await refusal(scope, receive, send)
