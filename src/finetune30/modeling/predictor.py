"""Answers of a saved model for new texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.html_text import strip_html
from finetune30.modeling.model_facts import count_tokens_configured, pools_the_last_place, reads_token_types
from finetune30.modeling.saving import load_base_config, load_labels, load_saved
from finetune30.modeling.tokenizing import TokenizerEncoder, pad_before

if TYPE_CHECKING:
    from finetune30.modeling.devices import Placement


class Predictor:
    """A saved model, loaded once, ready for many texts.

    `answer_logits` gives float32 (n, num_labels) in the order of the texts; long texts run together, so little is
    padded.
    """

    def __init__(self, folder: Path, placement: Placement) -> None:
        described = load_labels(folder)
        self.problem_type: str = described["problem_type"]
        self.label_names: tuple[str, ...] = tuple(described["label_names"])
        self._max_length: int = described["max_length"]
        self._remove_html: bool = described["remove_html"]
        self._device = placement.device
        self._load(folder, placement.precision)
        if placement.precision != "fp32" and not self._computes():
            self._load(folder, "fp32")

    def answer_logits(
        self, texts: list[str], pairs: list[str] | None = None, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Return the logits of the texts (or pairs), float32 (n, num_labels)."""
        import torch

        if self._remove_html:  # a text is treated as in training
            texts = [strip_html(text) for text in texts]
            pairs = [strip_html(pair) for pair in pairs] if pairs else None
        encoded = self._encoder.encode(texts, pairs, self._max_length)
        order = np.argsort([-len(ids) for ids in encoded.ids], kind="stable")
        found = np.zeros((len(texts), len(self.label_names) or 1), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            with torch.inference_mode():
                logits = self._model(**self._tensors(encoded.ids, encoded.type_ids, rows)).logits
            found[rows] = logits.float().cpu().numpy()
        return found

    def _load(self, folder: Path, precision: str) -> None:
        loaded, tokenizer = load_saved(folder, {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision])
        model: Any = loaded
        self._model = model.to(self._device)
        self._pad_token_id = int(tokenizer.pad_token_id)
        self._pads_before = pools_the_last_place(model)
        self._encoder = TokenizerEncoder(
            tokenizer,
            uses_token_types=reads_token_types(model.config),
            # PEFT gives a word that only the tokenizer knows an embedding that nothing has trained.
            known_tokens=count_tokens_configured(load_base_config(folder)),
        )

    def _computes(self) -> bool:
        """Tell whether the model answers at all: some families hold weights of two precisions, once they are loaded."""
        import torch

        try:
            self.answer_logits(["a b"])
        except torch.OutOfMemoryError:
            raise
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
            name: torch.tensor([values[i] + [fill] * (width - len(values[i])) for i in rows], device=self._device)
            for name, (values, fill) in padded.items()
        }
        return pad_before(tensors) if self._pads_before else tensors
