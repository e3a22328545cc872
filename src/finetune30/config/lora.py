"""The section about the adapter."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from finetune30.config.example import DEFAULT_MODEL
from finetune30.config.field_types import Name, Section, without_old_key
from finetune30.config.holds import Holds

#: PiSSA by a randomised decomposition with so many iterations.
PissaIterations = Annotated[str, Holds.TEXT, Field(pattern=r"^pissa_niter_[1-9]\d{0,2}$")]
#: How the names of initialisations begin that take the start of A and B out of the base weights.
CHANGING_BASE = ("pissa", "olora")
_INITIALISATIONS = "true or false, or one of gaussian, orthogonal, pissa, pissa_niter_N (N from 1 to 999), olora"
_TokenId = Annotated[int, Field(ge=0, le=10_000_000)]


class LoraConfig(Section):
    """The adapter, with PEFT's names (Hu et al. 2021, LoRA)."""

    r: int = Field(8, ge=1, le=1024, description="Rank of the update matrices.")
    lora_alpha: int = Field(16, ge=1, le=4096, description="Scaling numerator: updates are scaled by alpha / r.")
    target_modules: Annotated[list[Name], Field(min_length=1)] | Literal["auto", "all-linear"] = Field(
        ["q_lin", "v_lin"],
        description="Names of the modules that get LoRA; auto: attention query and value; all-linear: every linear "
        f"layer. Left out, it is auto for any model but {DEFAULT_MODEL}, and all-linear for causal_lm.",
    )
    lora_dropout: float = Field(0.1, ge=0.0, lt=1.0, description="Dropout probability before the A matrix.")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="Which biases are trained.")
    use_rslora: bool = Field(False, description="Scale by alpha / sqrt(r) (Kalajdzievski 2023).")
    use_dora: bool = Field(False, description="Weight-decomposed LoRA (Liu et al. 2024).")
    init_lora_weights: bool | Literal["gaussian", "pissa", "olora", "orthogonal"] | PissaIterations = Field(
        True,
        description="How A and B start; true: Kaiming uniform and zero; pissa (Meng et al. 2024) and olora "
        "(Buyukakyuz 2024): taken out of the base weights, and published as an ordinary adapter of twice the rank.",
        json_schema_extra={"allowed": _INITIALISATIONS},
    )
    loraplus_lr_ratio: float | None = Field(
        None,
        ge=1.0,
        le=1000.0,
        description="The learning rate of B is so many times that of A (LoRA+, Hayou et al. 2024); null: the same.",
    )
    modules_to_save: list[Name] | None = Field(
        None, description="Further modules trained and saved whole; the head always is, all of it."
    )
    trainable_token_indices: Annotated[list[_TokenId], Field(min_length=1, max_length=100_000)] | None = Field(
        None,
        description="Ids of tokens whose embeddings are trained (tokens that were added to the model); null: none.",
    )
    layers_to_transform: list[Annotated[int, Field(ge=0, le=10_000)]] | None = Field(
        None, description="Indices of the layers that get LoRA; null: all."
    )

    @property
    def changes_base(self) -> bool:
        """Whether the start of A and B is taken out of the base weights, which then are others while training."""
        return isinstance(self.init_lora_weights, str) and self.init_lora_weights.startswith(CHANGING_BASE)

    @model_validator(mode="before")
    @classmethod
    def _drop_task_type(cls, tree: Any) -> Any:
        return without_old_key(tree, "task_type", "SEQ_CLS")

    @model_validator(mode="after")
    def _orthogonal_halves_the_rank(self) -> LoraConfig:
        if self.init_lora_weights == "orthogonal" and self.r % 2:
            raise ValueError(f"init_lora_weights 'orthogonal' needs an even r, not {self.r}")
        return self

    @model_validator(mode="after")
    def _tokens_once_each(self) -> LoraConfig:
        ids = sorted(self.trainable_token_indices or ())
        if (twice := next((token for token, after in pairwise(ids) if token == after), None)) is not None:
            raise ValueError(f"trainable_token_indices names {twice} twice")
        return self


def require_whole_base(lora: LoraConfig, quantization: str | None, start_adapter: str | None) -> None:
    """Raise ValueError where the start of A and B is taken out of a base that is not the model's own, or not whole."""
    if not lora.changes_base:
        return
    method = lora.init_lora_weights
    if quantization is not None:
        raise ValueError(
            f"lora.init_lora_weights {method!r} takes its start out of the base weights, which model.quantization "
            f"{quantization!r} quantises: leave one of them out"
        )
    if start_adapter is not None:
        raise ValueError(
            f"lora.init_lora_weights {method!r} takes its start out of the base weights, which "
            "training.start_adapter was not made for: leave one of them out (the published adapter of such a "
            "run is an ordinary one: set init_lora_weights to true, lora.r and lora_alpha to what its "
            "adapter_config.json says)"
        )
