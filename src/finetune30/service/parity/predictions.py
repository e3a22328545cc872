"""What serves, held against the predictions that its run published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.service.parity.bounds import loss_bound, predicted_bound, tokens_right_bound
from finetune30.service.parity.found import Found
from finetune30.values import say_count

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Published:
    """The predictions of a run (`Problem.predictions`), and how they were computed."""

    predictions: pl.DataFrame
    precision: str
    quantization: str | None


def hold_predictions(given: pl.DataFrame, published: Published) -> Found:
    """Hold predictions of the serving path against those of the run, row by row; both as `Problem.predictions`."""
    found = Found()
    wanted = given.select("row_id").join(published.predictions, on="row_id", how="left", maintain_order="left")
    column = "probabilities" if "probabilities" in wanted.columns else "outcome"
    one, other = _numbers(given, column), _numbers(wanted, column)
    if one.shape != other.shape:
        found.faults.append(f"it gives {list(one.shape)} numbers and the run published {list(other.shape)}")
        return found
    answers = "prediction" in given.columns and not given["prediction"].dtype.is_numeric()
    bound = predicted_bound(published.precision, published.quantization, shares=answers)
    found.hold("predictions", one, other, bound, "from what the run predicted it differs")
    told = found.figures["predictions"] | {"precision": published.precision}
    is_finite = "not_finite" not in told
    if "tokens_right" in given.columns and is_finite:
        found.add(_hold_tokens(given, wanted, published))
    if answers and is_finite:
        told |= (flips := _flips(given, wanted, one))
        # What two models that lie so near decide otherwise, each of them is unsure of.
        if flips["flips"] and flips["surest_flip"] > 2 * bound.row:
            found.faults.append(
                f"{say_count(flips['flips'], 'answers are')} not those that the run predicted, where it is sure by "
                f"up to "
                f"{flips['surest_flip']:.4g}, allowed: {2 * bound.row:.4g}"
            )
    found.figures["predictions"] = told
    return found


def _hold_tokens(given: pl.DataFrame, wanted: pl.DataFrame, published: Published) -> Found:
    """Hold what a language model's rows give together: their loss a token, and how many tokens were right."""
    found = Found()
    asked = int(given["tokens_asked"].sum())
    if given["tokens_asked"].to_list() != wanted["tokens_asked"].to_list():
        found.faults.append("it is asked for other tokens than the run was")
        return found
    loss, before_loss = (_loss_of(rows, asked) for rows in (given, wanted))
    most = loss_bound(published.precision, published.quantization, asked) * max(1.0, before_loss)
    found.figures["loss"] = {"served": loss, "predicted": before_loss, "allowed": most}
    if not abs(loss - before_loss) <= most:
        found.faults.append(
            f"its loss is {loss:.4g}, and that of what the run predicted {before_loss:.4g}, allowed: {most:.4g}"
        )
    right, before = (int(rows["tokens_right"].sum()) for rows in (given, wanted))
    allowed = tokens_right_bound(published.precision, published.quantization, asked)
    found.figures["tokens"] = {"asked": asked, "right": right, "predicted_right": before, "allowed": allowed}
    if abs(right - before) > allowed:
        found.faults.append(
            f"{right} of {say_count(asked, 'tokens are')} right, and {before} were in the run, allowed: {allowed:.4g}"
        )
    return found


def _loss_of(rows: pl.DataFrame, asked: int) -> float:
    return float((rows["outcome"].fill_null(0.0) * rows["tokens_asked"]).sum()) / max(1, asked)


def _numbers(rows: pl.DataFrame, column: str) -> NDArray[np.float32]:
    """Return a column as (n, k); rows of which nothing is asked count as 0 on both sides."""
    values = [
        [0.0] if value is None else value if isinstance(value, list) else [value] for value in rows[column].to_list()
    ]
    return np.asarray(values, dtype=np.float32)  # fmt: skip


def _flips(given: pl.DataFrame, wanted: pl.DataFrame, shares: NDArray[np.float32]) -> dict[str, Any]:
    """Return in how many rows the answers differ, and how sure the serving path is of the surest of these (0 to 1)."""
    pairs = zip(given["prediction"].to_list(), wanted["prediction"].to_list(), strict=True)
    flipped = [row for row, (one, other) in enumerate(pairs) if one != other]
    margins = []
    for row in flipped:
        if isinstance(given["prediction"][row], str):
            first, second = np.sort(shares[row])[::-1][:2]
            margins.append(float(first - second))
        else:  # each label is decided by itself
            margins.append(float(np.abs(shares[row] - 0.5).min() * 2))
    return {"flips": len(flipped), "surest_flip": max(margins, default=None)}
