"""Where kernels for GPUs are used, what they replace in a model, and that a step is the same with them."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from finetune30.errors import ModelError
from finetune30.modeling.base import find_base
from finetune30.modeling.devices import Placement
from finetune30.problems.trainables import load_trainable
from finetune30.service.execution.experiment import Experiment
from finetune30.training.general import GeneralEngine
from finetune30.training.paths import build_engine
from support.decoders import build_tiny_decoder, configure_decoder, token_batch

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of branches that are not taken
with_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed: kernels for GPUs cannot be run (make test-gpu-kernels)",
)
#: What is replaced in two layers.
LLAMA = {"norms": 5, "gates": 2, "rotary positions": 2, "vocabularies": 1}
BOTH = (token_batch([3, 6]), 1 / 4)


def build(base: Path, wanted: str, path: str = "general", precision: str = "fp32", **training: Any) -> tuple[Any, str]:
    """Return an engine with adapters that are not zero, and its line about kernels; it packs where that is `on`."""
    config = configure_decoder(base, gpu_kernels=wanted, **training)
    lines: list[str] = []
    problem = load_trainable("causal_lm", {})
    engine: Any = build_engine(
        path, config, find_base(config.model), problem, Placement("cpu", precision, ""), lines.append
    )
    state = engine.adapter_state()
    generator = torch.Generator().manual_seed(3)
    engine.load_adapter_state({n: torch.randn(t.shape, generator=generator) * 0.05 for n, t in state.items()})
    engine.packs = config.training.packing == "on"
    return engine, next((line for line in lines if "kernels" in line), "")


def gradients(engine: GeneralEngine) -> tuple[float, dict[str, torch.Tensor]]:
    batch, scale = BOTH
    loss = float(engine.accumulate(batch, scale))
    return loss, {n: p.grad.clone() for n, p in engine.model.named_parameters() if p.grad is not None}


def replaced(engine: GeneralEngine) -> dict[str, int]:
    """Count the modules whose forward pass is not that of their class."""
    changed = [type(m).__name__ for m in engine.model.modules() if "forward" in vars(m)]
    kinds = {"norms": "RMSNorm", "gates": "MLP", "rotary positions": "Attention"}
    counts = {name: sum(word in kind for kind in changed) for name, word in kinds.items()}
    head: Any = engine.model.get_output_embeddings()
    return {**counts, "vocabularies": int(hasattr(head, "measure_logits"))}


def decided_by(engine: GeneralEngine) -> dict[str, Any]:
    """Return what an engine adds to the environment that a checkpoint must agree with."""
    experiment: Any = SimpleNamespace(engine=engine, inputs=SimpleNamespace(placement=Placement("cpu", "fp32", "")))
    return Experiment.complete(experiment, {})


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_decoder(tmp_path_factory.mktemp("llama"))


def test_asked_for_where_they_cannot_be_they_are_refused_by_name_and_auto_goes_without(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ModelError, match="on, but they are for NVIDIA GPUs, and the device is cpu") as refused:
        build(llama, "on")
    assert refused.value.remedy == "set training.gpu_kernels to auto or off"
    with pytest.raises(ModelError, match="on, but the packed path runs on CPUs"):
        build(llama, "on", path="packed")
    engine, line = build(llama, "auto")
    assert line == "kernels for GPUs: off (they are for NVIDIA GPUs, and the device is cpu)"
    assert (engine.kernels, replaced(engine)) == (None, dict.fromkeys(LLAMA, 0))
    engine, line = build(llama, "off")
    assert (engine.kernels, line) == (None, "")


def test_without_triton_they_are_refused_and_auto_goes_without(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "triton" else find(name, *rest)
    )
    with pytest.raises(ModelError, match="on, but Triton is not installed"):
        build(llama, "on")
    assert build(llama, "auto")[1] == "kernels for GPUs: off (Triton is not installed)"


@with_triton
@pytest.mark.parametrize(
    ("kind", "training"),
    [("llama, untied and biased", {"gradient_checkpointing": True}), ("qwen3", {"packing": "on"})],
)
def test_a_step_is_the_same_with_them(tmp_path: Path, kind: str, training: dict[str, Any]) -> None:
    base = build_tiny_decoder(tmp_path, kind)
    engine, line = build(base, "on", **training)
    plain, _ = build(base, "off", **training)
    # Two norms a layer and one at the end; Qwen 3 norms every query and key too.
    norms = 9 if kind == "qwen3" else 5
    assert replaced(engine) == {**LLAMA, "norms": norms}
    assert replaced(plain) == dict.fromkeys(LLAMA, 0)
    assert line.startswith("kernels for GPUs: on (")
    assert f"{norms} norms" in line
    assert engine.kernels == f"1, Triton {version('triton')}"
    assert decided_by(engine)["gpu_kernels"] == engine.kernels  # nobody goes on with the run without them
    assert "gpu_kernels" not in decided_by(plain)
    (loss, mine), (expected, theirs) = gradients(engine), gradients(plain)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert mine.keys() == theirs.keys()
    assert len(mine) == 2 * 7 * 2
    for name, gradient in theirs.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()) + 1e-7)
    again, repeated = gradients(build(base, "on", **training)[0])
    assert again == loss
    assert all(repeated[name].equal(gradient) for name, gradient in mine.items())


@with_triton
def test_what_computes_otherwise_is_left_alone(tmp_path: Path) -> None:
    """Gemma's norms add one to their weight, and its gates are those of another activation."""
    base = build_tiny_decoder(tmp_path, model_type="gemma", head_dim=16, hidden_activation="gelu_pytorch_tanh")
    engine, _ = build(base, "on")
    assert replaced(engine) == {"norms": 0, "gates": 0, "rotary positions": 2, "vocabularies": 1}


@with_triton
def test_norms_that_take_more_than_their_input_are_left_alone() -> None:
    """Those of Mamba 2 are the same norm where they are given no gate, as models do that have one."""
    from torch import nn
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated

    from finetune30.training.gpu_kernels.replacing import replace_operators

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain, self.gated = LlamaRMSNorm(8), MambaRMSNormGated(8, 8)
            self.requires_grad_(requires_grad=False)

        def get_output_embeddings(self) -> None:
            return None

    model, x, gate = Model(), torch.randn(2, 8), torch.randn(2, 8)
    expected = model.gated(x, gate)
    assert replace_operators(model) == {"norms": 1}
    assert "forward" in vars(model.plain)
    assert model.gated(x, gate).equal(expected)


@with_triton
def test_a_model_without_any_of_it_is_refused_and_one_that_fails_stays_as_it_was(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune30.training.gpu_kernels import replacing

    monkeypatch.setattr(replacing, "replace_operators", lambda model: {})
    with pytest.raises(ModelError, match="on, but models of type 'llama' have nothing that they compute"):
        build(llama, "on")
    monkeypatch.undo()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(replacing, "measure_logits", fail)
    with pytest.raises(ModelError, match=r"on, but they cannot be run here \(Failed to find C compiler.\)"):
        build(llama, "on")
    engine, line = build(llama, "auto")
    assert line == "kernels for GPUs: off (they cannot be run here (Failed to find C compiler.))"
    assert (engine.kernels, replaced(engine)) == (None, dict.fromkeys(LLAMA, 0))


@with_triton
def test_half_precision_does_without(llama: Path) -> None:
    with pytest.raises(ModelError, match="they compute in bf16 and fp32, and the precision is fp16"):
        build(llama, "on", precision="fp16")
    engine, _ = build(llama, "on", precision="bf16")
    assert replaced(engine) == LLAMA
