"""POST /predict/NAME: questions to a classifier or a regression."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import repeat
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.routes.predictions import Questions, require_texts
from finetune30.api.schemas import Tree, errors
from finetune30.api.serving.context import Here, Serving
from finetune30.data.questions import NO_TOKENS, Question, require_sides
from finetune30.errors import ConflictError, DataError
from finetune30.service.serving.asked import Answer, Row, TextModel
from finetune30.service.serving.batcher import late
from finetune30.values import is_text

router = APIRouter(tags=["models"])

#: How often it is looked whether the caller is still there.
_LOOK_SECONDS = 0.5
#: To make the answers of so many texts takes less time than to hand them to a thread.
_FEW_ROWS = 16
ServedName = Annotated[str, Path(max_length=130, description="NAME, or NAME@alias or NAME:7 as it is served.")]


class ServedAnswers(BaseModel):
    """One answer a text, and who gave them.

    A text that gives the model nothing to read has `no_answer` (code `no_tokens`) in place of labels or value. So has
    one that the model is not sure enough about, where it was trained to withhold such answers: code `not_sure`, with
    the probabilities and the confidence.
    """

    model: str = Field(examples=["reviews"])
    version: int = Field(description="Of the model; the same for all answers of a request.", examples=[7])
    adapter_sha256: str = Field(description="Of the weights that answered.")
    answers: list[Tree] = Field(
        description="labels, probabilities and `confidence` (the probability of what was decided), or value; "
        "`tokens` of the text, `max_tokens` that the model reads, `truncated` where these are fewer.",
    )


@router.post(
    "/predict/{name}",
    summary="Ask a model",
    response_model=ServedAnswers,
    responses=errors(404, 409, 413, 415, 422, 429, 503, 504),
)
async def predict(here: Here, name: ServedName, body: Questions, request: Request) -> Response:
    """Answer texts, or pairs of texts, with the version that the name leads to as the request comes in."""
    require_texts(body)
    _require_text(body.texts, body.text_pairs)
    loaded = here.find(name, request)
    if loaded.texts is None:
        raise ConflictError(f"'{name}' is a language model", "ask it at POST /v1/chat/completions or /v1/completions")
    answers = await _answer(here, loaded.texts, body, request)
    if answers is None:
        return Response(status_code=499)  # nobody reads it
    cut = sum(answer.get("truncated", False) for answer in answers)
    here.telemetry.count_rows(loaded.version.model, loaded.version.number, len(answers), cut)
    return Json({**loaded.describe(), "answers": answers}, headers=loaded.headers)


async def _answer(here: Serving, model: TextModel, body: Questions, request: Request) -> list[Tree] | None:
    """Return the answers; None where the caller has gone."""
    texts, pairs = body.texts, body.text_pairs
    questions = [Question(*both) for both in zip(texts, pairs or repeat(None, len(texts)), strict=True)]
    require_sides(model.asked, questions, give="give text_pairs, as many as texts", leave="leave text_pairs out")
    limits = here.limits_of(request)
    until = time.monotonic() + limits.deadline
    with here.batcher.admit(len(texts), limits):
        rows: Sequence[Row] = await run_in_threadpool(lambda: model.read(texts, pairs))
        kept = [row for row in rows if not row.is_empty]
        asked = here.batcher.ask(model, kept, limits)
    if not await _wait(asked, until, request):
        return None
    given = iter(await _tell(model, asked.result()) if kept else ())
    answers: list[Tree] = []
    for place, row in enumerate(rows):
        asked_text: dict[str, Any] = {"text": texts[place]} | ({} if pairs is None else {"text_pair": pairs[place]})
        if row.is_empty:
            answers.append({**asked_text, "no_answer": {"code": "no_tokens", "message": NO_TOKENS}})
            continue
        length = {"tokens": row.full_length, "max_tokens": model.max_length}
        answers.append({**asked_text, **next(given).tree, **length, "truncated": row.full_length > len(row.ids)})
    return answers


async def _tell(model: TextModel, logits: NDArray[np.float32]) -> Sequence[Answer]:
    """Return the answers that logits are, which for many rows takes a thread and leaves the others their turn."""
    return model.answers(logits) if len(logits) <= _FEW_ROWS else await run_in_threadpool(model.answers, logits)


async def _wait(asked: Future[Any], until: float, request: Request) -> bool:
    """Wait for rows that are asked; False where the caller has gone, who is not answered then. Raises DeadlineError."""
    future = asyncio.wrap_future(asked)
    try:
        while True:
            done, _ = await asyncio.wait({future}, timeout=min(_LOOK_SECONDS, max(0.0, until - time.monotonic())))
            if done:
                future.result()
                return True
            if time.monotonic() >= until:
                raise late()
            if await request.is_disconnected():
                return False
    finally:
        future.cancel()  # unless it is done: nobody waits for it any more


def _require_text(texts: list[str], pairs: list[str] | None) -> None:
    for place, text in enumerate((*texts, *(pairs or ())), start=1):
        if not is_text(text):
            raise DataError(f"text {place} holds what is no text: half of a character", "give it as UTF-8")
