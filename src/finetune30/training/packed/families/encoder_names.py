"""Names and shapes of an encoder's modules: what its linear layers are, and what else a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from finetune30.training.packed.families.family import EncoderShape, Linear


@dataclass(frozen=True)
class EncoderNames:
    """Names of modules: `prefix` is the backbone's in the classifier ("bert"), `layers` leads from there to the layers.

    Within a layer: `linears` by role, and the norms at the end of its halves. `dense` and `output` are the head's.
    """

    prefix: str
    layers: str
    linears: Mapping[str, str]
    attention_norm: str
    output_norm: str
    dense: str
    output: str

    @property
    def embeddings(self) -> str:
        """Path of the embedding module."""
        return f"{self.prefix}.embeddings"

    def within(self, layer: int, name: str) -> str:
        """Return the path of a module of one layer."""
        return f"{self.prefix}.{self.layers}.{layer}.{name}"


def encoder_linears(names: EncoderNames, shape: EncoderShape) -> list[Linear]:
    """Return the linear layers of all numbered layers."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    sizes = {"feed_forward_in": (inner, hidden), "feed_forward_out": (hidden, inner)}
    linears = []
    for layer in range(shape.layer_count):
        query = names.within(layer, names.linears["query"])
        for role, name in names.linears.items():
            shared = query if role in ("key", "value") else None
            size = sizes.get(role, (hidden, hidden))
            linears.append(Linear(names.within(layer, name), role, size, layer, shares_input_with=shared))
    return linears


def head_linears(names: EncoderNames, shape: EncoderShape) -> tuple[Linear, Linear]:
    """Return the head's dense layer and its output."""
    hidden = shape.hidden_size
    return Linear(names.dense, "dense", (hidden, hidden)), Linear(names.output, "output", (shape.outputs, hidden))


def encoder_weights(names: EncoderNames, shape: EncoderShape) -> dict[str, tuple[int, ...]]:
    """See `Family.other_weights`."""
    hidden, path = shape.hidden_size, names.embeddings
    tables = {"word": shape.vocabulary_size, "position": shape.position_count, "token_type": shape.type_count}
    weights: dict[str, tuple[int, ...]] = {
        f"{path}.{table}_embeddings.weight": (count, hidden) for table, count in tables.items() if count
    }
    norms = [f"{path}.LayerNorm"]
    for layer in range(shape.layer_count):
        norms += [names.within(layer, name) for name in (names.attention_norm, names.output_norm)]
    return weights | {f"{norm}.{part}": (hidden,) for norm in norms for part in ("weight", "bias")}


def encoder_spellings(names: EncoderNames, name: str) -> Iterator[str]:
    """See `Family.spellings`.

    Checkpoints of the bare encoder leave out the prefix, and the oldest ones call a norm's weight and bias gamma and
    beta.
    """
    for candidate in (name, name.removeprefix(names.prefix + ".")):
        yield candidate
        yield candidate.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
