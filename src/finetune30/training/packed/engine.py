"""The packed engine: the training loop's protocol over the packed model."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune30.config import ExperimentConfig
from finetune30.modeling.conversations.end_tokens import end_tokens_of
from finetune30.modeling.memory import free_memory, keep_freed_memory, return_freed_memory
from finetune30.training import processes
from finetune30.training.engine import require_fitting
from finetune30.training.packed.adapter_files import NAME_PREFIX, adapter_config, save_adapter_files
from finetune30.training.packed.base_weights import BaseWeights
from finetune30.training.packed.building import build_packed_model
from finetune30.training.packed.families import find_family
from finetune30.training.packed.families.family import DecoderShape
from finetune30.training.packed.frozen_cache import FrozenPrefix
from finetune30.training.packed.layout import TOKENS_AT_ONCE, PackedLayout, build_layout, halve
from finetune30.training.packed.model import PackedModel
from finetune30.training.packed.next_tokens import PackedNextTokens
from finetune30.training.packed.optimizer import AdamWSettings, FlatAdamW
from finetune30.training.packed.parts.dropout import MaskSource
from finetune30.training.packed.support import plan_of
from finetune30.training.problem import Loss

if TYPE_CHECKING:
    from finetune30.data.batching import Batch
    from finetune30.data.encoding import EncodedSplit
    from finetune30.modeling.base import BaseSource

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build_packed_engine(
    config: ExperimentConfig,
    source: BaseSource,
    *,
    loss: Loss,
    outputs: int,
    precision: str,
    task_type: str,
) -> PackedEngine:
    """Load the base and start an adapter; ask `supports` first. `outputs` are those of a classifier's head."""
    described = source.load_config()
    family = find_family(described)
    assert family is not None  # noqa: S101 - `supports` has found it
    shape, training = family.shape(described, outputs), config.training
    with torch.no_grad():
        base = BaseWeights(source.folder, family.spellings)
        plan = plan_of(config.lora, family, shape, base)
        model = build_packed_model(
            family,
            shape,
            plan,
            base,
            seed=training.seed,
            dtype=_DTYPES[precision],
            compiled=training.compiled_kernels,
        )
    return_freed_memory()
    keep_freed_memory()
    settings = AdamWSettings(
        beta1=training.adam_beta1,
        beta2=training.adam_beta2,
        epsilon=training.adam_epsilon,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
    )
    return PackedEngine(
        model,
        FlatAdamW(model.weights, settings),
        model.parts.masks(training.seed + processes.rank()),
        adapter_config=adapter_config(plan, source.reference, source.revision, task_type),
        precision=precision,
        loss=loss,
        pad_token_id=shape.pad_token_id,
        heads=shape.head_count,
        next_tokens=PackedNextTokens(model, shape, end_tokens_of(source)) if isinstance(shape, DecoderShape) else None,
    )


