"""A file as questions to a model, read as its training read its files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here, read_in_turn
from finetune30.api.request_bodies import receive_file
from finetune30.api.routes.datasets import known_encoding
from finetune30.api.schemas import RUN_ID, Tree, errors
from finetune30.data.questions import PLAIN_TEXT
from finetune30.service.datasets.reading_process import Readings
from finetune30.service.datasets.uploads import FileUpload
from finetune30.service.submitting.limits import require_room_for_upload

router = APIRouter(prefix="/datasets", tags=["datasets"])

MOST_QUESTIONS = 20_000
_Column = Annotated[str | None, Query(max_length=500, description="Left out: as in the training, else detected.")]


class QuestionFile(BaseModel):
    """The rows of a file as `POST /experiments/{experiment_id}/predict` takes them."""

    questions: list[Tree] = Field(
        description="Row id, text, text_pair (null: none), and in `columns` the row's other cells.",
        examples=[[{"row_id": "new.csv:2", "text": "A fine film.", "text_pair": None, "columns": {"id": "7"}}]],
    )
    rows: int = Field(description="Rows of the file; the questions are at most `limit`.")
    columns: list[str] = Field(description="All columns of the file, none of a text file.", examples=[["id", "text"]])
    read: dict[str, str] = Field(description="The column that each text was read from.", examples=[{"text": "text"}])
    reads_pairs: bool | None = Field(description="Whether the model reads pairs; null: its record does not say.")
    notes: list[str] = Field(description="How the file was read, where that was not as expected.")


@router.post(
    "/questions",
    summary="Read a file as questions",
    response_model=QuestionFile,
    responses=errors(404, 409, 413, 415, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def read_questions(
    here: Here,
    request: Request,
    experiment_id: Annotated[
        str, Query(min_length=1, max_length=200, description="The run, as paths name it.", examples=[RUN_ID])
    ],
    name: Annotated[str, Query(min_length=1, max_length=100, description="File name.", examples=["new.csv"])],
    encoding: Annotated[str | None, Query(max_length=50, description="As data.encoding.")] = None,
    sheet: Annotated[str | None, Query(max_length=500, description="As data.sheet.")] = None,
    text_column: _Column = None,
    text_pair_column: _Column = None,
    limit: Annotated[int, Query(ge=1, le=MOST_QUESTIONS)] = MOST_QUESTIONS,
) -> Response:
    """The file as it is (no form), a table or one text a line; nothing of it is kept."""
    from finetune30.data.sources.files import READERS

    await run_in_threadpool(here.store.get, experiment_id)
    await run_in_threadpool(require_room_for_upload, here.settings)
    asked = {
        "run": experiment_id,
        "encoding": known_encoding(encoding),
        "sheet": sheet,
        "named": {"text_column": text_column, "text_pair_column": text_pair_column},
        "limit": limit,
    }
    with FileUpload(here.settings.data_folder, name, (*READERS, *PLAIN_TEXT)) as upload:
        await receive_file(request, upload.write)

        def read(readings: Readings) -> Response:
            return Json(readings.ask("questions", name, path=str(upload.whole()), **asked))

        return await read_in_turn(request, read)
