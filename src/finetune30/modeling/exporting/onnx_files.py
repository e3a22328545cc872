"""A merged model with a head as ONNX: one file, its axes named, its labels in it.

Written by torch's own exporter. Every text has its row and its length: batch and length are free, up to the positions
that the model has. Texts of pairs are told apart by token types, so these are an input wherever a model reads them.
"""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.data.problem import label_names
from finetune30.errors import ModelError, first_line
from finetune30.modeling.model_facts import count_positions, reads_token_types
from finetune30.modeling.saved_targets import load_targets

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = "model.onnx"
#: Where the names of the labels stand in the file's metadata, as a JSON list.
LABELS = "labels"
OPSET = 20
#: A file of protobuf holds 2 GB at most; from here on the weights lie beside it.
_LARGEST_FILE_BYTES = 1_500_000_000


def write_onnx(merged: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Path, folder: Path) -> None:
    """Write model.onnx: inputs int64 (batch, length), output `logits` float32 (batch, outputs).

    Raises ModelError where the exporter does not know what the model does.
    """
    import torch

    encoded = tokenizer(["a b c d", "a b c"], padding=True)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if reads_token_types(merged.config) else [])]
    example = {
        name: torch.tensor(encoded[name]) if name in encoded else torch.zeros_like(torch.tensor(encoded["input_ids"]))
        for name in names
    }
    axes: Any = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=count_positions(merged))}
    weights = sum(parameter.numel() * parameter.element_size() for parameter in merged.parameters())
    try:
        with _quiet():
            torch.onnx.export(
                _give_logits(merged),
                (),
                str(folder / MODEL),
                kwargs=example,
                dynamo=True,
                dynamic_shapes={name: dict(axes) for name in names},
                input_names=names,
                output_names=["logits"],
                opset_version=OPSET,
                external_data=weights > _LARGEST_FILE_BYTES,
            )
    except Exception as error:
        raise ModelError(
            f"torch cannot export model type '{merged.config.model_type}' as ONNX: {first_line(error)}",
            "choose --as merged",
        ) from error
    _note_labels(folder / MODEL, list(label_names(load_targets(adapter)["targets"])))


def quantize_onnx(folder: Path) -> None:
    """Write the weights of model.onnx in 8 bits; activations are scaled over the whole batch as they come."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path, whole = folder / MODEL, folder / "whole.onnx"
    path.rename(whole)
    model = onnx.load(whole)
    # Shapes that the exporter noted are taken for those of the transposed weights, and the quantiser ends at them.
    del model.graph.value_info[:]
    onnx.save(model, whole)
    with _quiet():
        quantize_dynamic(str(whole), str(path), weight_type=QuantType.QUInt8)
    whole.unlink()


def _note_labels(path: Path, names: list[str]) -> None:
    import onnx

    model = onnx.load(path, load_external_data=False)
    onnx.helper.set_model_props(model, {LABELS: json.dumps(names, ensure_ascii=False)})
    onnx.save(model, path)


def _give_logits(merged: PreTrainedModel) -> torch.nn.Module:
    """Return a module that gives a model's logits alone."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = merged

        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            token_type_ids: torch.Tensor | None = None,
        ) -> torch.Tensor:
            further = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **further).logits
            return logits

    return Logits().eval()


class _quiet:  # noqa: N801 - reads like a statement
    """Keep the exporter and the quantiser from printing what nobody here can act on."""

    def __enter__(self) -> None:
        self._out = redirect_stdout(StringIO())
        self._out.__enter__()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)
        self._warnings.__exit__(None, None, None)
        self._out.__exit__(None, None, None)
