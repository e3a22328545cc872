"""Saved classifiers on the packed path, to be asked: no padding, float32, on the CPU.

Adapters of one base that differ in nothing but their weights share its engine: the base is in memory once, and the
weights of whoever is asked are laid in before. Models of transformers share the weights of their base.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from finetune30.config import DataConfig, ExperimentConfig, LoraConfig, ModelConfig
from finetune30.modeling.base import find_base
from finetune30.modeling.devices import Placement
from finetune30.modeling.loadable_adapter import find_base_folder
from finetune30.modeling.published_base import ADAPTER_CONFIG
from finetune30.modeling.saved_targets import load_targets
from finetune30.modeling.shared_weights import SharedWeights
from finetune30.training.paths import build_engine, choose_path

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finetune30.data.batching import Batch
    from finetune30.training.problem import Trainable

_ADAPTER = "adapter_model.safetensors"
#: Keys of adapter_config.json that give single modules another rank or scale, which the packed path does not know.
_PATTERNS = ("rank_pattern", "alpha_pattern")


class SharedEngine:
    """An engine with the adapter that is laid in. Who asks that one may do so beside others; another waits for them."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self._laid_in: PackedAdapter | None = None
        self._asking = 0
        self._changed = threading.Condition()
        #: Held while somebody waits for the engine, so that who asks the adapter that is there cannot keep it for ever.
        self._turn = threading.Lock()

    @contextmanager
    def hold(self, adapter: PackedAdapter) -> Iterator[Any]:
        """Yield the engine with an adapter laid in. Raises CheckpointError where it is one of another model."""
        with self._turn, self._changed:
            while self._asking and self._laid_in is not adapter:
                self._changed.wait()
            if self._laid_in is not adapter:
                self._laid_in = None  # should this end halfway, whoever is asked next lays its own in again
                self.engine.load_adapter_state(adapter.state)
                self._laid_in = adapter
            self._asking += 1
        try:
            yield self.engine
        finally:
            with self._changed:
                self._asking -= 1
                self._changed.notify()


class PackedAdapter:
    """A saved adapter on an engine that others may share; asked by any threads, at the same time too."""

    def __init__(self, shared: SharedEngine, state: Mapping[str, Tensor]) -> None:
        self._shared, self.state = shared, dict(state)
        self.pad_token_id: int = shared.engine.pad_token_id
        with shared.hold(self):
            pass  # one that does not fit is refused here

    @property
    def shared(self) -> SharedEngine:
        """The engine."""
        return self._shared

    def outputs(self, batch: Batch) -> NDArray[np.float32]:
        """Return the logits of a batch's rows, float32 (B, outputs)."""
        with self._shared.hold(self) as engine:
            found: NDArray[np.float32] = engine.outputs(batch)
            return found


class SavedEngines:
    """The engines of one process, each for as long as an adapter uses it; safe to use from several threads."""

    def __init__(self) -> None:
        #: Whoever looks for an engine waits for the one that is being built: it may be the same.
        self._lock = threading.Lock()
        self._known: WeakValueDictionary[str, SharedEngine] = WeakValueDictionary()
        self._weights = SharedWeights()

    def share(self, folder: Path, model: nn.Module) -> None:
        """Let a saved model that was loaded with transformers use the weights that others of its base have already."""
        base = (load_targets(folder).get("base") or {}).get("sha256")
        self._weights.share(model, base or str(find_base_folder(folder)))

    def open(self, folder: Path, problem: Trainable) -> tuple[PackedAdapter | None, str]:
        """Return a saved adapter on the packed path, or None, and why.

        Raises ModelError where the base model is gone, CheckpointError where the weights are those of another model.
        """
        from safetensors.torch import load_file

        described, adapter = load_targets(folder), json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        if described.get("quantization") is not None:
            return None, "its base model is quantised"
        if odd := next((name for name in _PATTERNS if adapter.get(name)), None):
            return None, f"its {ADAPTER_CONFIG} has a {odd}"
        lora = LoraConfig.model_validate({name: adapter[name] for name in LoraConfig.model_fields if name in adapter})
        config = ExperimentConfig(lora=lora, data=DataConfig(max_length=described["max_length"]))
        source = find_base(ModelConfig(name=str(find_base_folder(folder))))
        placement = Placement("cpu", "fp32", "what serves is asked in float32")
        path, reason = choose_path(config, source, problem, placement)
        if path != "packed":
            return None, reason
        base = (described.get("base") or {}).get("sha256")
        same = [str(source.folder.resolve()), base, lora.model_dump(mode="json"), problem.head_outputs]
        key = json.dumps(same, sort_keys=True)
        with self._lock:
            shared = self._known.get(key)
            if shared is None:
                shared = self._known[key] = SharedEngine(build_engine(path, config, source, problem, placement))
        return PackedAdapter(shared, load_file(folder / _ADAPTER)), str(shared.engine.operations)
