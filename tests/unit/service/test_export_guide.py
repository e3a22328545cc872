"""The README of an export tells what a reader of its logits must do to answer as the model does."""

from __future__ import annotations

from typing import Any

from finetune30.service.exports.guide import write_guide

_SCORE = {"value": 1.0, "interval": None}
_MEASURED = {"rows": 3, "logits": {"largest": 0.0, "mean": 0.0}, "allowed_gap": 0.1, "flips": None}
_RECEIPT: dict[str, Any] = {
    "name": "reviews",
    "run_id": "1",
    "version": None,
    "finetune30": "1",
    "base": {"name": "base"},
    "reader": {"name": "torch", "version": "2"},
    "measured": _MEASURED | {"score": {"name": "f1", "adapter": _SCORE, "export": _SCORE}},
}


def test_settings_of_answers_are_told_where_there_are_any() -> None:
    plain = {"recipe": [], "max_length": 16}
    settled = plain | {"temperature": 2.5, "thresholds": {"spam": 0.25}, "least_confidence": 0.99996}
    plain_text, text = (write_guide(_RECEIPT, "", "", described) for described in (plain, settled))
    told = text.removeprefix(plain_text.rstrip("\n")).strip().splitlines()
    assert told == [
        "Divide logits by 2.5 before they become probabilities.",
        "Answer a label whose probability is above its threshold: `spam` 0.25.",
        "Give no answer where the probability of what was decided is below 0.99996: it is not sure.",
    ]
