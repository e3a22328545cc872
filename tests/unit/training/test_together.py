"""What processes give each other arrives as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune30.data.encoding import EncodedSplit
from finetune30.errors import ConflictError
from finetune30.training import processes
from finetune30.training.checkpoints import Checkpoint
from finetune30.training.evaluation import predict_outputs
from finetune30.training.processes import find_interface
from finetune30.training.together import digest_streams, pack, share_start, unpack
from support.rows import encoded_split


def test_tensors_and_values_come_back() -> None:
    state = {"python": [3, [1, 2], None], "torch_cpu": torch.arange(5, dtype=torch.uint8), "none": None}
    together, values = unpack(pack(state))
    assert values == {"python": [3, [1, 2], None], "none": None}
    assert together["torch_cpu"].tolist() == [0, 1, 2, 3, 4]
    assert unpack(pack({"torch_cpu": torch.zeros(0)}))[1] == {}


def test_streams_of_several_processes_have_one_digest_and_a_single_one_keeps_its_own() -> None:
    first, second = {"a": torch.zeros(2)}, {"a": torch.ones(2)}
    both = digest_streams([first, second])
    assert both not in {digest_streams([first]), digest_streams([second, first])}
    assert both == digest_streams([first, second])


def test_the_interface_of_an_address_is_found() -> None:
    assert find_interface("127.0.0.1") in {"lo", "lo0"}
    assert find_interface("no-such-host.invalid") is None


def test_memory_that_runs_out_elsewhere_counts_here(
    build_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    split: EncodedSplit = encoded_split(5)
    monkeypatch.setattr(processes, "world_size", lambda: 2)
    monkeypatch.setattr(processes, "any_process", lambda flag, device: True)
    with pytest.raises(torch.OutOfMemoryError, match="another process"):
        predict_outputs(build_engine(), split, 2)


def test_every_process_begins_from_the_checkpoint_of_the_first_or_says_what_it_has_else(
    build_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, other = build_engine(), build_engine()
    streams = [{"python": [3, [rank], None], "torch_cpu": torch.tensor([rank], dtype=torch.uint8)} for rank in (0, 1)]
    adapter = {name: torch.full_like(tensor, 2) for name, tensor in engine.adapter_state().items()}
    start = Checkpoint(4, Path(), adapter, {"a|step": torch.tensor(4.0)}, {}, streams[0], {"epoch": 1}, (streams[1],))
    identity = {"dataset": "abc", "device_name": "one", "versions": {"torch": "2"}}
    said: list[bytes] = []

    def broadcast(content: bytes | None, device: str) -> bytes:
        if content is not None:
            said.append(content)
        return said[-1]

    monkeypatch.setattr(processes, "world_size", lambda: 2)
    monkeypatch.setattr(processes, "broadcast_bytes", broadcast)
    for given in (start, None):
        monkeypatch.setattr(processes, "rank", lambda: 0)
        engine.load_adapter_state(adapter)
        assert share_start(engine, identity, given) is given
        monkeypatch.setattr(processes, "rank", lambda: 1)
        heard = share_start(other, {**identity, "device_name": "another"}, None)
        if given is None:
            assert heard is None
            assert all(tensor.eq(2).all() for tensor in other.adapter_state().values())
            continue
        assert heard is not None
        assert (heard.step, heard.progress, heard.best) == (4, {"epoch": 1}, {})
        assert heard.streams_of(1)["python"] == [3, [1], None]
        assert heard.streams_of(1)["torch_cpu"].tolist() == [1]
        assert heard.optimizer["a|step"] == 4
    with pytest.raises(ConflictError, match="dataset: abc in process 0, xyz here"):
        share_start(other, {**identity, "dataset": "xyz"}, None)
