"""Models of one base are in memory once, and each answers with its own adapter as it would alone."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from finetune30.modeling.shared_weights import SharedWeights
from support.chat_models import build_tiny_chat
from support.patience import patient

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_chat(tmp_path_factory.mktemp("base"))


def load(folder: Path, seed: int, targets: tuple[str, ...] = ("q_proj", "v_proj")) -> Any:
    """Return the base under an adapter of its own, as it is loaded to be asked."""
    base: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    torch.manual_seed(seed)
    config = LoraConfig(r=2, target_modules=list(targets), init_lora_weights=False)
    return get_peft_model(base, config).eval().requires_grad_(False)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def storages(model: Any) -> set[int]:
    return {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}


def adapter_bytes(model: Any) -> int:
    return sum(one.nbytes for name, one in model.named_parameters() if "lora_" in name)


def test_a_second_adapter_takes_no_more_memory_than_itself(folder: Path) -> None:
    weights = SharedWeights()
    models = [load(folder, 1), load(folder, 2), load(folder, 3, ("q_proj", "down_proj"))]
    wanted = [logits(model) for model in models]
    assert not torch.equal(wanted[0], wanted[1])
    given_up = [weights.share(model, "sha256 of the base") for model in models]
    whole = sum(one.nbytes for one in models[0].parameters())
    assert given_up == [0, *(whole - adapter_bytes(models[0]),) * 2]
    for model, own in zip(models, wanted, strict=True):
        assert torch.equal(logits(model), own)
    for model in models[1:]:
        others = storages(model) - storages(models[0])
        adapters = {one.untyped_storage().data_ptr() for name, one in model.named_parameters() if "lora_" in name}
        assert others == adapters


def test_the_weights_stay_for_as_long_as_one_model_uses_them(folder: Path) -> None:
    weights = SharedWeights()
    first, second = load(folder, 1), load(folder, 2)
    weights.share(first, "base")
    weights.share(second, "base")
    own = logits(second)
    del first
    gc.collect()
    third = load(folder, 3)
    assert weights.share(third, "base") > 0
    assert torch.equal(logits(second), own)
    del second, third
    gc.collect()
    assert weights.share(load(folder, 4), "base") == 0  # nothing is kept for models that may never come


def test_weights_that_differ_are_nobody_elses(folder: Path) -> None:
    weights = SharedWeights()
    first, other = load(folder, 1), load(folder, 2)
    changed = next(one for name, one in other.named_parameters() if "norm" in name)
    changed.data[0] += 1e-6
    weights.share(first, "base")
    kept = logits(other)
    weights.share(other, "base")
    assert changed.untyped_storage().data_ptr() in storages(other)
    assert torch.equal(logits(other), kept)
    assert weights.share(load(folder, 3), "another base") == 0


class Held(torch.nn.ParameterList):
    """A model whose weights are looked through once that is allowed."""

    def __init__(self) -> None:
        super().__init__(torch.full((2,), float(place)) for place in range(3))
        self.entered, self.allowed = threading.Event(), threading.Event()

    def named_modules(self, *given: Any, **named: Any) -> Iterator[Any]:
        self.entered.set()
        assert self.allowed.wait(patient(10))
        yield from super().named_modules(*given, **named)


def test_a_model_that_is_loaded_beside_another_waits_for_its_weights() -> None:
    """Two at once would each find nothing of the other's."""
    weights, first, second = SharedWeights(), Held(), Held()
    second.allowed.set()
    with ThreadPoolExecutor(2) as loading:
        begun = loading.submit(weights.share, first, "base")
        assert first.entered.wait(patient(10))
        beside = loading.submit(weights.share, second, "base")
        was_beside = second.entered.wait(0.3)
        first.allowed.set()
        assert (was_beside, begun.result(), beside.result()) == (False, 0, 3 * 2 * 4)  # float32
    assert storages(second) == storages(first)
