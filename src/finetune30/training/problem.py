"""What training needs of a problem: the model, the loss, the evaluation, the answers.

The half about rows is `finetune30.data.problem`. Implementations import neither polars nor a database at their head:
they run on a machine that has nothing but torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from finetune30.blocks import Words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import PreTrainedModel

    from finetune30.config import ExperimentConfig
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.problem import Card, Score, Targets
    from finetune30.modeling.base import BaseSource
    from finetune30.modeling.devices import Placement
    from finetune30.training.engine import Engine


#: Model, inputs and targets of a batch to what the model gives for it, see `Trainable.outputs`.
Outputs = Callable[["PreTrainedModel", Mapping[str, "Tensor"], "Tensor"], "Tensor"]
#: Outputs and targets of a batch to the loss summed over what `weight` counts, 0-d.
Loss = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class Doubt:
    """A reason to think that nothing was learnt: a stable code, what was found, and what to try."""

    code: str
    words: Words
    advice: tuple[Words, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    `metrics` have the `eval_` prefix and hold `eval_loss`. `outputs` is the little that is kept a row, in the split's
    order, or None where sums are enough. `unsound_rows` are ids of rows whose outputs are not finite. `doubts` is the
    problem's judgement, at most one a code; nothing where the evaluation shows that something was learnt. `chosen_of`
    is how many evaluations of these rows the weights were chosen by; 1 where they were not.
    """

    metrics: dict[str, Any]
    rows: int
    outputs: NDArray[Any] | None = None
    unsound_rows: list[str] = field(default_factory=list)
    doubts: tuple[Doubt, ...] = ()
    chosen_of: int = 1


#: A metric: which others hang on the rows that were asked for answers. Versions before it asked other rows.
OF_ANSWERS = "of_answers"


@dataclass(frozen=True)
class Conclusion:
    """What is found once at the end of a training: more metrics, and tables that are published beside them, by name.

    `repeat` asks a saved model (one that `open_saved` gave) for something of it again, with the tolerance of logits;
    returns in words what is the same, and raises SelfTestError where it is not. `answering` stands in labels.json
    beside the saved model: what it answers with besides its weights.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    repeat: Callable[[Any, float], str] | None = None
    answering: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A model's answer to one question.

    `tree` is what the API and `--json` give, JSON values; `cells` what a table of answers has, by column; `line` what a
    terminal shows before the text.
    """

    tree: dict[str, Any]
    cells: dict[str, Any]
    line: str


class SavedModel(Protocol):
    """A saved model, loaded afresh. What it is asked beyond this, its problem's `answer` knows."""

    def find_tokenless(self, texts: list[str], pairs: list[str] | None = None) -> list[int]:
        """Return the positions of texts (or pairs) that say nothing to the model."""
        ...

    def collect(
        self,
        read: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]],
        texts: list[str],
        pairs: list[str] | None = None,
    ) -> NDArray[np.float32]:
        """Return what `read` makes of outputs and attention masks, float32 (n, k), in the order of the texts."""
        ...


class Trainable(Protocol):
    """What a model learns, as far as the model is concerned, for one set of targets."""

    name: str
    targets: Targets
    score: Score
    peft_task_type: str
    #: Whether what lies outside the backbone is trained and saved whole, as a classifier's head is.
    trains_head: bool
    #: Whether `outputs` are loss and hit of each supervised token under the base model's own vocabulary, (B, L, 2), and
    #: `loss` is the sum of the former; targets are then one a token.
    scores_tokens: bool

    def with_base(self, source: BaseSource, config: ExperimentConfig, log: Callable[[str], None]) -> Trainable:
        """Return itself with what base model and configuration decide about its targets (a chat template, say).

        Raises ModelError where the base cannot be asked so.
        """
        ...

    def build_encoder(self, source: BaseSource, known_tokens: int) -> Any | None:
        """Return what makes tokens of its rows, handed to `Problem.encode`; None: the texts' own encoder will do.

        `known_tokens`: how many tokens the model has embeddings for.
        """
        ...

    def follow_head(self, source: BaseSource, log: Callable[[str], None]) -> Trainable:
        """Return itself with targets in the order of the head that a checkpoint has for the same ones.

        So the rows of such a head go on meaning what they mean.
        """
        ...

    def follow_adapter(self, targets: Targets, folder: str, log: Callable[[str], None]) -> Trainable:
        """Return itself with targets in the order of those of a saved adapter, from whose weights training starts."""
        ...

    def with_baseline_of(self, train: EncodedSplit) -> Trainable:
        """Return itself, holding results against what the training rows tell before anything is learnt."""
        ...

    @property
    def head_outputs(self) -> int | None:
        """Outputs of a classification head with one target a row; None for any other kind of model."""
        ...

    def load_model(self, source: BaseSource, pad_token_id: int) -> tuple[PreTrainedModel, list[str]]:
        """Load the base model with the head that the targets need; return it and the names of new weights."""
        ...

    def outputs(self, model: PreTrainedModel, inputs: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """Return what a model gives for a batch, rows first; `inputs` are named as the model's own, all (B, L).

        With gradients, where these are wanted. `targets` as in the batch.
        """
        ...

    def card(self) -> Card:
        """Return what the saved model's card says about it."""
        ...

    def load_saved(self, folder: str, **options: Any) -> PreTrainedModel:
        """Load a saved adapter on its base with plain PEFT; `options` go to its `from_pretrained`."""
        ...

    def open_saved(self, folder: Path, placement: Placement) -> SavedModel:
        """Load a saved model, ready to be asked."""
        ...

    def weight(self, split: EncodedSplit, rows: NDArray[np.int64]) -> float:
        """Return what the loss of a step on these rows is divided by: rows, words or supervised tokens."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss summed over what `weight` counts, 0-d; `targets` as in the batch."""
        ...

    def evaluate(self, engine: Engine, split: EncodedSplit, batch_size: int) -> Evaluation:
        """Evaluate every row; with several processes each takes its share and all get the whole."""
        ...

    def conclude(
        self, engine: Engine, train: EncodedSplit, evaluation: EncodedSplit, last: Evaluation, batch_size: int
    ) -> Conclusion:
        """Return what is found once, with the weights that are published: nothing more, unless a problem asks more.

        `last` is the evaluation with these weights.
        """
        ...

    def probe(self, outputs: NDArray[np.float32], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (B, k) numbers of a batch's outputs by which a saved model is compared with the trained one.

        They must not depend on how far the batch is padded.
        """
        ...

    def answer(self, model: Any, texts: list[str], pairs: list[str] | None, batch_size: int) -> list[Answer]:
        """Answer texts (or pairs) with a saved model, one that `open_saved` gave, in their order."""
        ...


@runtime_checkable
class JudgesAnswers(Protocol):
    """What a problem has besides, where a saved model answers with more than its weights (`Conclusion.answering`)."""

    def judge_answers(
        self, outputs: NDArray[np.float32], targets: NDArray[Any], described: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the metric `eval_answers` of rows, at least one; nothing where the weights alone decide.

        `outputs` as an evaluation keeps them; `described` is what `load_targets` gives of the model.
        """
        ...
