"""The general training path: any transformers model under PEFT.

The frozen base stays in the run's precision; adapter, head and optimizer are float32. On CUDA the forward pass runs
under autocast, elsewhere the head casts its input itself, which costs less than autocast's bookkeeping on a CPU. Only
where float32 weights are trained in the midst of the base (biases, modules saved whole) is autocast needed there too.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune30.config import TrainingConfig
from finetune30.config.lora import CHANGING_BASE
from finetune30.data.batching import Batch
from finetune30.modeling.conversations.transformers_tokens import TransformersNextTokens
from finetune30.modeling.converting import convert_saved, convert_state
from finetune30.modeling.devices import Placement
from finetune30.modeling.memory import free_memory
from finetune30.modeling.model_facts import mixes_neighbours, parameters_kept_whole, pools_the_last_place
from finetune30.modeling.quantization import count_weights
from finetune30.modeling.recomputing import recompute_layers
from finetune30.modeling.tokenizing import pad_before
from finetune30.training import processes
from finetune30.training.embedding_noise import EmbeddingNoise, row_lengths
from finetune30.training.engine import require_fitting
from finetune30.training.optimizer import build_optimizer, set_learning_rate
from finetune30.training.packing import PackedBatch, pack
from finetune30.training.problem import Loss, Outputs
from finetune30.training.streams import digest_tensors, preserved_streams

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from finetune30.data.encoding import EncodedSplit

#: Quantised weights are integers or of 8 bits, and mean nothing without their scales: they are never cast.
_CASTABLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class GeneralEngine:
    """The Engine protocol over a PeftModel."""

    name = "general"
    operations = "PyTorch's operators"

    def __init__(
        self,
        model: PeftModel,
        config: TrainingConfig,
        placement: Placement,
        *,
        outputs: Outputs,
        loss: Loss,
        pad_token_id: int,
        loraplus_lr_ratio: float | None = None,
    ) -> None:
        self.device, self.precision = placement.device, placement.precision
        self._outputs, self._loss, self.pad_token_id = outputs, loss, pad_token_id
        self._max_grad_norm = config.max_grad_norm
        self._autocasts = placement.precision != "fp32" and (
            placement.device.startswith("cuda") or _trains_the_backbone(model)
        )
        self._model = _place(model, placement, autocasts=self._autocasts)
        if config.gradient_checkpointing:
            recompute_layers(self._model.get_base_model())
        self._trainable = {n: p for n, p in self._model.named_parameters() if p.requires_grad}
        self.trainable_parameters = sum(p.numel() for p in self._trainable.values())
        self.total_parameters = sum(count_weights(p) for p in self._model.parameters())
        alpha = config.neftune_noise_alpha
        self._noise = None if alpha is None else EmbeddingNoise(self._model.get_base_model(), alpha)
        # PiSSA and OLoRA begin with a part of the base, which is needed once more: to publish an ordinary adapter.
        adapter: Any = model.peft_config["default"]
        self._use_rslora = adapter.use_rslora
        changes_base = str(adapter.init_lora_weights).startswith(CHANGING_BASE)
        self._start = self.adapter_state() if changes_base else None
        self.start_digest = None if self._start is None else digest_tensors(self._start)
        self._pads_before = pools_the_last_place(model)
        self._reads_padding = mixes_neighbours(model)
        #: Whether the rows of a pass lie behind each other while training (see `training.packing`).
        self.packs = False
        #: Which kernels for GPUs compute what they know of the model (see `training.gpu_kernels`); None without them.
        self.kernels: str | None = None
        self._uses_cuda = self.device.startswith("cuda")
        self._optimizer = build_optimizer(self._trainable, config, loraplus_lr_ratio or 1.0)
        self._scaler = torch.amp.GradScaler("cuda", enabled=self._uses_cuda and self.precision == "fp16")

    def use_kernels(self) -> dict[str, int]:
        """Let kernels for GPUs compute what they know of the model; return how many of each. Needs Triton."""
        from finetune30.training.gpu_kernels.replacing import replace_operators

        self._model.eval()
        with torch.no_grad(), self._autocast():
            return replace_operators(self.model)

    def remember(self, split: EncodedSplit) -> int:
        """Nothing: whether a layer of an unknown model changes is not known here."""
        return 0

    def accumulate(self, batch: Batch, scale: float) -> torch.Tensor:
        """Add the gradient of `scale` times the summed loss; return that sum unscaled, 0-d float32."""
        self._model.train()
        with self._autocast():
            if self.packs:
                outputs, targets = self._forward_packed(pack(batch, self.pad_token_id))
            else:
                targets = torch.from_numpy(batch.targets).to(self.device)
                outputs = self._forward(batch, targets)
        total = self._loss(outputs.float(), targets)
        scaled: torch.Tensor = self._scaler.scale(total * scale)
        scaled.backward()
        return total.detach()

    def step(self, learning_rate: float) -> torch.Tensor:
        """Sum gradients over processes, clip, update; return the norm before clipping, 0-d."""
        parameters = list(self._trainable.values())
        set_learning_rate(self._optimizer, learning_rate)
        _sum_over_processes(parameters)
        self._scaler.unscale_(self._optimizer)  # behind the sum: an overflow in one process is one in all
        limit = self._max_grad_norm if self._max_grad_norm > 0 else float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        if self._scaler.is_enabled():
            self._scaler.step(self._optimizer)  # skips the update itself when the scaled gradients overflowed
            self._scaler.update()
        elif bool(torch.isfinite(norm)):
            self._optimizer.step()
        self.discard_gradients()
        return norm.detach()

    def discard_gradients(self) -> None:
        """Forget what was accumulated since the last step."""
        self._optimizer.zero_grad(set_to_none=True)

    def outputs(self, batch: Batch) -> NDArray[np.float32]:
        """Return the model's logits without dropout, float32 (B, …).

        A model that reads its padding gets none, rows of one length at a time: what a row is answered must not depend
        on those beside it.
        """
        self._model.eval()
        if not self._reads_padding:
            return self._answer(batch)
        found: NDArray[np.float32] | None = None
        for length in np.unique(batch.lengths):
            rows = np.flatnonzero(batch.lengths == length)
            outputs = self._answer(batch.part(rows))
            if found is None:
                places = (batch.input_ids.shape[1],) if outputs.ndim > 2 else ()  # outputs a token
                found = np.zeros((len(batch), *places, outputs.shape[-1]), dtype=np.float32)
            if outputs.ndim > 2:
                found[rows, :length] = outputs
            else:
                found[rows] = outputs
        assert found is not None  # noqa: S101 - a batch has rows
        return found

    def packed_outputs(self, packed: PackedBatch) -> NDArray[np.float32]:
        """Return what the model gives for packed rows without dropout, float32 (S, W, k)."""
        self._model.eval()
        with torch.inference_mode(), self._autocast():
            result: NDArray[np.float32] = self._forward_packed(packed)[0].float().cpu().numpy()
        return result

    @property
    def model(self) -> PreTrainedModel:
        """The model of transformers that carries the adapter."""
        base: Any = self._model.get_base_model()
        found: PreTrainedModel = base
        return found

    @contextmanager
    def lend(self) -> Iterator[TransformersNextTokens]:
        """Lend the model to whoever goes on with tokens: without dropout, gradients and random streams."""
        self._model.eval()
        with torch.inference_mode(), self._autocast(), preserved_streams():
            yield TransformersNextTokens(self._model, self.pad_token_id)

    @contextmanager
    def lend_base(self) -> Iterator[TransformersNextTokens]:
        """Lend the model as it was before anything was learnt; meanwhile `outputs` are those of the base too."""
        if self._start is None:
            with self.lend() as model, self._model.disable_adapter():
                yield model
            return
        learnt = self.adapter_state()
        self.load_adapter_state(self._start)  # the base without it is not the base
        try:
            with self.lend() as model:
                yield model
        finally:
            self.load_adapter_state(learnt)

    def adapter_state(self) -> dict[str, torch.Tensor]:
        """Return adapter and head under PEFT's names, copied to the CPU."""
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(self._model, save_embedding_layers=False)
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}

    def load_adapter_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `adapter_state` returned. Raises CheckpointError for the weights of another model."""
        from peft import set_peft_model_state_dict

        require_fitting(state, self.adapter_state())
        set_peft_model_state_dict(self._model, state)

    def published_state(self) -> dict[str, torch.Tensor]:
        """Return what `save_adapter` writes: an adapter for the base as it was."""
        state = self.adapter_state()
        if self._start is None:
            return state
        return convert_state(state, self._start, use_rslora=self._use_rslora)

    def optimizer_state(self) -> dict[str, torch.Tensor]:
        """Return moments and step counts as `<parameter>|<key>`, and the loss scale of fp16."""
        flat: dict[str, torch.Tensor] = {}
        for name, parameter in self._trainable.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                flat[f"{name}|{key}"] = torch.as_tensor(value).detach().cpu().clone()
        for key, value in self._scaler.state_dict().items():
            flat[f"scaler|{key}"] = torch.tensor(value, dtype=torch.float64)
        return flat

    def load_optimizer_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `optimizer_state` returned."""
        for name, parameter in self._trainable.items():
            keys = [k for k in state if k.rpartition("|")[0] == name]
            # A fused optimizer keeps its step count on the parameter's device too.
            restored = {k.rpartition("|")[2]: state[k].clone().to(parameter.device) for k in keys}
            if restored:
                self._optimizer.state[parameter] = restored
        scaler = {k.partition("|")[2]: v.item() for k, v in state.items() if k.startswith("scaler|")}
        if scaler and (held := self._scaler.state_dict()):  # counts are whole numbers there, in tensors all are floats
            self._scaler.load_state_dict({key: type(held[key])(value) for key, value in scaler.items()})

    def rng_state(self) -> dict[str, Any]:
        """Return the states of python, numpy, torch CPU, CUDA and MPS streams."""
        version, internal, gauss = random.getstate()
        kind, keys, position, has_gauss, cached = np.random.get_state()
        state: dict[str, Any] = {
            "python": [version, list(internal), gauss],
            "numpy": [str(kind), np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
            "torch_cpu": torch.get_rng_state(),
        }
        if self._uses_cuda:
            state["torch_cuda"] = torch.cuda.get_rng_state(self.device)
        if self.device == "mps":
            state["torch_mps"] = torch.mps.get_rng_state()
        return state

    def load_rng_state(self, state: dict[str, Any]) -> None:
        """Take over what `rng_state` returned."""
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached))
        torch.set_rng_state(state["torch_cpu"])
        if self._uses_cuda and "torch_cuda" in state:
            torch.cuda.set_rng_state(state["torch_cuda"], self.device)
        if self.device == "mps" and "torch_mps" in state:
            torch.mps.set_rng_state(state["torch_mps"])

    def save_adapter(self, folder: Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors."""
        # Embedding layers are never saved: "auto" would ask the hub for the base model's configuration.
        self._model.save_pretrained(str(folder), save_embedding_layers=False)
        if self._start is not None:
            convert_saved(folder, self.published_state())
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours is written by modeling.saving

    def release(self) -> None:
        """Give up model and optimizer with their memory."""
        del self._model, self._trainable, self._optimizer, self._start, self._noise
        gc.collect()  # modules and hooks hold each other
        free_memory(self.device)

    def _answer(self, batch: Batch) -> NDArray[np.float32]:
        targets = torch.from_numpy(batch.targets).to(self.device)
        with torch.inference_mode(), self._autocast():
            result: NDArray[np.float32] = self._forward(batch, targets).float().cpu().numpy()
        return result

    def _forward(self, batch: Batch, targets: torch.Tensor) -> torch.Tensor:
        inputs: dict[str, NDArray[np.int64]] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = batch.token_type_ids
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        tensors = pad_before(tensors) if self._pads_before else tensors
        if self._noise is not None:
            mask = tensors["attention_mask"]
            self._noise.lengths = mask.sum(dim=1, keepdim=True) * mask
        model: Any = self._model  # a PeftModel takes what its base takes
        return self._outputs(model, tensors, targets)

    def _forward_packed(self, packed: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return outputs (S, W, k) and targets (S, W) of packed rows. Without a mask rows are told by positions."""
        arrays = {"input_ids": packed.input_ids, "position_ids": packed.position_ids}
        inputs = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        targets = torch.from_numpy(packed.targets).to(self.device)
        if self._noise is not None:
            self._noise.lengths = torch.from_numpy(row_lengths(packed.position_ids)).to(self.device)
        model: Any = self._model
        return self._outputs(model, inputs, targets), targets

    def _autocast(self) -> Any:
        if not self._autocasts:
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(torch.device(self.device).type, dtype=dtype)


def _trains_the_backbone(model: PeftModel) -> bool:
    """Tell whether weights other than LoRA's are trained below the head, so that frozen ones take their results."""
    base = model.get_base_model()
    backbone = f"{base.base_model_prefix}."
    return any(
        parameter.requires_grad and name.startswith(backbone) and ".lora_" not in name
        for name, parameter in base.named_parameters()
        if not name.startswith(f"{backbone}pooler.")  # the last thing before the head
    )


def _place(model: PeftModel, placement: Placement, *, autocasts: bool) -> PeftModel:
    on_cuda = placement.device.startswith("cuda")
    base: Any = model.get_base_model()
    kept = parameters_kept_whole(base, placement.dtype)
    for name, parameter in base.named_parameters():
        # Autocast takes care of matrix products; off CUDA norms must be of one precision in themselves.
        is_whole = parameter.requires_grad or (autocasts and not on_cuda and parameter.dim() < 2)
        is_whole |= name.replace(".base_layer.", ".") in kept  # as in the saved model, when it is loaded
        if parameter.dtype in _CASTABLE:
            parameter.data = parameter.data.to(torch.float32 if is_whole else placement.dtype)
    for buffer in _persistent_buffers(model):
        if buffer.is_floating_point():
            buffer.data = buffer.data.to(placement.dtype)
    model.to(placement.device)
    if placement.precision != "fp32" and not autocasts:
        for module in model.modules():
            if hasattr(module, "modules_to_save"):
                module.register_forward_pre_hook(_cast_to_float32)
    return model


def _persistent_buffers(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yield the buffers that belong to a checkpoint. Others are computed by the model and keep their precision:

    rotary frequencies rounded to bfloat16 turn by 0.37 rad too far at position 2,047, and a saved model has them whole.
    """
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                yield buffer


def _cast_to_float32(_: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.float() if torch.is_tensor(a) and a.is_floating_point() else a for a in arguments)


def _sum_over_processes(parameters: list[torch.nn.Parameter]) -> None:
    """Sum gradients over all processes with one flat all-reduce: an adapter is small, so buckets gain nothing."""
    if processes.world_size() == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    processes.sum_in_place(flat)
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)
