"""The names under which a server answers, and the version that each leads to at this moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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

    @property
    def headers(self) -> dict[str, str]:
        """What every answer says in its headers: the version, and by which move of the alias it came to answer."""
        moved = {} if self.generation is None else {"X-Alias-Generation": str(self.generation)}
        return {"X-Model-Version": self.version.name, **moved}


@dataclass(frozen=True)
class Refused:
    """A version that does not answer, and why.

    `generation` is the alias' of then. `again` is when it is tried again (seconds of the monotonic clock), None: not
    before the alias moves.
    """

    number: int
    generation: int | None
    why: str
    again: float | None


@dataclass(eq=False)
class Slot:
    """A name: what it leads to by the registry (`reference`), what answers (`live`), what is being checked.

    `words` are how it was named by whoever started the server, beside the reference itself.
    """

    reference: ModelReference
    words: tuple[str, ...] = ()
    live: Loaded | None = None
    candidate: Loaded | None = None
    refused: Refused | None = None

    @property
    def names(self) -> frozenset[str]:
        """What leads here whatever else is served."""
        return frozenset({str(self.reference), *self.words})

    @property
    def state(self) -> str:
        """STARTING, READY, SWAPPING (a version is checked beside the one that answers) or SWAP_REFUSED."""
        if self.live is None:
            return "STARTING"
        if self.candidate is not None:
            return "SWAPPING"
        return "READY" if self.refused is None else "SWAP_REFUSED"

    def describe(self, *, why: bool) -> dict[str, Any]:
        """Return what /readyz says; `why` with the words of an error, which may name paths."""
        live, refused = self.live, self.refused
        told: dict[str, Any] = {"name": str(self.reference), "state": self.state}
        if live is not None:
            told |= {**live.describe(), "generation": live.generation, "path": live.path}
        if refused is not None:
            again = refused.again is not None
            told["refused"] = {"version": refused.number, "generation": refused.generation, "tried_again": again}
            told["refused"] |= {"why": refused.why} if why else {}
        return told


@dataclass(eq=False)
class Slots:
    """All names of a server; safe to use from several threads."""

    slots: tuple[Slot, ...]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def named(cls, words: Sequence[str], parse: Callable[[str], ModelReference]) -> Slots:
        """Return a slot for every reference among words; two words for the same one are names of one slot."""
        found: dict[ModelReference, list[str]] = {}
        for word in words:
            found.setdefault(parse(word), []).append(word)
        return cls(tuple(Slot(reference, tuple(given)) for reference, given in found.items()))

    def find(self, name: str, *, checks: bool = False) -> Loaded:
        """Return what answers to NAME, NAME@alias or NAME:7; `checks`: what is being checked, where there is any.

        Raises NotFoundError, ServiceUnavailableError for a name whose first version is not checked yet.
        """
        slot = self.find_slot(name)
        with self._lock:
            found = (slot.candidate if checks else None) or slot.live
        if found is None:
            raise ServiceUnavailableError(f"'{name}' is being loaded and checked", "ask again once /readyz says so")
        return found

    def find_slot(self, name: str) -> Slot:
        """Return the slot of a name: one of its `names`, or its model's where no other slot has that model.

        Raises NotFoundError.
        """
        exact = [slot for slot in self.slots if name in slot.names]
        of_model = [slot for slot in self.slots if name == slot.reference.model]
        if not exact and len(of_model) != 1:
            known = ", ".join(str(slot.reference) for slot in self.slots)
            raise NotFoundError(f"no model {name[:80]!r} is served here; there are: {known}", "name one of these")
        return (exact or of_model)[0]

    def offer(self, slot: Slot, loaded: Loaded) -> None:
        """Let checks ask a version."""
        with self._lock:
            slot.candidate = loaded

    def accept(self, slot: Slot) -> None:
        """Let the version that was checked answer."""
        with self._lock:
            slot.live, slot.candidate, slot.refused = slot.candidate, None, None

    def refuse(self, slot: Slot, refused: Refused) -> None:
        """Leave a version out, whether it could be loaded or not."""
        with self._lock:
            slot.candidate, slot.refused = None, refused

    def keep(self, slot: Slot, generation: int | None) -> None:
        """Let what answers go on, to which the alias leads again."""
        with self._lock:
            if slot.live is not None and (slot.refused is not None or slot.live.generation != generation):
                slot.live, slot.refused = replace(slot.live, generation=generation), None

    @property
    def is_ready(self) -> bool:
        """Whether every name has a version that answers."""
        return all(slot.live is not None for slot in self.slots)
