"""What every contender gets: the same random DistilBERT-size base model and the same rows."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from finetune30.data.encoding import EncodedSplit, TextEncoder

SEED = 0
MAX_LENGTH = 128
#: DistilBERT's own sizes (Sanh et al. 2019); the weights are random, which does not change the speed.
DISTILBERT = {
    "model_type": "distilbert",
    "architectures": ["DistilBertModel"],
    "activation": "gelu",
    "attention_dropout": 0.1,
    "dim": 768,
    "dropout": 0.1,
    "hidden_dim": 3072,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "n_heads": 12,
    "n_layers": 6,
    "pad_token_id": 0,
    "seq_classif_dropout": 0.2,
    "vocab_size": 30522,
}


def build_random_base(
    folder: Path, tokenizer_folder: Path | None, changes: Mapping[str, int] = MappingProxyType({})
) -> Path:
    """Save a random base of DistilBERT's size with a tokenizer (default: the starter model's); return the folder.

    `changes` to the configuration make it another size.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    from finetune30.config import STARTER, ModelConfig
    from finetune30.modeling.base import find_base

    folder.mkdir(parents=True, exist_ok=True)
    source = tokenizer_folder or find_base(ModelConfig(name=STARTER)).folder
    for name in ("tokenizer.json", "vocab.txt", "special_tokens_map.json", "tokenizer_config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    described = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    described["tokenizer_class"] = "DistilBertTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({**DISTILBERT, **changes}), encoding="utf-8")
    torch.manual_seed(SEED)
    AutoModel.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


def load_rows(path: Path | None, count: int) -> list[tuple[str, int]]:
    """Return `count` random rows (text, label) of a TSV or CSV file with a header; default: the starter reviews.

    Labels are numbered in the order of their names.
    """
    if path is None:
        from importlib.resources import files

        path = Path(str(files("finetune30.data") / "starter" / "en" / "train.csv"))
    with path.open(encoding="utf-8", newline="") as handle:
        tab = path.suffix == ".tsv"
        reader = csv.reader(
            handle, delimiter="\t" if tab else ",", quoting=csv.QUOTE_NONE if tab else csv.QUOTE_MINIMAL
        )
        header = next(reader)
        text, label = header.index("sentence" if "sentence" in header else "text"), header.index("label")
        rows = [(row[text].strip(), row[label]) for row in reader]
    numbers = {name: number for number, name in enumerate(sorted({name for _, name in rows}))}
    picked = np.random.default_rng(SEED).permutation(len(rows))[:count]
    return [(rows[i][0], numbers[rows[i][1]]) for i in picked]


def encode_rows(encoder: TextEncoder, rows: list[tuple[str, int]]) -> EncodedSplit:
    """Return the rows as the training loop takes them."""
    encoded = encoder.encode([text for text, _ in rows], None, MAX_LENGTH)
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in encoded.ids], out=offsets[1:])
    types = encoded.type_ids
    return EncodedSplit(
        row_ids=[str(i) for i in range(len(rows))],
        tokens=np.concatenate([np.asarray(ids, dtype=np.int32) for ids in encoded.ids]),
        offsets=offsets,
        type_ids=None if types is None else np.concatenate([np.asarray(row, dtype=np.int8) for row in types]),
        targets=np.asarray([label for _, label in rows], dtype=np.int64),
        truncated=np.asarray(encoded.full_lengths) > np.diff(offsets),
    )
