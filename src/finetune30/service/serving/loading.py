"""Versions into memory, as a server asks them; with torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.questions import Asked
from finetune30.errors import ConflictError
from finetune30.modeling.conversations.generation import Sampling
from finetune30.service.parity import conversations
from finetune30.service.registry.certifying import load_reference, load_served, require_parity
from finetune30.service.registry.registering import verify_version
from finetune30.service.runs.open_records import Records
from finetune30.service.serving.http_check import HttpCheck
from finetune30.service.serving.slots import Loaded, Slot
from finetune30.store.model_records import ModelVersion, VersionState
from finetune30.training.saved_engine import SavedEngines

if TYPE_CHECKING:
    from finetune30.modeling.conversations.chat_model import ChatModel
    from finetune30.modeling.conversations.generation import Ended
    from finetune30.service.parity.served_texts import ReadText, ServedTexts
    from finetune30.training.problem import Answer


@dataclass(frozen=True, eq=False)
class AskedTexts:
    """See `asked.TextModel`."""

    served: ServedTexts

    @property
    def pads(self) -> bool:
        """See `TextModel.pads`."""
        return self.served.path == "padded"

    @property
    def max_length(self) -> int:
        """See `TextModel.max_length`."""
        return int(self.served.reader.max_length)

    @property
    def asked(self) -> Asked:
        """See `TextModel.asked`."""
        return self.served.asked

    def read(self, texts: list[str], pairs: list[str] | None) -> Sequence[ReadText]:
        """See `TextModel.read`."""
        return self.served.read(texts, pairs)

    def logits(self, rows: Sequence[ReadText]) -> NDArray[np.float32]:
        """See `TextModel.logits`."""
        return self.served.logits(rows)

    def answers(self, logits: NDArray[np.float32]) -> list[Answer]:
        """See `TextModel.answers`."""
        return self.served.answers(logits)


@dataclass(frozen=True, eq=False)
class AskedTalk:
    """See `asked.TalkingModel`."""

    chat: ChatModel

    @property
    def positions(self) -> int | None:
        """See `TalkingModel.positions`."""
        return self.chat.positions

    @property
    def holds_conversations(self) -> bool:
        """See `TalkingModel.holds_conversations`."""
        return self.chat.encoder.template is not None

    def ask(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """See `TalkingModel.ask`."""
        return self.chat.ask(messages)

    def ask_text(self, text: str) -> list[int]:
        """See `TalkingModel.ask_text`."""
        return self.chat.encoder.ask_text(text)

    def stream(
        self, prompt: Sequence[int], sampling: Mapping[str, Any], ids: list[int]
    ) -> Iterator[str | Ended | None]:
        """See `TalkingModel.stream`."""
        return self.chat.stream(prompt, Sampling(**sampling), ids)


@dataclass(frozen=True)
class Loading:
    """Loads versions of the models on record, and checks them."""

    records: Records
    engines: SavedEngines = field(default_factory=SavedEngines)

    def load(self, version: ModelVersion, generation: int | None) -> Loaded:
        """Load a version, all its files as they were registered, giving its serving reference again.

        Raises ConflictError (it is not READY), StorageError, ModelError, HubError, SelfTestError.
        """
        if version.state not in (VersionState.READY, VersionState.RETIRED) or version.certificate is None:
            raise ConflictError(
                f"{version.name} has no parity certificate: it is {version.state}",
                f"check it: ft30 models verify {version.name}",
            )
        verify_version(self.records, version)
        served = load_served(self.records, version, self.engines)
        require_parity(version, served.repeat(load_reference(self.records, version)))
        if served.texts is not None:
            return Loaded(version, generation, served.path, texts=AskedTexts(served.texts))
        assert served.chat is not None  # noqa: S101 - it is one of the two
        return Loaded(version, generation, served.path, talks=AskedTalk(served.chat))

    def check(self, http: HttpCheck, slot: Slot, loaded: Loaded) -> None:
        """Ask a loaded version through HTTP what its serving reference holds. Raises SelfTestError."""
        version, rows, name = loaded.version, load_reference(self.records, loaded.version), str(slot.reference)
        if loaded.texts is not None:
            answer = loaded.texts.answers
            http.hold_texts(name, version, rows, lambda logits: [one.tree for one in answer(logits)])
        elif loaded.talks is not None:
            http.hold_tokens(name, version, rows, conversations.NEW_TOKENS, loaded.talks.positions)
