"""Answers: JSON, and the one shape of every error, also of those that the framework finds."""

from __future__ import annotations

import json
import logging
import math
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from finetune30.errors import Finetune30Error

_log = logging.getLogger(__name__)

_FRAMEWORK = {
    404: ("not_found", "there is no {method} {path}", "see every route at /openapi.json"),
    405: ("method_not_allowed", "{path} cannot be asked with {method}", "see every route at /openapi.json"),
}


class Json(JSONResponse):
    """JSON in UTF-8, keys in the order in which they were built; numbers that are none become null."""

    def render(self, content: Any) -> bytes:
        """Return the bytes of the body; what are bytes already, as `dump_json` gave them, stays as it is."""
        return content if isinstance(content, bytes) else dump_json(content)


def dump_json(content: Any) -> bytes:
    """Return a tree as the bytes of an answer."""
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_without_nan(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def answer_error(error: Finetune30Error) -> Response:
    """Return the answer of a deliberate error."""
    headers = {"WWW-Authenticate": 'Bearer realm="finetune30"'} if error.http_status == 401 else {}
    if error.http_status in (429, 503):
        headers["Retry-After"] = "10"
    return Json(error.as_dict(), status_code=error.http_status, headers=headers)


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of the application, the framework included, answer in the one shape."""
    app.add_exception_handler(Finetune30Error, _on_deliberate)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_framework_error)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_deliberate(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Finetune30Error)  # noqa: S101 - registered for this class
    if error.http_status >= 500:
        _log.error("%s: %s", error.code, error.message)
    return answer_error(error)


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    faults = [_describe_fault(detail) for detail in error.errors()]
    lines = [f"{fault['key']}: {fault['problem']}" for fault in faults]
    message = lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} faults in the request", *lines])
    shape = {"error": "request_invalid", "message": message, "remedy": "see the route in /openapi.json"}
    return Json({**shape, "details": {"faults": faults}}, status_code=422)


async def _on_framework_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    status = error.status_code
    code, message, remedy = _FRAMEWORK.get(
        status, (HTTPStatus(status).phrase.lower().replace(" ", "_"), str(error.detail), "see /openapi.json")
    )
    words = {"method": request.method, "path": request.url.path[:200]}
    shape = {"error": code, "message": message.format(**words) if status in _FRAMEWORK else message, "remedy": remedy}
    return Json(shape, status_code=status, headers=dict(error.headers or {}))


async def _on_unexpected(request: Request, error: Exception) -> Response:
    _log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    shape = {
        "error": "internal_error",
        "message": f"{request.method} {request.url.path[:200]} failed unexpectedly ({type(error).__name__})",
        "remedy": "look into the log of the API, and report what it says",
    }
    return Json(shape, status_code=500)


def _describe_fault(detail: dict[str, Any]) -> dict[str, Any]:
    place = [str(part) for part in detail["loc"]]
    where, rest = place[0], ".".join(place[1:])
    if detail["type"] == "json_invalid":
        return {"key": "body", "problem": f"is no JSON ({detail['ctx']['error']})", "source": "request", "hint": ""}
    problem = detail["msg"].removeprefix("Value error, ")
    return {"key": rest or where, "problem": problem, "source": where, "hint": ""}


def _without_nan(tree: Any) -> Any:
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    if isinstance(tree, dict):
        return {key: _without_nan(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_nan(value) for value in tree]
    return tree
