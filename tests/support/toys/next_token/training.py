"""How a model learns to go on: cross entropy of every token, sums of which are all that an evaluation keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.batching import Batch
from finetune30.data.encoding import IGNORED, EncodedSplit
from finetune30.data.problem import Card, Targets
from finetune30.training.problem import Answer, Conclusion, Evaluation, Trainable
from support.toys import NEXT_TOKEN
from support.toys.next_token import SCORE

if TYPE_CHECKING:
    from finetune30.config import ExperimentConfig
    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.devices import Placement
    from finetune30.modeling.predictor import Predictor
    from finetune30.training.engine import Engine

_NEW_TOKENS = 4


class NextTokenModel:
    """A causal language model without a head of its own; nothing but LoRA is trained."""

    name = NEXT_TOKEN
    score = SCORE
    peft_task_type = "CAUSAL_LM"
    head_outputs = None
    trains_head = False
    scores_tokens = False

    def __init__(self, targets: Targets) -> None:
        self.targets = targets

    def with_base(self, source: BaseSource, config: ExperimentConfig, log: Callable[[str], None]) -> Trainable:
        return self

    def build_encoder(self, source: BaseSource, known_tokens: int) -> None:
        return None

    def follow_head(self, source: BaseSource, log: Callable[[str], None]) -> Trainable:
        return self

    def follow_adapter(self, targets: Targets, folder: str, log: Callable[[str], None]) -> Trainable:
        return self

    def with_baseline_of(self, train: EncodedSplit) -> Trainable:
        return self

    def load_model(self, source: BaseSource, pad_token_id: int) -> tuple[Any, list[str]]:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(source.folder, dtype="float32", use_safetensors=True), []

    def outputs(self, model: Any, inputs: Mapping[str, Any], targets: Any) -> Any:
        return model(**inputs).logits

    def card(self) -> Card:
        return Card(
            "going on with a text", "a text", "text-generation", "AutoPeftModelForCausalLM", saved="nothing else"
        )

    def load_saved(self, folder: str, **options: Any) -> Any:
        from peft import AutoPeftModelForCausalLM

        return AutoPeftModelForCausalLM.from_pretrained(folder, **options)

    def open_saved(self, folder: Path, placement: Placement) -> Predictor:
        from finetune30.modeling.predictor import Predictor

        return Predictor(folder, placement, self.load_saved)

    def weight(self, split: EncodedSplit, rows: NDArray[np.int64]) -> float:
        return float(sum((split.targets[split.offsets[r] : split.offsets[r + 1]] != IGNORED).sum() for r in rows))

    def loss(self, outputs: Any, targets: Any) -> Any:
        from torch.nn import functional

        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")

    def evaluate(self, engine: Engine, split: EncodedSplit, batch_size: int) -> Evaluation:
        import torch

        from finetune30.training.evaluation import sum_over_rows

        def measure(outputs: NDArray[np.float32], batch: Batch) -> NDArray[np.float64]:
            asked = batch.targets != IGNORED
            right = (outputs.argmax(axis=-1) == batch.targets) & asked
            loss = self.loss(torch.from_numpy(outputs), torch.from_numpy(batch.targets))
            return np.asarray([float(loss), right.sum(), asked.sum()], dtype=np.float64)

        loss, right, asked = sum_over_rows(engine, split, batch_size, measure)
        mean = loss / asked
        metrics = {"eval_loss": mean, "eval_perplexity": math.exp(mean), "eval_token_accuracy": right / asked}
        return Evaluation(metrics, len(split))

    def conclude(
        self, engine: Engine, train: EncodedSplit, evaluation: EncodedSplit, last: Evaluation, batch_size: int
    ) -> Conclusion:
        return Conclusion()

    def probe(self, outputs: NDArray[np.float32], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        last = attention_mask.sum(axis=1) - 1
        return outputs[np.arange(len(outputs)), last]

    def answer(self, model: Predictor, texts: list[str], pairs: list[str] | None, batch_size: int) -> list[Answer]:
        return [self._continue(model, ids) for ids in model.encode(texts).ids]

    def _continue(self, predictor: Predictor, ids: list[int]) -> Answer:
        import torch

        asked = torch.tensor([ids], device=predictor.device)
        with torch.inference_mode():
            for _ in range(_NEW_TOKENS):
                best = predictor.model(input_ids=asked).logits[:, -1].argmax(dim=-1, keepdim=True)
                asked = torch.cat([asked, best], dim=1)
        text = str(predictor.tokenizer.decode(asked[0, len(ids) :], skip_special_tokens=True))
        return Answer({"continuation": text}, {"continuation": text}, text)


TRAINABLES: dict[str, Callable[[Targets], Trainable]] = {NEXT_TOKEN: NextTokenModel}
