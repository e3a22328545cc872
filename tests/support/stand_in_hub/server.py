"""The stand-in hub on the wire: two servers on loopback, one for the hub and one for where it keeps large files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any

from support.stand_in_hub.answers import Answer, refuse
from support.stand_in_hub.asks import Action, Ask
from support.stand_in_hub.faults import (
    LOGIN_PAGE,
    LOGIN_PATH,
    AnsweredOtherwise,
    CaptivePage,
    Fault,
    HangUp,
    Refusal,
    WrongContent,
)
from support.stand_in_hub.protocol import Protocol
from support.stand_in_hub.repositories import Changes, Commit, Kind, Repository, RepositoryStore
from support.stand_in_hub.wire import Handler, Server, listen

#: What the settings of whoever runs the tests could change in a client.
_SETTINGS_OF_CLIENTS = ("HF_", "HUGGING", "HUB_", "TRANSFORMERS_", "XDG_CACHE_HOME")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def without_hub_settings() -> dict[str, str]:
    """Return this process's environment without settings of hub clients."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_SETTINGS_OF_CLIENTS) and name.lower() not in _PROXIES
    }


@dataclass(frozen=True)
class Request:
    """A request that came; `status` is what it got, 0 for none at all."""

    method: str
    #: As it came, quoted and with the query.
    path: str
    action: Action
    kind: Kind | None
    #: As the client named it, an alias too.
    repo: str
    revision: str
    file: str
    range: str | None
    #: Whether it carried a token.
    authorization: bool
    status: int
    user_agent: str = ""


@dataclass
class _PlannedFault:
    fault: Fault
    matches: dict[str, str]
    times_left: int | None
    when: Callable[[], bool]

    def concerns(self, ask: Ask, answer: Answer) -> bool:
        if any(getattr(ask, name) != value for name, value in self.matches.items()):
            return False
        if self.times_left == 0 or not self.when():
            return False
        if self.times_left is not None and ask.action == "other" and "action" not in self.matches:
            return False  # clients ask for more than a test counts, for example who drives them
        return not self.fault.needs_content or (answer.is_content and ask.method != "HEAD")


