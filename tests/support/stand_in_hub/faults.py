"""What can go wrong between a client and the hub. A test hands one of these to `StandInHub.fail`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Guest network</title></head><body><h1>Please log in</h1></body></html>"
LOGIN_PATH = "/guest-network/login"


@dataclass(frozen=True)
class Fault:
    """Base of all faults."""

    #: Only answers that carry content (GET with a body that would have been right) can have this fault.
    needs_content = False


@dataclass(frozen=True)
class Refusal(Fault):
    """An answer with an error status, as the hub words it; see the functions below for the usual ones."""

    status: int
    message: str = ""
    #: X-Error-Code, by which clients tell what is missing.
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AnsweredOtherwise(Fault):
    """What was asked is done, and the answer is an error: a proxy on the way gave up before it came, or asked twice."""

    status: int


@dataclass(frozen=True)
class Delay(Fault):
    """The right answer, so many seconds later."""

    seconds: float


@dataclass(frozen=True)
class Trickle(Fault):
    """The right content, a few bytes at a time."""

    part_bytes: int = 16
    pause_seconds: float = 0.1
    needs_content = True


@dataclass(frozen=True)
class HangUp(Fault):
    """The connection closes without an answer."""


@dataclass(frozen=True)
class CutBody(Fault):
    """The connection closes in the middle of the content, after so many bytes or this share of it."""

    after_bytes: int | None = None
    share: float = 0.5
    needs_content = True

    def length(self, whole: int) -> int:
        """Return how many bytes still come."""
        return min(whole, int(whole * self.share) if self.after_bytes is None else self.after_bytes)


@dataclass(frozen=True)
class WrongLength(Fault):
    """Content-Length says so many bytes too many (the content then ends too early) or, negative, too few."""

    by: int
    needs_content = True


@dataclass(frozen=True)
class WrongContent(Fault):
    """Other bytes of the right length, under the right hash."""

    needs_content = True


@dataclass(frozen=True)
class Compressed(Fault):
    """No fault of the hub: it sends text compressed and in chunks, so that no header tells how much will come."""

    needs_content = True


@dataclass(frozen=True)
class CaptivePage(Fault):
    """The login page of a guest network in place of every answer, at once or behind a redirect."""

    redirects: bool = False


def unauthorized() -> Refusal:
    """A token that the hub does not know."""
    return Refusal(401, "Invalid credentials in Authorization header")


def forbidden() -> Refusal:
    return Refusal(403, "Forbidden: pass a token with the right permissions")


def repository_missing() -> Refusal:
    return Refusal(404, "Repository not found", "RepoNotFound")


def revision_missing(revision: str = "main") -> Refusal:
    return Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_missing() -> Refusal:
    return Refusal(404, "Entry not found", "EntryNotFound")


def too_many_requests(seconds: int = 1, *, hub_headers: bool = True, retry_after: bool = True) -> Refusal:
    """429, with the hub's own rate limit headers, with Retry-After, with both or with neither."""
    headers = {}
    if retry_after:
        headers["Retry-After"] = str(seconds)
    if hub_headers:
        headers["RateLimit"] = f'"api";r=0;t={seconds}'
        headers["RateLimit-Policy"] = '"fixed window";"api";q=500;w=300'
    return Refusal(429, "We had to rate limit you", headers=headers)


def server_error(status: int = 500) -> Refusal:
    """500, 502, 503 or 504."""
    return Refusal(status, {500: "Internal Error", 502: "Bad Gateway", 503: "Service Unavailable"}.get(status, ""))
