"""Bases with random weights, rows and engines, as the product builds them; nothing is read from a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_check.findings import Context
from benchmarks.material import DISTILBERT, SEED
from finetune30.config import ExperimentConfig
from finetune30.data.encoding import IGNORED, EncodedSplit
from finetune30.modeling.base import BaseSource, find_base
from finetune30.modeling.devices import Placement, choose_placement
from finetune30.modeling.memory import free_memory
from finetune30.problems.trainables import load_trainable
from finetune30.training.problem import Conclusion, Evaluation, Trainable

if TYPE_CHECKING:
    from finetune30.training.general import GeneralEngine

PAD, FIRST_WORD = 2, 3
LEARNING_RATE = 5e-4
BERT = {
    "model_type": "bert",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "vocab_size": 30522,
    "pad_token_id": PAD,
}
_LLAMA = {
    "model_type": "llama",
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "pad_token_id": PAD,
    "bos_token_id": 0,
    "eos_token_id": PAD,
}
#: Sizes of published models (their config.json); weights are random, which does not change the speed.
SHAPES: dict[str, dict[str, Any]] = {
    "distilbert": {**DISTILBERT, "pad_token_id": PAD},
    "bert": BERT,
    "distilbert, 2 layers": {**DISTILBERT, "n_layers": 2, "pad_token_id": PAD},
    # Llama-3.2-1B, Llama-3.1-8B, and the smaller one cut to two layers for what is no matter of size.
    "llama 1b": {
        **_LLAMA,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "llama 8b": {
        **_LLAMA,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
    "llama, 2 layers": {
        **_LLAMA,
        "hidden_size": 1024,
        "intermediate_size": 2048,
        "num_hidden_layers": 2,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 4096,
        "tie_word_embeddings": True,
    },
}
#: What every shape becomes where only the script is tested.
_TINY = {
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_heads": 4, "n_layers": 2, "vocab_size": 320},
    "bert": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "llama": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
}


def describe_shape(context: Context, shape: str) -> dict[str, Any]:
    """Return the settings of a model's configuration."""
    settings = dict(SHAPES[shape])
    if not context.on_gpu:
        settings |= {**_TINY[settings["model_type"]], "vocab_size": 320}
        if "num_key_value_heads" in settings:
            settings["num_key_value_heads"] = 2
    return settings


