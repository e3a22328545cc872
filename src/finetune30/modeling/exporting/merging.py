"""An adapter merged into its base model: one model that plain transformers loads, with its tokenizer.

What cannot be merged without changing answers elsewhere is guarded: embeddings that share their weights with the
language head, and the embeddings of tokens that nothing has trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from finetune30.data.problem import label_names
from finetune30.errors import SelfTestError, first_line
from finetune30.modeling.loadable_adapter import loadable
from finetune30.modeling.model_facts import reads_token_types
from finetune30.modeling.quiet import quiet_transformers
from finetune30.modeling.saved_targets import load_targets
from finetune30.modeling.saving import LoadSaved, save_tokenizer

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_REPORT = "nothing was published; please report this with the run's config.yaml"


def merge_adapter(model: PeftModel) -> PreTrainedModel:
    """Return the base model with the adapter merged into its weights; the adapter's own model is used up.

    Raises SelfTestError where a weight would not be finite, or where an embedding that was not trained would change.
    """
    before = _copy_embeddings(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT warns of tied weights, which are looked at below
            found: Any = model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise SelfTestError(f"the adapter cannot be merged: {first_line(error)}", _REPORT) from error
    merged: PreTrainedModel = found.eval()
    if before is not None:
        _require_untrained_rows(merged, *before)
    _settle_tying(merged)
    return merged


def load_on_dequantised(model: PeftModel, adapter: Path) -> PeftModel:
    """Return the adapter on its base as that was quantised, written out in float32; `model` is used up."""
    import torch
    from peft import PeftModel

    with quiet_transformers(), loadable(adapter) as place:
        used: Any = model
        base: Any = used.unload()
        base = base.dequantize(dtype=torch.float32).float()
        base.config.quantization_config = None
        del base.config.quantization_config
        return PeftModel.from_pretrained(base, str(place)).eval()


def load_on_whole(adapter: Path, load: LoadSaved) -> PeftModel:
    """Return the adapter on its base as that was before it was quantised, in float32."""
    with quiet_transformers(), loadable(adapter) as place, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")
        model: Any = load(str(place), dtype="float32", trust_remote_code=False, use_safetensors=True)
        return cast("PeftModel", model.eval())


def save_merged(
    merged: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Path, folder: Path, ends: Sequence[int] = ()
) -> None:
    """Write a merged model as transformers reads it: weights float32, and what `save_settings` writes.

    `ends` are the tokens that end an answer of a language model.
    """
    generation: Any = getattr(merged, "generation_config", None)
    if ends and generation is not None:
        generation.eos_token_id = list(ends)
        generation.pad_token_id = tokenizer.pad_token_id
    save_settings(merged, tokenizer, adapter, folder)
    with quiet_transformers():
        merged.save_pretrained(folder, max_shard_size="5GB")


def save_settings(merged: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Path, folder: Path) -> None:
    """Write config.json with the names of the labels, and the tokenizer with the template that was trained under."""
    described = load_targets(adapter)
    config: Any = merged.config
    config.pad_token_id = tokenizer.pad_token_id
    if names := label_names(described["targets"]):
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
    template = (described["targets"].get("chat") or {}).get("template")
    if template is not None:
        tokenizer.chat_template = template["text"]
    types = ["token_type_ids"] if reads_token_types(config) else []
    names_of_inputs = ["input_ids", *types, "attention_mask"]  # without types, pairs would run together unseen
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names_of_inputs
    with quiet_transformers():
        config.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)


def _copy_embeddings(model: PeftModel) -> tuple[torch.Tensor, list[int]] | None:
    """Return the base's embeddings, (tokens, width), and the ids of those that were trained, where single ones were."""
    ids = getattr(model.peft_config["default"], "trainable_token_indices", None)
    if not ids:
        return None
    trained = list(ids) if not isinstance(ids, dict) else sorted({one for several in ids.values() for one in several})
    wrapped: Any = model
    embeddings: Any = wrapped.get_base_model().get_input_embeddings()
    layer = getattr(embeddings, "token_adapter", embeddings)
    base: Any = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
    return base.weight.detach().clone(), trained


def _require_untrained_rows(merged: PreTrainedModel, before: torch.Tensor, trained: list[int]) -> None:
    import torch

    embeddings: Any = merged.get_input_embeddings()
    after = embeddings.weight.detach()
    kept = torch.ones(len(before), dtype=torch.bool)
    kept[trained] = False
    if after.shape != before.shape or not torch.equal(after[kept], before[kept]):
        raise SelfTestError("merging would change embeddings of tokens that were not trained", _REPORT)


def _settle_tying(merged: PreTrainedModel) -> None:
    """Let the configuration say whether embeddings and head share their weights: one that lies loses the other."""
    import torch

    embeddings: Any = merged.get_input_embeddings()
    head: Any = merged.get_output_embeddings()
    config: Any = merged.config.get_text_config()
    if head is None or not getattr(config, "tie_word_embeddings", False) or head.weight is embeddings.weight:
        return
    if torch.equal(head.weight, embeddings.weight):
        head.weight = embeddings.weight
        return
    for one in {id(config): config, id(merged.config): merged.config}.values():
        one.tie_word_embeddings = False
