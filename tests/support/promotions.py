"""Callers who ask a server while its alias is moved, and what their answers must agree with: the record of the moves.

Every answer names a version and a generation, the move of the alias by which that version came to answer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from finetune30.service.registry.certifying import load_reference, load_served
from finetune30.service.runs.open_records import Records
from finetune30.store.model_names import ModelReference
from finetune30.store.model_records import ModelEvent
from finetune30.store.model_registry import find_events, find_version

#: Probabilities of one text in batches of any size lie no further apart.
CLOSE = 1e-4


@dataclass(frozen=True)
class Answered:
    """One answer: when it was asked for and when it was there (seconds since the epoch), and what it says.

    Status 0: nobody answered.
    """

    sent: float
    received: float
    status: int
    version: int = 0
    generation: int = 0
    sha256: str = ""
    text: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)


class Callers:
    """Ask texts one at a time, each as soon as it is answered."""

    def __init__(self, address: str, name: str, texts: Sequence[str]) -> None:
        self._address, self._name, self._texts = address, name, texts
        self._stop = threading.Event()
        self.answers: list[Answered] = []

    @contextmanager
    def asking(self, count: int) -> Iterator[None]:
        """Ask with so many callers while the block runs."""
        with ThreadPoolExecutor(count) as pool:
            begun = [pool.submit(self._keep_asking, number) for number in range(count)]
            try:
                yield
            finally:
                self._stop.set()
            for one in begun:
                one.result()

    def _keep_asking(self, number: int) -> None:
        place = urlsplit(self._address)
        with closing(HTTPConnection(str(place.hostname), place.port, timeout=120)) as connection:
            while True:  # at least once each
                sent = time.time()
                try:
                    self.answers.append(self._ask(connection, self._texts[number % len(self._texts)]))
                except (OSError, HTTPException):
                    connection.close()  # the next question opens it again
                    self.answers.append(Answered(sent, time.time(), 0))
                    self._stop.wait(1.0)
                if self._stop.is_set():
                    return
                number += 1

    def _ask(self, connection: HTTPConnection, text: str) -> Answered:
        sent = time.time()
        body = json.dumps({"texts": [text]})
        connection.request("POST", f"/predict/{self._name}", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            return Answered(sent, time.time(), answer.status)
        told = json.loads(content)
        return Answered(
            sent,
            time.time(),
            200,
            told["version"],
            int(answer.headers["X-Alias-Generation"]),
            told["adapter_sha256"],
            text,
            told["answers"][0]["probabilities"],
        )


@dataclass(frozen=True)
class Record:
    """What the database says: the moves of an alias by generation, the weights of versions, and their own answers."""

    moves: Mapping[int, ModelEvent]
    sha256: Mapping[int, str]
    shares: Mapping[int, Mapping[str, Mapping[str, float]]]


def load_record(records: Records, model: str, alias: str, known: Mapping[int, Any]) -> Record:
    """Return the record of an alias; `known` are the shares of each version, as `load_shares` gives them."""
    events = find_events(records.store, model, limit=1_000_000)
    moves = {one.generation: one for one in events if one.alias == alias and one.generation is not None}
    sha256 = {number: _version(records, model, number).adapter_sha256 for number in known}
    return Record(moves, sha256, known)


def load_shares(records: Records, model: str, number: int) -> dict[str, dict[str, float]]:
    """Return what a version makes of the texts of its serving reference, from the logits that its check left."""
    import numpy as np

    version = _version(records, model, number)
    reference, texts = load_reference(records, version), load_served(records, version).texts
    assert texts is not None
    answers = texts.answers(np.asarray(reference["logits"].to_list(), dtype=np.float32))
    return {text: one.tree["probabilities"] for text, one in zip(reference["text"], answers, strict=True)}


def find_breaches(answers: Sequence[Answered], record: Record) -> list[str]:
    """Return every answer that is not what the record says of its moment, in words; none is the empty list.

    The move that an answer names led to the version that it names; weights and numbers are those of that version; and
    whoever asks after an answer was there is not answered by an earlier move.
    """
    found = [said for one in answers for said in _breaches_of(one, record)]
    floor, ended = 0, sorted(answers, key=lambda one: one.received)
    place = 0
    for one in sorted(answers, key=lambda one: one.sent):
        while place < len(ended) and ended[place].received < one.sent:
            floor = max(floor, ended[place].generation)
            place += 1
        if one.status == 200 and one.generation < floor:
            found.append(f"generation {one.generation} answers after generation {floor} had answered")
    return found


def behind(answers: Sequence[Answered], record: Record) -> list[float]:
    """Return for each answer how long before it was asked for its version had left the alias, in seconds; 0: it had
    not."""
    ends = {number: record.moves[number + 1].at.timestamp() for number in record.moves if number + 1 in record.moves}
    return [max(0.0, one.sent - ends.get(one.generation, one.sent)) for one in answers if one.status == 200]


def _breaches_of(one: Answered, record: Record) -> Iterator[str]:
    if one.status != 200:
        yield f"answered {one.status}" if one.status else "nobody answered"
        return
    move = record.moves.get(one.generation)
    if move is None or move.version != one.version:
        yield f"version {one.version} answers as generation {one.generation}, which led to {move and move.version}"
    if one.sha256 != record.sha256[one.version]:
        yield f"version {one.version} is said to have the weights {one.sha256}"
    own = record.shares[one.version][one.text]
    if max(abs(one.shares[label] - share) for label, share in own.items()) > CLOSE:
        yield f"version {one.version} answers {one.text!r} with {one.shares}, which are not its numbers: {own}"


def _version(records: Records, model: str, number: int) -> Any:
    return find_version(records.store, ModelReference(model, None, number))
