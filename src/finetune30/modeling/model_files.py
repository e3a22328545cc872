"""Which files make a model: configuration, tokenizer and one set of weights; told by their names, no torch.

Repositories hold more: other frameworks, other precisions (`model.fp16.safetensors`), exports in folders. transformers
reads `model.safetensors`, else the parts that `model.safetensors.index.json` names, all beside `config.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

from finetune30.errors import ModelError

#: What helps where a file of a model is not what it should be.
COPY_AGAIN = "download or copy the model again"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
#: Weights that are not read, to say so where nothing else is there.
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".gguf", ".onnx", ".safetensors")

_TEXTS = (".json", ".txt", ".model", ".jinja")
_BINARIES = (".model", ".jinja", ".tiktoken", ".codes", ".vocab", ".bpe")
#: Words in the names of the files that make a configuration or a tokenizer, in all families of transformers.
_WORDS = ("config", "token", "vocab", "template", "merges", "bpe", "dict", "spm", "spiece")
_VOCABULARIES = (
    "tokenizer.json",
    "vocab",
    "dict.txt",
    "bpe.codes",
    "spiece",
    "spm",
    "sentencepiece",
    "tokenizer.model",
)
#: Files that change what a tokenizer does, where a repository has them.
TOKENIZER_DECIDERS = ("tokenizer_config.json", "tokenizer.json")


def describing_names(names: Collection[str]) -> list[str]:
    """Return the names of configuration and tokenizer files, in order: those that decide what a text becomes."""
    return sorted(
        name
        for name in names
        if "/" not in name
        and not name.endswith(".index.json")
        and (name.endswith(_BINARIES) or (name.endswith((".json", ".txt")) and any(word in name for word in _WORDS)))
    )


def text_names(names: Collection[str]) -> list[str]:
    """Return the names of all small files of a model's folder, in order."""
    return sorted(name for name in names if name.endswith(_TEXTS))


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
        raise ModelError(f"{WEIGHTS_INDEX} cannot be read: {error}", COPY_AGAIN) from error
    if outside := [part for part in parts if not isinstance(part, str) or Path(part).name != part]:
        raise ModelError(f"{WEIGHTS_INDEX} names {outside[0]!r}, which is no file beside it", "choose another model")
    return parts


def has_tokenizer(names: Collection[str]) -> bool:
    """Return whether a tokenizer's vocabulary is among the files."""
    return any("/" not in name and (name.startswith(_VOCABULARIES) or name.endswith(_BINARIES)) for name in names)


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model's folder, in order; empty when it is laid out in another way."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    return [folder / name for name in weight_names(names, lambda name: (folder / name).read_bytes())]
