"""Which files make a model: configuration, tokenizer and one set of weights; told by their names, no torch.

Repositories hold more: other frameworks, other precisions (`model.fp16.safetensors`), exports in folders. transformers
reads `model.safetensors`, else the parts that `model.safetensors.index.json` names, all beside `config.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

from finetune30.errors import ModelError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
#: Weights that are not read, to say so where nothing else is there.
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".gguf", ".onnx", ".safetensors")

_DESCRIBING = (".json", ".txt", ".model", ".jinja")
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def describing_names(names: Collection[str]) -> list[str]:
    """Return the names of configuration and tokenizer files, in order: those that decide what a text becomes."""
    return sorted(
        name for name in names if "/" not in name and name.endswith(_DESCRIBING) and not name.endswith(".index.json")
    )


def weight_names(names: Collection[str], read: Callable[[str], bytes]) -> list[str]:
    """Return the names of the weights that are read, in order; empty where there are none. `read` gives the index.

    Raises ModelError for an index that cannot be read or that names files elsewhere.
    """
    if WEIGHTS in names:
        return [WEIGHTS]
    if WEIGHTS_INDEX not in names:
        return []
    try:
        parts = sorted(set(json.loads(read(WEIGHTS_INDEX))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{WEIGHTS_INDEX} cannot be read: {error}", "download or copy the model again") from error
    if outside := [part for part in parts if not isinstance(part, str) or Path(part).name != part]:
        raise ModelError(f"{WEIGHTS_INDEX} names {outside[0]!r}, which is no file beside it", "choose another model")
    return parts


def has_tokenizer(names: Collection[str]) -> bool:
    """Return whether a tokenizer's vocabulary is among the files."""
    return any(name in names for name in _TOKENIZERS)


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model's folder, in order; empty when it is laid out in another way."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    return [folder / name for name in weight_names(names, lambda name: (folder / name).read_bytes())]


def describing_files(folder: Path) -> list[Path]:
    """Return configuration and tokenizer files of a model's folder, in order."""
    return [folder / name for name in describing_names([path.name for path in folder.iterdir() if path.is_file()])]
