"""Packed tokens: where they lie, and that any of them can be asked for, one a row or several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from finetune30.training.packed.layout import AskingTokens, build_layout, first_tokens
from support.engines import switch_off_dropout
from support.packed import LAYOUTS, build_model, every_third_token, last_two_tokens, lay_out
from support.tiny_models import build_tiny_model


def test_rows_lie_one_after_the_other_and_asking_tokens_are_found() -> None:
    asking = AskingTokens(np.array([0, 2, 1]), np.array([2, 0, 1]))
    layout = build_layout(np.array([3, 1, 2]), asking, 2, torch.float32, with_grid=False, few_sizes=True)
    assert layout.starts.tolist() == [0, 3, 4, 6]
    assert layout.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert layout.asking.tolist() == [0, 2, 5]
    assert layout.asking_queries.starts.tolist() == [0, 2, 2, 3]
    # Two heads, two queries and sixteen places; none; two heads, one query.
    assert layout.asking_queries.cells.tolist() == [0, 64, 64, 96]
    assert layout.all_queries.starts.tolist() == [0, 3, 4, 6]


def test_first_token_of_each_row_is_asked_for() -> None:
    lengths = np.array([3, 1, 2])
    layout = build_layout(lengths, first_tokens(lengths), 2, torch.float32, with_grid=False, few_sizes=False)
    assert layout.asking.tolist() == [0, 3, 4]


@pytest.mark.parametrize("rows", LAYOUTS)
@pytest.mark.parametrize("asks", [first_tokens, every_third_token, last_two_tokens])
def test_states_of_asked_tokens_equal_transformers(
    compiled: bool, tmp_path: Path, asks: Callable[[NDArray[np.int64]], AskingTokens], rows: str
) -> None:
    from transformers import AutoModel

    folder = build_tiny_model(tmp_path / "base", "bert", layers=3)
    switch_off_dropout(folder)
    packed = build_model(folder, ["query"], compiled=compiled)
    packed.weights.values.zero_()  # LoRA of zeros adds nothing
    lengths = np.asarray(LAYOUTS[rows])
    asking = asks(lengths)
    layout = lay_out(packed, LAYOUTS[rows], asking)
    ids = torch.randint(5, 40, (layout.total,), generator=torch.Generator().manual_seed(4))
    inside = torch.arange(int(lengths.max()))[None] < torch.from_numpy(lengths)[:, None]
    grid = torch.zeros(inside.shape, dtype=torch.long)
    grid[inside] = ids[: layout.token_count]
    reference = AutoModel.from_pretrained(folder).double().eval()
    with torch.no_grad():
        states = reference(input_ids=grid, attention_mask=inside.long()).last_hidden_state
        found, _ = packed.backbone.forward(packed.backbone.embed(ids, None, layout, None), layout, None)
    row_of = np.repeat(np.arange(len(lengths)), asking.counts)
    torch.testing.assert_close(found, states[row_of, asking.places], rtol=1e-9, atol=1e-11)