class StandInHub:
    """A hub on 127.0.0.1 with the repositories of a folder. Serves inside `with`, or between start() and stop()."""

    def __init__(
        self, folder: Path, *, port: int = 0, page_entries: int | None = None, lfs_over_bytes: int = 10_000_000
    ) -> None:
        """`page_entries`: how many entries a page of a listing holds, where the request asks for no number."""
        self.requests: list[Request] = []
        self._store = RepositoryStore(folder, lfs_over_bytes=lfs_over_bytes)
        self._faults: list[_PlannedFault] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._servers: list[Server] = []
        self._ports = [port, 0]
        self._bind()
        self._protocol = Protocol(self._store, self.endpoint, self.cdn_endpoint, page_entries=page_entries)

    # --- repositories

    def add(self, repository: Repository) -> None:
        """Put a repository there; one of the same name is replaced."""
        self._store.add(repository)

    def commit(
        self,
        kind: Kind,
        repo: str,
        files: Changes,
        message: str = "Changes",
        *,
        branch: str = "main",
    ) -> str:
        """Put a commit on a branch and return its hash; older commits stay there by their hashes."""
        return self._store.commit(kind, repo, files, message, branch)

    def tag(self, kind: Kind, repo: str, name: str, revision: str = "main") -> None:
        """Give a revision another name, or move that name to it."""
        self._store.tag(kind, repo, name, revision)

    def sha(self, kind: Kind, repo: str, revision: str = "main") -> str:
        """Return the commit that a revision stands for now."""
        return self._commit_at(kind, repo, revision).sha

    def files(self, kind: Kind, repo: str, revision: str = "main") -> list[str]:
        return list(self._commit_at(kind, repo, revision).files)

    def content(self, kind: Kind, repo: str, file: str, revision: str = "main") -> bytes:
        """Return what a file holds, as a download should."""
        return self._store.read(self._commit_at(kind, repo, revision).files[file])

    def _commit_at(self, kind: Kind, repo: str, revision: str) -> Commit:
        stored = self._store.find(kind, repo)
        commit = stored.resolve(revision) if stored else None
        if commit is None:
            raise KeyError(f"no {kind} {repo} at {revision}")
        return commit

    # --- faults

    def fail(
        self,
        fault: Fault,
        *,
        kind: Kind | None = None,
        repo: str | None = None,
        file: str | None = None,
        action: Action | None = None,
        method: str | None = None,
        times: int | None = None,
        when: Callable[[], bool] = lambda: True,
    ) -> None:
        """Have the requests that match fail `when` that is so, the next `times` of them (None: all). The first fault
        that fits counts.

        `repo` is the whole name, which stands for its aliases too.
        """
        wanted = {"kind": kind, "repo": repo, "file": file, "action": action, "method": method}
        matches = {name: value for name, value in wanted.items() if value is not None}
        with self._lock:
            self._faults.append(_PlannedFault(fault, matches, times, when))

    def mend(self) -> None:
        """Take all faults away."""
        with self._lock:
            self._faults.clear()

    def forget_requests(self) -> None:
        self.requests.clear()

    def _canonical(self, kind: Kind, name: str) -> str:
        stored = self._store.find(kind, name)
        return stored.id if stored else name

    # --- addresses

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def cdn_endpoint(self) -> str:
        """Where LFS files come from: another origin, as with the hub, so that clients leave their token behind."""
        return f"http://127.0.0.1:{self._ports[1]}"

    def variables(self, home: Path, **more: str) -> dict[str, str]:
        """Return what makes a process use this hub, with caches below `home`, whatever else its environment says."""
        own = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        return {**own, **more}

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Return the whole environment of a child process: this one's, without its settings of hub clients."""
        return {**without_hub_settings(), **self.variables(home, **more)}

    # --- serving

    def start(self) -> None:
        """Serve, on the same ports as before."""
        self._bind()
        for server in self._servers:
            server.serving = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving: connections break, new ones are refused."""
        self._stopping.set()
        for server in self._servers:
            server.end()
        self._servers = []

    def __enter__(self) -> StandInHub:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _bind(self) -> None:
        if self._servers:
            return
        self._stopping.clear()
        self._servers = [listen(port, self._handler) for port in self._ports]
        self._ports = [server.server_address[1] for server in self._servers]

    def _handler(self, *arguments: Any) -> BaseHTTPRequestHandler:
        return Handler(self, *arguments)

    # --- answering

    def decide(self, ask: Ask, user_agent: str) -> tuple[Answer, Fault | None]:
        """Return the right answer, as faults that need no wire have changed it, and the fault to carry out."""
        named = replace(ask, repo=self._canonical(ask.kind, ask.repo)) if ask.kind else ask
        answer = Answer(0) if self._is_refused(named) else self._protocol.answer(ask)
        with self._lock:
            planned = next((planned for planned in self._faults if planned.concerns(named, answer)), None)
            if planned and planned.times_left is not None:
                planned.times_left -= 1
        fault = planned.fault if planned else None
        answer = _with_fault(fault, ask, answer)
        status = 0 if isinstance(fault, HangUp) else answer.status
        self.requests.append(_record(ask, status, user_agent))
        return answer, fault

    def _is_refused(self, ask: Ask) -> bool:
        """Tell whether a request will be refused, so must not be carried out."""
        with self._lock:
            planned = next((planned for planned in self._faults if planned.concerns(ask, Answer(0))), None)
        return planned is not None and isinstance(planned.fault, Refusal)

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than the hub serves."""
        self._stopping.wait(seconds)


def _record(ask: Ask, status: int, user_agent: str) -> Request:
    return Request(
        method=ask.method,
        path=ask.path,
        action=ask.action,
        kind=ask.kind,
        repo=ask.repo,
        revision=ask.revision,
        file=ask.file,
        range=ask.range,
        authorization=ask.token is not None,
        status=status,
        user_agent=user_agent,
    )


def _with_fault(fault: Fault | None, ask: Ask, answer: Answer) -> Answer:
    if isinstance(fault, Refusal):
        return refuse(fault.status, fault.message, fault.code, fault.headers)
    if isinstance(fault, AnsweredOtherwise):
        return refuse(fault.status, "Gateway Timeout")
    if isinstance(fault, CaptivePage):
        if fault.redirects and not ask.path.startswith(LOGIN_PATH):
            return Answer(302, b"", {"Location": LOGIN_PATH})
        return Answer(200, LOGIN_PAGE, {"Content-Type": "text/html; charset=utf-8"})
    if isinstance(fault, WrongContent):
        return replace(answer, body=bytes(byte ^ 0x55 for byte in answer.body))
    return answer
