"""Rows asked together: as many as fit, in order, each answered with its own; a fault fails its request alone."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from finetune30.data.questions import Asked
from finetune30.errors import DataError, NotFiniteError, QuotaError, ServiceUnavailableError
from finetune30.service.serving.batcher import Batcher, DeadlineError, Limits, count_batches
from support.patience import wait_until

UNSOUND = 77


@dataclass(frozen=True)
class Row:
    """A text of so many tokens; the first one tells it apart."""

    ids: list[int]

    is_empty: bool = False

    @property
    def full_length(self) -> int:
        return len(self.ids)


@dataclass
class Model:
    """Answers each row with its first token; holds the first batch until it is let go."""

    pads: bool = False
    max_length: int = 8
    most: int | None = None
    batches: list[list[int]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def logits(self, rows: Sequence[Row]) -> Any:
        self.begun.set()
        assert self.go.wait(30)
        self.batches.append([row.ids[0] for row in rows])
        if any(row.ids[0] < 0 for row in rows):
            raise DataError("a row that cannot be asked")
        found = [[np.nan if row.ids[0] == UNSOUND else row.ids[0]] for row in rows]
        return np.asarray(found[: self.most], dtype=np.float32)

    @property
    def asked(self) -> Asked:
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
    with batcher.admit(3), pytest.raises(QuotaError, match="3 rows wait, and 8 may"), batcher.admit(6):
        pytest.fail("rows that are read count")
    with batcher.admit(8):
        waiting = batcher.ask(model, [row(1)] * 8)
    with pytest.raises(QuotaError, match="8 rows wait, and 8 may"), batcher.admit(1):
        pytest.fail("the queue is full")
    model.go.set()
    batcher.close()
    assert waiting.result(0).shape == (8, 1)
    with pytest.raises(ServiceUnavailableError, match="is being stopped"):
        batcher.ask(model, [row(3)])
    with pytest.raises(ServiceUnavailableError, match="is being stopped"), batcher.admit(1):
        pytest.fail("it is closed")


def test_numbers_that_are_not_finite_fail_their_request_alone(batcher: Batcher) -> None:
    model = Model()
    hold(batcher, model)
    good, bad = batcher.ask(model, [row(1, 1)]), batcher.ask(model, [row(2, 1), row(UNSOUND, 1)])
    model.go.set()
    assert good.result(30).tolist() == [[1]]
    with pytest.raises(NotFiniteError, match="its numbers for 1 of 2 texts are not finite") as failed:
        bad.result(30)
    assert failed.value.http_status == 500


def test_whatever_goes_wrong_is_told_and_the_thread_goes_on() -> None:
    """A model that leaves rows out, and a count that cannot be kept."""

    def observe(rows: int, tokens: int) -> None:
        if rows == 2:
            raise RuntimeError("no place for a count")

    batcher, model = Batcher(Limits(), observe), Model(most=0)
    model.go.set()
    with pytest.raises(ValueError, match="zip"):
        batcher.ask(model, [row(1)]).result(30)
    model.most = None
    with pytest.raises(RuntimeError, match="no place for a count"):
        batcher.ask(model, [row(1), row(2)]).result(30)
    assert batcher.ask(model, [row(3)]).result(30).tolist() == [[3]]
    assert batcher.is_alive
    batcher.close()
    assert not batcher.is_alive


def test_no_model_is_held_while_nothing_waits(batcher: Batcher) -> None:
    model = Model()
    model.go.set()
    batcher.ask(model, [row(1)]).result(30)
    held = weakref.ref(model)
    del model
    wait_until(lambda: held() is None, 30, "the model is gone")


def test_a_request_with_limits_of_its_own_waits_where_others_are_refused(limits: Limits) -> None:
    batcher, model = Batcher(replace(limits, deadline=-1.0)), Model()
    own = replace(limits, queue_rows=100, deadline=60)
    with batcher.admit(8):
        with pytest.raises(QuotaError), batcher.admit(1):
            pass
        with batcher.admit(1, own):
            asked = batcher.ask(model, [row(1)], own)
    model.go.set()
    assert asked.result(30).tolist() == [[1]]
    batcher.close()


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


def test_several_batches_are_computed_at_the_same_time(limits: Limits) -> None:
    batcher, model = Batcher(replace(limits, batches=2)), Model()
    first = hold(batcher, model)
    model.begun.clear()
    beside = batcher.ask(model, [row(number) for number in (1, 2, 3)])
    assert model.begun.wait(30)  # while the first is held
    waiting = batcher.ask(model, [row(number) for number in (4, 5, 6)])
    assert batcher.waiting == 3
    model.go.set()
    assert [one.result(30).tolist() for one in (first, beside, waiting)] == [[[99]], [[1], [2], [3]], [[4], [5], [6]]]
    batcher.close()
    assert not batcher.is_alive


def test_rows_of_one_request_may_be_computed_in_several_batches_at_once(limits: Limits) -> None:
    batcher, model = Batcher(replace(limits, batches=3, queue_rows=1000)), Model()
    model.go.set()
    asked = [batcher.ask(model, [row(number + place) for place in range(10)]) for number in range(100, 600, 10)]
    found = [number for one in asked for (number,) in one.result(30).tolist()]
    assert found == list(range(100, 600))
    batcher.close()


@pytest.mark.parametrize(
    ("threads", "wanted"), [(None, 1), ("", 1), ("0", 1), ("two", 1), ("1", 6), ("4", 1), ("3", 2)]
)
def test_batches_fill_the_processors_that_one_leaves(
    monkeypatch: pytest.MonkeyPatch, threads: str | None, wanted: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert count_batches() == wanted
