"""The page as it is served: Streamlit's application behind a gate against other web pages.

Without keys the page may do everything, so no other web page may show it in a frame (and have it clicked), open its
socket or send it files: what a browser says to come from elsewhere (`Origin`) is refused, also from another port of
this machine, and so is a host name that is not the page's own. Streamlit itself lets any page of `localhost` in.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finetune30.ui.fragment_pages import keep_pages

#: Streamlit's components are frames of the page itself.
HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


class PageGate:
    """ASGI middleware; names and origins are those of Streamlit's options, which `ft30 ui` sets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request or a socket through, or refuse it with 403."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := find_refusal(headers.get("host"), headers.get("origin")):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": refusal})
            else:
                await PlainTextResponse(refusal + "\n", 403, HEADERS)(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_guarded)


def find_refusal(host: str | None, origin: str | None) -> str | None:
    """Return why a request with these headers is refused; None where it is the page's own, or no browser's."""
    names = st.get_option("server.allowedHosts") or ["*"]
    if "*" not in names and _name_of(host or "") not in {name.strip("[]").lower() for name in names}:
        return "this host name is not the page's; call it by the name that ft30 ui printed"
    if origin is None or origin in (st.get_option("server.corsAllowedOrigins") or ()):
        return None
    if host is not None and _host_of(origin) == host:
        return None
    return "another web page may not use this one; name its origin in FT30_ALLOWED_ORIGINS if it should"


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


keep_pages()
app = st.App(Path(__file__).with_name("app.py"), middleware=[Middleware(PageGate)])
