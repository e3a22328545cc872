"""Which kernels are deterministic: on CPUs always, on GPUs where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from finetune30.training.determinism import apply_determinism

OFF, WARN, ERROR = 0, 1, 2


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_deterministic_debug_mode()
    yield
    torch.set_deterministic_debug_mode(before)


@pytest.mark.parametrize(
    ("device", "wanted", "mode"),
    [
        ("cpu", None, ERROR), ("cpu", False, OFF), ("mps", None, WARN), ("cuda", None, OFF), ("cuda:1", True, ERROR),
    ],
)  # fmt: skip
def test_kernels_without_a_deterministic_form_are_refused_or_named(device: str, wanted: bool | None, mode: int) -> None:
    assert apply_determinism(device, wanted) is (mode != OFF)
    assert torch.get_deterministic_debug_mode() == mode
    assert torch.are_deterministic_algorithms_enabled() is (mode != OFF)
