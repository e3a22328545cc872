"""Models of the stand-in hub: tiny, random, and with everything around them that real repositories have."""

from __future__ import annotations

import io
import json
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.chat_models import CHATML, INJECTING, STRICT, THINKING, build_tiny_chat
from support.stand_in_hub.repositories import Repository
from support.stand_in_hub.sentences import ENGLISH_WORDS
from support.tiny_models import WORDS

Files = dict[str, bytes | Path]

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
_BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_GIT_ATTRIBUTES = b"".join(
    f"*{ending} filter=lfs diff=lfs merge=lfs -text\n".encode()
    for ending in (".bin", ".h5", ".msgpack", ".onnx", ".ot", ".parquet", ".safetensors")
)
_LICENSE = b"Made up for tests. Use it for what you like.\n"


def build_models() -> list[Repository]:
    """Return all models, the same bytes each time."""
    bert = _build_bert(_english_vocabulary())
    return [
        Repository("models", "distilbert/distilbert-base-uncased", _build_distilbert(),
                   aliases=("distilbert-base-uncased",), tags=("v1.0",),
                   branches={"refs/pr/1": {"NOTES.md": b"A pull"}}),
        Repository("models", "FacebookAI/roberta-base", _build_roberta(), aliases=("roberta-base",)),
        Repository("models", "google-bert/bert-base-chinese", _build_chinese_bert(), aliases=("bert-base-chinese",)),
        Repository("models", "google-bert/bert-base-uncased", bert, aliases=("bert-base-uncased",)),
        Repository("models", "stand-in/sharded-weights", _shard(bert)),
        Repository("models", "stand-in/pickled-weights", _only_pickled(bert)),
        Repository("models", "stand-in/remote-code", _build_remote_code(bert)),
        Repository("models", "stand-in/chat-model", _build_chat_model()),
        Repository("models", "HuggingFaceTB/SmolLM2-360M-Instruct", _build_decoder("llama", INJECTING)),
        Repository("models", "Qwen/Qwen3-0.6B", _build_decoder("qwen3", THINKING)),
        Repository("models", "meta-llama/Llama-3.2-1B-Instruct", _build_decoder("llama", CHATML)),
        Repository("models", "google/gemma-3-270m-it", _build_decoder("gemma3_text", STRICT)),
        Repository("models", "stand-in/nested-folders", _nest(bert)),
        Repository("models", "stand-in/no-tokenizer", {n: bert[n] for n in ("config.json", "model.safetensors")}),
        Repository("models", "stand-in/private-model", _lean(bert), private=True),
        Repository("models", "stand-in/gated-model", _lean(bert), gated="auto"),
        Repository("models", "stand-in/disabled-model", _lean(bert), disabled=True),
        Repository("models", "stand-in/empty-model", {".gitattributes": _GIT_ATTRIBUTES}),
    ]  # fmt: skip


