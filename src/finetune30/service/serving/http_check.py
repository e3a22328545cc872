"""The parity certificate through HTTP: a server is asked by itself, over its own port, what its versions were asked."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune30.errors import SelfTestError, ServiceUnavailableError
from finetune30.service.parity.bounds import REPEATED

if TYPE_CHECKING:
    import polars as pl

    from finetune30.store.model_records import ModelVersion

#: Rows that are asked at once, and again one by one.
ROWS = 32
_SECONDS = 300.0
#: Probabilities are told with six digits.
_ROUNDING = 1e-6
#: What is decided by the numbers: within the bound, a row at a threshold may be decided otherwise, or withheld.
_DECIDED = frozenset({"labels", "no_answer", "confidence"})


class HttpCheck:
    """Asks a server on a port of this machine, with the key that opens versions which do not answer others yet."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._host, self._port, self._key = host, port, key

    def hold_texts(self, name: str, version: ModelVersion, rows: pl.DataFrame, wanted: Sequence[Any]) -> None:
        """Ask rows of a serving reference, in one request and alone. Raises SelfTestError."""
        texts, pairs = rows["text"].to_list(), rows["text_pair"].to_list()
        path = f"/predict/{name}"

        def ask(places: slice) -> list[dict[str, Any]]:
            body = {"texts": texts[places]}
            body |= {} if pairs[0] is None else {"text_pairs": pairs[places]}
            answer = self._post(path, body)
            _require_version(version, answer)
            found: list[dict[str, Any]] = answer["answers"]
            return found

        together = ask(slice(None))
        alone = [ask(slice(place, place + 1))[0] for place in range(len(texts))]
        for how, answers in (("in one batch", together), ("alone", alone)):
            far = max((_distance(one, other) for one, other in zip(wanted, answers, strict=True)), default=0.0)
            if not far <= REPEATED + _ROUNDING:
                raise _refused(version, f"asked through HTTP {how}, it answers otherwise by {far:.4g}")

    def hold_tokens(self, name: str, version: ModelVersion, rows: pl.DataFrame, most: int) -> None:
        """Ask conversations of a serving reference; every token must be the same. Raises SelfTestError."""
        for asked, ids, tokens in rows.select("asked", "ids", "tokens").iter_rows():
            if tokens is None:
                continue
            body = {"model": name, **json.loads(asked), "max_tokens": most, "temperature": 0, "return_token_ids": True}
            answer = self._post("/v1/chat/completions" if "messages" in body else "/v1/completions", body)
            _require_version(version, answer["ft30"])
            (choice,) = answer["choices"]
            if answer["prompt_token_ids"] != ids:
                raise _refused(version, "asked through HTTP, it reads a conversation as other tokens")
            if choice["token_ids"] != tokens:
                raise _refused(version, "asked through HTTP, it goes on with other tokens")

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        try:
            connection.request("POST", path, json.dumps(body).encode(), {**headers, "Host": f"localhost:{self._port}"})
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            raise ServiceUnavailableError(f"the server does not reach itself: {error}", "start it again") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise SelfTestError(
                f"asked through HTTP, the server answers {answer.status}: {content[:300].decode('utf-8', 'replace')}",
                "look into the log of the server",
            )
        found: dict[str, Any] = json.loads(content)
        return found


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
