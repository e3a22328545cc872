"""A saved model with a head in the path that serves: packed where that can be, else padded; float32 on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.batching import Batch, collate
from finetune30.data.encoding import EncodedSplit, EncodedTexts
from finetune30.data.questions import Asked
from finetune30.modeling.saved_targets import load_targets
from finetune30.modeling.saving import load_saved_tokenizer
from finetune30.modeling.text_reader import TextReader
from finetune30.problems import load_problem

if TYPE_CHECKING:
    from finetune30.modeling.predictor import Predictor
    from finetune30.training.problem import Answer, Trainable
    from finetune30.training.saved_engine import SavedEngines

_PADDED_ROWS = 32


@dataclass(frozen=True)
class ReadText:
    """A text, or a pair, as the model reads it; `full_length`: its tokens before it was cut.

    `is_empty`: it gives the model nothing to read, as training leaves such rows out.
    """

    ids: list[int]
    type_ids: list[int] | None
    full_length: int
    is_empty: bool = False

    @property
    def is_cut(self) -> bool:
        """Whether the model does not see all of it."""
        return self.full_length > len(self.ids)


@dataclass(frozen=True)
class _KnownLogits:
    """Logits that are known already, as a problem asks a saved model for them."""

    logits: NDArray[np.float32]
    described: dict[str, Any]

    def answer_logits(self, _texts: list[str], _pairs: list[str] | None, _size: int) -> NDArray[np.float32]:
        return self.logits


class ServedTexts:
    """Ready to be asked, and to read texts, by any threads at the same time; padded batches are computed in turn.

    `asked`: which texts a question has.
    `name`, `device`, `pad_token_id` and `outputs` are what `Trainable.evaluate` asks of an engine.
    """

    name = "serving"
    device = "cpu"

    def __init__(self, folder: Path, problem: Trainable, engines: SavedEngines) -> None:
        from finetune30.modeling.devices import choose_placement

        self.problem = problem
        self._described = load_targets(folder)
        self.asked = Asked(load_problem(self._described["problem_type"]).columns, self._described["reading"].columns)
        self._packed, _ = engines.open(folder, problem)
        self._padded: Predictor | None = None
        self._turn = threading.Lock()
        if self._packed is None:
            padded: Predictor = problem.open_saved(folder, choose_placement("cpu", "fp32"))  # type: ignore[assignment]
            engines.share(folder, padded.model)
            self._padded = padded
            self.reader, self.pad_token_id = padded.reader, int(padded.tokenizer.pad_token_id)
        else:
            self.reader, self.pad_token_id = TextReader(folder, load_saved_tokenizer(folder)), self._packed.pad_token_id

    @property
    def path(self) -> str:
        """How it computes: `packed` or `padded`."""
        return "padded" if self._packed is None else "packed"

    def read(self, texts: list[str], pairs: list[str] | None = None) -> list[ReadText]:
        """Return token ids of texts (or pairs), cleaned and cut as in training."""
        encoded, tokenless = self.reader.read(texts, pairs)
        types: Sequence[list[int] | None] = encoded.type_ids or [None] * len(texts)
        empty = [place in tokenless for place in range(len(texts))]
        return [ReadText(*row) for row in zip(encoded.ids, types, encoded.full_lengths, empty, strict=True)]

    def logits(self, rows: Sequence[ReadText]) -> NDArray[np.float32]:
        """Return the logits of what was read, float32 (n, outputs), all asked together."""
        if self._packed is None:
            return self._pad([row.ids for row in rows], _types_of(rows))
        return self.outputs(collate(_split_of(rows), np.arange(len(rows)), self.pad_token_id))

    def outputs(self, batch: Batch) -> NDArray[np.float32]:
        """Return the logits of a batch's rows, float32 (B, outputs)."""
        if self._packed is not None:
            return self._packed.outputs(batch)
        ids = [row[:length].tolist() for row, length in zip(batch.input_ids, batch.lengths, strict=True)]
        types = batch.token_type_ids
        cut = types if types is None else [row[: len(one)].tolist() for row, one in zip(types, ids, strict=True)]
        return self._pad(ids, cut)

    def answers(self, logits: NDArray[np.float32]) -> list[Answer]:
        """Return the answers that logits are, by what is saved with the model: temperature, thresholds."""
        known = _KnownLogits(logits, self._described)
        return self.problem.answer(known, [""] * len(logits), None, len(logits))

    def _pad(self, ids: list[list[int]], types: list[list[int]] | None) -> NDArray[np.float32]:
        assert self._padded is not None  # noqa: S101 - what is not packed is padded
        lengths = [len(row) for row in ids]
        encoded = EncodedTexts(ids, types, lengths, 0, lengths)
        with self._turn:
            return self._padded.collect_encoded(lambda outputs, _: outputs, encoded, _PADDED_ROWS)


def _types_of(rows: Sequence[ReadText]) -> list[list[int]] | None:
    found = [row.type_ids for row in rows if row.type_ids is not None]
    return found if len(found) == len(rows) else None


def _split_of(rows: Sequence[ReadText]) -> EncodedSplit:
    """Return rows as a split of which nothing is asked."""
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row.ids) for row in rows], out=offsets[1:])
    types = _types_of(rows)
    return EncodedSplit(
        row_ids=[str(place) for place in range(len(rows))],
        tokens=np.concatenate([np.asarray(row.ids, dtype=np.int32) for row in rows]),
        offsets=offsets,
        type_ids=None if types is None else np.concatenate([np.asarray(row, dtype=np.int8) for row in types]),
        targets=np.zeros(len(rows), dtype=np.int64),
        truncated=np.asarray([row.is_cut for row in rows], dtype=np.bool_),
    )
