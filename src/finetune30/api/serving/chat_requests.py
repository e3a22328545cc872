"""What clients of OpenAI may ask for; a field that would change the answer and is not known here is refused by name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune30.errors import UsageError

MOST_NEW_TOKENS = 4096
_USUAL_TOKENS = 256
_MOST_CHARACTERS = 200_000
#: Names the person who asks; nothing hangs on it.
_WITHOUT_EFFECT = frozenset({"user"})
#: Values, beside null, by which a client says that it does not want what the field is for.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "service_tier": ("auto", "default"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "typical_p": (1,),
    "min_p": (0,),
    "min_tokens": (0,),
    "suffix": ("",),
    "skip_special_tokens": (True,),
    "add_generation_prompt": (True,),
}
#: What says so in every other field. A number or an empty text may well ask for something.
_NOTHING: tuple[Any, ...] = (False, [], {})


class StreamOptions(BaseModel):
    """How a streamed answer ends."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool = Field(False, description="Send the number of tokens as the last chunk.")


class Sampled(BaseModel):
    """What both routes read; every other field is refused unless it asks for nothing."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    model: str = Field(max_length=130, examples=["shop"])
    max_tokens: int | None = Field(None, ge=1, le=MOST_NEW_TOKENS, description="Longest answer; unset: 256.")
    temperature: float | None = Field(None, ge=0, le=10, description="Unset or 0: always the likeliest token.")
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="Draw from so many likeliest tokens; 0: from all.")
    seed: int | None = Field(None, ge=0, lt=1 << 63, description="The same seed gives the same answer.")
    stop: str | list[str] | None = Field(None, description="Texts at which the answer ends, at most 4.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = Field(None, description="Tell the tokens too: prompt_token_ids and token_ids.")

    @property
    def stops(self) -> list[str]:
        """The texts that end an answer."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    @property
    def new_tokens(self) -> int:
        """The longest answer, in tokens."""
        return self.max_tokens or _USUAL_TOKENS

    def sampling(self) -> dict[str, Any]:
        """Return what `Sampling` takes."""
        return {
            "max_new_tokens": self.new_tokens,
            "temperature": self.temperature or 0.0,
            "top_p": self.top_p or 1.0,
            "top_k": self.top_k or 0,
            "seed": self.seed or 0,
        }

    def require_known(self) -> None:
        """Raise UsageError for a field that asks for what there is not."""
        options = (self.stream_options.model_extra or {}) if self.stream_options else {}
        given = {**(self.model_extra or {}), **{f"stream_options.{name}": value for name, value in options.items()}}
        for name, value in given.items():
            if name not in _WITHOUT_EFFECT and not _asks_for_nothing(name, value):
                raise unsupported(name)
        self._require_temperature()
        if len(self.stops) > 4 or "" in self.stops:
            raise UsageError(
                "stop holds more than 4 texts, or an empty one", "leave some out", details={"param": "stop"}
            )

    def _require_temperature(self) -> None:
        if self.temperature is not None:
            return
        for name, value, nothing in (("top_p", self.top_p, 1), ("top_k", self.top_k, 0), ("seed", self.seed, None)):
            if value is not None and value != nothing:
                raise UsageError(
                    f"{name} does nothing without a temperature: unset, the likeliest token is taken",
                    "give temperature too", details={"param": name},
                )  # fmt: skip


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]]


class ChatRequest(Sampled):
    """A conversation that is to be answered."""

    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(
        None, ge=1, le=MOST_NEW_TOKENS, description="The newer name of max_tokens."
    )

    @property
    def new_tokens(self) -> int:
        """See `Sampled.new_tokens`."""
        return self.max_completion_tokens or super().new_tokens

    def require_known(self) -> None:
        """See `Sampled.require_known`."""
        super().require_known()
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise UsageError(
                f"max_tokens is {self.max_tokens} and max_completion_tokens {self.max_completion_tokens}",
                "give one of them", details={"param": "max_completion_tokens"},
            )  # fmt: skip

    def read_messages(self) -> list[dict[str, str]]:
        """Return the turns as a template takes them. Raises UsageError for what is no text, or too long."""
        read = [{"role": _role(one), "content": _text(one, place)} for place, one in enumerate(self.messages)]
        if sum(len(one["content"]) for one in read) > _MOST_CHARACTERS:
            raise UsageError(
                f"the conversation has more than {_MOST_CHARACTERS:,} characters", "leave out the oldest turns",
                details={"param": "messages"},
            )  # fmt: skip
        return read


class CompletionRequest(Sampled):
    """A text that is to be gone on with."""

    prompt: str | list[str] = Field(description="One text.")

    def read_prompt(self) -> str:
        """Return the text. Raises UsageError for several."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if len(prompts) != 1 or len(prompts[0]) > _MOST_CHARACTERS:
            raise UsageError("prompt is one text here", "ask for each on its own", details={"param": "prompt"})
        return prompts[0]


def unsupported(name: str) -> UsageError:
    """Return the error for a field that is not known here."""
    return UsageError(f"{name} is not supported", "leave it out", details={"param": name})


def _asks_for_nothing(name: str, value: Any) -> bool:
    neutral = _NEUTRAL.get(name, _NOTHING)
    return value is None or any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral)


def _role(message: Message) -> str:
    return "system" if message.role == "developer" else message.role


def _text(message: Message, place: int) -> str:
    """Return the text of a turn, whose parts may only be texts."""
    for name, value in (message.model_extra or {}).items():
        if not _asks_for_nothing(name, value):
            raise unsupported(f"messages.{place}.{name}")
    if isinstance(message.content, str):
        return message.content
    for number, part in enumerate(message.content):
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise unsupported(f"messages.{place}.content.{number}.type")
    return "".join(part["text"] for part in message.content)
