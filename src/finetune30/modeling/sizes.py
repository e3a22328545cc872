"""How many parameters a training would have, counted from the headers of the weights: no torch, no download."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from finetune30.config import STARTER, STARTER_CHAT, LoraConfig, ModelConfig
from finetune30.errors import ModelError
from finetune30.hub.cache import find_reference, snapshot_folder
from finetune30.modeling.families import BACKBONE_NAMES, HEAD_NAMES, ROBERTA_LIKE, SCORED_DECODERS, query_and_value
from finetune30.modeling.model_files import weight_files
from finetune30.modeling.names import is_named, is_within, starter_folder
from finetune30.modeling.starter_chat import find_starter_chat_model

Shapes = dict[str, tuple[int, ...]]

_LAYER = re.compile(r"\.(\d+)\.")
#: What the tables of embeddings are called.
_TOKEN_TABLES = ("embed_tokens.weight", "word_embeddings.weight")
#: Linear layers that stay whole whatever is quantised.
_NEVER_QUANTIZED = ("lm_head", "pooler", "cls")
_HEADER_LIMIT = 100_000_000


def count_parameters(model: ModelConfig, lora: LoraConfig, data_folder: Path | None = None) -> tuple[int, int] | None:
    """Return (all, trainable) parameters; None where the base is not on this machine or its family is unknown here.

    `data_folder` is where the starter chat model was converted, if it was.
    """
    if (found := _read_local(model, data_folder)) is None:
        return None
    config, shapes = found
    head = _count_head(config, shapes, model.num_labels)
    if head is None or lora.bias != "none":
        return None
    shapes = {name: shape for name, shape in shapes.items() if not _is_unused(name, config)}
    adapter = sum(_count_lora(shape, lora) for shape in _targets(shapes, lora))
    saved = sum(math.prod(shape) for name, shape in shapes.items() if _is_saved(name, lora))
    saved += _count_tokens(shapes, lora)
    trainable = head + adapter + saved
    return sum(math.prod(shape) for shape in shapes.values()) + head + adapter, trainable


def count_quantized(model: ModelConfig, lora: LoraConfig, data_folder: Path | None = None) -> int | None:
    """Return how many weights `model.quantization` is about, those of linear layers; None: no base here."""
    if (found := _read_local(model, data_folder)) is None:
        return None
    _, shapes = found
    whole = (*HEAD_NAMES, *_NEVER_QUANTIZED)
    return sum(math.prod(shape) for name, shape in _linear_layers(shapes, lora).items() if not is_within(name, whole))


def _read_local(model: ModelConfig, data_folder: Path | None) -> tuple[dict[str, Any], Shapes] | None:
    """Return configuration and shapes of weights of a base that is here; None where there is none that can be read."""
    folder = _find_local(model, data_folder)
    if folder is None:
        return None
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return config, _load_shapes(folder, str(config.get("model_type")))
    except (OSError, ValueError, ModelError):
        return None  # the training itself will say what is wrong with the folder


def _find_local(model: ModelConfig, data_folder: Path | None) -> Path | None:
    if model.name == STARTER:
        try:
            return starter_folder()
        except ModelError:
            return None
    if model.name == STARTER_CHAT:
        chat = None if data_folder is None else find_starter_chat_model(data_folder)
        return None if chat is None else chat.path
    if Path(model.name).is_dir():
        return Path(model.name)
    reference = find_reference("model", model.name, model.revision)
    return None if reference is None else snapshot_folder(reference)


def _load_shapes(folder: Path, model_type: str) -> Shapes:
    """Read names and shapes of all tensors; the backbone's name ("bert.") is taken off. Raises ValueError."""
    found: Shapes = {}
    for file in weight_files(folder):
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > _HEADER_LIMIT:
                raise ValueError(f"{file.name} is no safetensors file")
            header: dict[str, Any] = json.loads(handle.read(length))
        found |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    backbone = f"{BACKBONE_NAMES.get(model_type, model_type)}."
    return {name.removeprefix(backbone): shape for name, shape in found.items()}


def _count_head(config: dict[str, Any], shapes: Shapes, labels: int) -> int | None:
    """Parameters of the classifier and of whatever the checkpoint lacks below it."""
    family, hidden = config.get("model_type"), config.get("hidden_size") or config.get("dim")
    if not isinstance(hidden, int):
        return None
    dense, out = hidden * hidden + hidden, hidden * labels + labels
    if family == "bert":
        return out + (0 if "pooler.dense.weight" in shapes else dense)
    if family == "distilbert" or family in ROBERTA_LIKE:
        return dense + out
    return hidden * labels if family in SCORED_DECODERS else None


def _is_unused(name: str, config: dict[str, Any]) -> bool:
    """Whether a classifier leaves a tensor of the checkpoint out, or trains its own in its place."""
    top = name.split(".", 1)[0]
    no_pooler = config.get("model_type") in ROBERTA_LIKE and top == "pooler"
    return no_pooler or top in (*HEAD_NAMES, "lm_head", "cls", "vocab_transform", "vocab_layer_norm", "vocab_projector")


def _linear_layers(shapes: Shapes, lora: LoraConfig) -> Shapes:
    return {
        name.removesuffix(".weight"): shape
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and "embed" not in name and not _is_saved(name, lora)
    }


def _targets(shapes: Shapes, lora: LoraConfig) -> list[tuple[int, ...]]:
    linear = _linear_layers(shapes, lora)
    leaves = {path.rsplit(".", 1)[-1] for path in linear}
    wanted: set[str] | list[str] = lora.target_modules if isinstance(lora.target_modules, list) else leaves
    if lora.target_modules == "auto":
        wanted = set(query_and_value(leaves) or leaves)
    return [shape for path, shape in linear.items() if is_named(path, wanted) and _is_in_layers(path, lora)]


def _count_tokens(shapes: Shapes, lora: LoraConfig) -> int:
    """Numbers of the embeddings of single tokens, which lie beside the table of all."""
    tables = [shape for name, shape in shapes.items() if name.endswith(_TOKEN_TABLES)]
    return len(lora.trainable_token_indices or ()) * tables[0][1] if tables else 0


def _is_in_layers(path: str, lora: LoraConfig) -> bool:
    if lora.layers_to_transform is None:
        return True
    layer = _LAYER.search(path)
    return layer is not None and int(layer[1]) in lora.layers_to_transform


def _is_saved(name: str, lora: LoraConfig) -> bool:
    return is_within(name, lora.modules_to_save or ())


def _count_lora(shape: tuple[int, ...], lora: LoraConfig) -> int:
    out, into = shape
    return lora.r * (into + out) + (out if lora.use_dora else 0)
