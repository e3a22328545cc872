"""Which requests any process of the API answers; all that is not known to be so goes to the first one."""

from __future__ import annotations

from fastapi.routing import APIRoute

from finetune30.api.application import ROUTES
from finetune30.api.shared_requests import is_answered_anywhere

ANYWHERE = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/status"),
    ("GET", "/version"),
    ("GET", "/me"),
    ("GET", "/metrics"),
    ("GET", "/experiments"),
    ("GET", "/experiments/compare"),
    ("GET", "/experiments/stats"),
    ("GET", "/experiments/{experiment_id}"),
    ("GET", "/experiments/{experiment_id}/history"),
    ("GET", "/experiments/{experiment_id}/logs"),
    ("GET", "/experiments/{experiment_id}/config"),
    ("GET", "/experiments/{experiment_id}/report"),
    ("GET", "/task/{task_id}"),
    ("GET", "/config/schema"),
    ("GET", "/config/default"),
    ("GET", "/config/presets"),
    ("GET", "/config/presets/{name}"),
    ("POST", "/train"),
    ("POST", "/config/validate"),
    ("POST", "/config/estimate"),
}


def test_of_all_routes_these_are_answered_by_any_process() -> None:
    routes = [route for part in ROUTES for route in part.router.routes if isinstance(route, APIRoute)]
    known = {(method, route.path) for route in routes for method in route.methods or ()}
    assert len(known) > 2 * len(ANYWHERE)
    for query in ("", "?", "?limit=5&name=a+b"):
        found = {(method, path) for method, path in known if is_answered_anywhere(_line(method, path + query))}
        assert found == ANYWHERE


def test_what_is_no_plain_line_of_a_request_belongs_to_the_first_process() -> None:
    assert is_answered_anywhere(b"GET /version HTTP/1.0")
    for line in (
        b"",
        b"\r",
        b"GET /version",
        b"GET  /version HTTP/1.1\r",
        b"GET http://localhost/version HTTP/1.1\r",
        b"GET /version/ HTTP/1.1\r",
        b"GET /experiments/a/b/logs HTTP/1.1\r",
        b"PRI * HTTP/2.0\r",
        b"\x16\x03\x01\x00\xff",
    ):
        assert not is_answered_anywhere(line)


def _line(method: str, target: str) -> bytes:
    return f"{method} {target} HTTP/1.1\r".encode()
