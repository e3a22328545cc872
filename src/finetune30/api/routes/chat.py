"""Conversations with the language model of a finished run."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from finetune30.api.answer_stream import AnswerStream
from finetune30.api.context import Here, Who
from finetune30.api.routes.experiments import ExperimentId
from finetune30.api.schemas import errors
from finetune30.data.questions import LONGEST_CONVERSATION, MOST_MESSAGES
from finetune30.errors import UsageError
from finetune30.service.runs.details import require_conversations
from finetune30.store import Run

router = APIRouter(prefix="/experiments", tags=["experiments"])

MOST_NEW_TOKENS = 4096

_SAMPLING = {"max_new_tokens", "temperature", "top_p", "top_k", "seed"}
_EVENT = {
    "type": "string",
    "description": 'event: text, data: {"text": …} for every piece; event: end, data: ChatAnswer; event: error',
}


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"] = Field(examples=["user"])
    content: str = Field(examples=["When do you open?"])


class Talk(BaseModel):
    """A conversation whose last message is to be answered."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    messages: list[Message] = Field(
        min_length=1, max_length=MOST_MESSAGES, description="Oldest first; the last one is the user's."
    )
    system: str | None = Field(None, description="What the model is told first; null: what its template says.")
    max_new_tokens: int = Field(256, ge=1, le=MOST_NEW_TOKENS, description="Longest answer, in tokens.")
    temperature: float = Field(0.0, ge=0, le=10, description="0: always the likeliest token; above: drawn.")
    top_p: float = Field(1.0, gt=0, le=1, description="Draw from the likeliest tokens that have this share together.")
    top_k: int = Field(0, ge=0, le=1_000_000, description="Draw from so many likeliest tokens; 0: from all.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="The same seed and conversation give the same answer.")
    base: bool = Field(False, description="Ask the base model, without what the run has learnt.")
    stream: bool = Field(False, description="Send the answer as server-sent events while it comes.")


class ChatAnswer(BaseModel):
    """An answer, whole."""

    answer: str = Field(examples=["We open at nine."])
    finish_reason: Literal["stop", "length", "positions"] = Field(
        description="stop: the model ended it; length: cut at max_new_tokens; positions: the model reads no further."
    )
    tokens: int = Field(description="Tokens of the answer, without the one that ended it.", examples=[6])
    prompt_tokens: int = Field(description="Tokens that asked for it.", examples=[18])


@router.post(
    "/{experiment_id}/chat",
    summary="Talk with a finished language model",
    response_model=ChatAnswer,
    responses={
        200: {"content": {"text/event-stream": {"schema": _EVENT}}},
        **errors(400, 404, 409, 413, 415, 422, 429, 503),
    },
)
async def chat(here: Here, who: Who, experiment_id: ExperimentId, body: Talk, request: Request) -> Response:
    """Answer the last message of a conversation, whole or (`stream`) piece by piece; whoever leaves ends the answer.

    The first question loads the model into a process of its own. 409: the run has no model, or one that holds no
    conversations.
    """
    question = {
        "messages": _read_messages(body),
        "sampling": body.model_dump(include=_SAMPLING),
        "base": body.base,
    }
    answers: AnswerStream = request.app.state.answers

    def load() -> Run:
        return require_conversations(here.records, here.store.get(experiment_id))

    return await answers.answer(request, load, question, who.name, streams=body.stream)


def _read_messages(body: Talk) -> list[dict[str, Any]]:
    """Return the messages with the system message first. Raises UsageError for a conversation that asks nothing."""
    head = [] if body.system is None else [{"role": "system", "content": body.system}]
    messages = [*head, *(message.model_dump() for message in body.messages)]
    size = sum(len(message["content"]) for message in messages)
    if size > LONGEST_CONVERSATION:
        raise UsageError(
            f"the conversation has {size:,} characters, and {LONGEST_CONVERSATION:,} are read",
            "leave out the oldest turns, or begin anew",
        )
    late = [place for place, message in enumerate(messages) if place and message["role"] == "system"]
    if late:
        raise UsageError(
            f"message {late[0] + 1 - len(head)} is a system message, and only one may be given, before all others",
            "give it as system, or as the first message",
        )
    last = messages[-1]
    if last["role"] != "user" or not last["content"].strip():
        said = "says nothing" if last["role"] == "user" else f"is of the role {last['role']!r}"
        raise UsageError(f"the last message {said}", "end with a message of the role 'user' that asks something")
    return messages
