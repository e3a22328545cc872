"""Read a model in ONNX with onnxruntime and tokenizers alone: python -I onnx_reader.py MODEL REQUEST ANSWER

MODEL is the folder with model.onnx and tokenizer.json; REQUEST is a JSON file with texts (and pairs). ANSWER is a
folder, in which answer.json and arrays.npz are written. Neither torch nor transformers is imported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def main(model_folder: str, request_file: str, answer_folder: str) -> None:
    """Answer the request."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    answer, arrays = read_texts(model_folder, request)
    np.savez(Path(answer_folder) / "arrays.npz", **arrays)
    (Path(answer_folder) / "answer.json").write_text(json.dumps(answer, ensure_ascii=False), encoding="utf-8")


def read_texts(folder: str, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ids and logits (n, outputs) of texts or pairs, in batches and, of the first `alone`, one by one."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(Path(folder) / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(request["max_length"])
    pad = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("pad_token_id") or 0
    texts, pairs = request["texts"], request["pairs"]
    asked = texts if pairs is None else list(zip(texts, pairs, strict=True))
    encoded = tokenizer.encode_batch(asked)
    wanted = [one.name for one in session.get_inputs()]

    def ask(rows: list[int]) -> np.ndarray:
        width = max(len(encoded[row].ids) for row in rows)
        fills = {"input_ids": ("ids", pad), "attention_mask": ("attention_mask", 0), "token_type_ids": ("type_ids", 0)}
        given = {}
        for name in wanted:
            attribute, fill = fills[name]
            values = [getattr(encoded[row], attribute) for row in rows]
            given[name] = np.asarray([one + [fill] * (width - len(one)) for one in values], dtype=np.int64)
        logits: np.ndarray = session.run(["logits"], given)[0]
        return logits

    order = sorted(range(len(texts)), key=lambda row: -len(encoded[row].ids))
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(order), request["batch_size"]):
        rows = order[start : start + request["batch_size"]]
        found |= dict(zip(rows, ask(rows), strict=True))
    alone = [ask([row])[0] for row in range(min(request["alone"], len(texts)))]
    held = session.get_modelmeta().custom_metadata_map
    axes = sorted({str(axis) for one in session.get_inputs() for axis in one.shape})
    answer = {
        "ids": [one.ids for one in encoded],
        "labels": json.loads(held.get("labels", "[]")),
        "misfits": {} if axes == ["batch", "length"] else {"axes": axes},
        "reader": {"name": "onnxruntime", "version": onnxruntime.__version__, "providers": session.get_providers()},
    }
    return answer, {"logits": np.stack([found[row] for row in range(len(texts))]), "alone": np.stack(alone)}


if __name__ == "__main__":
    main(*sys.argv[1:])
