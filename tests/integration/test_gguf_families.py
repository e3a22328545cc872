"""`ft30 export --as gguf` of every family, scaling of positions and way to cut texts that is written, by llama.cpp."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune30.service.exports.reading import reader_modules
from support.chat_tokenizers import build_cutting_tokenizer
from support.decoders import build_tiny_decoder
from support.talk_lab import TalkLab

pytestmark = [
    pytest.mark.integration,
    pytest.mark.peers,
    pytest.mark.skipif(reader_modules() is None, reason="node-llama-cpp is not installed (make install-peers)"),
]

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}


def train(fork_server, folder: Path, kind: str, cuts: str, **changes: Any) -> TalkLab:
    """Train a tiny model of `support.decoders.KINDS`, with other settings, whose tokenizer cuts as a family's does."""
    lab = TalkLab(fork_server, folder)
    shutil.rmtree(folder / "base")
    build_tiny_decoder(folder / "base", kind, vocab_size=448, **changes)
    build_cutting_tokenizer(cuts).save_pretrained(str(folder / "base"))
    ended = lab.train("results", {"training.num_train_epochs": 1, "data.max_length": 128})
    assert ended.returncode == 0, ended.stderr
    return lab


@pytest.mark.parametrize(
    ("kind", "cuts", "changes"),
    [
        ("qwen2", "qwen2", {"rope_parameters": YARN}),
        ("qwen3", "qwen2", {}),
        ("mistral", "mistral", {"sliding_window": 128}),
        ("llama 3.1", "llama3", {}),
        ("llama, untied and biased", "llama2", {"rope_parameters": LINEAR}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_llama_cpp_answers_as_the_adapter(fork_server, tmp_path, kind, cuts, changes):
    lab = train(fork_server, tmp_path, kind, cuts, **changes)
    ended = lab.ft30("export", "talk", "--as", "gguf", "--output", "gguf")
    assert ended.returncode == 0, ended.stderr
    measured = json.loads((tmp_path / "gguf" / "receipt.json").read_text(encoding="utf-8"))["measured"]
    assert measured["flips"] == 0
    assert measured["greedy"]["equal_tokens"] == [32] * 5
    assert measured["logits"]["largest"] < measured["allowed_gap"] / 5
    assert measured["ids"]["conversations"] == 5
    # of one probe: its tokenizer puts no space before a text that has one
    assert measured["ids"].get("begin_with_space", 0) == (cuts in ("mistral", "llama2"))


def test_rows_beyond_a_window_are_not_taken_for_equal(fork_server, tmp_path):
    lab = train(fork_server, tmp_path, "mistral", "mistral", sliding_window=24)
    ended = lab.ft30("export", "talk", "--as", "gguf", "--output", "gguf")
    assert ended.returncode == 1
    assert "logits differ" in ended.stderr
    assert not (tmp_path / "gguf").exists()
