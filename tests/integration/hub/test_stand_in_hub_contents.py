"""What the stand-in for the hub has, loaded by name with the real libraries."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.services import free_port
from support.stand_in_hub import StandInHub, link_folder

pytestmark = pytest.mark.integration

LOAD_SETS = """
import json
from datasets import load_dataset
for name in json.loads({names!r}):
    loaded = load_dataset(*name)
    shown = {{split: rows.num_rows for split, rows in loaded.items()}}
    first = next(iter(loaded.values()))
    print(json.dumps([name, shown, {{column: str(type) for column, type in first.features.items()}}, first[0]]))
for name in ("stand-in/script-only", "stand-in/empty", "stand-in/gated-rows", "stand-in/private-rows"):
    try:
        load_dataset(name)
    except Exception as error:
        print(json.dumps([name, type(error).__name__]))
"""


def test_data_sets_load_by_name(hub: StandInHub, tmp_path: Path) -> None:
    expected: dict[tuple[str, ...], tuple[dict[str, int], set[str]]] = {
        ("nyu-mll/glue", "sst2"): ({"train": 400, "validation": 80, "test": 40}, {"sentence", "label", "idx"}),
        ("nyu-mll/glue", "stsb"): (
            {"train": 120, "validation": 45, "test": 30}, {"sentence1", "sentence2", "label", "idx"},
        ),
        ("nyu-mll/glue", "ax"): ({"test": 30}, {"premise", "hypothesis", "label", "idx"}),
        ("stanfordnlp/imdb",): ({"train": 200, "test": 100, "unsupervised": 50}, {"text", "label"}),
        ("google-research-datasets/go_emotions",): (
            {"train": 280, "validation": 56, "test": 56}, {"text", "labels", "id"},
        ),
        ("lansinuote/ChnSentiCorp",): ({"train": 300, "validation": 60, "test": 60}, {"text", "label"}),
        ("stand-in/csv-files",): ({"train": 120, "test": 40}, {"text", "label"}),
        ("stand-in/json-lines",): ({"train": 120, "validation": 40}, {"text", "label"}),
        ("stand-in/many-parquet-files",): ({"train": 180, "test": 40}, {"text", "label"}),
        ("stand-in/two-configurations",): ({"train": 100, "test": 30}, {"text", "label"}),
        ("stand-in/two-configurations", "tabs"): ({"train": 100, "test": 30}, {"text", "label"}),
    }  # fmt: skip
    *loaded, script, empty, gated, private = run_python(
        LOAD_SETS.format(names=json.dumps(list(expected))), hub.environment(tmp_path / "home")
    )
    assert {tuple(name): (splits, set(columns)) for name, splits, columns, _ in loaded} == expected
    told = {tuple(name): (columns, row) for name, _, columns, row in loaded}
    assert told["nyu-mll/glue", "sst2"][0]["label"] == "ClassLabel(names=['negative', 'positive'])"
    assert told["nyu-mll/glue", "ax"][1]["label"] == -1
    assert told["google-research-datasets/go_emotions",][1]["labels"] == [0, 20]
    assert script == ["stand-in/script-only", "RuntimeError"]
    assert empty == ["stand-in/empty", "EmptyDatasetError"]
    assert [gated[1], private[1]] == ["DatasetNotFoundError"] * 2


LOAD_MODELS = """
import json
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer
for name in ("distilbert-base-uncased", "roberta-base", "bert-base-chinese", "google-bert/bert-base-uncased"):
    model, found = AutoModelForMaskedLM.from_pretrained(name, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(name)
    text = "酒店房间很好" if "chinese" in name else "the film was very good"
    unknown = tokenizer(text)["input_ids"].count(tokenizer.unk_token_id)
    print(json.dumps([type(model).__name__, sorted(found["missing_keys"]), unknown, len(tokenizer(text)["input_ids"])]))
for name in ("stand-in/sharded-weights", "stand-in/pickled-weights", "stand-in/nested-folders"):
    print(json.dumps(AutoModel.from_pretrained(name).num_parameters()))
print(json.dumps(bool(AutoTokenizer.from_pretrained("stand-in/chat-model").chat_template)))
try:
    AutoConfig.from_pretrained("stand-in/remote-code", trust_remote_code=False)
except Exception as error:
    print(json.dumps(str(error)))
"""


def test_models_load_by_name(hub: StandInHub, tmp_path: Path) -> None:
    environment = hub.environment(tmp_path / "home", DISABLE_SAFETENSORS_CONVERSION="1")
    *families, sharded, pickled, nested, has_template, remote = run_python(LOAD_MODELS, environment)
    assert [family[0] for family in families] == [
        "DistilBertForMaskedLM", "RobertaForMaskedLM", "BertForMaskedLM", "BertForMaskedLM",
    ]  # fmt: skip
    assert all(missing == [] and unknown == 0 for _, missing, unknown, _ in families)
    assert families[2][3] == len("酒店房间很好") + 2
    assert sharded == pickled == nested
    assert has_template
    assert "trust_remote_code=True" in remote


def test_hub_runs_as_a_process_of_its_own(hub_contents: Path, tmp_path: Path) -> None:
    folder = link_folder(hub_contents, tmp_path / "own")
    port = free_port()
    tests = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "support.stand_in_hub", "--port", str(port), "--folder", str(folder)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(tests)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"HF_ENDPOINT=http://127.0.0.1:{port}\n"
        answer = httpx.get(f"http://127.0.0.1:{port}/api/datasets/glue", follow_redirects=True)
        assert answer.json()["id"] == "nyu-mll/glue"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=600)
    assert process.returncode == 0


def run_python(code: str, environment: dict[str, str]) -> list[Any]:
    """Run code in a process of its own; return its lines of JSON."""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]
