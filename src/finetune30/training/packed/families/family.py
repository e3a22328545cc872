"""What the packed path must know of a model family: sizes, names, linear layers, and how blocks make a model of them.

Names are those of the modules in transformers' sequence classifiers or language models, because the saved adapter is
keyed by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from finetune30.training.packed.building import Builder
    from finetune30.training.packed.model import PackedModel

S = TypeVar("S", bound="Shape")


@dataclass(frozen=True)
class Shape:
    """Sizes of one model, read from its configuration."""

    layer_count: int
    hidden_size: int
    head_count: int
    intermediate_size: int
    vocabulary_size: int
    position_count: int
    norm_epsilon: float
    initializer_range: float
    pad_token_id: int

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.head_count

    @property
    def usable_positions(self) -> int:
        """The most tokens that a row may have."""
        return self.position_count

    @property
    def reads_token_types(self) -> bool:
        """Whether tokens have types that differ."""
        return False

    @property
    def window(self) -> int | None:
        """How many tokens attention looks back over, None for all."""
        return None


@dataclass(frozen=True)
class EncoderShape(Shape):
    """The same of an encoder with a head of `outputs` numbers, one a label, and its dropout rates.

    Positions of tokens begin with `position_offset`; `type_count` 0: there are no token types.
    """

    position_offset: int
    type_count: int
    outputs: int
    activation: str
    hidden_dropout: float
    attention_dropout: float
    head_dropout: float

    @property
    def usable_positions(self) -> int:
        """See `Shape.usable_positions`."""
        return self.position_count - self.position_offset

    @property
    def reads_token_types(self) -> bool:
        """See `Shape.reads_token_types`."""
        return self.type_count > 1


@dataclass(frozen=True)
class DecoderShape(Shape):
    """The same of a language model: heads of `head_width` numbers, keys and values for `key_value_count` of them.

    `looks_back`: see `window`. `frequencies`: rotary radians a position, one for each pair of a head's numbers.
    `shares_table`: whether the vocabulary's layer is the embeddings' table. `biased_roles`: roles of the linear layers
    that have biases.
    """

    key_value_count: int
    head_width: int
    looks_back: int | None
    frequencies: tuple[float, ...]
    shares_table: bool
    biased_roles: frozenset[str]

    @property
    def head_size(self) -> int:
        """See `Shape.head_size`."""
        return self.head_width

    @property
    def window(self) -> int | None:
        """See `Shape.window`."""
        return self.looks_back


@dataclass(frozen=True)
class Linear:
    """A linear layer: weight `shape` (out, in), and where it stands; `layer` None: outside the numbered layers.

    `shares_input_with` is the path of the linear layer before it that reads the same input, None without such a one.
    `has_bias`: whether something is added to its products.
    """

    path: str
    role: str
    shape: tuple[int, int]
    layer: int | None = None
    shares_input_with: str | None = None
    has_bias: bool = True

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of the weight, and of the bias where there is one."""
        weight: dict[str, tuple[int, ...]] = {f"{self.path}.weight": self.shape}
        return weight | ({f"{self.path}.bias": self.shape[:1]} if self.has_bias else {})


class Family(Protocol[S]):
    """A family of models whose sizes are an `S`.

    `scores_tokens`: whether they are language models, see `Trainable.scores_tokens`; else heads of classifiers.
    `saved_modules` are trained and saved whole with every adapter; `savable_modules`, pre-trained ones, when that is
    asked for or a checkpoint lacks them.
    """

    model_types: tuple[str, ...]
    scores_tokens: bool
    saved_modules: tuple[str, ...]
    savable_modules: tuple[str, ...]

    def refuse(self, config: Mapping[str, Any]) -> str | None:
        """Return why this configuration cannot be run, or None when it can."""
        ...

    def shape(self, config: Mapping[str, Any], outputs: int = 1) -> S:
        """Read a transformers `config.json`; missing keys have transformers' defaults."""
        ...

    def linears(self, shape: S) -> list[Linear]:
        """Return every linear layer, in the order in which a forward pass meets them."""
        ...

    def other_weights(self, shape: S) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every frozen weight that belongs to no linear layer."""
        ...

    def spellings(self, name: str) -> Iterator[str]:
        """Return the names that a weight may have in a checkpoint, the likeliest first."""
        ...

    def assemble(self, shape: S, build: Builder) -> PackedModel:
        """Put blocks together."""
        ...


def layers_of(linears: Iterable[Linear], count: int) -> list[dict[str, Linear]]:
    """Return the linear layers of each numbered layer by their roles."""
    layers: list[dict[str, Linear]] = [{} for _ in range(count)]
    for linear in linears:
        if linear.layer is not None:
            layers[linear.layer][linear.role] = linear
    return layers
