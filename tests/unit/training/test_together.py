"""What processes give each other arrives as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from finetune30.data.encoding import EncodedSplit
from finetune30.training import processes
from finetune30.training.evaluation import predict_outputs
from finetune30.training.processes import find_interface
from finetune30.training.together import digest_streams, pack, unpack
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
