"""Tiny real base models with tokenizers, built from configuration with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = (
    "a the film book was is not very good bad great awful loved hated it i we and but so plot room food service "
    "never always again fine slow fast broke works nice poor best worst happy sad story staff clean dirty"
).split()


def save_wordpiece_tokenizer(folder: Path) -> int:
    """Write a BERT-like tokenizer over WORDS and all letters; return the vocabulary's size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789.,!?'")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *[f"##{c}" for c in letters]]
    index = {token: i for i, token in enumerate(dict.fromkeys(vocab))}
    tokenizer = Tokenizer(models.WordPiece(index, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", index["[CLS]"]), ("[SEP]", index["[SEP]"])],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return len(index)


def build_tiny_model(folder: Path, family: str = "distilbert", *, layers: int = 2, hidden: int = 32) -> Path:
    """Save a random base model (distilbert, bert, roberta or llama) with its tokenizer; return the folder."""
    import torch
    from transformers import AutoModel, BertConfig, DistilBertConfig, LlamaConfig, RobertaConfig

    size = save_wordpiece_tokenizer(folder)
    common: dict[str, Any] = {"vocab_size": size, "pad_token_id": 0}
    bert_like: dict[str, Any] = {
        **common,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 80,
    }
    configs = {
        "distilbert": lambda: DistilBertConfig(
            **common, dim=hidden, n_layers=layers, n_heads=2, hidden_dim=2 * hidden, max_position_embeddings=80
        ),
        "bert": lambda: BertConfig(**bert_like),
        "roberta": lambda: RobertaConfig(**{**bert_like, "type_vocab_size": 2}),
        "llama": lambda: LlamaConfig(**{**bert_like, "num_key_value_heads": 2}),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = AutoModel.from_config(configs[family]())
    model.save_pretrained(folder)
    return folder
