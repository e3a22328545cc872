"""Variants of LoRA and quantized base models through the commands: killed, resumed and replayed to the same bytes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.chat_models import build_tiny_chat
from support.exactness import fingerprint
from support.fork_server import ForkServer
from support.plain_answers import beside_its_base
from support.quantized import needs_bitsandbytes
from support.talk_lab import TalkLab

pytestmark = pytest.mark.integration

#: What is changed, and where the run is killed: what the base lacks meanwhile is told by the checkpoint or made again.
VARIANTS: dict[str, tuple[dict[str, Any], str]] = {
    "pissa": (
        {
            "lora.init_lora_weights": "pissa_niter_4",
            "lora.use_rslora": True,
            "lora.loraplus_lr_ratio": 4.0,
            "training.neftune_noise_alpha": 5.0,
            "training.learning_rate": 0.002,
        },
        "checkpoint.before_rename:2",
    ),
    "olora": (
        {
            "lora.init_lora_weights": "olora",
            "lora.modules_to_save": ["lm_head"],
            "training.gradient_checkpointing": True,
        },
        "result.after_adapter:1",
    ),
    "tokens": (
        {"lora.trainable_token_indices": [1, 2], "lora.use_dora": True, "training.neftune_noise_alpha": 5.0},
        "training.after_step:5",
    ),
}
ROUNDED: dict[str, tuple[dict[str, Any], str]] = {
    "nf4": ({"model.quantization": "nf4", "training.neftune_noise_alpha": 5.0}, "training.after_step:5"),
    "int8": ({"model.quantization": "int8"}, "checkpoint.before_rename:2"),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TalkLab]:
    with ForkServer(tmp_path_factory.mktemp("variants-server")) as server:
        found = TalkLab(server, tmp_path_factory.mktemp("variants"))
        build_tiny_chat(found.folder / "base", width=64)
        yield found


def train_killed_and_resumed(lab: TalkLab, name: str, changes: dict[str, Any], point: str) -> Path:
    """Train whole, and killed and resumed; return the folder of the run, whose bytes are those of the other."""
    ended = lab.train(name, changes)
    assert ended.returncode == 0, ended.stderr
    assert "MatMul8bitLt" not in ended.stderr
    assert "kernels" not in ended.stderr
    ended = lab.train(f"{name}-killed", changes, FT30_FAILPOINT=point)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    ended = lab.ft30("resume", "latest", results=f"{name}-killed")
    assert ended.returncode == 0, ended.stderr
    runs = lab.run_folder(name), lab.run_folder(f"{name}-killed")
    assert fingerprint(runs[0]) == fingerprint(runs[1])
    assert (runs[0] / "generations.jsonl").read_bytes() == (runs[1] / "generations.jsonl").read_bytes()
    return runs[0]


def answer_plainly(lab: TalkLab, run: Path, **options: Any) -> str:
    """Return how the published model, loaded by the plain libraries, answers the first evaluation row."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    folder = run / "artifacts/final_model"
    model: Any = AutoPeftModelForCausalLM.from_pretrained(str(beside_its_base(folder)), **options)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "When do you open? 100"}], add_generation_prompt=True, return_tensors="pt"
    )
    answer = model.generate(**asked, max_new_tokens=12, do_sample=False)
    return str(tokenizer.decode(answer[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_resumed_to_the_same_bytes_and_published_for_the_plain_base(lab: TalkLab, name: str) -> None:
    run = train_killed_and_resumed(lab, name, *VARIANTS[name])
    metrics = lab.metrics(name)
    assert metrics["eval_loss"] < metrics["base_eval_loss"]
    rows = [json.loads(line) for line in (run / "generations.jsonl").read_text(encoding="utf-8").splitlines()]
    assert answer_plainly(lab, run) == rows[0]["answer"]
    assert (
        metrics["self_test_logit_difference"] < 1e-5
    )  # between the trained model and the published one, by plain PEFT


def test_a_run_whose_start_was_taken_out_of_the_base_is_ended_before_another_starts_from_it(lab: TalkLab) -> None:
    changes, _ = VARIANTS["olora"]
    ended = lab.train("warm", changes, FT30_FAILPOINT="training.after_step:5")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    refused = lab.ft30("resume", "latest", "--warm-start", results="warm")
    assert refused.returncode == 1
    assert "train it to its end first: ft30 resume" in refused.stderr
    ended = lab.ft30("resume", "latest", results="warm")
    assert ended.returncode == 0, ended.stderr
    folder = lab.run_folder("warm") / "artifacts/final_model"
    described = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    plain = {
        "lora.init_lora_weights": True,
        "lora.modules_to_save": described["modules_to_save"],
        "lora.r": described["r"],
        "lora.lora_alpha": described["lora_alpha"],
        "training.start_adapter": str(folder),
        "training.max_steps": 1,
    }
    ended = lab.train("warm-started", {**changes, **plain})
    assert ended.returncode == 0, ended.stderr
    assert (lab.run_folder("warm-started") / "artifacts/final_model").is_dir()


def test_the_base_model_is_the_same_beside_every_variant(lab: TalkLab) -> None:
    base = lab.metrics("tokens")["base_eval_loss"]  # from which nothing is taken out
    for name in VARIANTS:
        assert lab.metrics(name)["base_eval_loss"] == pytest.approx(base, rel=1e-5)


@needs_bitsandbytes
@pytest.mark.parametrize("name", ROUNDED)
def test_a_run_on_a_quantized_base_is_resumed_and_replayed_to_the_same_bytes(lab: TalkLab, name: str) -> None:
    run = train_killed_and_resumed(lab, name, *ROUNDED[name])
    metrics = lab.metrics(name)
    assert metrics["eval_loss"] < metrics["base_eval_loss"]
    assert metrics["self_test_logit_difference"] < (1e-5 if name == "nf4" else 1e-3)
    assert "bitsandbytes" in metrics["environment"]["versions"]
    described = json.loads((run / "artifacts/final_model/labels.json").read_text(encoding="utf-8"))
    assert described["quantization"]["method"] == name
    ended = lab.ft30("replay", "latest", results=name)
    assert ended.returncode == 0, ended.stderr
    assert "identical" in ended.stdout


@needs_bitsandbytes
def test_a_quantized_base_is_told_by_the_card_whose_lines_load_it(lab: TalkLab) -> None:
    run = lab.run_folder("nf4")
    folder = run / "artifacts/final_model"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "held in 4 bits by bitsandbytes" in card
    code = card.split("```python\n")[1].split("```")[0].replace("path/to/final_model", str(beside_its_base(folder)))
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102 - what the card shows
    layer = found["model"].get_base_model().get_submodule("model.layers.0.mlp.up_proj.base_layer")
    assert type(layer).__name__ == "Linear4bit"
    once = lab.ft30("predict", "latest", "When do you open? 100", "--json", results="nf4")
    rows = [json.loads(line) for line in (run / "generations.jsonl").read_text(encoding="utf-8").splitlines()]
    assert json.loads(once.stdout)["answer"].strip() == rows[0]["answer"]


@needs_bitsandbytes
def test_a_quantized_classifier_answers_elsewhere_as_here(lab: TalkLab, tmp_path: Path) -> None:
    rows = "".join(f"{('good film', 'bad film')[i % 2]} {i},{('good', 'bad')[i % 2]}\n" for i in range(24))
    (lab.folder / "reviews.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    ended = lab.ft30(
        "train", "--model", "base", "--dataset", "reviews.csv", "--epochs", "1", "--device", "cpu",
        "--set", "model.quantization=nf4", "--set", "training.precision=fp32", results="reviews",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    package = tmp_path / "model.zip"
    ended = lab.ft30("export", "latest", "--as", "zip", "--output", str(package), results="reviews")
    assert ended.returncode == 0, ended.stderr
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path)
    (script,) = tmp_path.glob("*/use_model.py")
    said = subprocess.run(
        [sys.executable, str(script), "good film 3"], capture_output=True, text=True, check=True
    ).stdout
    here = lab.ft30("predict", "latest", "good film 3", "--json", results="reviews")
    assert said.split() == [*json.loads(here.stdout)["labels"], "good", "film", "3"]


@needs_bitsandbytes
def test_a_start_that_is_taken_out_of_the_base_needs_it_whole(lab: TalkLab) -> None:
    refused = lab.train("refused", {"model.quantization": "nf4", "lora.init_lora_weights": "pissa"})
    assert refused.returncode == 2
    assert "takes its start out of the base weights" in refused.stderr
