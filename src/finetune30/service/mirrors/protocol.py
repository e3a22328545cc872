"""What a tracker is told, and what it has to do.

Everything that a tracker is told may come twice, since whoever tells it may be killed before noting that it did. Each
of its actions therefore leaves the same behind when it is done again with the same `remote`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from finetune30.store import RunStatus

#: By which a tracker knows a run: a JSON tree of its own making.
Remote = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """The search or set that a run belongs to."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True)
class RunFacts:
    """What a tracker is told of a run beside its points.

    `parameters` are the dotted keys of its configuration, `tags` provenance (digests, versions, where it lies), all as
    text. `folder` is its folder's name, `ended_at` None while it goes on.
    """

    id: str
    name: str
    folder: str
    status: RunStatus
    note: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    group: Group | None
    began_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Point:
    """Numbers of one moment: `kind` train, eval or final; `at` in seconds since 1970 (UTC)."""

    kind: str
    step: int
    at: float
    values: Mapping[str, float]


class Tracker(Protocol):
    """A tracker at one place. Raises ServiceUnavailableError when it is out of reach or does not answer in time,
    TrackerError when it refuses what it is told. Nothing takes longer than its time limit for each request."""

    @property
    def name(self) -> str:
        """The mirror's name."""
        ...

    @property
    def target(self) -> str:
        """The place, without anything secret: another place knows nothing of what was told here."""
        ...

    def open(self, facts: RunFacts, generation: int) -> Remote:
        """Find the run as it was begun in this generation, else begin it with parameters and tags."""
        ...

    def send(self, remote: Remote, points: Sequence[Point]) -> Remote:
        """Add points; return the remote as it is then."""
        ...

    def tell(self, remote: Remote, facts: RunFacts) -> Remote:
        """Tell name, state and tags as they are now; return the remote as it is then."""
        ...

    def discard(self, remote: Remote) -> None:
        """Remove the run there, because another generation of it begins. One that is gone already is no fault."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...