def ensure_base(context: Context, shape: str) -> Path:
    """Return the folder of a base with random weights, drawn on the device: billions on a CPU would take minutes."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

    folder = context.scratch / shape.replace(" ", "-").replace(",", "")
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    config = AutoConfig.for_model(**describe_shape(context, shape))
    is_decoder = config.model_type == "llama"
    torch.manual_seed(SEED)
    with torch.device(context.device):
        kind: Any = AutoModelForCausalLM if is_decoder else AutoModel
        model = kind.from_config(config, dtype=torch.bfloat16 if is_decoder else torch.float32)
    model.save_pretrained(str(partial))
    del model
    free_memory(context.device)
    special = {"unk_token": "<unk>", "pad_token": "<pad>"}
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "<pad>": PAD}, special["unk_token"]))
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(str(partial))
    partial.rename(folder)
    return folder


def configure(
    base: Path,
    *,
    causal: bool = False,
    quantization: str | None = None,
    lora: Mapping[str, Any] | None = None,
    **training: Any,
) -> ExperimentConfig:
    """Return a configuration for the general path, without dropout: draws differ from device to device."""
    targets: dict[str, Any] = {"target_modules": "all-linear"} if causal else {}
    return ExperimentConfig.model_validate(
        {
            "model": {
                "name": str(base),
                "problem_type": "causal_lm" if causal else "single_label_classification",
                "dropout": 0.0,
                "quantization": quantization,
            },
            "lora": {"r": 16 if causal else 8, "lora_dropout": 0.0, **targets, **(lora or {})},
            "data": {"max_length": 2048 if causal else 512},
            "training": {
                "engine": "general",
                "learning_rate": LEARNING_RATE,
                "eval_strategy": "no",
                "metric_for_best_model": "eval_loss",
                "seed": SEED,
                **training,
            },
        }
    )


def load_problem(config: ExperimentConfig) -> Trainable:
    """Return what is learnt, with the loss as its only figure: others need packages that the machine may lack."""
    causal = config.model.problem_type == "causal_lm"
    problem = load_trainable(str(config.model.problem_type), {} if causal else {"label_names": ["a", "b"]})
    return _only_loss(problem)


def _only_loss(problem: Trainable) -> Trainable:
    class OnlyLoss(type(problem)):  # type: ignore[misc]
        """Evaluates nothing but the loss, and draws no conclusion."""

        def evaluate(self, engine: Any, split: EncodedSplit, batch_size: int) -> Evaluation:
            import torch

            from finetune30.data.batching import collate

            batch = collate(split, np.arange(len(split)), engine.pad_token_id)
            outputs = torch.from_numpy(engine.outputs(batch))
            loss = self.loss(outputs, torch.from_numpy(batch.targets)) / self.weight(split, np.arange(len(split)))
            return Evaluation({"eval_loss": float(loss)}, len(split))

        def conclude(self, *_: Any) -> Conclusion:
            return Conclusion()

    found: Trainable = OnlyLoss(problem.targets)
    return found


def build_engine(config: ExperimentConfig, device: str, precision: str) -> GeneralEngine:
    """Build the general engine as the product does, on a device and in a precision."""
    from finetune30.training import paths

    placement: Placement = choose_placement(device, precision)
    source: BaseSource = find_base(config.model)
    engine: Any = paths.build_engine("general", config, source, load_problem(config), placement)
    found: GeneralEngine = engine
    return found


def give_values_to_b(engine: GeneralEngine, *others: GeneralEngine) -> None:
    """Give every B of the adapters the same random values: with B = 0 the gradient of A is zero and hides mistakes."""
    import torch

    drawn = torch.Generator().manual_seed(SEED)
    state = {
        name: torch.randn(value.shape, generator=drawn) * 0.02 if "lora_B" in name else value
        for name, value in engine.adapter_state().items()
    }
    for each in (engine, *others):
        each.load_adapter_state(state)


def gradients(engine: GeneralEngine) -> dict[str, Any]:
    """Return what was accumulated, float64 on the CPU, by name."""
    return {
        name: parameter.grad.detach().double().cpu()
        for name, parameter in engine.model.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }


def largest_gap(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """Return the largest relative distance of two sets of gradients, tensor by tensor (2-norms)."""
    assert found.keys() == expected.keys(), "gradients of other weights"
    return max(float((found[name] - value).norm() / value.norm().clamp_min(1e-30)) for name, value in expected.items())


def draw_labelled_rows(context: Context, count: int, longest: int, mean: int = 16) -> EncodedSplit:
    """Return rows of random tokens whose first token tells the label, of lengths as short texts have."""
    draws = np.random.default_rng(SEED)
    lengths = np.clip(draws.lognormal(np.log(mean), 0.5, count).astype(np.int64), 4, longest)
    labels = draws.integers(0, 2, count)
    tokens = _draw_tokens(context, lengths, draws)
    starts = np.cumsum(lengths) - lengths
    tokens[starts] = FIRST_WORD + labels
    return _split(tokens, lengths, labels.astype(np.int64))


def draw_token_rows(context: Context, lengths: Sequence[int], vocabulary: int | None = None) -> EncodedSplit:
    """Return rows of random tokens of which every next one is asked; `vocabulary` draws from fewer of them."""
    sizes = np.asarray(lengths, dtype=np.int64)
    tokens = _draw_tokens(context, sizes, np.random.default_rng(SEED), vocabulary)
    targets = np.roll(tokens, -1)
    targets[np.cumsum(sizes) - 1] = IGNORED  # nothing follows a row's last token
    return _split(tokens, sizes, targets, per_token=True)


def _draw_tokens(
    context: Context, lengths: NDArray[np.int64], draws: np.random.Generator, vocabulary: int | None = None
) -> NDArray[np.int32]:
    smallest = min(SHAPES["llama, 2 layers"]["vocab_size"], 4096) if context.on_gpu else 320
    return draws.integers(FIRST_WORD + 2, vocabulary or smallest, int(lengths.sum())).astype(np.int32)


def _split(
    tokens: NDArray[np.int32], lengths: NDArray[np.int64], targets: NDArray[Any], *, per_token: bool = False
) -> EncodedSplit:
    return EncodedSplit(
        row_ids=[str(row) for row in range(len(lengths))],
        tokens=tokens,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        type_ids=None,
        targets=targets,
        truncated=np.zeros(len(lengths), dtype=np.bool_),
        targets_per_token=per_token,
        token_counts={"supervised": np.maximum(lengths - 1, 0)} if per_token else {},
    )
