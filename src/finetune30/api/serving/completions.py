"""POST /v1/chat/completions and /v1/completions: language models as clients of OpenAI ask them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from finetune30.api.serving.chat_requests import ChatRequest, CompletionRequest, Sampled
from finetune30.api.serving.context import Here, Serving
from finetune30.api.serving.told_answer import CHAT, COMPLETION, Shape, ToldAnswer
from finetune30.errors import DataError, UsageError
from finetune30.service.serving.asked import TalkingModel
from finetune30.service.serving.slots import Loaded
from finetune30.values import is_text

router = APIRouter(prefix="/v1", tags=["language models"])


@router.post("/chat/completions", summary="Answer a conversation")
async def chat_completions(here: Here, body: ChatRequest, request: Request) -> Response:
    """The next turn, whole or (`stream`) piece by piece; whoever leaves ends the answer."""
    body.require_known()
    messages = body.read_messages()
    loaded, model = _find(here, body, request)
    here.talks.require_room(always=here.is_own(request))
    if not model.holds_conversations:
        raise UsageError(f"'{body.model}' has no chat template", "ask it at POST /v1/completions")
    _require_text("messages", [message["content"] for message in messages])
    prompt = await run_in_threadpool(lambda: model.ask(messages))
    return await _tell(here, body, request, loaded, prompt, CHAT)


@router.post("/completions", summary="Go on with a text")
async def completions(here: Here, body: CompletionRequest, request: Request) -> Response:
    """What follows the text, whole or (`stream`) piece by piece."""
    body.require_known()
    text = body.read_prompt()
    loaded, model = _find(here, body, request)
    here.talks.require_room(always=here.is_own(request))
    _require_text("prompt", [text])
    prompt = await run_in_threadpool(lambda: model.ask_text(text))
    return await _tell(here, body, request, loaded, prompt, COMPLETION)


def _find(here: Serving, body: Sampled, request: Request) -> tuple[Loaded, TalkingModel]:
    loaded = here.find(body.model, request)
    if loaded.talks is None:
        raise UsageError(
            f"'{body.model}' is no language model", f"ask it at POST /predict/{body.model}", details={"param": "model"}
        )
    return loaded, loaded.talks


async def _tell(
    here: Serving, body: Sampled, request: Request, loaded: Loaded, prompt: list[int], shape: Shape
) -> Response:
    assert loaded.talks is not None  # noqa: S101 - `_find` saw to it
    positions, limits = loaded.talks.positions, here.limits_of(request)
    param = {"param": "messages" if shape is CHAT else "prompt"}
    if not prompt or (positions is not None and len(prompt) >= positions):
        many = "no" if not prompt else f"{len(prompt):,}"
        raise UsageError(
            f"what is asked has {many} tokens, and the model reads 1 to {(positions or 0) - 1:,} beside its answer",
            "ask with fewer, or more, words",
            details=param,
        )
    if len(prompt) > limits.prompt_tokens:
        raise UsageError(
            f"what is asked has {len(prompt):,} tokens, and this server reads at most {limits.prompt_tokens:,}",
            "ask with fewer words, or start the server with a larger --max_prompt_tokens",
            details=param,
        )
    answer = ToldAnswer(here, request, loaded, body, prompt, shape)
    return answer.stream() if body.stream else await answer.whole(request)


def _require_text(field: str, texts: list[str]) -> None:
    if not all(is_text(text) for text in texts):
        raise DataError(
            f"{field} holds what is no text: half of a character", "give it as UTF-8", details={"param": field}
        )
