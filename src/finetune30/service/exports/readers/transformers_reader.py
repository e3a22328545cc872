"""Read a merged model with torch and transformers alone: python -I transformers_reader.py MODEL REQUEST ANSWER

REQUEST is a JSON file; its `kind` is `texts` (a model with a head: texts to logits) or `tokens` (a language model: rows
of token ids to losses, logits and greedy answers). ANSWER is a folder, in which answer.json and arrays.npz are written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers


def main(model_folder: str, request_file: str, answer_folder: str) -> None:
    """Answer the request."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    answer, arrays = (read_texts if request["kind"] == "texts" else read_tokens)(model_folder, request)
    answer["reader"] = {"name": "transformers", "version": transformers.__version__, "torch": torch.__version__}
    np.savez(Path(answer_folder) / "arrays.npz", **arrays)
    (Path(answer_folder) / "answer.json").write_text(json.dumps(answer, ensure_ascii=False), encoding="utf-8")


def load(folder: str, auto_class: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Return model, tokenizer, and what did not fit while it was loaded."""
    model, info = auto_class.from_pretrained(
        folder,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # told with what does not fit, like the others
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    misfits = {key: sorted(str(one) for one in info.get(key, ())) for key in _MISFITS}
    return model.eval(), tokenizer, {key: names for key, names in misfits.items() if names}


_MISFITS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def read_texts(folder: str, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ids and logits (n, outputs) of texts or pairs, in batches and, of the first `alone`, one by one."""
    model, tokenizer, misfits = load(folder, transformers.AutoModelForSequenceClassification)
    texts, pairs = request["texts"], request["pairs"]
    encoded = tokenizer(texts, pairs, truncation=True, max_length=request["max_length"])
    count, size = len(texts), request["batch_size"]

    def ask(rows: list[int]) -> np.ndarray:
        batch = tokenizer.pad({key: [encoded[key][row] for row in rows] for key in encoded}, return_tensors="pt")
        with torch.inference_mode():
            logits: np.ndarray = model(**batch).logits.numpy()
        return logits

    order = sorted(range(count), key=lambda row: -len(encoded["input_ids"][row]))
    logits: dict[int, np.ndarray] = {}
    for start in range(0, count, size):
        rows = order[start : start + size]
        logits |= dict(zip(rows, ask(rows), strict=True))
    alone = [ask([row])[0] for row in range(min(request["alone"], count))]
    names = getattr(model.config, "id2label", None) or {}
    answer = {
        "ids": encoded["input_ids"],
        "labels": [names[number] for number in sorted(names)],
        "misfits": misfits,
    }
    return answer, {"logits": np.stack([logits[row] for row in range(count)]), "alone": np.stack(alone)}


def read_tokens(folder: str, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return losses and hits of the asked tokens, logits of the shown ones, greedy answers, and ids of texts."""
    model, tokenizer, misfits = load(folder, transformers.AutoModelForCausalLM)
    losses, hits, shown = [], [], []
    wanted = {row: [place for asked, place in request["shown"] if asked == row] for row, _ in request["shown"]}
    for number, (row, asked) in enumerate(zip(request["rows"], request["asked"], strict=True)):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([row]), use_cache=False).logits[0].float()
        targets = torch.tensor([row[place + 1] for place in asked])
        at = logits[asked]
        losses.append(torch.nn.functional.cross_entropy(at, targets, reduction="none").numpy())
        hits.append((at.argmax(dim=-1) == targets).numpy())
        shown += [logits[place].numpy() for place in wanted.get(number, ())]
    generation = model.generation_config
    ends = generation.eos_token_id
    answer = {
        "misfits": misfits,
        "ends": sorted(ends if isinstance(ends, list) else [] if ends is None else [ends]),
        "greedy": [go_on(model, prompt, request["new_tokens"]) for prompt in request["prompts"]],
        "ids": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in request["texts"]],
        "rendered": [
            tokenizer(_ask(tokenizer, one, request["template_options"]), add_special_tokens=False)["input_ids"]
            for one in request["conversations"]
        ],
        "template": tokenizer.chat_template,
    }
    together = in_one_batch(model, tokenizer.pad_token_id, request, wanted)
    arrays = {
        "losses": np.concatenate(losses),
        "hits": np.concatenate(hits),
        "shown": np.stack(shown),
        "together": np.stack(together),
    }
    return answer, arrays


def in_one_batch(model: Any, pad: int, request: dict[str, Any], wanted: dict[int, list[int]]) -> list[np.ndarray]:
    """Return the logits of the shown tokens with all their rows in one batch."""
    numbers = sorted(wanted)
    rows = [request["rows"][number] for number in numbers]
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    return [logits[place, at].numpy() for place, number in enumerate(numbers) for at in wanted[number]]


def _ask(tokenizer: Any, messages: Any, options: Any) -> str:
    """Return what asks for an answer: without the spaces at its end, which belong to the answer's first token."""
    text: str = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **options)
    return text.rstrip(" ")


def go_on(model: Any, prompt: list[int], count: int) -> list[int]:
    """Return the likeliest tokens that follow a prompt, whichever they are."""
    found: list[int] = []
    cache, new = None, prompt
    for _ in range(count):
        with torch.inference_mode():
            given = model(input_ids=torch.tensor([new]), past_key_values=cache, use_cache=True)
        cache = given.past_key_values
        found.append(int(given.logits[0, -1].argmax()))
        new = found[-1:]
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
