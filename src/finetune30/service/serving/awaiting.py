"""Waiting until every server of an alias answers with the version that it was moved to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune30.errors import ServiceUnavailableError
from finetune30.store import RunStore
from finetune30.store.model_records import Alias, ModelVersion
from finetune30.store.servers import Server, find_servers

LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Followed:
    """The servers that answer with the version, and those that were not heard of lately, which were not waited for."""

    servers: Sequence[Server]
    silent: Sequence[Server]


def wait_for_servers(
    store: RunStore, alias: Alias, seconds: float, pause: Callable[[float], None] = time.sleep
) -> Followed:
    """Wait until every server of an alias follows its move, or a later one; servers that begin meanwhile too.

    Raises ServiceUnavailableError, naming the servers that do not, after `seconds`, and as soon as all that are missing
    have refused for good what the alias leads to. The move stands all the same.
    """
    name, until = f"{alias.model}@{alias.alias}", time.monotonic() + seconds
    while True:
        known = [one for one in find_servers(store, alias.model) if one.find(name) is not None]
        silent = [one for one in known if one.is_silent]
        missing = [one for one in known if not one.is_silent and not _follows(one.find(name), alias)]
        if not missing:
            return Followed([one for one in known if not one.is_silent], silent)
        if time.monotonic() >= until or all(_has_refused(one.find(name), alias) for one in missing):
            raise _not_everywhere(missing, len(known) - len(silent), name, alias)
        pause(LOOK_SECONDS)


def describe_serving(store: RunStore, version: ModelVersion) -> str:
    """Return the end of a version's card: which servers answer with it now; nothing where none does."""
    lines = [
        f"* `{told['name']}` at {one.address} on {one.host}{_say_silence(one)}"
        for one in find_servers(store, version.model)
        for told in one.names
        if (told.get("model"), told.get("version")) == (version.model, version.number)
    ]
    return "\n".join(("", "## Served at this moment", "", *lines, "")) if lines else ""


def _say_silence(server: Server) -> str:
    return f", silent since {server.seen_at:%Y-%m-%d %H:%M:%S} UTC: it may be gone" if server.is_silent else ""


def _follows(told: dict[str, Any] | None, alias: Alias) -> bool:
    return told is not None and (told.get("generation") or 0) >= alias.generation


def _has_refused(told: dict[str, Any] | None, alias: Alias) -> bool:
    """Tell whether a server has refused for good what this move, or a later one, leads to; it may have refused the same
    version before, and tries it again when the alias leads there again."""
    refused = (told or {}).get("refused")
    return refused is not None and (refused.get("generation") or 0) >= alias.generation and not refused["tried_again"]


def _not_everywhere(missing: Sequence[Server], count: int, name: str, alias: Alias) -> ServiceUnavailableError:
    said = "; ".join(f"{one.address} (process {one.pid} on {one.host}) {one.describe_name(name)}" for one in missing)
    return ServiceUnavailableError(
        f"{name} leads to {alias.model}:{alias.number}, but {len(missing)} of {count} servers do not answer with it: "
        f"{said}",
        f"see them: ft30 models servers {alias.model}; or go back: ft30 models rollback {alias.model} {alias.alias} "
        "--reason TEXT",
    )
