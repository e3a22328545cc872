"""What the packed path must know of a model family: sizes, names, linear layers, and how blocks make a model of them.

Names are those of the modules in transformers' sequence classifiers, because the saved adapter is keyed by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from finetune30.training.packed.building import Builder
    from finetune30.training.packed.model import PackedModel


@dataclass(frozen=True)
class Shape:
    """Sizes and rates of one model, read from its configuration; `outputs` are the head's numbers, one a label.

    Positions of tokens begin with `position_offset`; `type_count` 0: there are no token types.
    """

    layer_count: int
    hidden_size: int
    head_count: int
    intermediate_size: int
    vocabulary_size: int
    position_count: int
    position_offset: int
    type_count: int
    outputs: int
    activation: str
    norm_epsilon: float
    hidden_dropout: float
    attention_dropout: float
    head_dropout: float
    initializer_range: float
    pad_token_id: int

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.head_count

    @property
    def usable_positions(self) -> int:
        """The most tokens that a row may have."""
        return self.position_count - self.position_offset


@dataclass(frozen=True)
class Linear:
    """A linear layer: weight `shape` (out, in), and where it stands; `layer` None: outside the numbered layers.

    `shares_input_with` is the path of the linear layer before it that reads the same input, None without such a one.
    """

    path: str
    role: str
    shape: tuple[int, int]
    layer: int | None = None
    shares_input_with: str | None = None

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of weight and bias."""
        return {f"{self.path}.weight": self.shape, f"{self.path}.bias": self.shape[:1]}


class Family(Protocol):
    """A family of models.

    `saved_modules` are trained and saved whole with every adapter; `savable_modules`, pre-trained ones, when that is
    asked for or a checkpoint lacks them.
    """

    model_types: tuple[str, ...]
    saved_modules: tuple[str, ...]
    savable_modules: tuple[str, ...]

    def refuse(self, config: Mapping[str, Any]) -> str | None:
        """Return why this configuration cannot be run, or None when it can."""
        ...

    def shape(self, config: Mapping[str, Any], outputs: int = 1) -> Shape:
        """Read a transformers `config.json`; missing keys have transformers' defaults."""
        ...

    def linears(self, shape: Shape) -> list[Linear]:
        """Return every linear layer, in the order in which a forward pass meets them."""
        ...

    def other_weights(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every frozen weight that belongs to no linear layer."""
        ...

    def spellings(self, name: str) -> Iterator[str]:
        """Return the names that a weight may have in a checkpoint, the likeliest first."""
        ...

    def assemble(self, shape: Shape, build: Builder) -> PackedModel:
        """Put blocks together."""
        ...


def layers_of(linears: Iterable[Linear], count: int) -> list[dict[str, Linear]]:
    """Return the linear layers of each numbered layer by their roles."""
    layers: list[dict[str, Linear]] = [{} for _ in range(count)]
    for linear in linears:
        if linear.layer is not None:
            layers[linear.layer][linear.role] = linear
    return layers
