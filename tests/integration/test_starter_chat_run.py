"""A run on the starter chat model says what that is, and needs it converted once."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from finetune30.modeling.starter_chat import find_starter_chat_model
from support.fork_server import ForkServer

pytestmark = pytest.mark.integration

TITLE = "SmolLM2-135M-Instruct, dequantised from Q4_1"
QUICK = (
    *("--preset", "starter", "--model", "starter-chat", "--lora.target_modules", "auto", "--max_steps", "1"),
    *("--data.train_samples", "16", "--data.eval_samples", "8", "--data.max_length", "16"),
    *("--training.device", "cpu", "--training.precision", "fp32"),
)


def test_a_run_records_title_and_digests_of_its_base_and_gives_it_away_with_the_model(
    fork_server: ForkServer, tmp_path: Path, starter_chat_data: Path
) -> None:
    known = find_starter_chat_model(starter_chat_data)
    assert known is not None
    done = fork_server.run(
        "train", *QUICK, "--experiment_name", "chat", cwd=tmp_path, FT30_DATA_FOLDER=str(starter_chat_data)
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "results").glob("chat_2*")
    assert "converting" not in (run / "logs.txt").read_text(encoding="utf-8")
    assert f"starter-chat ({TITLE})" in (run / "logs.txt").read_text(encoding="utf-8")
    base = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["base"]
    assert base["name"] == "starter-chat"
    assert base["made_from"] == {
        "title": TITLE,
        "gguf_sha256": known.gguf_sha256,
        "weights_sha256": known.weights_sha256,
    }
    card = (run / "artifacts" / "final_model" / "README.md").read_text(encoding="utf-8")
    assert "base_model: starter-chat\n" in card
    assert f"| base model | `starter-chat` ({TITLE})" in card
    given = fork_server.run("export", "latest", "--output", "chat.zip", cwd=tmp_path)
    assert given.returncode == 0, given.stderr
    with zipfile.ZipFile(tmp_path / "chat.zip") as package:
        (weights,) = [name for name in package.namelist() if name.endswith("/model.safetensors")]
        assert package.getinfo(weights).file_size == (known.path / "model.safetensors").stat().st_size
