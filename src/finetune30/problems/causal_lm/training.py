"""Language models as they learn: cross entropy of supervised tokens, divided by their number over the whole step."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.encoding import IGNORED
from finetune30.data.problem import Card
from finetune30.problems.causal_lm.score import NAME, SCORE
from finetune30.problems.shared.class_options import refuse_class_options
from finetune30.training.problem import Answer, Conclusion, Evaluation, Trainable

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from finetune30.config import ExperimentConfig
    from finetune30.data.batching import Batch
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.problem import Targets
    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.conversations.chat_model import ChatModel
    from finetune30.modeling.conversations.encoder import ConversationEncoder
    from finetune30.modeling.devices import Placement
    from finetune30.problems.causal_lm.token_loss import LogitsHead
    from finetune30.training.engine import Engine

#: Keys of the targets that a base model and the configuration decide.
CHAT = "chat"


class LanguageModel:
    """A causal language model; nothing but LoRA is trained. See `finetune30.training.problem.Trainable`.

    Its targets hold under `chat` the template (see `ChatTemplate.describe`) and what is trained on.
    """

    name = NAME
    score = SCORE
    peft_task_type = "CAUSAL_LM"
    head_outputs = None
    trains_head = False
    scores_tokens = True

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self._head: LogitsHead | None = None
        self._encoder: ConversationEncoder | None = None

    def with_base(self, source: BaseSource, config: ExperimentConfig, log: Callable[[str], None]) -> Trainable:
        """Return itself with the chat template of the base model, and how answers are trained on."""
        from finetune30.modeling.base import load_tokenizer
        from finetune30.modeling.conversations.injected import describe_injected
        from finetune30.modeling.conversations.opening import describe_template, open_template

        refuse_class_options(config.training, self.name)
        chat = config.chat
        today = chat.date or date.today().isoformat()
        template = open_template(load_tokenizer(source), source, chat.template, today)
        for line in (*describe_template(template), *describe_injected(template)):
            log(f"chat: {line}")
        decided = {
            "template": None if template is None else template.describe(),
            "train_on": chat.train_on,
            "overlong": chat.overlong,
            "eval_generations": chat.eval_generations,
            "max_new_tokens": chat.max_new_tokens,
            "general_rows": chat.general_rows,
        }
        return LanguageModel({**self.targets, CHAT: decided})

    def build_encoder(self, source: BaseSource, known_tokens: int) -> ConversationEncoder:
        """Return the encoder of conversations."""
        from finetune30.modeling.base import load_tokenizer
        from finetune30.modeling.conversations.encoder import restore_encoder

        self._encoder = restore_encoder(load_tokenizer(source), self.targets[CHAT], known_tokens)
        return self._encoder

    @property
    def encoder(self) -> ConversationEncoder:
        """The encoder of this training's rows, once it is built."""
        assert self._encoder is not None  # noqa: S101 - rows are encoded before anything is trained
        return self._encoder

    def follow_head(self, source: BaseSource, log: Callable[[str], None]) -> Trainable:
        """Return itself: the head is the base model's own."""
        return self

    def follow_adapter(self, targets: Targets, folder: str, log: Callable[[str], None]) -> Trainable:
        """Return itself; another template than the one that the adapter was trained under is said."""
        theirs, ours = targets.get(CHAT, {}).get("template"), self.targets[CHAT]["template"]
        if theirs and ours and theirs["digest"] != ours["digest"]:
            log(f"WARNING: chat: the adapter in {folder} was trained under another chat template")
        return self

    def with_baseline_of(self, train: EncodedSplit) -> Trainable:
        """Return itself, which asks new questions as most of the rows are asked for their answers.

        The options of a template are chosen row by row, so a template that thinks unless it is told not to is asked to
        think where most rows do. The base model is its own baseline.
        """
        template = self.targets[CHAT]["template"]
        counts = Counter(train.asked_with.values())
        if template is None or not counts:
            return self
        own = json.dumps(template["options"], sort_keys=True)
        wanted = max(counts, key=lambda options: (counts[options], options == own))
        if wanted == own:
            return self
        asking = copy.copy(self)  # with the encoder, whose rows stay as they are
        asked = {**template, "asks_with": json.loads(wanted)}
        asking.targets = {**self.targets, CHAT: {**self.targets[CHAT], "template": asked}}
        return asking

    def load_model(self, source: BaseSource, pad_token_id: int) -> tuple[PreTrainedModel, list[str]]:
        """Load the base model whole; none of its weights is new."""
        from finetune30.modeling.causal import load_causal
        from finetune30.problems.causal_lm.token_loss import find_head

        model = load_causal(source, pad_token_id)
        self._head = find_head(model)
        return model, []

    def outputs(self, model: PreTrainedModel, inputs: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """Return loss and whether the likeliest token was right for each token, (B, L, 2); 0 where none is asked."""
        from finetune30.problems.causal_lm.token_loss import find_head, hidden_states, token_losses

        wrapped: Any = model
        base: Any = wrapped.get_base_model() if hasattr(wrapped, "get_base_model") else wrapped
        if self._head is None:
            self._head = find_head(base)
        head = self._head.of(base)
        return token_losses(head, hidden_states(base, inputs), targets)

    def card(self) -> Card:
        """Return what the saved model's card says about it."""
        return Card(
            "answering in conversations",
            "text, as the chat template asks for it",
            "text-generation",
            "AutoPeftModelForCausalLM",
            saved="nothing else",
        )

    def load_saved(self, folder: str, **options: Any) -> PreTrainedModel:
        """Load a saved adapter on its base with plain PEFT. Raises ModelError where weights are missing or too many."""
        from peft import AutoPeftModelForCausalLM

        model: PreTrainedModel = AutoPeftModelForCausalLM.from_pretrained(folder, **options)
        return model

    def open_saved(self, folder: Path, placement: Placement) -> ChatModel:
        """Load a saved model, ready to be asked."""
        from finetune30.modeling.conversations.chat_model import ChatModel

        return ChatModel(folder, placement, self.load_saved, self.outputs)

    def weight(self, split: EncodedSplit, rows: NDArray[np.int64]) -> float:
        """Return the number of supervised tokens."""
        return float(split.token_counts["supervised"][rows].sum())

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the tokens' losses."""
        return outputs[..., 0].sum()

    def evaluate(self, engine: Engine, split: EncodedSplit, batch_size: int) -> Evaluation:
        """Evaluate every row; kept are loss, right tokens and supervised tokens of each, (n, 3)."""
        from finetune30.training.evaluation import predict_outputs

        kept = predict_outputs(engine, split, batch_size, _sums_of_rows)
        unsound = [name for name, row in zip(split.row_ids, kept, strict=True) if not np.isfinite(row).all()]
        return Evaluation(_measure(kept), len(split), kept, unsound)

    def conclude(
        self, engine: Engine, train: EncodedSplit, evaluation: EncodedSplit, last: Evaluation, batch_size: int
    ) -> Conclusion:
        """Return what the base model scores without the adapter, and greedy answers to some rows of both."""
        from finetune30.problems.causal_lm.conclusion import conclude

        return conclude(self, engine, train, evaluation, batch_size)

    def probe(self, outputs: NDArray[np.float32], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the loss of each row: it hangs on the logits of all supervised tokens."""
        asked = np.maximum(1, (outputs[..., 0] != 0).sum(axis=1, keepdims=True))
        losses: NDArray[np.float32] = (outputs[..., 0].sum(axis=1, keepdims=True) / asked).astype(np.float32)
        return losses

    def answer(self, model: ChatModel, texts: list[str], pairs: list[str] | None, batch_size: int) -> list[Answer]:
        """Answer questions, each on its own, greedily."""
        from finetune30.problems.causal_lm.answers import answer_texts

        return answer_texts(model, texts, self.targets[CHAT]["max_new_tokens"], batch_size)


def _sums_of_rows(outputs: NDArray[np.float32], batch: Batch) -> NDArray[np.float32]:
    asked = (batch.targets != IGNORED).sum(axis=1, dtype=np.float32)
    return np.stack([outputs[..., 0].sum(axis=1), outputs[..., 1].sum(axis=1), asked], axis=1).astype(np.float32)


def _measure(kept: NDArray[np.float32]) -> dict[str, Any]:
    """Return metrics of rows with (loss, right tokens, supervised tokens) each."""
    loss, right, asked = kept.astype(np.float64).sum(axis=0)
    mean = loss / asked
    return {
        "eval_loss": float(mean),
        "eval_perplexity": math.exp(mean) if mean < _LARGEST_EXPONENT else None,
        "eval_token_accuracy": float(right / asked),
        "eval_supervised_tokens": int(asked),
    }


#: Above it e^x is no float64 any more.
_LARGEST_EXPONENT = 709.0

TRAINABLES: dict[str, Callable[[Targets], Trainable]] = {NAME: LanguageModel}
