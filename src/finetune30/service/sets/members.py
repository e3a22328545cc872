"""A run that belongs to others, of a set or a search: handed in under a key of its own, never twice."""

from __future__ import annotations

from dataclasses import dataclass

from finetune30.config import ExperimentConfig
from finetune30.service.submitting.submission import Publisher, digest_request, submit
from finetune30.settings import Settings
from finetune30.store import Run, RunStore


@dataclass(frozen=True)
class Member:
    """What a run is made of; `key` is its idempotency key, `submitted_by` "" for a person at this machine.

    `pause_at` is no part of what is trained, but the share of the steps at which the run waits to be decided on.
    """

    config: ExperimentConfig
    explicit: frozenset[str]
    key: str
    submitted_by: str
    pause_at: float | None = None

    @property
    def request_sha256(self) -> str:
        """What tells two requests under one key apart."""
        return digest_request(self.config.as_tree())


def hand_in_member(
    store: RunStore, member: Member, settings: Settings, *, publisher: Publisher, priority: int = 0
) -> Run:
    """Queue the run, or return the one that was queued before. Raises what `submit` raises."""
    return submit(
        store,
        member.config,
        settings,
        publisher=publisher,
        explicit=member.explicit,
        priority=priority,
        idempotency_key=member.key,
        request_sha256=member.request_sha256,
        submitted_by=member.submitted_by or None,
        pause_at=member.pause_at,
    ).run
