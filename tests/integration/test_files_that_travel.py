"""What leaves with a model: published files tell how it is used elsewhere, and none names a place on a machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune30.modeling.travelling import find_travel_faults
from support.fork_server import ForkServer
from support.kinds import KINDS, KindsLab
from support.talk_lab import TalkLab

pytestmark = pytest.mark.integration

Change = Callable[[Path], None]


def model_of(run: Path) -> Path:
    return run / "artifacts" / "final_model"


def without(*keys: str) -> Change:
    """Return what takes a key out of labels.json, the last of several within the others."""

    def change(model: Path) -> None:
        tree = json.loads((model / "labels.json").read_text(encoding="utf-8"))
        inner = tree
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        (model / "labels.json").write_text(json.dumps(tree), encoding="utf-8")

    return change


def with_value(file: str, value: Any, *keys: str) -> Change:
    """Return what sets a value in a JSON file of the model, which may be new."""

    def change(model: Path) -> None:
        path = model / file
        tree = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        inner = tree
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = value
        path.write_text(json.dumps(tree), encoding="utf-8")

    return change


def in_card(before: str, after: str) -> Change:
    """Return what changes the card."""

    def change(model: Path) -> None:
        text = (model / "README.md").read_text(encoding="utf-8")
        assert before in text
        (model / "README.md").write_text(text.replace(before, after), encoding="utf-8")

    return change


@pytest.mark.parametrize("name", KINDS)
def test_what_a_run_publishes_can_be_used_elsewhere(kinds_lab: KindsLab, name: str) -> None:
    model = model_of(kinds_lab.run_folder(name))
    assert find_travel_faults(model) == []
    labels = json.loads((model / "labels.json").read_text(encoding="utf-8"))
    assert labels["base"]["name"] == "base"
    assert len(labels["base"]["sha256"]) == 64
    assert labels.get("threshold") == (0.5 if name == "multi-label" else None)
    for path in model.iterdir():
        if path.suffix != ".safetensors":
            assert str(kinds_lab.folder) not in path.read_text(encoding="utf-8")


def test_a_language_model_takes_its_template_along(fork_server: ForkServer, tmp_path: Path) -> None:
    lab = TalkLab(fork_server, tmp_path)
    ended = lab.train("results")
    assert ended.returncode == 0, ended.stderr
    model = model_of(lab.run_folder("results"))
    assert find_travel_faults(model) == []
    assert str(tmp_path) not in "".join(p.read_text("utf-8") for p in model.iterdir() if p.suffix != ".safetensors")
    without("targets", "chat", "template", "text")(model)
    assert find_travel_faults(model) == ["labels.json tells no text of the chat template"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("recipe"), "labels.json tells no recipe"),
        (without("max_length"), "labels.json tells no max_length"),
        (without("reading", "allow_empty"), "labels.json tells no reading.allow_empty"),
        (without("threshold"), "labels.json tells no threshold"),
        (without("base"), "labels.json tells no base"),
        (without("base", "sha256"), "labels.json tells neither commit nor sha256 of the base model"),
        (with_value("tokenizer.json", {"max_length": 8}, "truncation"), "tokenizer.json keeps the truncation"),
        (with_value("tokenizer.json", {"pad_id": 0}, "padding"), "tokenizer.json keeps the padding"),
        (with_value("config.json", {"0": "LABEL_0"}, "id2label"), "config.json does not name the labels"),
        (
            with_value("adapter_config.json", "/home/me/base", "base_model_name_or_path"),
            "adapter_config.json names a place on a machine: /home/me/base",
        ),
        (in_card("base_model: base", "base_model: ~/models/base"), "README.md names a place on a machine: ~/models/"),
        (in_card("| data | `", "| data | `/mnt/customers/"), "README.md names a place on a machine: /mnt/customers/"),
        (lambda model: (model / "labels.json").unlink(), "labels.json is missing"),
    ],
)
def test_what_is_missing_is_found(kinds_lab: KindsLab, tmp_path: Path, change: Change, told: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(model_of(kinds_lab.run_folder("multi-label")), model)
    change(model)
    assert any(fault.startswith(told) for fault in find_travel_faults(model)), find_travel_faults(model)
