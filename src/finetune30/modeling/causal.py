"""A base model loaded as a language model, whole: nothing of it may be new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune30.errors import ModelError, first_line
from finetune30.modeling.classifier import dropouts_to_replace, needs_package
from finetune30.modeling.quantization import use_one_arithmetic
from finetune30.modeling.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from finetune30.modeling.base import BaseSource


def load_causal(source: BaseSource, pad_token_id: int) -> PreTrainedModel:
    """Load the model with its language head: float32, on the CPU, unless the source says how it is quantised.

    Raises ModelError.

    Weights that the checkpoint lacks would be random; only those of a head that shares the embeddings' may be absent.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    loaded: Any
    with quiet_transformers():
        try:
            loaded = AutoModelForCausalLM.from_pretrained(
                source.folder,
                **dropouts_to_replace(source),
                **{"dtype": "float32", **source.quantization_options},
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"the model '{source.name}' cannot be loaded as a language model: {first_line(error)}",
                "choose a causal language model, which AutoModelForCausalLM supports",
            ) from error
        except ImportError as error:
            raise needs_package(source.name, error) from error
    model, info = loaded
    if lost := sorted(info["missing_keys"]):
        raise ModelError(
            f"the weights of '{source.name}' are not those of a language model: {len(lost)} are missing, such as "
            f"{lost[0]}",
            "choose a causal language model whose checkpoint holds its head",
        )
    use_one_arithmetic(model)
    model.config.pad_token_id = pad_token_id
    result: PreTrainedModel = model
    return result