def common_chinese_characters() -> str:
    """Return the 3755 common characters: the first level of GB 2312, rows 16 to 55."""
    cells = (bytes((row, cell)) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return "".join(character.decode("gb2312", errors="ignore") for character in cells)


# --- families


def _build_distilbert() -> Files:
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    vocabulary = _english_vocabulary()
    config = DistilBertConfig(
        vocab_size=len(vocabulary), dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=512
    )
    files = _save_model(DistilBertForMaskedLM, config)
    files |= _wordpiece_files(vocabulary, {"do_lower_case": True, "model_max_length": 512})
    return _with_clutter(files, "distilbert-base-uncased", "fill-mask", language="en")


def _build_bert(vocabulary: list[str]) -> Files:
    files = _save_model(_bert_class(), _bert_config(vocabulary), rename=_old_bert_name)
    files |= _wordpiece_files(vocabulary, {"do_lower_case": True, "model_max_length": 512})
    return _with_clutter(files, "bert-base-uncased", "fill-mask", language="en")


def _build_chinese_bert() -> Files:
    vocabulary = [*_english_vocabulary(), *common_chinese_characters(), *"，。！？、；：“”（）《》"]
    files = _save_model(_bert_class(), _bert_config(vocabulary), rename=_old_bert_name)
    files |= _wordpiece_files(vocabulary, {"do_lower_case": False, "model_max_length": 512})
    return _with_clutter(files, "bert-base-chinese", "fill-mask", language="zh")


def _build_roberta() -> Files:
    from transformers import RobertaConfig, RobertaForMaskedLM

    tokenizer = json.loads(_byte_pair_tokenizer())
    index, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    config = RobertaConfig(
        vocab_size=len(index), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=514, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    files = _save_model(RobertaForMaskedLM, config)
    files |= {
        "tokenizer.json": _written(tokenizer),
        "tokenizer_config.json": _written({"model_max_length": 512}),
        "vocab.json": _written(index),
        "merges.txt": "".join(["#version: 0.2\n", *[" ".join(merge) + "\n" for merge in merges]]).encode(),
        "dict.txt": "".join(f"{piece} 1\n" for piece in index).encode(),
    }
    return _with_clutter(files, "roberta-base", "fill-mask", language="en")


def _build_chat_model() -> Files:
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary = _english_vocabulary()
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        num_key_value_heads=2, max_position_embeddings=512, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    files = _save_model(LlamaForCausalLM, config)
    named = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **named}
    template = b"{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    files |= {
        "tokenizer.json": _wordpiece_tokenizer(vocabulary),
        "tokenizer_config.json": _written(described),
        "special_tokens_map.json": _written(named),
        "chat_template.jinja": template,
    }
    return files | _papers("chat-model", "text-generation", "en")


def _build_decoder(family: str, template: str) -> Files:
    """A chat model with a template as its family's: one that injects, thinks, or knows no system message."""
    with tempfile.TemporaryDirectory() as folder:
        build_tiny_chat(Path(folder), template, family=family)
        files: Files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    return files | _papers(family, "text-generation", "en")


def _build_remote_code(bert: Files) -> Files:
    """A model type that transformers does not know, with code that tells when somebody runs it."""
    config = json.loads(_content(bert["config.json"]))
    config |= {
        "model_type": "odd-encoder",
        "architectures": ["OddForMaskedLM"],
        "auto_map": {"AutoConfig": "configuration_odd.OddConfig", "AutoModel": "modeling_odd.OddModel"},
    }
    code = b'raise RuntimeError("code of the repository stand-in/remote-code ran")\n'
    return _lean(bert) | {
        "config.json": _written(config),
        "configuration_odd.py": code,
        "modeling_odd.py": code,
    }


# --- other shapes of the same model


def _shard(files: Files) -> Files:
    """Spread the weights over three files, as large models have them."""
    from safetensors.torch import load, save

    weights = load(_content(files["model.safetensors"]))
    names = sorted(weights)
    places = {
        name: f"model-{1 + number * 3 // len(names):05d}-of-00003.safetensors" for number, name in enumerate(names)
    }
    total = sum(weight.numel() * weight.element_size() for weight in weights.values())
    sharded = _lean(files)
    del sharded["model.safetensors"]
    for place in sorted(set(places.values())):
        part = {name: weights[name] for name in names if places[name] == place}
        sharded[place] = save(part, metadata={"format": "pt"})
    index = {"metadata": {"total_size": total}, "weight_map": places}
    return sharded | {"model.safetensors.index.json": _written(index)}


def _only_pickled(files: Files) -> Files:
    kept = _lean(files) | {"pytorch_model.bin": files["pytorch_model.bin"]}
    del kept["model.safetensors"]
    return kept


def _nest(files: Files) -> Files:
    """The model, and folders below it with other models, checkpoints and tokenizers."""
    other = b'{"model_max_length": 7}'
    checkpoint = {f"checkpoint-100/{name}": content for name, content in _lean(files).items()}
    return {
        **_lean(files),
        **checkpoint,
        "checkpoint-100/optimizer.pt": _junk("optimizer", 4096),
        "checkpoint-100/trainer_state.json": b"{}",
        "tokenizer/tokenizer_config.json": other,
        "tokenizer/vocab.txt": b"[PAD]\n[UNK]\n",
        "old/tokenizer.json": b"{}",
        "old/model.safetensors": _junk("old", 2048),
        "1_Pooling/config.json": b'{"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true}',
        "runs/Jan01_00-00-00_host/events.out.tfevents.1": _junk("events", 512),
    }


