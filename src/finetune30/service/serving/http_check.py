"""The parity certificate through HTTP: a server is asked by itself, over its own port, what its versions were asked."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.questions import ASKING_ROLES, LONGEST_CONVERSATION, LONGEST_TEXT, MOST_MESSAGES
from finetune30.errors import SelfTestError, ServiceUnavailableError
from finetune30.service.parity.bounds import REPEATED_BOUND, Bound
from finetune30.values import is_text

if TYPE_CHECKING:
    import polars as pl

    from finetune30.store.model_records import ModelVersion

#: Rows that are asked at once, and again one by one.
ROWS = 32
#: Longer than the server gives itself for one question, so that it answers 504.
_SECONDS = 330.0
#: What a body holds beside its rows, at most.
_BODY_REST = 1024
#: Probabilities are told with six digits.
_ROUNDING = 1e-6
#: What is decided by the numbers: within the bound, a row at a threshold may be decided otherwise, or withheld.
_DECIDED = frozenset({"labels", "no_answer", "confidence"})
#: A server that is busy, or being stopped, says nothing about a version.
_BUSY = (http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE, http.client.GATEWAY_TIMEOUT)

#: The answers that logits are, as trees of JSON values; float32 (n, outputs).
Answers = Callable[[NDArray[np.float32]], Sequence[Mapping[str, Any]]]


class HttpCheck:
    """Asks a server on a port of this machine, with the key that opens versions which do not answer others yet.

    Rows that its routes refuse are not asked: `body_bytes` is the longest body, `prompt_tokens` the longest prompt.
    """

    def __init__(self, host: str, port: int, key: str, body_bytes: int, prompt_tokens: int) -> None:
        self._host, self._port, self._key = host, port, key
        self._body_bytes, self._prompt_tokens = body_bytes - _BODY_REST, prompt_tokens

    def hold_texts(self, name: str, version: ModelVersion, reference: pl.DataFrame, answers: Answers) -> None:
        """Ask rows of a serving reference, together and alone. Raises SelfTestError, ServiceUnavailableError."""
        every = np.asarray(reference["logits"].to_list(), dtype=np.float32)
        rows = list(zip(reference["text"], reference["text_pair"], every, strict=True))
        asked = [row for row in rows if self._takes_texts(row[:2])][:ROWS]
        if not asked:
            raise _refused(version, f"none of {len(rows)} rows of its serving reference can be asked through HTTP")
        logits = np.stack([row[2] for row in asked])
        wanted, bounds = answers(logits), _answer_bounds(answers, logits)

        def ask(places: range) -> list[dict[str, Any]]:
            body = {"texts": [asked[place][0] for place in places]}
            body |= {} if asked[0][1] is None else {"text_pairs": [asked[place][1] for place in places]}
            answer = self._post(f"/predict/{name}", body)
            _require_version(version, answer)
            found: list[dict[str, Any]] = answer["answers"]
            return found

        sizes = [_size(row[:2]) for row in asked]
        together = [answer for places in _chunks(sizes, self._body_bytes) for answer in ask(places)]
        alone = [ask(range(place, place + 1))[0] for place in range(len(asked))]
        for how, given in (("in one batch", together), ("alone", alone)):
            for one, other, bound in zip(wanted, given, bounds, strict=True):
                if not (far := _distance(one, other)) <= bound + _ROUNDING:
                    raise _refused(version, f"asked through HTTP {how}, it answers otherwise by {far:.4g}")

    def hold_tokens(
        self, name: str, version: ModelVersion, reference: pl.DataFrame, most: int, positions: int | None
    ) -> None:
        """Ask conversations of a serving reference; every token must be the same.

        Where none of those that were gone on with can be asked, the tokens of the others that ask are held. Raises
        SelfTestError, ServiceUnavailableError.
        """
        longest = self._prompt_tokens if positions is None else min(self._prompt_tokens, positions - 1)
        rows = list(reference.select("asked", "ids", "tokens").iter_rows())
        takes = [row for row in rows if 0 < len(row[1]) <= longest and self._takes_conversation(json.loads(row[0]))]
        asked = [row for row in takes if row[2] is not None] or takes
        if not asked:
            raise _refused(version, f"none of {len(rows)} rows of its serving reference can be asked through HTTP")
        for text, ids, tokens in asked:
            body = {"model": name, **json.loads(text), "max_tokens": 1 if tokens is None else most, "temperature": 0}
            path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
            answer = self._post(path, body | {"return_token_ids": True})
            _require_version(version, answer["ft30"])
            (choice,) = answer["choices"]
            if answer["prompt_token_ids"] != ids:
                raise _refused(version, "asked through HTTP, it reads a conversation as other tokens")
            if tokens is not None and choice["token_ids"] != tokens:
                raise _refused(version, "asked through HTTP, it goes on with other tokens")

    def _takes_texts(self, texts: Sequence[str | None]) -> bool:
        given = [text for text in texts if text is not None]
        fits = all(len(text) <= LONGEST_TEXT and is_text(text) for text in given)
        return fits and _size(given) <= self._body_bytes

    def _takes_conversation(self, asked: Mapping[str, Any]) -> bool:
        messages = asked.get("messages", [])
        texts = [one["content"] for one in messages] or [asked.get("prompt", "")]
        knows = all(one["role"] in ASKING_ROLES for one in messages) and len(messages) <= MOST_MESSAGES
        fits = sum(map(len, texts)) <= LONGEST_CONVERSATION and all(is_text(text) for text in texts)
        return knows and fits and _size(asked) <= self._body_bytes

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        try:
            connection.request("POST", path, _encode(body), {**headers, "Host": f"localhost:{self._port}"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnavailableError(f"the server does not reach itself: {error}", "start it again") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            said = f"asked through HTTP, the server answers {answer.status}: {content[:300].decode('utf-8', 'replace')}"
            kind = ServiceUnavailableError if answer.status in _BUSY else SelfTestError
            raise kind(said, "look into the log of the server")
        try:
            found: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise SelfTestError(
                f"asked through HTTP, the server answers no JSON: {error}", "look into the log of the server"
            ) from error
        return found


def _encode(tree: Any) -> bytes:
    return json.dumps(tree, ensure_ascii=False).encode()


def _size(tree: Any) -> int:
    return len(_encode(tree))


def _chunks(sizes: Sequence[int], most: int) -> Iterator[range]:
    """Yield the places of rows that fit into one body, of so many bytes together; every row fits alone."""
    start, total = 0, 0
    for place, size in enumerate(sizes):
        if place > start and total + size > most:
            yield range(start, place)
            start, total = place, 0
        total += size
    yield range(start, len(sizes))


def _answer_bounds(answers: Answers, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far the numbers of each answer move where its logits move by what `REPEATED_BOUND` allows, (n,).

    Each output is moved up and all others down, and the other way round: no move within the bound does more to a share.
    """
    wanted, bounds = answers(logits), np.zeros(len(logits))
    most = (REPEATED_BOUND.row * Bound.scales(logits)).astype(np.float32)
    for output in range(logits.shape[1]):
        move = np.repeat(-most, logits.shape[1], axis=1)
        move[:, output] *= -1
        for moved in (answers(logits + move), answers(logits - move)):
            bounds = np.maximum(bounds, [_distance(one, other) for one, other in zip(wanted, moved, strict=True)])
    return bounds


def _require_version(version: ModelVersion, told: Mapping[str, Any]) -> None:
    if (told["version"], told["adapter_sha256"]) != (version.number, version.adapter_sha256):
        raise _refused(version, f"asked through HTTP, version {told['version']} answers")


def _distance(wanted: Any, given: Any) -> float:
    """Return how far the numbers of two answers lie apart; infinite where one lacks what the other has."""
    if isinstance(wanted, Mapping):
        told = wanted.keys() - _DECIDED
        if not isinstance(given, Mapping) or not told <= given.keys():
            return float("inf")
        return max((_distance(wanted[key], given[key]) for key in told), default=0.0)
    if isinstance(wanted, float) and isinstance(given, float | int):
        return abs(wanted - given) / max(1.0, abs(wanted))
    return float("inf") if isinstance(wanted, float) else 0.0


def _refused(version: ModelVersion, fault: str) -> SelfTestError:
    return SelfTestError(f"{version.name}: {fault}", f"check it: ft30 models verify {version.name}")
