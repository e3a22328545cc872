"""Questions to the model of a finished run."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, answer_slowly
from finetune30.api.routes.experiments import ExperimentId
from finetune30.api.schemas import Tree, errors
from finetune30.data.questions import LONGEST_TEXT, MOST_TEXTS
from finetune30.errors import UsageError
from finetune30.service.models.model_process import ModelProcesses

router = APIRouter(prefix="/experiments", tags=["experiments"])


class Questions(BaseModel):
    """Texts, or pairs of texts."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str] = Field(min_length=1, max_length=MOST_TEXTS, examples=[["A fine film."]])
    text_pairs: list[str] | None = Field(
        None, max_length=MOST_TEXTS, description="As many as texts, for a model of pairs."
    )


class Answers(BaseModel):
    """One answer a text: labels and probabilities, or the value of a regression.

    `confidence` is the probability of what was decided; of several labels, that of the least probable decision.

    A text that gives the model nothing to read (blank, or of characters that its tokenizer drops) has `no_answer` with
    code `no_tokens` and a message in their place. So has one that the model is not sure enough about, where it was
    trained to withhold such answers (`training.abstention_risk`): code `not_sure`, with the probabilities and
    the confidence.
    """

    answers: list[Tree] = Field(
        examples=[
            [
                {
                    "text": "A fine film.",
                    "labels": ["positive"],
                    "probabilities": {"negative": 0.1, "positive": 0.9},
                    "confidence": 0.9,
                }
            ]
        ]
    )


@router.post(
    "/{experiment_id}/predict",
    summary="Ask a finished model",
    response_model=Answers,
    responses=errors(404, 409, 413, 415, 422, 503),
)
async def predict(here: Here, experiment_id: ExperimentId, body: Questions, request: Request) -> Response:
    """The first question loads the model into a process of its own, which goes away when nobody asks any more."""
    require_texts(body)
    models: ModelProcesses = request.app.state.models

    def ask() -> Response:
        return Json({"answers": models.ask(here.store.get(experiment_id), body.texts, body.text_pairs)})

    return await answer_slowly(request, ask)


def require_texts(body: Questions) -> None:
    """Raise UsageError for a text that is too long, and for second texts that are not as many."""
    if any(len(text) > LONGEST_TEXT for text in (*body.texts, *(body.text_pairs or ()))):
        raise UsageError(f"a text is longer than {LONGEST_TEXT} characters", "shorten it, or cut it into pieces")
    if body.text_pairs is not None and len(body.text_pairs) != len(body.texts):
        raise UsageError(f"{len(body.texts)} texts but {len(body.text_pairs)} second texts", "give as many, or none")
