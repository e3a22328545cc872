"""A conversation with a finished run's language model, kept turn by turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import ConflictError
from finetune30.service.models.predict import LoadedModel, load_model
from finetune30.settings import Settings

if TYPE_CHECKING:
    from finetune30.modeling.conversations.chat_model import ChatModel
    from finetune30.modeling.conversations.generation import EndReason, Sampling


@dataclass
class Conversation:
    """What was said so far. `system` stands before it; None: what the template says by itself."""

    model: ChatModel
    sampling: Sampling
    system: str | None = None
    turns: list[Mapping[str, Any]] = field(default_factory=list)
    #: Why the last answer ended.
    reason: EndReason = "stop"

    def ask(self, text: str) -> Iterator[str]:
        """Yield the answer piece by piece and keep both turns; an answer that is broken off is kept as far as it came.

        Raises DataError where the model's template does not take the conversation; nothing is kept then.
        """
        head = [] if self.system is None else [{"role": "system", "content": self.system}]
        asked = {"role": "user", "content": text}
        said: list[str] = []
        pieces = self.model.stream(self.model.ask([*head, *self.turns, asked]), self.sampling)
        self.turns.append(asked)
        try:
            for piece in pieces:
                if isinstance(piece, str):
                    said.append(piece)
                    yield piece
                elif piece is not None:
                    self.reason = piece.reason
        finally:
            self.turns.append({"role": "assistant", "content": "".join(said)})

    def reset(self) -> None:
        """Forget all turns; the system message stays."""
        self.turns.clear()


def open_conversation(
    settings: Settings,
    output_dir: Path | None,
    run_name: str,
    sampling: Sampling,
    *,
    system: str | None = None,
    device: str | None = None,
) -> Conversation:
    """Begin a conversation with the model of a SUCCEEDED run.

    Raises what `load_model` raises, and ConflictError for a model that holds no conversations.
    """
    loaded = load_model(settings, output_dir, run_name, device)
    model = require_chat_model(loaded, run_name, f"ask it with: ft30 predict {run_name} TEXT")
    return Conversation(model, sampling, system)


def require_chat_model(loaded: LoadedModel, run_name: str, instead: str) -> ChatModel:
    """Return a loaded model that answers conversations. Raises ConflictError, whose remedy is `instead`."""
    from finetune30.modeling.conversations.chat_model import ChatModel

    model: Any = loaded.predictor
    if not isinstance(model, ChatModel):
        raise ConflictError(
            f"the model of run {run_name} learnt {loaded.problem.name}, and holds no conversations", instead
        )
    if model.encoder.template is None:
        raise ConflictError(f"the model of run {run_name} has no chat template: it goes on with texts", instead)
    return model
