"""The gate before every route and mount: whoever is not let in here reaches nothing.

In this order: the host name that was called (a web page elsewhere may point a name of its own at this machine), the web
page that calls (browsers say so), the key, the role that the method needs, and kind and length of the body. What no
rule allows is refused. A change goes into the audit trail before it is made, with its outcome before its answer leaves;
one that is refused here goes into it once it is known whose it is, for whoever has no key must not fill the disk.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finetune30.api.answers import answer_error
from finetune30.api.context import Caller
from finetune30.api.host_names import is_loopback, is_wildcard
from finetune30.api.keys import KeyRing
from finetune30.api.request_bodies import UPLOAD_PATHS, limit_body
from finetune30.errors import (
    AccessError,
    AuthenticationError,
    Finetune30Error,
    HostError,
    StorageError,
    UsageError,
)
from finetune30.settings import Settings
from finetune30.store.access import Role, complete_audit, record_audit
from finetune30.store.model_names import PROTECTED

#: What anybody may ask who reaches the port: whether the API is there and can do its work. A server of models tells
#: the names and versions that it serves; the words of an error, which may name paths, only to whoever may read.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
#: Routes whose need differs from that of their method. Methods: reading needs viewer, POST submitter, all else admin.
#: None: whatever the role.
ROLES: dict[tuple[str, str], Role | None] = {
    ("GET", "/audit"): Role.ADMIN,
    ("GET", "/me"): None,
    ("GET", "/v1/models"): Role.CALLER,
    ("POST", "/config/validate"): Role.VIEWER,
    ("POST", "/config/estimate"): Role.VIEWER,
    ("POST", "/datasets/preview"): Role.VIEWER,
    ("POST", "/datasets/proposal"): Role.VIEWER,
    ("POST", "/datasets/tokens"): Role.VIEWER,
}
#: Submitters may delete and edit runs and delete searches (their own only: the route sees to that), and take tags from
#: versions.
_DELETABLE_BY_SUBMITTERS = re.compile(r"/experiments/.+|/searches/[^/]+|/datasets/[^/]+/tags/[^/]+")
_EDITABLE_BY_SUBMITTERS = re.compile(r"/experiments/[^/]+")
#: Changes nothing although it is a POST, so it leaves no trail.
_UNTRAILED = frozenset(
    {
        "/config/validate",
        "/config/estimate",
        "/datasets/preview",
        "/datasets/proposal",
        "/datasets/questions",
        "/datasets/tokens",
    }
)
_ASKS_A_MODEL = re.compile(r"/experiments/.+/(predict|chat)|/predict/[^/]+|/v1/(chat/)?completions")
_A_SERVED_MODEL = re.compile(r"/v1/models/[^/]+")
_MOVES_AN_ALIAS = re.compile(r"/models/[^/]+/aliases/([^/]+)(?:/rollback)?")
_RETIRES = re.compile(r"/models/[^/]+/versions/[^/]+/retire")
#: Changes that read data first: they have a queue of their own (`context.read_in_turn`).
_READING_PATHS = UPLOAD_PATHS | {"/datasets"}
#: Changes that are carried out at the same time; further ones wait without a thread. Fewer than `context.THREADS`.
CHANGES_AT_A_TIME = 12
#: Outcome of a change that is being made, as HTTP names it; it stays when the API dies before it answers.
PROCESSING = 102
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]

_log = logging.getLogger(__name__)


class Gate:
    """ASGI middleware; `keys` is called when the first request comes, after the application has started.

    `answer` gives the answer of an error to a request for a path.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keys: Callable[[], KeyRing],
        store: Callable[[], Any],
        answer: Callable[[Finetune30Error, str], Response] = lambda error, _: answer_error(error),
    ) -> None:
        self._answer = answer
        self._app, self._settings, self._keys, self._store = app, settings, keys, store
        self._hosts = allowed_hosts(settings)
        self._changes = asyncio.Semaphore(CHANGES_AT_A_TIME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        send = _with_security_headers(send)
        try:
            caller = await self._identify(scope)
            scope.setdefault("state", {})["caller"] = caller
            receive = await self._admit(scope, caller, receive)
        except Finetune30Error as error:
            await self._answer(error, scope["path"])(scope, receive, send)
            return
        async with self._turn(scope):
            if not _only_asks(scope):
                try:
                    send = await self._begin_trail(scope, caller, send)
                except StorageError as error:  # no change without its entry
                    await answer_error(error)(scope, receive, send)
                    return
            await self._app(scope, receive, send)

    async def _identify(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        _require_readable_address(scope)
        self._require_host(headers)
        self._require_page(scope, headers)
        if scope["path"] in PUBLIC_PATHS and scope["method"] in ("GET", "HEAD"):
            return Caller("", Role.VIEWER)  # also while the database that holds the keys is out of reach
        keys = self._keys()
        if (own := keys.find_own(read_secret(headers))) is not None:
            return own
        if keys.is_stale():
            await run_in_threadpool(keys.refresh)
        if not keys.in_use:
            return _local_caller(scope)
        return keys.find(read_secret(headers))

    async def _admit(self, scope: Scope, caller: Caller, receive: Receive) -> Receive:
        """Return the body of a request that its caller may make; a change that is refused is entered."""
        try:
            _require_role(scope, caller)
            return await limit_body(scope, receive, self._settings)
        except Finetune30Error as error:
            if not _only_asks(scope):
                try:
                    await self._enter(scope, caller, error.http_status)
                except StorageError as lost:  # nothing was changed: the refusal is answered all the same
                    _log.warning("a refused change is not in the audit trail: %s", lost.message)
            raise

    def _require_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        name = _host_name(given[0]) if len(given) == 1 else None
        if name is None or name not in self._hosts:
            raise HostError(
                f"the API is not served as {', '.join(given)[:200] or 'nothing'!r}",
                "call it as localhost, or name the host in FT30_ALLOWED_HOSTS",
            )

    def _require_page(self, scope: Scope, headers: Headers) -> None:
        """Refuse what a web page of another origin sends; programs that are no browsers send neither header."""
        origin = headers.get("origin")
        if origin is not None:
            own = urlsplit(origin).netloc == headers["host"] and urlsplit(origin).scheme == scope["scheme"]
            if not own and origin not in self._settings.allowed_origins:
                raise HostError(
                    f"web pages of {origin[:200]!r} may not call the API",
                    "name the origin in FT30_ALLOWED_ORIGINS if they should",
                )
            return
        site = headers.get("sec-fetch-site", "none")
        opened = headers.get("sec-fetch-mode") == "navigate" and scope["method"] in ("GET", "HEAD")
        if site not in ("none", "same-origin") and not opened:
            raise HostError("a web page elsewhere may not call the API", "open the address itself")

    def _turn(self, scope: Scope) -> AbstractAsyncContextManager[object]:
        """Let a few changes go on at a time: those that wait for the disk must not take every thread from readers."""
        short_change = not _only_asks(scope) and scope["path"] not in _READING_PATHS
        return self._changes if short_change else nullcontext()

    async def _begin_trail(self, scope: Scope, caller: Caller, send: Send) -> Send:
        """Enter the change that is about to be made; return a `send` that enters its outcome before the answer."""
        number = await self._enter(scope, caller, PROCESSING)

        async def send_after_outcome(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome = {"action": _action(scope), "target": _target(scope), "outcome": message["status"]}
                try:
                    await run_in_threadpool(complete_audit, self._store(), number, **outcome)
                except StorageError as error:  # the change is made and entered; only its outcome is not
                    _log.warning("audit entry %d keeps the outcome %d: %s", number, PROCESSING, error.message)
            await send(message)

        return send_after_outcome

    async def _enter(self, scope: Scope, caller: Caller, outcome: int) -> int:
        """Enter a change into the audit trail; return the number of the entry. Raises StorageError."""
        client = scope.get("client")
        return await run_in_threadpool(
            record_audit,
            self._store(),
            actor=caller.label,
            role=str(caller.role),
            action=_action(scope),
            target=_target(scope),
            outcome=outcome,
            client=client[0] if client else "",
        )


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Return the host names, without ports (which a setting may have), by which the API may be called."""
    own = settings.api_host
    named = () if is_wildcard(own) else (own,)
    given = (_host_name(_bracketed(name)) for name in (*LOOPBACK_NAMES, *named, *settings.allowed_hosts))
    return frozenset(name for name in given if name is not None)


def _bracketed(host: str) -> str:
    """Return a host as a Host header names it: an address of IPv6 in brackets."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def needed_role(method: str, path: str) -> Role | None:
    """Return the least role for a request, None where any key will do: what is not known as harmless needs admin."""
    if (method, path) in ROLES:
        return ROLES[method, path]
    if method == "GET" and _A_SERVED_MODEL.fullmatch(path):
        return Role.CALLER
    if method == "POST" and _ASKS_A_MODEL.fullmatch(path):
        return Role.CALLER
    if (moved := _MOVES_AN_ALIAS.fullmatch(path)) and method in ("PUT", "POST"):
        return Role.PROMOTER if moved[1] in PROTECTED else Role.SUBMITTER
    if method == "POST" and _RETIRES.fullmatch(path):
        return Role.PROMOTER
    if method in ("GET", "HEAD", "OPTIONS"):
        return Role.ADMIN if path == "/audit" or path.startswith("/audit/") else Role.VIEWER
    changeable = {"DELETE": _DELETABLE_BY_SUBMITTERS, "PATCH": _EDITABLE_BY_SUBMITTERS}.get(method)
    if method == "POST" or (changeable is not None and changeable.fullmatch(path) is not None):
        return Role.SUBMITTER
    return Role.ADMIN


def _require_role(scope: Scope, caller: Caller) -> None:
    needed = needed_role(scope["method"], scope["path"])
    if needed is not None and not caller.role.includes(needed):
        raise AccessError(
            f"{scope['method']} {scope['path'][:200]} needs the role {needed}, this key has {caller.role}",
            f"ask an admin for a key: ft30 keys create NAME --role {needed}",
        )


def _only_asks(scope: Scope) -> bool:
    """Tell whether a request changes nothing, by its method or as a POST that only asks."""
    path: str = scope["path"]
    asking_post = path in _UNTRAILED or _ASKS_A_MODEL.fullmatch(path) is not None
    return scope["method"] in ("GET", "HEAD", "OPTIONS") or asking_post


def _local_caller(scope: Scope) -> Caller:
    client = scope.get("client")
    if client is not None and not is_loopback(client[0]):
        raise AuthenticationError(
            "no keys are in use here, so only this machine may call", "make a key with: ft30 keys create NAME"
        )
    return Caller("", Role.ADMIN)


def read_secret(headers: Headers) -> str | None:
    """Return the key that a request shows."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key")


def _host_name(host: str) -> str | None:
    """Return the name of a Host header without its port; None when it is no plain name."""
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if colon and not port.isdecimal():
        return None
    name = name if colon else host
    return name.lower() if name and not set(name) & set("/@?# \t") else None


def _require_readable_address(scope: Scope) -> None:
    for part in (scope.get("raw_path") or scope["path"].encode(), scope["query_string"]):
        decoded = unquote_to_bytes(part.replace(b"+", b" "))
        if b"\x00" in decoded:
            raise UsageError("the address holds a NUL character", "leave it out")
        try:
            decoded.decode()
        except UnicodeDecodeError:
            raise UsageError("the address is no UTF-8 text", "encode it as UTF-8 before percent-encoding") from None


def _with_security_headers(send: Send) -> Send:
    async def send_secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", [])}
            added = [header for header in _SECURITY_HEADERS if header[0] not in present]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_secured


def _target(scope: Scope) -> str:
    return str(scope["state"].get("target", scope["path"]))[:400]


def _action(scope: Scope) -> str:
    route = scope.get("route")
    return f"{scope['method']} {getattr(route, 'path', scope['path'])}"[:100]
