"""The script beside a model decides as the model does."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from finetune30.problems.classification.answering import Answering
from finetune30.problems.trainables import load_trainable
from finetune30.service.models.usage_script import write_usage_script

NAMES = ["ham", "spam"]


def test_what_is_decided_is_decided_in_float64(tmp_path: Path) -> None:
    """In float32 both probabilities are 1, and so is a threshold between them."""
    logits = torch.tensor([[0.0, 17.5], [0.0, 18.5]])
    sure = 1 / (1 + torch.exp(-logits[:, 1].double()))
    between = float(sure.mean())
    card = load_trainable("single_label_classification", {"label_names": NAMES}).card()
    for settled, expected in (
        ({"least_confidence": between}, [None, "spam"]),
        ({"thresholds": {"spam": between}}, ["ham", "spam"]),
    ):
        described: dict[str, Any] = {"recipe": [], "max_length": 8, "label_names": NAMES, **settled}
        script = write_usage_script(card, described)
        source = script[script.index("shares = ") : script.index("if __name__")]
        (tmp_path / "deciding.py").write_text(source)
        given = [_ask(tmp_path / "deciding.py", described, row) for row in logits]
        assert given == expected
        decided = Answering.restore(described).decide(logits.numpy(), NAMES, several=False)
        assert [NAMES[row.argmax()] for row in decided.chosen] == [one or "spam" for one in expected]


def _ask(deciding: Path, described: dict[str, Any], logits: Any) -> Any:
    """Ask the lines of the script that decide, with logits in the place of those of a model."""
    here: dict[str, Any] = {
        "torch": torch,
        "learnt": described,
        "names": NAMES,
        "tokenizer": lambda *_, **__: {},
        "model": lambda: SimpleNamespace(logits=logits[None]),
    }
    return runpy.run_path(str(deciding), init_globals=here)["ask"]("a text")
