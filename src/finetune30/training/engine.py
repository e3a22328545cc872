"""What the loop needs from a training path, and nothing more.

Two engines exist: `general` (any transformers model under PEFT, through accelerate) and `packed` (the families of
BERT and Llama).
They start from the same weights and save the same adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from finetune30.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from finetune30.data.batching import Batch
    from finetune30.data.encoding import EncodedSplit
    from finetune30.modeling.conversations.generation import NextTokens

_FITTING = "use the model, the number of labels and the LoRA settings of the run that it is from"


class Engine(Protocol):
    """A model with its adapter, its optimizer and its random streams."""

    name: str
    operations: str  # whose operators it is made of, for people
    device: str
    precision: str
    pad_token_id: int
    trainable_parameters: int
    total_parameters: int
    packs: bool  # whether it lays rows behind each other that it could pad
    kernels: str | None  # which kernels for GPUs compute in it, None where there are none
    #: What of the adapter's start decides the base that it is trained on, None where the base is as it was.
    start_digest: str | None

    def remember(self, split: EncodedSplit) -> int:
        """Keep what training never changes about a split's rows, where that saves work; return the bytes it takes."""
        ...

    def accumulate(self, batch: Batch, scale: float) -> torch.Tensor:
        """Add the gradient of `scale` times the batch's summed loss; return that sum, 0-d float32, detached."""
        ...

    def step(self, learning_rate: float) -> torch.Tensor:
        """Clip, take one AdamW step, clear gradients; return the gradient norm before clipping, 0-d.

        A norm that is not finite leaves the weights and the optimizer untouched.
        """
        ...

    def discard_gradients(self) -> None:
        """Forget what was accumulated since the last step."""
        ...

    def outputs(self, batch: Batch) -> NDArray[np.float32]:
        """Return what the model gives for a batch, without dropout and without using training's random streams.

        Float32, rows first: logits a row, (B, k), or a token, (B, L, k).
        """
        ...

    def adapter_state(self) -> dict[str, torch.Tensor]:
        """Return adapter and head on the CPU, in their own dtype, under PEFT's names of adapter_model.safetensors."""
        ...

    def load_adapter_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `adapter_state` returned."""
        ...

    def published_state(self) -> dict[str, torch.Tensor]:
        """Return what `save_adapter` writes: `adapter_state`, unless that one is not for the base as it was."""
        ...

    def optimizer_state(self) -> dict[str, torch.Tensor]:
        """Return every tensor of the optimizer (moments, step counts, loss scale) under flat names, on the CPU."""
        ...

    def load_optimizer_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `optimizer_state` returned."""
        ...

    def rng_state(self) -> dict[str, Any]:
        """Return the state of every random stream that training draws from: JSON values and uint8 tensors."""
        ...

    def load_rng_state(self, state: dict[str, Any]) -> None:
        """Take over what `rng_state` returned."""
        ...

    def save_adapter(self, folder: Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors as PEFT does."""
        ...

    def release(self) -> None:
        """Give up model and optimizer with their memory; only its facts (precision, counts, …) are left to ask for."""
        ...


@runtime_checkable
class LendsModel(Protocol):
    """An engine over a language model, which can be asked to go on with tokens."""

    def lend(self) -> AbstractContextManager[NextTokens]:
        """Lend the model, without dropout, gradients and training's random streams."""
        ...

    def lend_base(self) -> AbstractContextManager[NextTokens]:
        """Lend it as it was before anything was learnt; meanwhile the engine's own `outputs` are those too."""
        ...


def require_fitting(saved: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]) -> None:
    """Raise CheckpointError where a saved adapter has other weights than the model's, or of other shapes.

    Copied all the same, a head of one output would be spread over all that the model has.
    """
    if wrong := sorted(saved.keys() ^ present.keys()):
        raise CheckpointError(
            f"{len(wrong)} weights are in the saved adapter or in this model, but not in both: {', '.join(wrong[:3])}",
            _FITTING,
        )
    shapes = [
        f"{name} {list(saved[name].shape)}, here {list(tensor.shape)}"
        for name, tensor in present.items()
        if saved[name].shape != tensor.shape
    ]
    if shapes:
        raise CheckpointError(
            f"{len(shapes)} weights of the saved adapter have other shapes than this model's: {'; '.join(shapes[:3])}",
            _FITTING,
        )
