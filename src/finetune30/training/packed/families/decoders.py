"""Llama (Touvron et al. 2023) and what has its architecture: as language models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from finetune30.modeling.families import BACKBONE_NAMES
from finetune30.training.packed.families.decoder_assembly import assemble_decoder, assemble_vocabulary
from finetune30.training.packed.families.family import DecoderShape, Linear
from finetune30.training.packed.families.rope import refuse_rope, rope_frequencies
from finetune30.training.packed.model import PackedModel

if TYPE_CHECKING:
    from finetune30.training.packed.building import Builder

#: Sizes that a configuration must give: what transformers takes for missing ones differs from family to family.
_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
    "rms_norm_eps",
)
_UNKNOWN_SWITCHES = ("add_cross_attention", "attn_logit_softcapping")
_PREFIX = BACKBONE_NAMES["llama"]


class Llama:
    """See `Family`; SmolLM2 is one too. What its relatives differ in is in the attributes below."""

    model_types: tuple[str, ...] = ("llama",)
    scores_tokens = True
    saved_modules: tuple[str, ...] = ()
    savable_modules: tuple[str, ...] = ()
    norms_heads = False

    def biased_roles(self, config: Mapping[str, Any]) -> frozenset[str]:
        """Return the roles of the linear layers that have biases."""
        attention = ("query", "key", "value", "attention_output") if config.get("attention_bias") else ()
        feed_forward = ("gate", "up", "down") if config.get("mlp_bias") else ()
        return frozenset((*attention, *feed_forward))

    def window(self, config: Mapping[str, Any]) -> int | None:
        """Return how many tokens attention looks back over, None for all."""
        return None

    def refuse(self, config: Mapping[str, Any]) -> str | None:
        """See `Family.refuse`."""
        for key in _SIZES:
            if not config.get(key):
                return f"the model's configuration lacks {key}"
        activation = config.get("hidden_act", "silu")
        if activation != "silu":
            return f"activation '{activation}' is not silu"
        if config.get("attention_dropout"):
            return f"attention drops out {config['attention_dropout']} of its probabilities"
        for key in _UNKNOWN_SWITCHES:
            if config.get(key):
                return f"the model's configuration sets {key}"
        if self.window(config) is None and "sliding_attention" in (config.get("layer_types") or ()):
            return "some layers attend within a window of no size"
        return refuse_rope(config)

    def shape(self, config: Mapping[str, Any], outputs: int = 1) -> DecoderShape:
        """See `Family.shape`."""
        heads = int(config["num_attention_heads"])
        head_width = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
        return DecoderShape(
            layer_count=int(config["num_hidden_layers"]),
            hidden_size=int(config["hidden_size"]),
            head_count=heads,
            intermediate_size=int(config["intermediate_size"]),
            vocabulary_size=int(config["vocab_size"]),
            position_count=int(config["max_position_embeddings"]),
            norm_epsilon=float(config["rms_norm_eps"]),
            initializer_range=float(config.get("initializer_range", 0.02)),
            pad_token_id=int(config.get("pad_token_id") or 0),
            key_value_count=int(config["num_key_value_heads"]),
            head_width=head_width,
            looks_back=self.window(config),
            frequencies=rope_frequencies(config, head_width),
            shares_table=bool(config.get("tie_word_embeddings", False)),
            biased_roles=self.biased_roles(config),
        )

    def linears(self, shape: DecoderShape) -> list[Linear]:
        """See `Family.linears`; the vocabulary's layer gets no LoRA and is none of them."""
        return [linear for layer in range(shape.layer_count) for linear in _layer_linears(layer, shape)]

    def other_weights(self, shape: DecoderShape) -> dict[str, tuple[int, ...]]:
        """See `Family.other_weights`."""
        table, hidden = (shape.vocabulary_size, shape.hidden_size), (shape.hidden_size,)
        found: dict[str, tuple[int, ...]] = {f"{_PREFIX}.embed_tokens.weight": table}
        for layer in range(shape.layer_count):
            path = f"{_PREFIX}.layers.{layer}"
            if self.norms_heads:
                found |= {f"{path}.self_attn.{name}.weight": (shape.head_size,) for name in ("q_norm", "k_norm")}
            found |= {f"{path}.{name}.weight": hidden for name in ("input_layernorm", "post_attention_layernorm")}
        found[f"{_PREFIX}.norm.weight"] = hidden
        return found if shape.shares_table else found | {"lm_head.weight": table}

    def spellings(self, name: str) -> Iterator[str]:
        """See `Family.spellings`."""
        yield name

    def assemble(self, shape: DecoderShape, build: Builder) -> PackedModel:
        """See `Family.assemble`."""
        table = build.embeddings(f"{_PREFIX}.embed_tokens.weight")
        if shape.shares_table:
            # Laid out it has the embeddings, too; as it was read it is not kept.
            vocabulary = build.parts.vocabulary(table)
            look_up = vocabulary.rows
        else:
            vocabulary = build.parts.vocabulary(build.embeddings("lm_head.weight"))
            look_up = partial(table.index_select, 0)
        del table
        backbone = assemble_decoder(_PREFIX, shape, self.linears(shape), build, look_up, norms_heads=self.norms_heads)
        return build.model(backbone, assemble_vocabulary(_PREFIX, shape, build, vocabulary))


