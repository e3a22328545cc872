"""What the certificate holds a model to: each row by its own size, all of them together, and only numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from finetune30.modeling.conversations.generation import PIECE
from finetune30.service.parity.bounds import REPEATED_BOUND
from finetune30.service.parity.conversations import repeat_conversations
from finetune30.service.parity.found import Found
from finetune30.service.parity.predictions import Published, hold_predictions

DIFFERS = "from what the run predicted it differs"


def regression(values: list[float]) -> pl.DataFrame:
    rows = [f"r{place}" for place in range(len(values))]
    return pl.DataFrame({"row_id": rows, "prediction": values, "probabilities": [[value] for value in values]})


def classifier(shares: list[float]) -> pl.DataFrame:
    rows = [f"r{place}" for place in range(len(shares))]
    named = ["yes" if share > 0.5 else "no" for share in shares]
    return pl.DataFrame(
        {"row_id": rows, "prediction": named, "probabilities": [[share, 1 - share] for share in shares]}
    )


def language_model(losses: list[float], right: list[int], asked: int = 100) -> pl.DataFrame:
    rows = [f"r{place}" for place in range(len(losses))]
    tokens = {"tokens_right": right, "tokens_asked": [asked] * len(losses)}
    return pl.DataFrame({"row_id": rows, "outcome": losses, **tokens})


def hold(given: pl.DataFrame, predicted: pl.DataFrame, precision: str = "bf16") -> Found:
    return hold_predictions(given, Published(predicted, precision, None))


def test_a_row_is_held_by_its_own_size_and_not_by_the_largest_one() -> None:
    predicted = regression([100.0, *[1.0] * 39])
    found = hold(regression([101.0, *[1.0] * 38, 1.4]), predicted)
    assert found.faults == [f"{DIFFERS} by up to 0.4, allowed: 0.15"]
    assert found.figures["predictions"]["largest"] == pytest.approx(1.0)
    assert hold(regression([101.0, *[1.0] * 39]), predicted).faults == []


@pytest.mark.parametrize(
    ("given", "predicted"),
    [(classifier([0.72] * 8), classifier([0.70] * 8)), (regression([2.1] * 8), regression([2.0] * 8))],
    ids=["classifier", "regression"],
)
def test_all_rows_may_not_lie_where_one_may(given: pl.DataFrame, predicted: pl.DataFrame) -> None:
    (fault,) = hold(given, predicted).faults
    assert fault.startswith(f"{DIFFERS} by 0.0")
    assert "of its size on average, allowed: 0.0" in fault
    one = pl.concat([given[:1], predicted[1:]])
    assert hold(one, predicted).faults == []


def test_a_language_model_is_held_to_its_loss_and_to_the_tokens_that_were_right() -> None:
    predicted = language_model([2.0, 2.0], [40, 40])
    found = hold(language_model([2.05, 1.95], [41, 40]), predicted)
    assert (found.faults, found.figures["tokens"]["predicted_right"]) == ([], 80)
    assert hold(language_model([2.05, 2.05], [40, 40]), predicted).faults == [
        "its loss is 2.05, and that of what the run predicted 2, allowed: 0.02049"
    ]
    said = hold(language_model([2.4, 2.4], [30, 30]), predicted).faults
    assert [fault.partition(" by ")[0] for fault in said] == [
        DIFFERS,
        DIFFERS,
        "its loss is 2.4, and that of what the run predicted 2, allowed: 0.02049",
        "60 of 200 tokens are right, and 80 were in the run, allowed: 4",
    ]
    others = hold(language_model([2.0, 2.0], [40, 40], asked=99), predicted)
    assert others.faults == ["it is asked for other tokens than the run was"]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_is_a_fault_even_where_both_are(number: float) -> None:
    for given, predicted in (([number, 1.0], [1.0, 1.0]), ([1.0, 1.0], [number, 1.0]), ([number] * 2, [number] * 2)):
        (fault,) = hold(regression(given), regression(predicted)).faults
        assert "rows are not finite" in fault
    numbers: Any = np.asarray([[number, 0.0]], dtype=np.float32)
    found = Found()
    found.hold("alone", numbers, numbers, REPEATED_BOUND, "asked alone, its logits differ")
    assert found.faults == ["asked alone, its logits differ: the numbers of 1 of 1 row is not finite"]
    shares = classifier([float(number), 0.4])
    assert "not_finite" in hold(shares, classifier([0.6, 0.4])).figures["predictions"]


class _SeesPieces:
    """A language model whose next token tells of how many tokens it was given to begin with: other sums, at a tie."""

    positions, end_tokens, reads_on = None, frozenset[int](), True

    def __init__(self) -> None:
        self.first: dict[int, int] = {}

    def begin(self, _count: int) -> _SeesPieces:
        return _SeesPieces()

    def read(self, tokens: Mapping[int, Sequence[int]]) -> torch.Tensor:
        for row, new in tokens.items():
            self.first.setdefault(row, len(new))
        return torch.nn.functional.one_hot(torch.tensor([self.first[row] for row in tokens]), 1000).float()


def test_a_prompt_alone_is_asked_in_pieces_as_it_is_where_it_is_served() -> None:
    """What would part a server from its reference is found as the version is registered."""
    asked = SimpleNamespace(ask_text=lambda text: [1] * len(text), template=None)
    model: Any = SimpleNamespace(next_tokens=_SeesPieces(), stops=frozenset(), encoder=asked)
    long, short = "x" * (PIECE + 1), "x" * PIECE
    reference = pl.DataFrame(
        {
            "asked": [json.dumps({"prompt": text}) for text in (long, short)],
            "ids": [[1] * len(text) for text in (long, short)],
            "tokens": [[len(text)] * 32 for text in (long, short)],  # each read at once
        }
    )
    assert repeat_conversations(model, reference).faults == [
        "asked alone, it goes on with other tokens after 1 of 2 prompts"
    ]