def _lean(files: Files) -> Files:
    """Only what is needed, and a README."""
    needed = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "README.md")
    return {name: files[name] for name in (*needed, ".gitattributes") if name in files}


# --- pieces


def _save_model(model_class: Any, config: Any, rename: Any = None) -> Files:
    """Build with random weights and return the files, those of older formats too."""
    import torch
    from safetensors.torch import load, save

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(7)
        model_class(config).save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    files["config.json"] = files["config.json"].replace(b"BertForPreTraining", b"BertForMaskedLM")  # as Google's says
    weights = load(files["model.safetensors"])
    # Sorted: the order that they are read in is another one in each process.
    weights = {(rename or str)(name): weights[name] for name in sorted(weights)}
    pickled = io.BytesIO()
    torch.save(weights, pickled)
    return {
        **files,
        "model.safetensors": save(weights, metadata={"format": "pt"}),
        "model.fp16.safetensors": save({name: w.half() for name, w in weights.items()}, metadata={"format": "pt"}),
        "pytorch_model.bin": pickled.getvalue(),
    }


def _bert_class() -> Any:
    from transformers import BertForPreTraining

    return BertForPreTraining


def _bert_config(vocabulary: list[str]) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512,
    )  # fmt: skip


def _old_bert_name(name: str) -> str:
    """The first BERT files call the two parameters of a normalisation gamma and beta."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def _english_words() -> list[str]:
    return list(dict.fromkeys([*WORDS, *ENGLISH_WORDS]))


def _english_vocabulary() -> list[str]:
    pieces = [*_BERT_SPECIAL, *_english_words(), *_LETTERS, *[f"##{letter}" for letter in _LETTERS]]
    return list(dict.fromkeys(pieces))


def _wordpiece_files(vocabulary: list[str], described: Mapping[str, Any]) -> Files:
    return {
        "tokenizer.json": _wordpiece_tokenizer(vocabulary, lowercase=described["do_lower_case"]),
        "tokenizer_config.json": _written(described),
        "vocab.txt": "".join(f"{piece}\n" for piece in vocabulary).encode(),
    }


def _wordpiece_tokenizer(vocabulary: list[str], *, lowercase: bool = True) -> bytes:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(list(_BERT_SPECIAL))
    return tokenizer.to_str().encode()


def _byte_pair_tokenizer() -> str:
    """Return a tokenizer over bytes that knows our words whole."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"{word} {word}" for word in _english_words()], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer.to_str()


def _with_clutter(files: Files, name: str, task: str, language: str) -> Files:
    """Add what nobody needs who trains with torch."""
    return {
        **files,
        **_papers(name, task, language),
        "LICENSE": _LICENSE,
        "tf_model.h5": _junk(f"{name} h5", 60_000),
        "flax_model.msgpack": _junk(f"{name} flax", 60_000),
        "rust_model.ot": _junk(f"{name} rust", 60_000),
        "onnx/config.json": files["config.json"],
        "onnx/model.onnx": _junk(f"{name} onnx", 60_000),
        "onnx/tokenizer.json": files["tokenizer.json"],
        "openvino/openvino_model.bin": _junk(f"{name} openvino", 30_000),
        "openvino/openvino_model.xml": b"<net/>\n",
        "coreml/fill-mask/float32_model.mlpackage/Data/com.apple.CoreML/model.mlmodel": _junk(f"{name} coreml", 8_000),
        "coreml/fill-mask/float32_model.mlpackage/Manifest.json": b"{}",
    }


def _papers(name: str, task: str, language: str) -> Files:
    card = f"---\nlanguage: {language}\nlicense: apache-2.0\npipeline_tag: {task}\ntags:\n- stand-in\n---\n\n# {name}\n"
    return {"README.md": card.encode(), ".gitattributes": _GIT_ATTRIBUTES}


def _junk(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _content(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _written(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
