"""`ft30 export --as gguf`: llama.cpp reads it against the adapter; what is another model is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune30.errors import SelfTestError
from finetune30.modeling.exporting import gguf_files
from finetune30.service.exports.forms import GGUF, GGUF_Q8
from finetune30.service.exports.judging import Bound, judge
from finetune30.service.exports.reading import read_gguf, reader_modules
from support.exports import refer_to_run
from support.talk_lab import TalkLab

pytestmark = [
    pytest.mark.integration,
    pytest.mark.peers,
    pytest.mark.skipif(reader_modules() is None, reason="node-llama-cpp is not installed (make install-peers)"),
]


@pytest.fixture(scope="module")
def talk(fork_server, tmp_path_factory: pytest.TempPathFactory) -> TalkLab:
    lab = TalkLab(fork_server, tmp_path_factory.mktemp("talk-gguf"))
    for arguments in (("merged",), ("gguf",)):
        if not list(lab.folder.glob("results/talk_2*")):
            assert lab.train("results", {"training.num_train_epochs": 1}).returncode == 0
        ended = lab.ft30("export", "talk", "--as", *arguments, "--output", arguments[0])
        assert ended.returncode == 0, ended.stderr
    return lab


@pytest.fixture(scope="module")
def reference(talk: TalkLab) -> Any:
    return refer_to_run(talk.folder, "talk")


def write(talk: TalkLab, folder: Path, change: Callable[[Any, Any], Any] | None = None, **options: Any) -> Path:
    """Write the merged model as GGUF once more, after a change of model or tokenizer."""
    model: Any = AutoModelForCausalLM.from_pretrained(talk.folder / "merged")
    tokenizer: Any = AutoTokenizer.from_pretrained(talk.folder / "merged")
    if change is not None:
        change(model, tokenizer)
    gguf_files.write_gguf(
        model, tokenizer, folder, options.get("precision", "f16"), options.get("ends", [2]), begins=False
    )
    return folder


def judge_gguf(reference: Any, folder: Path, bound: Bound) -> dict[str, Any]:
    read = read_gguf(folder, reference.request)
    return judge(reference.measure(read.answer, read.arrays), bound)


def test_the_receipt_says_that_llama_cpp_answers_as_the_adapter(talk):
    receipt = json.loads((talk.folder / "gguf" / "receipt.json").read_text(encoding="utf-8"))
    measured = receipt["measured"]
    assert receipt["reader"]["name"] == "llama.cpp"
    assert measured["flips"] == 0
    assert measured["greedy"]["equal_tokens"] == [32] * 5
    assert measured["logits"]["largest"] < measured["allowed_gap"] / 10
    assert (talk.folder / "gguf" / "Modelfile").read_text().startswith("FROM ./model.gguf\n")


def test_queries_and_keys_in_another_order_are_refused(talk, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_files, "_order_heads", lambda name, values, config: values)
    with pytest.raises(SelfTestError, match="logits differ"):
        judge_gguf(reference, write(talk, tmp_path), GGUF.bound)


def test_a_renamed_tensor_is_refused(talk, reference, tmp_path, monkeypatch):
    monkeypatch.setitem(gguf_files._IN_LAYERS, "mlp.up_proj", "ffn_above")
    with pytest.raises(SelfTestError, match="cannot be read by gguf_reader"):
        judge_gguf(reference, write(talk, tmp_path), GGUF.bound)


def test_an_altered_template_is_refused(talk, reference, tmp_path):
    def alter(model: Any, tokenizer: Any) -> None:
        tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>", "<|im_start|> ", 1)

    with pytest.raises(SelfTestError, match=r"template is another one; it reads 5 of 5 conversations as other tokens"):
        judge_gguf(reference, write(talk, tmp_path, alter), GGUF.bound)


def test_a_tokenizer_that_reads_texts_as_other_tokens_is_refused(talk, reference, tmp_path):
    def exchange(model: Any, tokenizer: Any) -> None:
        described = json.loads(tokenizer.backend_tokenizer.to_str())
        words = described["model"]["vocab"]
        words["a"], words["e"] = words["e"], words["a"]
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(described))

    with pytest.raises(SelfTestError, match=r"it reads \d+ of \d+ texts as other tokens"):
        judge_gguf(reference, write(talk, tmp_path, exchange), GGUF.bound)


def test_a_missing_end_token_is_refused(talk, reference, tmp_path):
    with pytest.raises(SelfTestError, match="does not end at token 2"):
        judge_gguf(reference, write(talk, tmp_path, ends=[0]), GGUF.bound)


def test_eight_bits_are_held_to_their_own_bound(talk, reference, tmp_path):
    told = judge_gguf(reference, write(talk, tmp_path, precision="q8_0"), GGUF_Q8.bound)
    assert 1e-4 < told["logits"]["largest"] < told["allowed_gap"]
    assert abs(told["score"]["export"]["value"] - told["score"]["adapter"]["value"]) < told["allowed_gap"]
