"""When an answer is not sure, and whose model the address names."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("streamlit", reason="Streamlit is not installed")
from finetune30.ui.views import try_model
from finetune30.ui.views.try_model import is_unsure


def _answer(shares: list[float], given: list[int], confidence: float) -> dict[str, Any]:
    names = [f"label {number}" for number in range(len(shares))]
    probabilities = dict(zip(names, shares, strict=True))
    return {"labels": [names[one] for one in given], "probabilities": probabilities, "confidence": confidence}


@pytest.mark.parametrize(
    ("answer", "unsure"),
    [
        (_answer([0.52, 0.48], [0], 0.52), True),
        (_answer([0.56, 0.44], [0], 0.56), False),
        (_answer([0.25, 0.75], [0], 0.25), True),  # a threshold of 0.2: the other one is more probable
        (_answer([0.5, 0.5], [0], 0.5), True),
        (_answer([0.071, 0.069, *[0.86 / 75] * 75], [0], 0.071), True),  # 77 names
        (_answer([0.6, *[0.4 / 76] * 76], [0], 0.6), False),
        (_answer([0.3, *[0.7 / 10] * 10], [0], 0.3), False),
        (_answer([0.9, 0.8, 0.02], [0, 1], 0.8), False),  # names apart: both are said
        (_answer([0.9, 0.47, 0.02], [0], 0.53), True),
        (_answer([0.9, 0.3, 0.02], [0, 1], 0.3), True),  # by a threshold below it
        (_answer([0.1, 0.02], [], 0.9), False),
        (_answer([1.0], [0], 1.0), False),
        ({"probabilities": {"a": 0.5, "b": 0.5}, "confidence": 0.5, "no_answer": {"code": "not_sure"}}, False),
        ({"value": 0.5}, False),
    ],
)
def test_a_small_lead_is_not_sure(answer: dict[str, Any], unsure: bool) -> None:
    assert is_unsure(answer) == unsure


@pytest.mark.parametrize(
    ("address", "chosen", "offered"),
    [
        ("", "", ["newest"]),
        ("newest", "newest", ["newest"]),
        ("reviews@production", "older", ["newest", "older"]),
        ("waiting", "", ["newest"]),
        ("nobody@production", "", ["newest"]),
    ],
)
def test_the_address_names_a_run_by_a_version_of_a_model_too(
    address: str, chosen: str, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {
        "reviews@production": {"id": "older", "status": "SUCCEEDED"},
        "waiting": {"id": "waiting", "status": "QUEUED"},
    }

    class Client:
        def load_experiment(self, named: str) -> dict[str, str] | None:
            return known.get(named)

    monkeypatch.setattr("finetune30.ui.views.try_model.st.query_params", {"run": address})
    monkeypatch.setattr(try_model, "client", Client)
    monkeypatch.setattr(try_model, "ask", lambda question: question())
    runs: dict[str, Any] = {"newest": {"id": "newest", "status": "SUCCEEDED"}}
    assert try_model._find_addressed(runs) == chosen
    assert list(runs) == offered
