"""A base model loaded as a classifier: its weights, with a new head where the checkpoint has none that fits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from finetune30.errors import ModelError, first_line
from finetune30.modeling.base import DROPOUT_KEYS, BaseSource
from finetune30.modeling.model_facts import load_config
from finetune30.modeling.quantization import use_one_arithmetic
from finetune30.modeling.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_IN_A_LAYER = re.compile(r"\.\d+\.|embeddings?\.")


def load_classifier(
    source: BaseSource,
    *,
    label_names: tuple[str, ...],
    num_labels: int,
    problem_type: str,
    pad_token_id: int,
) -> tuple[PreTrainedModel, list[str]]:
    """Load the model with a classification head: float32, on the CPU, unless the source says how it is quantised.

    Returns the model and the names of the weights that the checkpoint did not hold (the new head).
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    labels: dict[str, Any] = {"num_labels": num_labels}
    if label_names:
        labels["id2label"] = dict(enumerate(label_names))
        labels["label2id"] = {name: i for i, name in enumerate(label_names)}
    with quiet_transformers():
        try:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                source.folder,
                **labels,
                **dropouts_to_replace(source),
                problem_type=problem_type,
                **{"dtype": "float32", **source.quantization_options},
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # a head for another number of labels is replaced, and reported as new
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"the model '{source.name}' cannot be loaded for classification: {first_line(error)}",
                "choose a model that AutoModelForSequenceClassification supports",
            ) from error
        except ImportError as error:
            raise needs_package(source.name, error) from error
    use_one_arithmetic(model)
    _require_backbone(model, info, source.name)
    model.config.pad_token_id = pad_token_id
    new = set(info["missing_keys"]) | {entry[0] for entry in info["mismatched_keys"]}
    return model, sorted(new)


def needs_package(name: str, error: ImportError) -> ModelError:
    """Return the error for a model that transformers loads only with another package."""
    return ModelError(
        f"the model '{name}' needs a package that is not installed: {first_line(error)}",
        "install that package, or choose another model",
    )


def dropouts_to_replace(source: BaseSource) -> dict[str, float]:
    """Return the dropout probabilities to replace, by the names that this model's configuration has for them."""
    if source.dropout is None:
        return {}
    known = load_config(source.folder, source.name)
    replaced = {key: source.dropout for key in DROPOUT_KEYS if hasattr(known, key)}
    if not replaced:
        raise ModelError(
            f"model.dropout: model type '{known.model_type}' has no dropout that could be set", "leave it at null"
        )
    return replaced


def _require_backbone(model: PreTrainedModel, info: dict[str, Any], name: str) -> None:
    """Refuse weights that are another model's than config.json says: what was not loaded would be random every time.

    A head may be new, and so may what checkpoints without a classifier lack (a pooler), since both are saved.
    """
    prefix = f"{model.base_model_prefix}."
    for key, found, wanted in info["mismatched_keys"]:
        if key.startswith(prefix):
            raise _misfit(name, f"{key} is {tuple(found)}, not {tuple(wanted)}")
    lost = [key for key in info["missing_keys"] if key.startswith(prefix) and _IN_A_LAYER.search(key)]
    if lost:
        raise _misfit(name, f"{len(lost)} are missing, such as {sorted(lost)[0]}")


def _misfit(name: str, how: str) -> ModelError:
    return ModelError(
        f"the weights of model '{name}' do not fit its config.json: {how}", "choose a model whose files belong together"
    )
