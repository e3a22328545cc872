"""Rows asked together: as many as fit, in order, each answered with its own; a fault fails its request alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from finetune30.errors import DataError, QuotaError, ServiceUnavailableError
from finetune30.service.serving.batcher import Batcher, DeadlineError, Limits


@dataclass(frozen=True)
class Row:
    """A text of so many tokens; the first one tells it apart."""

    ids: list[int]

    @property
    def full_length(self) -> int:
        return len(self.ids)


@dataclass
class Model:
    """Answers each row with its first token; holds the first batch until it is let go."""

    pads: bool = False
    max_length: int = 8
    batches: list[list[int]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def logits(self, rows: Sequence[Row]) -> Any:
        self.begun.set()
        assert self.go.wait(30)
        self.batches.append([row.ids[0] for row in rows])
        if any(row.ids[0] < 0 for row in rows):
            raise DataError("a row that cannot be asked")
        return np.asarray([[row.ids[0]] for row in rows], dtype=np.float32)

    def find_tokenless(self, texts: list[str], pairs: list[str] | None) -> list[int]:
        raise NotImplementedError

    def read(self, texts: list[str], pairs: list[str] | None) -> Sequence[Any]:
        raise NotImplementedError

    def answers(self, logits: Any) -> list[Any]:
        raise NotImplementedError


def row(number: int, length: int = 4) -> Row:
    return Row([number] * length)


@pytest.fixture
def limits() -> Limits:
    return Limits(batch_tokens=12, batch_rows=4, queue_rows=8, deadline=60)


@pytest.fixture
def batcher(limits: Limits) -> Iterator[Batcher]:
    found = Batcher(limits)
    yield found
    found.close()


def hold(batcher: Batcher, model: Model) -> Any:
    """Let a first row keep the model busy, so that others gather."""
    first = batcher.ask(model, [row(99)])
    assert model.begun.wait(30)
    return first


def test_what_waits_is_asked_together_as_far_as_it_fits(batcher: Batcher) -> None:
    model = Model()
    first = hold(batcher, model)
    asked = [batcher.ask(model, [row(number), row(number + 10)]) for number in (1, 2, 3)]
    model.go.set()
    assert first.result(30).tolist() == [[99]]
    assert [one.result(30).tolist() for one in asked] == [[[1], [11]], [[2], [12]], [[3], [13]]]
    assert model.batches == [[99], [1, 11, 2], [12, 3, 13]]


def test_padding_counts_where_a_model_pads(batcher: Batcher) -> None:
    model = Model(pads=True)
    hold(batcher, model)
    asked = [batcher.ask(model, [row(number, length)]) for number, length in ((1, 1), (2, 6), (3, 1))]
    model.go.set()
    assert [one.result(30).tolist() for one in asked] == [[[1]], [[2]], [[3]]]
    assert model.batches == [[99], [2, 1], [3]]  # three rows of six tokens would be eighteen


def test_models_are_not_mixed(batcher: Batcher) -> None:
    one, other = Model(), Model()
    other.go.set()
    hold(batcher, one)
    asked = [batcher.ask(model, [row(number, 1)]) for number, model in enumerate((one, other, one))]
    one.go.set()
    assert [found.result(30).tolist() for found in asked] == [[[0]], [[1]], [[2]]]
    assert (one.batches, other.batches) == ([[99], [0, 2]], [[1]])


def test_a_fault_fails_the_request_that_it_belongs_to(batcher: Batcher) -> None:
    model = Model()
    hold(batcher, model)
    good, bad = batcher.ask(model, [row(1, 1)]), batcher.ask(model, [row(-1, 1)])
    model.go.set()
    assert good.result(30).tolist() == [[1]]
    with pytest.raises(DataError, match="cannot be asked"):
        bad.result(30)


def test_a_full_queue_and_a_closed_one_take_nothing(limits: Limits) -> None:
    batcher, model = Batcher(limits), Model()
    hold(batcher, model)
    waiting = batcher.ask(model, [row(1)] * 8)
    with pytest.raises(QuotaError, match="8 rows wait, and 8 may"):
        batcher.ask(model, [row(2)])
    model.go.set()
    batcher.close()
    assert waiting.result(0).shape == (8, 1)
    with pytest.raises(ServiceUnavailableError, match="is being stopped"):
        batcher.ask(model, [row(3)])


def test_what_nobody_waits_for_is_not_asked() -> None:
    batcher, model = Batcher(Limits(deadline=60)), Model()
    hold(batcher, model)
    left = batcher.ask(model, [row(1)])
    left.cancel()
    model.go.set()
    batcher.close()
    assert model.batches == [[99]]
    late = Batcher(Limits(deadline=-1.0))
    with pytest.raises(DeadlineError):
        late.ask(model, [row(1)]).result(30)
    late.close()
    assert model.batches == [[99]]
