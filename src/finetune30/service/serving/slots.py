"""The names under which a server answers, and the version that each leads to at this moment."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from finetune30.errors import NotFoundError, ServiceUnavailableError
from finetune30.service.serving.asked import TalkingModel, TextModel
from finetune30.store.model_names import ModelReference
from finetune30.store.model_records import ModelVersion


@dataclass(frozen=True, eq=False)
class Loaded:
    """A version in memory: `texts` of a model with a head, else `talks`. Whoever holds it may ask it to the end."""

    version: ModelVersion
    generation: int | None
    path: str
    texts: TextModel | None = None
    talks: TalkingModel | None = None

    def describe(self) -> dict[str, Any]:
        """Return what every answer names."""
        version = self.version
        return {"model": version.model, "version": version.number, "adapter_sha256": version.adapter_sha256}


@dataclass(eq=False)
class Slot:
    """A name: what it leads to by the registry (`reference`), what answers (`live`), what is being checked.

    `refused`: the version of which a check failed, and why; it is not tried again before the alias moves.
    """

    reference: ModelReference
    live: Loaded | None = None
    candidate: Loaded | None = None
    refused: tuple[int, str] | None = None

    @property
    def state(self) -> str:
        """STARTING, READY, SWAPPING (a version is checked beside the one that answers) or SWAP_REFUSED."""
        if self.live is None:
            return "STARTING"
        if self.candidate is not None:
            return "SWAPPING"
        return "READY" if self.refused is None else "SWAP_REFUSED"

    def describe(self) -> dict[str, Any]:
        """Return what /readyz says."""
        live = self.live
        told: dict[str, Any] = {"name": str(self.reference), "state": self.state}
        if live is not None:
            told |= {**live.describe(), "generation": live.generation, "path": live.path}
        if self.refused is not None:
            told |= {"refused": {"version": self.refused[0], "why": self.refused[1]}}
        return told


@dataclass(eq=False)
class Slots:
    """All names of a server; safe to use from several threads."""

    slots: tuple[Slot, ...]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, name: str, *, checks: bool = False) -> Loaded:
        """Return what answers to NAME, NAME@alias or NAME:7; `checks`: what is being checked, where there is any.

        Raises NotFoundError, ServiceUnavailableError for a name whose first version is not checked yet.
        """
        slot = self._slot(name)
        with self._lock:
            found = (slot.candidate if checks else None) or slot.live
        if found is None:
            raise ServiceUnavailableError(f"'{name}' is being loaded and checked", "ask again once /readyz says so")
        return found

    def offer(self, slot: Slot, loaded: Loaded) -> None:
        """Let checks ask a version."""
        with self._lock:
            slot.candidate = loaded

    def settle(self, slot: Slot, refused: str | None) -> None:
        """Let the version that was checked answer, or (with the reason) leave it out."""
        with self._lock:
            checked, slot.candidate = slot.candidate, None
            if refused is None:
                slot.live, slot.refused = checked, None
            elif checked is not None:
                slot.refused = (checked.version.number, refused)

    @property
    def is_ready(self) -> bool:
        """Whether every name has a version that answers."""
        return all(slot.live is not None for slot in self.slots)

    def _slot(self, name: str) -> Slot:
        named = [slot for slot in self.slots if name in (str(slot.reference), slot.reference.model)]
        exact = [slot for slot in named if str(slot.reference) == name]
        if not named or (len(named) > 1 and not exact):
            known = ", ".join(str(slot.reference) for slot in self.slots)
            raise NotFoundError(f"no model {name[:80]!r} is served here; there are: {known}", "name one of these")
        return (exact or named)[0]
