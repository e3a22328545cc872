"""Asking a tracker over HTTP, each time within a limit that covers all of it, however slowly the other side talks."""

from __future__ import annotations

import json
import queue
import threading
from typing import TYPE_CHECKING, Any

from finetune30.errors import Finetune30Error, ServiceUnavailableError, TrackerError, first_line

if TYPE_CHECKING:
    import httpx2

_UNAUTHORIZED = (401, 403)
_ASK_LATER = (408, 429)


class JsonRequests:
    """Sends JSON to a server and reads JSON; `title` and `variable` are its name and the setting with its address."""

    def __init__(
        self, title: str, variable: str, base_url: str, headers: dict[str, str], timeout_seconds: float
    ) -> None:
        self._title, self._variable, self._base_url = title, variable, base_url
        self._headers, self._timeout_seconds = headers, timeout_seconds
        self._client: httpx2.Client | None = None

    def ask(self, method: str, path: str, tree: dict[str, Any]) -> dict[str, Any]:
        """Return the answer; `tree` is the body, of a GET the query.

        Raises ServiceUnavailableError where there is no answer in time, or one that concerns every request;
        TrackerError, whose details hold the server's `error_code`, where this one is refused.
        """
        # In a thread: time limits of clients are those of one read, and a server may send a byte before each of them.
        answers: queue.SimpleQueue[tuple[int, bytes] | Exception] = queue.SimpleQueue()
        client = self._open()
        work = threading.Thread(
            target=_ask, args=(client, method, path, tree, answers), name="tracker-request", daemon=True
        )
        work.start()
        try:
            answer = answers.get(timeout=self._timeout_seconds)
        except queue.Empty:
            self.close()  # the thread ends with its connection
            raise self._unavailable(f"did not answer within {self._timeout_seconds:g} s") from None
        if isinstance(answer, Exception):
            self.close()
            raise self._unavailable(f"is out of reach: {first_line(answer)}") from answer
        return self._read(*answer)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def take(self, tree: Any, *keys: str) -> Any:
        """Return what stands in an answer under these keys. Raises ServiceUnavailableError where it is not there: who
        answers is another program."""
        for key in keys:
            if not isinstance(tree, dict) or key not in tree:
                raise self._unavailable(f"answers without {'.'.join(keys)}, as another program does")
            tree = tree[key]
        return tree

    def _open(self) -> httpx2.Client:
        import httpx2

        if self._client is None:
            self._client = httpx2.Client(
                base_url=self._base_url, headers=self._headers, timeout=self._timeout_seconds, follow_redirects=False
            )
        return self._client

    def _read(self, status: int, body: bytes) -> dict[str, Any]:
        if status in _UNAUTHORIZED:
            raise ServiceUnavailableError(
                f"{self._title} at {self._base_url} answers {status}: the credentials are not accepted",
                f"set {self._variable.removesuffix('_URL')}_TOKEN, or _USERNAME and _PASSWORD, to those of the server",
            )
        if status >= 500 or status in _ASK_LATER or 300 <= status < 400:
            raise self._unavailable(f"answers {status}")
        try:
            tree = json.loads(body or b"{}")
        except ValueError:
            tree = None
        if not isinstance(tree, dict):
            raise self._unavailable(f"answers {status} with what is no JSON")
        if status >= 400:
            raise self._refusal(status, tree, str(self.take(tree, "error_code")))
        return tree

    def _refusal(self, status: int, tree: dict[str, Any], code: str) -> Finetune30Error:
        said = first_line(Exception(str(tree.get("message", ""))))
        return TrackerError(
            f"{self._title} refuses with {status} {code}: {said}",
            f"carry the run anew: ft30 mirror RUN --to {self._title.lower()} --again",
            details={"error_code": code},
        )

    def _unavailable(self, problem: str) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            f"{self._title} at {self._base_url} {problem}",
            f"start it there, or set {self._variable} to its address; what it missed is caught up",
        )


def _ask(
    client: httpx2.Client,
    method: str,
    path: str,
    tree: dict[str, Any],
    answers: queue.SimpleQueue[tuple[int, bytes] | Exception],
) -> None:
    given: dict[str, Any] = {"params": tree} if method == "GET" else {"json": tree}
    try:
        answer = client.request(method, path, **given)
        answers.put((answer.status_code, answer.content))
    except Exception as error:  # noqa: BLE001 - whoever waits for the answer raises it
        answers.put(error)
