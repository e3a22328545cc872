"""What a request asks the hub for, taken from its address and headers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.message import Message
from typing import Literal, cast
from urllib.parse import parse_qs, unquote, urlsplit

from support.stand_in_hub.repositories import Kind

Action = Literal[
    "info", "refs", "tree", "paths-info", "discussions", "resolve", "cdn", "whoami",
    "create", "validate", "preupload", "lfs-batch", "upload", "verify", "commit", "other",
]  # fmt: skip
_API_ACTIONS: Mapping[str, Action] = {
    "revision": "info",
    "refs": "refs",
    "tree": "tree",
    "paths-info": "paths-info",
    "discussions": "discussions",
    "preupload": "preupload",
    "commit": "commit",
}
#: Whole addresses, and ends of addresses below a repository's name.
_PLACES: Mapping[str, Action] = {
    "api/whoami-v2": "whoami",
    "api/repos/create": "create",
    "api/validate-yaml": "validate",
}
_LFS_ENDS: Mapping[str, Action] = {".git/info/lfs/objects/batch": "lfs-batch", ".git/info/lfs/verify": "verify"}
#: Revisions that hold slashes of their own, also where nobody quoted them.
_SLASHED_REVISION = re.compile(r"refs/(pr/\d+|convert/\w+)(?=/|$)")


@dataclass(frozen=True)
class Ask:
    """What a request asks for."""

    method: str
    #: As it came, quoted and with the query.
    path: str
    action: Action = "other"
    kind: Kind | None = None
    repo: str = ""
    revision: str = ""
    #: Path of a file or folder in the repository.
    file: str = ""
    query: Mapping[str, list[str]] = field(default_factory=dict)
    range: str | None = None
    token: str | None = None
    body: bytes = b""

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[-1].lower() in ("true", "1")


def parse_request(method: str, path: str, headers: Message, body: bytes = b"") -> Ask:
    """Take a request apart; what is no address of the hub has the action "other"."""
    address = urlsplit(path)
    authorization = headers.get("Authorization") or ""
    ask = Ask(
        method, path, query=parse_qs(address.query), range=headers.get("Range"), body=body,
        token=authorization.removeprefix("Bearer ") or None,
    )  # fmt: skip
    parts = address.path.strip("/").split("/")
    if known := _PLACES.get("/".join(parts)):
        return replace(ask, action=known)
    if method == "PUT" and parts[0] == "upload":
        return replace(ask, action="upload", file=parts[1])
    for end, action in _LFS_ENDS.items():
        if address.path.endswith(end):
            return replace(ask, action=action, kind="models", repo=unquote(address.path.strip("/").removesuffix(end)))
    if parts[0] == "api":
        return _parse_api(ask, parts[1:])
    if parts[0] == "cdn":
        kind, owner, name, revision, *file = map(unquote, parts[1:])
        return replace(
            ask, action="cdn", kind=cast(Kind, kind), repo=f"{owner}/{name}", revision=revision, file="/".join(file)
        )
    return _parse_resolve(ask, parts)


def _parse_api(ask: Ask, parts: Sequence[str]) -> Ask:
    if len(parts) < 2 or parts[0] not in ("models", "datasets"):
        return ask
    kind, names = cast(Kind, parts[0]), list(parts[1:])
    at = next((place for place in (1, 2) if place < len(names) and names[place] in _API_ACTIONS), None)
    named = replace(ask, action="info", kind=kind, repo=unquote("/".join(names[:at])), revision="main")
    if at is None:
        return named if len(names) <= 2 else ask
    revision, file = _split_revision(names[at + 1 :])
    return replace(named, action=_API_ACTIONS[names[at]], revision=revision or "main", file=file)


def _parse_resolve(ask: Ask, parts: Sequence[str]) -> Ask:
    kind: Kind = "datasets" if parts[0] == "datasets" else "models"
    names = list(parts[1:] if kind == "datasets" else parts)
    at = next((place for place in (1, 2) if place < len(names) and names[place] == "resolve"), None)
    if at is None:
        return ask
    revision, file = _split_revision(names[at + 1 :])
    return replace(ask, action="resolve", kind=kind, repo=unquote("/".join(names[:at])), revision=revision, file=file)


def _split_revision(parts: Sequence[str]) -> tuple[str, str]:
    """Return revision and path of what follows an action."""
    whole = "/".join(parts)
    if slashed := _SLASHED_REVISION.match(whole):
        return slashed[0], unquote(whole[slashed.end() :].strip("/"))
    revision, _, file = whole.partition("/")
    return unquote(revision), unquote(file)


def parse_range(wanted: str | None, size: int) -> tuple[int, int] | None:
    """Return first and last byte; None for the whole (also of several ranges at once, which the hub does not do)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (wanted or "").replace(" ", ""))
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1
