"""Bodies of requests: of which kind and how long they may be, refused so that the answer can still be read."""

from __future__ import annotations

from collections.abc import Callable

from anyio import move_on_after
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from finetune30.errors import Finetune30Error, MediaTypeError, TooLargeError, UsageError
from finetune30.settings import Settings

#: The routes that take a file as it is; every other body is JSON.
UPLOAD_PATHS = frozenset({"/datasets/files", "/datasets/questions"})
UPLOAD_TYPE = "application/octet-stream"
#: What is read of a refused body: most callers read no answer before they have sent everything, and a connection that
#: is closed on bytes nobody read is reset, with the answer that was on its way.
DRAINED_BYTES = 1 << 30
DRAIN_SECONDS = 20.0


async def limit_body(scope: Scope, receive: Receive, settings: Settings) -> Receive:
    """Return a `receive` that gives no more than the settings allow.

    Raises MediaTypeError and TooLargeError; the one that it returns raises TooLargeError too.
    """
    headers = Headers(scope=scope)
    is_upload = scope["path"] in UPLOAD_PATHS
    limit = settings.max_upload_bytes if is_upload else settings.max_body_bytes
    length = headers.get("content-length")
    has_body = "transfer-encoding" in headers or (length is not None and length != "0")
    try:
        _require_kind(scope, headers, has_body, UPLOAD_TYPE if is_upload else "application/json")
        if length is not None and (not length.isdecimal() or int(length[:20]) > limit):
            raise TooLargeError(
                f"a body of {length[:20]} bytes is beyond the limit of {limit}",
                "raise FT30_MAX_UPLOAD_BYTES" if is_upload else "send less at a time",
            )
    except Finetune30Error:
        if has_body and "expect" not in headers:  # who asks before sending reads the answer first
            await _drain(receive)
        raise
    if not has_body:
        return receive
    return _counted(receive, limit) if is_upload else await _read_ahead(receive, limit)


def _require_kind(scope: Scope, headers: Headers, has_body: bool, wanted: str) -> None:
    kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    if (has_body or kind) and scope["method"] not in ("GET", "HEAD") and kind != wanted:
        raise MediaTypeError(f"a body of type {kind[:100] or 'unknown'!r} is not read here", f"send {wanted}")


async def _read_ahead(receive: Receive, limit: int) -> Receive:
    """Read the whole body, which is short, so that the application never sees one beyond the limit."""
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise UsageError("the caller went away", "send the whole body")
        pieces.append(message.get("body", b""))
        size, more = size + len(pieces[-1]), message.get("more_body", False)
        if size > limit:
            if more:
                await _drain(receive)
            raise TooLargeError(f"the body is beyond the limit of {limit} bytes", "send less at a time")
    body: list[Message] = [{"type": "http.request", "body": b"".join(pieces), "more_body": False}]

    async def replay() -> Message:
        return body.pop() if body else await receive()

    return replay


def _counted(receive: Receive, limit: int) -> Receive:
    size = 0

    async def count() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            if message.get("more_body", False):
                await _drain(receive)
            raise TooLargeError(f"the file is beyond the limit of {limit} bytes", "raise FT30_MAX_UPLOAD_BYTES")
        return message

    return count


async def receive_file(request: Request, write: Callable[[bytes], None]) -> None:
    """Hand the body of a request to `write`, piece by piece. Raises UsageError when the caller goes away."""
    try:
        async for piece in request.stream():
            await run_in_threadpool(write, piece)
    except ClientDisconnect:
        raise UsageError("the caller went away in the middle of the file", "send it again") from None


async def _drain(receive: Receive) -> None:
    """Read and forget the rest of a body, within limits."""
    left, more = DRAINED_BYTES, True
    with move_on_after(DRAIN_SECONDS):
        while more and left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
