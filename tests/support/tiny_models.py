"""Tiny real base models of many families with tokenizers, built from configuration with random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
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


#: Every family that can be built, by its model type in transformers.
FAMILIES = (
    "albert",
    "bart",
    "bert",
    "convbert",
    "deberta-v2",
    "distilbert",
    "electra",
    "gpt2",
    "llama",
    "modernbert",
    "mpnet",
    "qwen3",
    "roberta",
    "t5",
    "xlm-roberta",
    "xlnet",
)
#: Positions that every family gets, where it has any.
POSITIONS = 80
_START, _END = 2, 3


def _own_keys(family: str, layers: int, hidden: int) -> dict[str, Any]:
    """Return what a family calls its sizes, and what makes it what it is."""
    bert_like: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": POSITIONS,
    }
    stack = ("layers", layers), ("attention_heads", 2), ("ffn_dim", 2 * hidden)
    encoder_decoder = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in stack}
    ends: dict[str, Any] = {"eos_token_id": _END, "decoder_start_token_id": _END}
    keys: dict[str, dict[str, Any]] = {
        "albert": {**bert_like, "embedding_size": hidden // 2},
        "bart": {**encoder_decoder, **ends, "d_model": hidden, "max_position_embeddings": POSITIONS},
        "convbert": {**bert_like, "embedding_size": hidden},
        "deberta-v2": {
            **bert_like,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
        "distilbert": {
            "dim": hidden,
            "n_layers": layers,
            "n_heads": 2,
            "hidden_dim": 2 * hidden,
            "max_position_embeddings": POSITIONS,
        },
        "electra": {**bert_like, "embedding_size": hidden // 2},
        "gpt2": {"n_embd": hidden, "n_layer": layers, "n_head": 2, "n_positions": POSITIONS, "eos_token_id": _END},
        "llama": {**bert_like, "num_key_value_heads": 2},
        "modernbert": {
            **bert_like,
            "local_attention": 8,
            **{f"{token}_token_id": _START for token in ("bos", "cls")},
            **{f"{token}_token_id": _END for token in ("eos", "sep")},
        },
        "qwen3": {**bert_like, "num_key_value_heads": 2, "head_dim": hidden // 2, "eos_token_id": _END},
        "roberta": {**bert_like, "type_vocab_size": 2},
        "t5": {
            **ends,
            "d_model": hidden,
            "d_kv": hidden // 2,
            "d_ff": 2 * hidden,
            "num_layers": layers,
            "num_heads": 2,
        },
        "xlm-roberta": {**bert_like, "type_vocab_size": 1},
        "xlnet": {"d_model": hidden, "n_layer": layers, "n_head": 2, "d_inner": 2 * hidden},
    }
    return keys.get(family, bert_like)


def build_tiny_model(folder: Path, family: str = "distilbert", *, layers: int = 2, hidden: int = 32) -> Path:
    """Save a random base model of one of FAMILIES with its tokenizer; return the folder."""
    import torch
    from transformers import AutoConfig, AutoModel

    size = save_wordpiece_tokenizer(folder)
    config = AutoConfig.for_model(family, vocab_size=size, pad_token_id=0, **_own_keys(family, layers, hidden))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = AutoModel.from_config(config)
    model.save_pretrained(folder)
    return folder


def add_padding_token(folder: Path) -> None:
    """Give a tokenizer a padding token of its own, as is often done by hand; the model gets no embedding for it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<added>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described |= {"pad_token": "<added>", "eos_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


def halve(folder: Path) -> None:
    """Store the weights in float16, as many are published."""
    from transformers import AutoModel

    AutoModel.from_pretrained(folder).half().save_pretrained(folder)


def save_with_head(base: Path, folder: Path, labels: Sequence[str]) -> Path:
    """Save a classifier with a random head for these labels, in this order, as a fine-tuned checkpoint has one."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    shutil.copytree(base, folder)
    config = AutoConfig.from_pretrained(base, id2label=dict(enumerate(labels)))
    config.label2id = {label: i for i, label in enumerate(labels)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = AutoModelForSequenceClassification.from_config(config)
        for name, weight in model.named_parameters():
            if "classif" in name:
                torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder
