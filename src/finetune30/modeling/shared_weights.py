"""Weights that several loaded models have in common, in memory once.

Models that are asked only never change a weight, so those of one base that are equal bit for bit may be one tensor:
every version keeps its own adapter, and nothing has to be switched between two answers.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from torch import Tensor, nn

#: What PEFT puts into the names of layers that an adapter works on.
_WRAPPED = ".base_layer"


class SharedWeights:
    """The weights of the models of one process, each for as long as a model uses it; safe in threads."""

    def __init__(self) -> None:
        #: Models are held against each other one after the other: two at once would each find nothing of the other's.
        self._lock = threading.Lock()
        self._known: WeakValueDictionary[tuple[str, str, tuple[int, ...], str], Tensor] = WeakValueDictionary()

    def share(self, model: nn.Module, base: str) -> int:
        """Let a loaded model use the weights that others of its base have already; return the bytes that it gave up.

        `base` names the base model, such as the sha256 of its weights: which weights are held against each other.
        The model must not be trained.
        """
        import torch

        given_up: dict[int, int] = {}  # a tied weight has several names
        with self._lock:
            for place, module in model.named_modules():
                for name, own in list(module._parameters.items()):
                    if own is None or type(own) is not torch.nn.Parameter:  # quantised ones are more than their numbers
                        continue
                    key = (base, f"{place}.{name}".replace(_WRAPPED, ""), tuple(own.shape), f"{own.dtype} {own.device}")
                    known = self._known.setdefault(key, own)
                    if known is not own and _are_same(known, own):
                        module._parameters[name] = known
                        given_up[id(own)] = own.nbytes
        return sum(given_up.values())


def _are_same(one: Tensor, other: Tensor) -> bool:
    """Tell whether two weights of one shape and type are equal bit for bit: zeros by their signs too."""
    import torch

    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return torch.equal(one.view(bits), other.view(bits))
