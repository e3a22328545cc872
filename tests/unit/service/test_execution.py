"""Attempts that end before they train: the row says so, and keeps what it knew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune30.config import ExperimentConfig
from finetune30.errors import HubUnavailableError, OutOfMemoryError
from finetune30.hub.fetching import Transfer
from finetune30.service.execution import execute
from finetune30.service.execution.group import Group
from finetune30.service.execution.local import carry_out_locally
from finetune30.service.runs.open_records import Records, open_records
from finetune30.settings import load_settings
from finetune30.store import Claim, Run, RunStatus, RunStore


@pytest.fixture
def records() -> Iterator[Records]:
    with open_records(load_settings()) as opened:
        yield opened


def create(records: Records) -> Run:
    return records.store.create(ExperimentConfig(), kind="local", results_root=records.results_root)


def test_a_launcher_that_is_gone_ends_the_attempt_in_the_row(records: Records) -> None:
    class Left(Group):
        def tell(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("the store is closed")

    run = create(records)
    with pytest.raises(RuntimeError, match="the store is closed"):
        carry_out_locally(records, run, load_settings(), frozenset(), group=Left())
    ended = records.store.get(run.id)
    assert ended.status is RunStatus.FAILED
    assert "the store is closed" in (ended.error or {})["message"]


@pytest.mark.parametrize(
    ("error", "code", "may_retry"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out_of_memory", True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "out_of_memory", True),
        (torch.AcceleratorError("CUDA error: unspecified launch failure", 719), "internal_error", True),
        (RuntimeError("shapes do not fit"), "internal_error", False),
    ],
    ids=["at loading", "at the first product", "a fault of the device", "a fault of ours"],
)
def test_memory_that_runs_out_outside_of_a_step_is_told_with_a_remedy(
    records: Records, monkeypatch: pytest.MonkeyPatch, error: RuntimeError, code: str, may_retry: bool
) -> None:
    """Another process may hold the device just then: a queued run is tried again."""
    told = []

    def fail(self: RunStore, claim: Claim, error: dict[str, Any], *, may_retry: bool = False) -> RunStatus:
        told.append((error["error"], may_retry, error["remedy"]))
        return recorded(self, claim, error, may_retry=may_retry)

    def load(*_: Any, **__: Any) -> None:
        raise error

    recorded = RunStore.fail
    monkeypatch.setattr(RunStore, "fail", fail)
    monkeypatch.setattr(execute, "load_inputs", load)
    with pytest.raises((RuntimeError, OutOfMemoryError)):
        carry_out_locally(records, create(records), load_settings(), frozenset())
    assert [found[:2] for found in told] == [(code, may_retry)]
    assert ("ft30 resume" in told[0][2]) == (code == "out_of_memory")


def test_what_stands_in_stays_on_record_while_a_later_attempt_fetches(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(records)
    first = records.store.claim(run.id, lease_seconds=60)
    assert first is not None
    known = {"replaced": {"glue": "starter"}, "replaced_settings": {"training.num_train_epochs": 3}}
    records.store.renew(first, 60, known)
    records.store.cancelled(first)

    def broken_off(config: Any, explicit: Any, log: Any, data_folder: Path, on_transfer: Any, **_: Any) -> None:
        on_transfer(Transfer("model.safetensors", 1, 2))
        raise HubUnavailableError("nobody answers", "try again")

    monkeypatch.setattr(execute, "load_inputs", broken_off)
    with pytest.raises(HubUnavailableError):
        carry_out_locally(records, records.store.retry(run.id, kind="local"), load_settings(), frozenset())
    ended = records.store.get(run.id)
    assert (ended.progress or {})["done_bytes"] == 1
    assert ended.stand_ins == known
