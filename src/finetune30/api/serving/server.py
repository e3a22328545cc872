"""Serving models on a port of their own, from the first check through HTTP to the last answer."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable
from typing import Protocol

import uvicorn

from finetune30.api.host_names import is_wildcard
from finetune30.api.server import (
    build_server_config,
    describe_own_address,
    open_listener,
    require_keys_beyond_loopback,
    take_short_turns,
)
from finetune30.api.serving.application import build_serving_app
from finetune30.api.serving.context import Serving
from finetune30.errors import Finetune30Error
from finetune30.service.serving.announcing import Announcer
from finetune30.settings import Settings

#: What a stopping server gives answers in work beyond their own time.
_REST_SECONDS = 5.0
#: How long it still listens once it is told to stop: a check of /readyz each second sees it.
DRAIN_SECONDS = 2.0
_REMEDY = "stop what uses the port, or choose another: ft30 serve NAME --port 8101"


class Follows(Protocol):
    """Keeps what is served as the registry says."""

    failure: Finetune30Error | None

    def begin(self, failed: Callable[[], None]) -> None:
        """Start to follow; `failed` is called where a first version does not come to answer."""
        ...

    def stop(self, seconds: float) -> None:
        """Look no more; wait so long for what is under way."""
        ...


def serve_models(
    settings: Settings,
    serving: Serving,
    follow: Callable[[str, int, str], Follows],
    tell: Callable[[str], None],
    *,
    access_log: bool,
) -> None:
    """Serve until SIGINT or SIGTERM: then nothing more is taken, and what is in work is answered.

    `settings` hold host and port. `follow` makes what looks after the names, given where this server reaches itself
    (host, port) and the key that it made for that. Raises ConfigError for an address beyond this machine without keys,
    ServiceUnavailableError for a taken port, and why a first version does not answer.
    """
    require_keys_beyond_loopback(settings, serving.store)
    listener = open_listener(settings, remedy=_REMEDY)
    take_short_turns()
    own_key = secrets.token_urlsafe(32)
    app = build_serving_app(settings, serving, own_key)
    stop_seconds = serving.limits.deadline + _REST_SECONDS
    config = build_server_config(app, access_log=access_log, stop_seconds=stop_seconds)
    server = _Draining(config, serving)
    host = "127.0.0.1" if is_wildcard(settings.api_host) else settings.api_host
    announcer = Announcer(serving.store, serving.slots, describe_own_address(settings))
    follower = follow(host, listener.getsockname()[1], own_key)
    tell(f"models: {describe_own_address(settings)}; loading and checking, ready when /readyz says so")
    announcer.begin()
    follower.begin(server.give_up)
    with listener:
        server.run(sockets=[listener])
    announcer.stop()
    follower.stop(0.0 if server.force_exit else _REST_SECONDS)
    serving.close(wait=not server.force_exit)
    if follower.failure is not None:
        raise follower.failure


class _Draining(uvicorn.Server):
    """Once it is told to stop it answers 503 for a moment, /readyz too, so that callers are led elsewhere."""

    def __init__(self, config: uvicorn.Config, serving: Serving) -> None:
        super().__init__(config)
        self._serving = serving
        self._leave_at: float | None = None

    def handle_exit(self, sig: int, frame: object) -> None:
        """Take nothing more; a second Ctrl-C waits for nothing.

        uvicorn would raise the signal again at the end, and the process end by it; it has done what it was told.
        """
        self._serving.is_draining = True
        if self._leave_at is not None and sig == signal.SIGINT:
            self.force_exit = self.should_exit = True
        self._leave_at = self._leave_at or time.monotonic() + DRAIN_SECONDS

    async def on_tick(self, counter: int) -> bool:
        """Tell whether it is time to listen no more."""
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            self.should_exit = True
        return await super().on_tick(counter)

    def give_up(self) -> None:
        """Stop, from another thread."""
        self.should_exit = True
