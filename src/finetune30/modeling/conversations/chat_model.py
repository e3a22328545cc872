"""A saved language model, loaded once: it answers conversations, goes on with texts, and says what rows cost it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.batching import Batch, collate, evaluation_order
from finetune30.data.texts import is_blank
from finetune30.errors import DataError
from finetune30.modeling.conversations.answer_start import find_start
from finetune30.modeling.conversations.encoder import restore_encoder
from finetune30.modeling.conversations.generation import (
    PIECE,
    Ended,
    EndReason,
    Generated,
    Sampling,
    generate_in_batches,
    stop_tokens,
    stream,
)
from finetune30.modeling.conversations.template import TemplateRefusalError
from finetune30.modeling.conversations.transformers_tokens import TransformersNextTokens
from finetune30.modeling.model_facts import count_tokens_configured
from finetune30.modeling.saved_targets import load_targets
from finetune30.modeling.saving import LoadSaved, load_base_config, load_saved

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from finetune30.modeling.devices import Placement

Messages = Sequence[Mapping[str, Any]]


class ChatModel:
    """A saved adapter on its base, with the tokenizer and the chat template that it was trained with.

    `outputs` is the problem's own way to ask the model for losses (`Trainable.outputs`).
    """

    #: What `Trainable.evaluate` asks of an engine, with `device`, `pad_token_id` and `outputs`.
    name = "chat model"

    def __init__(
        self,
        folder: Path,
        placement: Placement,
        load: LoadSaved,
        outputs: Callable[[PreTrainedModel, Mapping[str, Tensor], Tensor], Tensor],
    ) -> None:
        described = load_targets(folder)
        self.max_length: int = described["max_length"]
        self._outputs, self.device = outputs, placement.device
        dtype = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[placement.precision]
        loaded, self.tokenizer = load_saved(folder, load, dtype, self.device)
        model: Any = loaded
        self.model: Any = model.to(self.device)
        self.pad_token_id = int(self.tokenizer.pad_token_id)
        self.encoder = restore_encoder(
            self.tokenizer, described["targets"]["chat"], count_tokens_configured(load_base_config(folder))
        )
        self._start = find_start(self.encoder)
        self.next_tokens = TransformersNextTokens(self.model, self.pad_token_id)
        self.stops = stop_tokens(self.next_tokens, self.encoder.end_token_id)

    def find_tokenless(self, texts: list[str], pairs: list[str] | None = None) -> list[int]:
        """Return the positions of texts that say nothing: nothing in them can be seen."""
        return [i for i, text in enumerate(texts) if is_blank(text)]

    def collect(
        self,
        read: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]],
        texts: list[str],
        pairs: list[str] | None = None,
        batch_size: int = 8,
    ) -> NDArray[np.float32]:
        """Return what `read` makes of outputs and attention masks, float32 (n, k); texts are rows as data has them.

        A text that is longer than `max_length` has as many lines as parts.
        """
        split = self.encoder.encode_rows(texts, self.max_length)
        found: NDArray[np.float32] | None = None
        for rows in evaluation_order(split.lengths, batch_size):
            batch = collate(split, rows, self.pad_token_id)
            kept = read(self.outputs(batch), batch.attention_mask)
            if found is None:
                found = np.zeros((len(split), kept.shape[1]), dtype=np.float32)
            found[rows] = kept
        return np.zeros((0, 0), dtype=np.float32) if found is None else found

    def outputs(self, batch: Batch) -> NDArray[np.float32]:
        """Return what the problem asks of the model for each token of a batch, float32 (B, L, k)."""
        import torch

        inputs = {
            name: torch.from_numpy(array).to(self.device)
            for name, array in (("input_ids", batch.input_ids), ("attention_mask", batch.attention_mask))
        }
        with torch.inference_mode():
            given = self._outputs(self.model, inputs, torch.from_numpy(batch.targets).to(self.device))
        found: NDArray[np.float32] = given.float().cpu().numpy()
        return found

    def answer(self, prompts: Sequence[Sequence[int]], sampling: Sampling, batch_size: int = 8) -> list[Generated]:
        """Answer, or go on with, prompts of token ids, in their order."""
        return generate_in_batches(self.next_tokens, prompts, self.stops, sampling, batch_size)

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, ids: list[int] | None = None, *, base: bool = False
    ) -> Iterator[str | Ended | None]:
        """Yield the answer to what `ask` gave: a text for every token, and how it ended as the last thing.

        None comes first for every piece of a long prompt that was read.

        A text is "" where the rest of a character is still to come. `ids`: where the tokens are put as they come.
        `base`: without the adapter. Between two tokens the model is free for others.
        """
        ids = [] if ids is None else ids
        told = ""
        reason: EndReason = "length"
        tokens = stream(self.next_tokens, [prompt], self.stops, sampling, PIECE)
        while True:
            with self.model.disable_adapter() if base else nullcontext():
                said = next(tokens, None)
            if said is None:
                break
            (token,) = said
            if token is None:
                yield None
                continue
            if isinstance(token, str):
                reason = token
                break
            ids.append(int(token))
            text = self.read(ids, prompt)
            if text.endswith("\ufffd"):
                yield ""
                continue
            yield text[len(told) :]
            told = text
        if len(text := self.read(ids, prompt)) > len(told):
            yield text[len(told) :]
        yield Ended(reason, tuple(ids))

    @property
    def positions(self) -> int | None:
        """How many tokens the model reads at most, None where nothing says so."""
        return self.next_tokens.positions

    def read(self, ids: Sequence[int], prompt: Sequence[int] = ()) -> str:
        """Return token ids as text, special tokens left out; of an answer to `prompt` what the template writes, too."""
        text = str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
        return self._start.cut(text, prompt)

    def ask(self, messages: Messages) -> list[int]:
        """Return the tokens that ask for an answer. Raises DataError where the template does not take the messages."""
        try:
            return self.encoder.ask(messages)
        except TemplateRefusalError as error:
            raise DataError(
                f"the model's chat template does not take this conversation: {error}",
                "let user and assistant take turns, the user last",
            ) from error
