"""The saved model loaded afresh, and the proof that it answers as trained."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import ModelError, SelfTestError
from finetune30.hub.reach import hub_left_alone
from finetune30.modeling.heavy_imports import import_heavy
from finetune30.modeling.quantization_settings import Quantization
from finetune30.modeling.saved_targets import load_targets

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

#: Loads the adapter of a folder on its base; options go to PEFT's `from_pretrained`.
LoadSaved = Callable[..., "PreTrainedModel"]

#: Largest difference of a logit between the trained model and the saved one loaded afresh. fp32 differs by the order
#: of sums only; with a bf16 or fp16 base (8 and 11 bits of mantissa) every layer rounds, and paths round differently.
LOGIT_TOLERANCE = {"fp32": 1e-3, "bf16": 0.25, "fp16": 0.05}
#: bitsandbytes multiplies 8-bit weights with activations in fp16, the largest of which it tells over the whole batch.
_INT8_TOLERANCE = LOGIT_TOLERANCE["fp16"]
#: What transformers keeps of a saved truncation and padding in tokenizer_config.json.
_STATE_OF_TOKENIZERS = ("max_length", "truncation_strategy", "stride", "pad_to_multiple_of", "pad_token_type_id")


def load_saved(
    folder: Path, load: LoadSaved, dtype: str = "float32", device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a saved adapter on its base with plain PEFT, in eval mode, and its tokenizer.

    It is on the CPU; a base that was quantised for the training is quantised alike, on the `device` where it will be
    asked.

    `load` is the problem's (`Trainable.load_saved`). A base from the hub is fetched where it is not cached; the
    libraries themselves never ask. Raises ModelError and HubError.
    """
    import_heavy("transformers.modeling_utils", "peft")
    from finetune30.modeling.loadable_adapter import loadable
    from finetune30.modeling.quantization import loading_options, require_quantization, use_one_arithmetic
    from finetune30.modeling.quiet import quiet_transformers

    quantization = load_targets(folder).get("quantization")
    options: dict[str, Any] = {"dtype": dtype}
    if quantization is not None:
        require_quantization(quantization["method"], device)
        options = loading_options(Quantization.restore(quantization), device, dtype)
    # The base is looked for first: a hub model that is not cached is fetched before the hub is left alone.
    with loadable(folder) as place, quiet_transformers(), hub_left_alone(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # below it is an error
        model = load(str(place), **options, trust_remote_code=False, use_safetensors=True)
        tokenizer = load_saved_tokenizer(folder)
    use_one_arithmetic(model)
    _require_all_loaded(folder, model)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def load_saved_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a saved adapter."""
    from transformers import AutoTokenizer

    with hub_left_alone():
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    return tokenizer


def _require_all_loaded(folder: Path, model: PreTrainedModel) -> None:
    """Refuse an adapter of which the base took up less, or more, than the file holds: PEFT only warns of that.

    An adapter whose names do not fit answers like the base model, and nobody notices.
    """
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        held = set(file.keys())
    taken = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if wrong := sorted(held ^ taken):
        raise ModelError(
            f"the adapter in '{folder}' does not fit its base model: {len(wrong)} weights are in one of them only, "
            f"such as {wrong[0]}",
            "take the files from a backup, or train again with the run's config.yaml",
        )


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a tokenizer without the truncation and padding that its files may hold: how long a text may be is said by
    who asks, and a length of somebody's training would cut texts unseen.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    for key in _STATE_OF_TOKENIZERS:
        tokenizer.init_kwargs.pop(key, None)
    tokenizer.save_pretrained(str(folder))


def load_base_config(folder: Path) -> PretrainedConfig:
    """Return the loaded configuration of the base model of a saved adapter. Raises ModelError and HubError."""
    from finetune30.modeling.loadable_adapter import find_base_folder
    from finetune30.modeling.model_facts import load_config

    return load_config(find_base_folder(folder), str(folder))


def validate_saved_tensors(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    """Check that the file holds exactly the trained tensors, bit for bit. Raises SelfTestError."""
    import torch
    from safetensors.torch import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    if saved.keys() != expected.keys():
        raise self_test_error(
            f"weights {sorted(saved.keys() ^ expected.keys())[:4]} are saved or trained, but not both"
        )
    wrong = [name for name, tensor in expected.items() if not torch.equal(saved[name], tensor)]
    if wrong:
        raise self_test_error(f"{len(wrong)} saved weights differ from the trained ones: {', '.join(wrong[:4])}")


def validate_saved_outputs(
    answer: Callable[[], NDArray[np.float32]],
    expected: NDArray[np.float32],
    precision: str,
    quantization: str | None = None,
) -> float:
    """Check that the saved model, loaded afresh, gives the trained model's outputs; return the largest difference.

    Raises SelfTestError.
    """
    got = answer()
    if got.shape != expected.shape:
        raise self_test_error(f"it gives outputs of shape {got.shape}, the trained one {expected.shape}")
    difference = float(np.abs(got - expected).max(initial=0.0))
    allowed = logit_tolerance(precision, quantization) * max(1.0, float(np.abs(expected).max(initial=0.0)))
    if not difference <= allowed:
        raise self_test_error(f"its outputs differ by {difference:.4g}, allowed at {precision}: {allowed:.4g}")
    return difference


def logit_tolerance(precision: str, quantization: str | None = None) -> float:
    """Return how far logits of the trained and the saved model may lie apart, as a share of the largest one above 1."""
    return max(LOGIT_TOLERANCE[precision], _INT8_TOLERANCE if quantization == "int8" else 0.0)


def self_test_error(what: str) -> SelfTestError:
    """Return the error that ends a run whose saved model is not the trained one, which `what` shows."""
    return SelfTestError(
        f"the saved model, loaded afresh, is not the trained one: {what}",
        "the run counts as failed and its checkpoints are kept; please report this with logs.txt",
    )
