"""The saved model is tested when the trained one has given its memory back: a device need not hold both."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from finetune30.cli.train import command
from finetune30.problems.shared.head import TextHead
from finetune30.training.general import GeneralEngine
from finetune30.training.packed.engine import PackedEngine


@pytest.mark.parametrize(("kind", "engine"), [(GeneralEngine, "general"), (PackedEngine, "packed")])
def test_the_trained_model_is_given_up_before_the_saved_one_is_loaded(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, kind: type[Any], engine: str
) -> None:
    released: list[weakref.ref[Any]] = []
    alive: list[bool] = []
    release, load = kind.release, TextHead.open_saved

    def watched(self: Any) -> None:
        released.append(weakref.ref(self._model))
        release(self)

    def open_saved(self: Any, *given: Any) -> Any:
        gc.collect()
        alive.extend(model() is not None for model in released)
        return load(self, *given)

    monkeypatch.setattr(kind, "release", watched)
    monkeypatch.setattr(TextHead, "open_saved", open_saved)
    rows = "".join(f"{word} film number {n},{label}\n" for n in range(20) for word, label in (("good", 1), ("bad", 0)))
    Path("rows.csv").write_text("text,label\n" + rows)
    flags = ["--model.name", str(tiny_model("bert")), "--data.dataset_name", "rows.csv", "--training.engine", engine]
    done = CliRunner().invoke(
        command, [*flags, "--data.max_length", "32", "--training.num_train_epochs", "1", "--training.device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    assert alive == [False]
    (metrics,) = Path("results").glob("*/metrics.json")
    assert json.loads(metrics.read_text())["engine"] == engine