class Mistral(Llama):
    """See `Family`; attention may look back over a window."""

    model_types: tuple[str, ...] = ("mistral",)

    def biased_roles(self, config: Mapping[str, Any]) -> frozenset[str]:
        """See `Llama.biased_roles`: there are none."""
        return frozenset()

    def window(self, config: Mapping[str, Any]) -> int | None:
        """See `Llama.window`; a configuration that does not name it means transformers' default."""
        found = config.get("sliding_window", 4096)
        return None if found is None else int(found)


class Qwen2(Llama):
    """See `Family`; queries, keys and values have biases."""

    model_types: tuple[str, ...] = ("qwen2",)

    def biased_roles(self, config: Mapping[str, Any]) -> frozenset[str]:
        """See `Llama.biased_roles`."""
        return frozenset(("query", "key", "value"))

    def window(self, config: Mapping[str, Any]) -> int | None:
        """See `Llama.window`; it has a switch of its own."""
        return int(config.get("sliding_window") or 4096) if config.get("use_sliding_window") else None


class Qwen3(Qwen2):
    """See `Family`; each head of queries and keys is normed."""

    model_types: tuple[str, ...] = ("qwen3",)
    norms_heads = True

    def biased_roles(self, config: Mapping[str, Any]) -> frozenset[str]:
        """See `Llama.biased_roles`."""
        return frozenset(("query", "key", "value", "attention_output") if config.get("attention_bias") else ())


def _layer_linears(layer: int, shape: DecoderShape) -> list[Linear]:
    hidden, inner = shape.hidden_size, shape.intermediate_size
    queries, shared = shape.head_count * shape.head_size, shape.key_value_count * shape.head_size
    attention, mlp = f"{_PREFIX}.layers.{layer}.self_attn", f"{_PREFIX}.layers.{layer}.mlp"
    sizes = {
        "query": (f"{attention}.q_proj", (queries, hidden), None),
        "key": (f"{attention}.k_proj", (shared, hidden), f"{attention}.q_proj"),
        "value": (f"{attention}.v_proj", (shared, hidden), f"{attention}.q_proj"),
        "attention_output": (f"{attention}.o_proj", (hidden, queries), None),
        "gate": (f"{mlp}.gate_proj", (inner, hidden), None),
        "up": (f"{mlp}.up_proj", (inner, hidden), f"{mlp}.gate_proj"),
        "down": (f"{mlp}.down_proj", (hidden, inner), None),
    }
    return [
        Linear(path, role, size, layer, before, role in shape.biased_roles)
        for role, (path, size, before) in sizes.items()
    ]
