"""Errors below /v1 in the shape that clients of OpenAI read: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from finetune30.api.answers import Json, answer_error
from finetune30.errors import Finetune30Error

_V1 = "/v1/"
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_Handler = Callable[[Request, Any], Awaitable[Response]]


def answer_by_path(error: Finetune30Error, path: str) -> Response:
    """Return the answer of a deliberate error to a request for a path."""
    answer = answer_error(error)
    if not path.startswith(_V1):
        return answer
    headers = {name: value for name, value in answer.headers.items() if name in ("www-authenticate", "retry-after")}
    return Json(shape_of(error), status_code=error.http_status, headers=headers)


def shape_of(error: Finetune30Error) -> dict[str, Any]:
    """Return the shape of a deliberate error."""
    message = f"{error.message} ({error.remedy})" if error.remedy else error.message
    return _shape(error.http_status, message, error.details.get("param"), error.code)


def add_openai_errors(app: FastAPI) -> None:
    """Let every error below /v1 answer in this shape, those of the framework included."""
    for kind in (Finetune30Error, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _by_path(app.exception_handlers[kind]))  # type: ignore[arg-type]


def _by_path(usual: _Handler) -> _Handler:
    async def handle(request: Request, error: Exception) -> Response:
        count = request.app.state.serving.telemetry.count_refused
        if isinstance(error, Finetune30Error):
            await usual(request, error)  # it is in the log
            count(error.code)
            return answer_by_path(error, request.url.path)
        if isinstance(error, RequestValidationError):
            count("request_invalid")  # as `answers` calls it
        if not request.url.path.startswith(_V1):
            return await usual(request, error)
        if isinstance(error, RequestValidationError):
            first = error.errors()[0]
            names = [str(part) for part in first["loc"][1:]]
            param = ".".join(names) or None
            return Json(_shape(400, f"{param or 'body'}: {first['msg']}", param, first["type"]), status_code=400)
        answer = await usual(request, error)
        said = str(error.detail) if isinstance(error, HTTPException) else "the server failed; see its log"
        return Json(_shape(answer.status_code, said, None, None), status_code=answer.status_code)

    return handle


def _shape(status: int, message: str, param: str | None, code: str | None) -> dict[str, Any]:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
