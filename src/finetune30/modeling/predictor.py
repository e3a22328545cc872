"""Answers of a saved model for new texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.encoding import EncodedTexts
from finetune30.errors import OutOfMemoryError
from finetune30.modeling.memory import describe_out_of_memory, free_memory
from finetune30.modeling.model_facts import mixes_neighbours, pools_the_last_place
from finetune30.modeling.saved_targets import load_targets
from finetune30.modeling.saving import LoadSaved, load_saved
from finetune30.modeling.text_reader import TextReader
from finetune30.modeling.tokenizing import pad_before

if TYPE_CHECKING:
    from finetune30.modeling.devices import Placement


class Predictor:
    """A saved model, loaded once, ready for many texts; long texts run together, so little is padded."""

    def __init__(self, folder: Path, placement: Placement, load: LoadSaved) -> None:
        #: What `load_targets` gave: how the problem answers besides (see `Conclusion.answering`) stands there.
        self.described: dict[str, Any] = load_targets(folder)
        self.device, self._load_saved = placement.device, load
        self._load(folder, placement.precision)
        if placement.precision != "fp32" and not self._computes():
            self._load(folder, "fp32")

    def answer_logits(
        self, texts: list[str], pairs: list[str] | None = None, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Return the logits of the texts (or pairs), one vector each: float32 (n, outputs), in their order."""
        return self.collect(lambda outputs, _: outputs, texts, pairs, batch_size)

    def collect(
        self,
        read: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]],
        texts: list[str],
        pairs: list[str] | None = None,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Return what `read` makes of outputs and attention masks, float32 (n, k), in the order of the texts.

        Where memory does not suffice for a batch it is halved. Raises OutOfMemoryError where one text is too much.
        """
        return self.collect_encoded(read, self.encode(texts, pairs), batch_size)

    def collect_encoded(
        self,
        read: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]],
        encoded: EncodedTexts,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Return the same for texts that `encode` made token ids of."""
        import torch

        found: NDArray[np.float32] | None = None
        waiting = list(self._batches([len(ids) for ids in encoded.ids], batch_size))
        while waiting:
            rows, too_much = waiting.pop(0), False
            try:
                tensors = self._tensors(encoded.ids, encoded.type_ids, rows)
                with torch.inference_mode():
                    outputs = self.model(**tensors).logits.float().cpu().numpy()
            except (RuntimeError, MemoryError) as error:
                if (problem := describe_out_of_memory(error)) is None:
                    raise
                if len(rows) == 1:
                    raise OutOfMemoryError(
                        f"out of memory on {self.device} for one text: {problem}",
                        "free the device, or ask on another one",
                    ) from error
                too_much = True
            if too_much:  # out here the traceback is gone, which keeps the failed pass and its memory alive
                waiting[:0] = np.array_split(rows, 2)
                free_memory(self.device)
                continue
            kept = read(outputs, tensors["attention_mask"].cpu().numpy())
            if found is None:
                found = np.zeros((len(encoded.ids), kept.shape[1]), dtype=np.float32)
            found[rows] = kept
        return np.zeros((0, 0), dtype=np.float32) if found is None else found

    def encode(self, texts: list[str], pairs: list[str] | None = None) -> EncodedTexts:
        """Return token ids of texts (or pairs), cleaned and cut as in training."""
        return self.reader.encode(texts, pairs)

    def find_tokenless(self, texts: list[str], pairs: list[str] | None = None) -> list[int]:
        """See `TextReader.find_tokenless`."""
        return self.reader.find_tokenless(texts, pairs)

    @property
    def reads_padding(self) -> bool:
        """Whether answers depend on the padding behind a text (see `mixes_neighbours`)."""
        return self._reads_padding

    def clean(self, texts: list[str], pairs: list[str] | None) -> tuple[list[str], list[str] | None]:
        """Return texts (and pairs) cleaned as those of the training were."""
        return self.reader.clean(texts, pairs)

    def _batches(self, lengths: list[int], batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Yield the texts that are asked together, longest first; of one length where the model reads its padding."""
        order = np.argsort(np.negative(lengths), kind="stable")
        sorted_lengths = np.asarray(lengths, dtype=np.int64)[order]
        cuts: list[int] = (np.flatnonzero(np.diff(sorted_lengths)) + 1).tolist() if self._reads_padding else []
        for group in np.split(order, cuts):
            for start in range(0, len(group), batch_size):
                yield group[start : start + batch_size]

    def _load(self, folder: Path, precision: str) -> None:
        dtype = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision]
        loaded, self.tokenizer = load_saved(folder, self._load_saved, dtype, self.device)
        model: Any = loaded
        self.model = model.to(self.device)
        self._pad_token_id = int(self.tokenizer.pad_token_id)
        self._pads_before, self._reads_padding = pools_the_last_place(model), mixes_neighbours(model)
        self.reader = TextReader(folder, self.tokenizer)

    def _computes(self) -> bool:
        """Tell whether the model answers at all: some families hold weights of two precisions, once they are loaded."""
        try:
            self.collect(lambda outputs, _: outputs.reshape(len(outputs), -1), ["a b"])
        except RuntimeError:
            return False
        return True

    def _tensors(self, ids: list[list[int]], type_ids: list[list[int]] | None, rows: NDArray[Any]) -> dict[str, Any]:
        import torch

        width = max(len(ids[i]) for i in rows)
        padded = {"input_ids": (ids, self._pad_token_id), "attention_mask": ([[1] * len(r) for r in ids], 0)}
        if type_ids is not None:
            padded["token_type_ids"] = (type_ids, 0)
        tensors = {
            name: torch.tensor([values[i] + [fill] * (width - len(values[i])) for i in rows], device=self.device)
            for name, (values, fill) in padded.items()
        }
        return pad_before(tensors) if self._pads_before else tensors