def loss_with_gradient(loss: Loss, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of a head's outputs, 0-d, and its gradient with respect to them; the only use of autograd."""
    with torch.enable_grad():
        asked = outputs.detach().requires_grad_()
        value = loss(asked, targets)
        (gradient,) = torch.autograd.grad(value, asked)
    return value.detach(), gradient


class PackedEngine:
    """See `training.engine.Engine`; trains on packed tokens with an explicit backward pass, on the CPU."""

    name = "packed"
    device = "cpu"
    start_digest: str | None = None

    def __init__(
        self,
        model: PackedModel,
        optimizer: FlatAdamW,
        masks: MaskSource,
        *,
        adapter_config: dict[str, Any],
        precision: str,
        loss: Loss,
        pad_token_id: int,
        heads: int,
        next_tokens: PackedNextTokens | None,
    ) -> None:
        self._model, self._optimizer, self._masks = model, optimizer, masks
        self.operations = model.parts.name
        self._adapter_config, self._heads, self._next_tokens = adapter_config, heads, next_tokens
        self._loss, self._prefix = loss, FrozenPrefix(model.backbone, pad_token_id)
        self.precision, self.pad_token_id = precision, pad_token_id
        self.trainable_parameters = model.weights.count
        self.total_parameters = model.weights.count + model.frozen_count
        self.packs = False  # it has no padding that could be saved
        self.kernels: str | None = None

    @torch.no_grad()
    def accumulate(self, batch: Batch, scale: float) -> Tensor:
        """Add the gradient of `scale * sum(row losses)`; return the sum of row losses, 0-d float32."""
        losses = [self._accumulate(part, layout, scale) for part, layout in self._parts(batch)]
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _accumulate(self, batch: Batch, layout: PackedLayout, scale: float) -> Tensor:
        backbone, head = self._model.backbone, self._model.head
        asked, tapes = backbone.forward(self._states(batch, layout, self._masks), layout, self._masks)
        wanted = head.wanted(batch)
        outputs, tape = head.forward(asked, wanted, self._masks)
        loss, gradient = loss_with_gradient(self._loss, outputs, wanted)
        below = head.backward(gradient * scale, tape)
        backbone.backward(below.to(asked.dtype), tapes, layout)
        return loss.float()

    def remember(self, split: EncodedSplit) -> int:
        """See `Engine.remember`; kept are the states before the lowest trained layer."""
        return self._prefix.remember(split)

    @torch.no_grad()
    def step(self, learning_rate: float) -> Tensor:
        """Sum gradients over processes, clip, take one AdamW step; return the gradient norm before clipping."""
        if processes.world_size() > 1:
            processes.sum_in_place(self._model.weights.gradients)
        return self._optimizer.step(learning_rate)

    def discard_gradients(self) -> None:
        """Forget what was accumulated since the last step."""
        self._model.weights.gradients.zero_()

    @torch.no_grad()
    def outputs(self, batch: Batch) -> NDArray[np.float32]:
        """See `Engine.outputs`: what the head makes of the tokens that are asked for, without dropout."""
        answers = [self._answer(part, layout) for part, layout in self._parts(batch)]
        return self._model.head.spread(np.concatenate(answers), batch)

    def _answer(self, batch: Batch, layout: PackedLayout) -> NDArray[np.float32]:
        states = self._states(batch, layout, None)
        backbone, head = self._model.backbone, self._model.head
        asked, _ = backbone.forward(states, layout, None, keeps_tapes=False)
        outputs, _ = head.forward(asked, head.wanted(batch), None, keeps_tape=False)
        result: NDArray[np.float32] = outputs.float().numpy()
        return result

    def adapter_state(self) -> dict[str, Tensor]:
        """Return adapter and head under PEFT's names."""
        return {NAME_PREFIX + name: tensor for name, tensor in self._model.weights.state().items()}

    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `adapter_state` returned. Raises CheckpointError for the weights of another model."""
        require_fitting(state, self.adapter_state())
        self._model.weights.load_state({name.removeprefix(NAME_PREFIX): tensor for name, tensor in state.items()})

    def published_state(self) -> dict[str, Tensor]:
        """Return what `save_adapter` writes."""
        return self.adapter_state()

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return AdamW's moments and step count."""
        return self._optimizer.state()

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `optimizer_state` returned."""
        self._optimizer.load_state(state)

    def rng_state(self) -> dict[str, Any]:
        """Return the state of the dropout masks' generator."""
        return self._masks.state()

    def load_rng_state(self, state: dict[str, Any]) -> None:
        """Take over what `rng_state` returned."""
        self._masks.load_state(state)

    def save_adapter(self, folder: Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors."""
        save_adapter_files(folder, self._adapter_config, self.adapter_state())

    def release(self) -> None:
        """Give up model and optimizer with their memory."""
        del self._model, self._optimizer, self._masks, self._prefix, self._next_tokens
        gc.collect()
        free_memory(self.device)

    @contextmanager
    def lend(self) -> Iterator[PackedNextTokens]:
        """See `LendsModel.lend`; of a language model."""
        assert self._next_tokens is not None  # noqa: S101 - nobody asks a classifier for tokens
        yield self._next_tokens

    @contextmanager
    def lend_base(self) -> Iterator[PackedNextTokens]:
        """See `LendsModel.lend_base`; every B is zero meanwhile."""
        weights = self._model.weights
        kept = weights.values.clone()
        for name in weights.names:
            if ".lora_B." in name:
                weights.value(name).zero_()
        try:
            with self.lend() as model:
                yield model
        finally:
            weights.values.copy_(kept)

    def _states(self, batch: Batch, layout: PackedLayout, masks: MaskSource | None) -> Tensor:
        """Return what the trained layers start from, (T, hidden)."""
        kept = self._prefix.find(batch, layout.total, lambda block: self._run_frozen(block, self._layout(block), None))
        return self._run_frozen(batch, layout, masks) if kept is None else kept

    def _run_frozen(self, batch: Batch, layout: PackedLayout, masks: MaskSource | None) -> Tensor:
        backbone = self._model.backbone
        return backbone.run_frozen(backbone.embed(*_packed_ids(batch, layout), layout, masks), layout, masks)

    def _parts(self, batch: Batch) -> list[tuple[Batch, PackedLayout]]:
        """Return what is worked on together, in turn."""
        # Small with its padding is small for sure, and known without a look at the lengths.
        is_small = batch.input_ids.size <= TOKENS_AT_ONCE
        places = [] if is_small else halve(batch.lengths, TOKENS_AT_ONCE, slice(0, len(batch)))
        parts = [batch.part(rows) for rows in places] if len(places) > 1 else [batch]
        return [(part, self._layout(part)) for part in parts]

    def _layout(self, batch: Batch) -> PackedLayout:
        model = self._model
        return build_layout(
            batch.lengths,
            model.head.asking(batch),
            self._heads,
            model.backbone.dtype,
            with_grid=model.backbone.needs_grid,
            few_sizes=model.parts.wants_few_sizes,
        )


def _packed_ids(batch: Batch, layout: PackedLayout) -> tuple[Tensor, Tensor | None]:
    """Return token ids (T,) and type ids (T,) or None, rows one after the other, fillers zero."""
    inside = np.arange(batch.input_ids.shape[1])[None, :] < batch.lengths[:, None]
    types = None if batch.token_type_ids is None else _with_fillers(batch.token_type_ids[inside], layout.total)
    return _with_fillers(batch.input_ids[inside], layout.total), types


def _with_fillers(ids: NDArray[np.int64], total: int) -> Tensor:
    return torch.from_numpy(ids if len(ids) == total else np.concatenate([ids, np.zeros(total - len(ids), ids.dtype)]))
