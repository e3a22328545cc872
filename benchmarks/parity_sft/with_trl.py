"""The part that runs in TRL's environment; it knows nothing of this project: `python with_trl.py TASK ANSWER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Train as the task says and write the loss of every step, and whether TRL's labels are those of the task."""
    task: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    labels, why = _compare_labels(task)
    answer = {"losses": _train(task), "labels": labels, "why": why}
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


def _train(task: dict[str, Any]) -> list[float]:
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    losses: list[float] = []

    class Recording(SFTTrainer):  # type: ignore[misc]
        """Keeps losses whole: the log has four digits of them."""

        def compute_loss(self, *args: Any, **named: Any) -> Any:
            found = super().compute_loss(*args, **named)
            losses.append(float((found[0] if isinstance(found, tuple) else found).detach()))
            return found

    base = AutoModelForCausalLM.from_pretrained(task["base"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, task["adapter"], is_trainable=True)
    trainer = Recording(
        model=model,
        args=SFTConfig(
            "out",
            per_device_train_batch_size=task["batch_size"],
            max_steps=len(task["rows"]) // task["batch_size"],
            learning_rate=task["learning_rate"],
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            max_length=None,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(task["rows"]),
        processing_class=AutoTokenizer.from_pretrained(task["tokenizer"]),
    )
    trainer.train()
    return losses


def _compare_labels(task: dict[str, Any]) -> tuple[list[bool] | None, str]:
    """Tell of each conversation whether transformers' own mask of what an assistant says gives the same labels."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(task["tokenizer"])
    if "{% generation %}" not in (tokenizer.chat_template or "").replace("{%-", "{%").replace("-%}", "%}"):
        return None, "the base's chat template does not mark what an assistant says"
    same = []
    for messages, ours in zip(task["conversations"], task["encoded"], strict=True):
        found = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        marked = zip(found["input_ids"], found["assistant_masks"], strict=True)
        labels = [token if mask else -100 for token, mask in marked]
        same.append(ours == {"input_ids": list(found["input_ids"]), "labels": labels})
    return same, ""


if __name__ == "__main__":
    main()
