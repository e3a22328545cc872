"""Runs side by side."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.schemas import RUN_ID, Tree, errors
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.comparison import compare_runs

router = APIRouter(prefix="/experiments", tags=["experiments"])


class Verdict(BaseModel):
    """Whether the difference is more than chance; null where that cannot be told, and why. Of two runs: their pair."""

    model_config = ConfigDict(extra="allow")

    distinguishable: bool | None
    message: str = Field(examples=["'b' is 11.0 points better than 'a' (95 % interval 4.1 to 18.0 points, …"])


class LabelVerdict(BaseModel):
    """How two runs differ on one of several labels: right where it is named, or not, as it should be."""

    label: str
    only_first_right: int
    only_second_right: int
    difference: float = Field(description="Share of rows on which the label is right, second minus first.")
    interval: list[float] = Field(description="95 % interval of the difference.")
    p_value: float
    p_value_adjusted: float = Field(description="Adjusted (Holm) for all labels of all pairs.")
    distinguishable: bool


class Pair(BaseModel):
    """Two runs that answered the same evaluation rows."""

    first: str
    second: str
    distinguishable: bool | None = Field(description="Null where rows come in too few groups for a verdict.")
    message: str
    measure: str = Field(
        description="What came of a row: `right` (or wrong), or a loss: `squared_error`, `absolute_error`, `loss`. Of "
        "answers: `exact` (word for word the wanted one), `expected` (it holds what is expected)."
    )
    rows: int
    groups: int | None = Field(description="By how many groups the rows are judged; null: they are independent.")
    groups_needed: int | None = Field(description="Groups that a verdict takes, where there are fewer.")
    first_mean: float = Field(description="Share of right rows, or mean loss.")
    second_mean: float
    only_first_right: int | None = Field(description="Null for losses.")
    only_second_right: int | None
    difference: float = Field(description="Second minus first.", examples=[0.11])
    interval: list[float] | None = Field(description="95 % interval of the difference.", examples=[[0.041, 0.18]])
    better: str | None = Field(description="The run that is better on these rows; null where they are equal.")
    worse: str | None
    gain: float = Field(description="The difference as it speaks for the better run, never negative.")
    gain_interval: list[float] | None
    p_value: float
    p_value_adjusted: float = Field(description="Adjusted (Holm) for all pairs.")
    method: str
    by_label: list[LabelVerdict] = Field(
        description="Where rows have several labels; at most 50, least p-values first."
    )
    labels_total: int
    labels_distinguishable: int


class ComparedGroup(BaseModel):
    """Runs that answered the same evaluation rows."""

    runs: list[str]
    rows: int
    measure: str
    groups: int | None = Field(description="Groups that the rows come in; null: they are independent.")


class RunLeftOut(BaseModel):
    """A run that is compared with no other row by row."""

    run: str
    name: str
    reason: str


class FlippedRow(BaseModel):
    """An evaluation row on which predictions differ; null for runs that did not answer it."""

    row_id: str
    text: str | None = Field(description="Null where the dataset version is no longer stored.")
    label: Any
    predictions: list[Any]
    outcomes: list[bool | float | None] = Field(description="Whether each is right, or its loss.")


class AnsweredRow(BaseModel):
    """An evaluation row that runs answered otherwise; null for runs that were not asked it."""

    row_id: str
    question: str = Field(description="What was asked, as the template writes it.")
    reference: str = Field(description="The wanted answer.")
    expected: list[str] = Field(description="Texts of which an answer has to hold one; usually empty.")
    answers: list[str | None]
    exact: list[bool | None] = Field(description="Whether each is word for word the wanted one.")
    holds_expected: list[bool | None]


class ComparedAnswers(BaseModel):
    """What language models answered at the end of their training; empty for other runs."""

    pairs: list[Pair] = Field(description="McNemar's test on the rows that both answered, for `exact` and `expected`.")
    rows: list[AnsweredRow] = Field(description="At most 200 whose answers differ.")
    total: int
    left_out: list[RunLeftOut] = Field(description="Runs whose answers cannot be read, and why.")


class Comparison(BaseModel):
    """Values in lists are in the order of the runs."""

    runs: list[Tree]
    config_difference: dict[str, list[Any]] = Field(examples=[{"lora.r": [8, 16]}])
    metrics: dict[str, list[float | None]] = Field(examples=[{"eval_accuracy": [0.88, 0.89]}])
    metrics_best: dict[str, list[bool]] = Field(
        description="Of what evaluations measured: which values are the best of their group.",
        examples=[{"eval_accuracy": [False, True]}],
    )
    curves: list[list[Tree]] = Field(description="History records; of more than 500 training steps every n-th.")
    data_difference: Tree = Field(examples=[{"digests": ["ab…", "ab…"], "same": True}])
    verdict: Verdict
    pairs: list[Pair] = Field(description="The verdict of every pair, with counts, interval and p-value.")
    groups: list[ComparedGroup] = Field(description="Runs that were evaluated on the same rows.")
    left_out: list[RunLeftOut] = Field(description="Runs without a partner, and why.")
    flipped: list[FlippedRow] = Field(description="At most 200; losses: those furthest apart first.")
    flipped_total: int
    answers: ComparedAnswers
    tests: list[Tree | None] = Field(
        description="How often the test rows of each run were looked at (`looks`), and the last result; null: never."
    )


@router.get("/compare", summary="Compare runs", response_model=Comparison, responses=errors(404, 409, 422))
def compare(
    here: Here,
    ids: Annotated[
        str,
        Query(
            max_length=2000,
            description="Two to eight runs, separated by commas.",
            examples=[f"{RUN_ID},{RUN_ID[::-1]}"],
        ),
    ],
) -> Response:
    """Configuration, metrics, curves, data versions, flipped rows, and whether the difference is more than chance.

    Right or wrong: McNemar's exact test on the same evaluation rows, with an interval (Agresti and Min 2005). Losses: a
    paired permutation test with a bootstrap interval. Holm for several pairs.
    """
    wanted = [part.strip() for part in ids.split(",") if part.strip()]
    return Json(compare_runs(here.records, wanted, versions_of(here.settings, here.store)))
