"""What the page asks the API about models by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]


def path_part(text: str) -> str:
    """One segment of a path, whatever a person typed: a slash, also an encoded one, would name another route."""
    return quote(text.strip().replace("/", "\N{DIVISION SLASH}"), safe="") or "-"


class ModelCalls(ABC):
    """The part of the client that knows models, their versions and aliases."""

    @abstractmethod
    def _json(self, method: str, path: str, **options: Any) -> Json:
        """Ask the API and return its JSON."""

    def find_models(self, text: str = "") -> list[Json]:
        """Return the models with a version in whose names all the words stand."""
        found: list[Json] = self._json("GET", "/models", params={"text": text} if text else {})["models"]
        return found

    def load_model(self, name: str) -> Json:
        """Return a model with its `versions`, the newest first, and `aliases`."""
        return self._json("GET", f"/models/{path_part(name)}")

    def load_model_events(self, name: str) -> list[Json]:
        """Return every change of a model, the oldest first."""
        events: list[Json] = self._json("GET", f"/models/{path_part(name)}/events")["events"]
        return events

    def load_model_servers(self, name: str) -> list[Json]:
        """Return the servers that answer with versions of a model."""
        found: list[Json] = self._json("GET", f"/models/{path_part(name)}/servers")["servers"]
        return found

    def load_card(self, name: str, number: int) -> str:
        """Return the card of a version as Markdown."""
        return str(self._json("GET", f"/models/{path_part(name)}/versions/{number}/card")["markdown"])

    def register_model(self, name: str, run: str) -> Json:
        """Make a version of a finished run; return it."""
        return self._json("POST", "/models", json={"name": name, "run": run})

    def preview_promotion(self, name: str, number: int, alias: str) -> Json:
        """Return where an alias leads (`alias`) and how a version compares with that (`paired`)."""
        path = f"/models/{path_part(name)}/aliases/{path_part(alias)}/preview"
        return self._json("GET", path, params={"version": number})

    def promote(self, name: str, number: int, alias: str, *, reason: str, seen: int) -> Json:
        """Let an alias lead to a version; `seen` is its generation as the person saw it."""
        path = f"/models/{path_part(name)}/aliases/{path_part(alias)}"
        return self._json("PUT", path, json={"version": number, "reason": reason}, headers={"If-Match": str(seen)})

    def roll_back(self, name: str, alias: str, *, reason: str, seen: int) -> Json:
        """Let an alias lead to the version before the present one."""
        path = f"/models/{path_part(name)}/aliases/{path_part(alias)}/rollback"
        return self._json("POST", path, json={"reason": reason}, headers={"If-Match": str(seen)})
