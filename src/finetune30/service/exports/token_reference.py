"""What a language model, adapter on its base, says of evaluation rows; and how an export is held against it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.encoding import IGNORED
from finetune30.modeling.conversations.generation import Sampling, generate
from finetune30.modeling.conversations.rendering import ASSISTANT
from finetune30.modeling.conversations.template import TemplateRefusalError, special_marks
from finetune30.service.exports.evaluated import Evaluated, evaluate_outputs
from finetune30.service.exports.measured import Measured
from finetune30.service.parity.gap import Gap

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.problem import Problem
    from finetune30.modeling.conversations.chat_model import ChatModel
    from finetune30.training.problem import Trainable

MOST_ROWS = 64
NEW_TOKENS = 32
_PROMPTS = 8
_CONVERSATIONS = 20
#: Logits of so many tokens are compared, each with the whole vocabulary: 50 MB of 49,152 tokens.
_SHOWN = 256
#: Digits, what Unicode counts as numeric, scripts and emoji, on which tokenizers of the same name differ.
PROBES = (
    "12345 and 3.14",
    "½ ² Ⅷ ①",
    "你好，世界。",
    "naïve café – “so”",
    "🙂👩‍👩‍👧",
    "\tdef f(x):\n\n    return x",
    "  a  b ",
)


@dataclass(frozen=True)
class TokenReference:
    """Losses and hits of supervised tokens, (tokens,) each, logits of the shown ones, (shown, vocabulary).

    `greedy`: the tokens that follow each prompt; `margins`: by how much the likeliest was ahead at each of them.
    `texts`: ids of texts; `rendered`: ids that ask for an answer to conversations; `ends`: the tokens that end one.
    """

    problem: Problem
    trainable: Trainable
    split: EncodedSplit
    request: dict[str, Any]
    losses: NDArray[np.float32]
    hits: NDArray[np.bool_]
    shown: NDArray[np.float32]
    greedy: list[list[int]]
    margins: list[list[float]]
    texts: list[list[int]]
    rendered: list[list[int]]
    ends: list[int]
    template: str | None
    begins: bool
    evaluated: Evaluated

    def measure(self, answer: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Measured:
        """Hold what a reader gave against the adapter."""
        faults = [f"its weights do not fit: {kind} {', '.join(names[:3])}" for kind, names in answer["misfits"].items()]
        if lost := sorted(set(self.ends) - set(answer["ends"])):
            faults.append(f"it does not end at token {lost[0]}, which ends an answer")
        if self.template is not None and answer["template"] != self.template:
            faults.append("its chat template is another one")
        # Such a reader puts a space before every text; this model's tokenizer may put none before one that has it.
        begins = [answer.get("puts_space", False) and text.startswith(" ") for text in self.request["texts"]]
        texts = [
            pair for pair, left in zip(zip(answer["ids"], self.texts, strict=True), begins, strict=True) if not left
        ]
        conversations = list(zip(answer["rendered"], self.rendered, strict=True))
        for what, pairs in (("texts", texts), ("conversations", conversations)):
            if others := sum(given != wanted for given, wanted in pairs):
                faults.append(f"it reads {others} of {len(pairs)} {what} as other tokens")
        losses, hits = arrays["losses"].astype(np.float32), arrays["hits"].astype(np.bool_)
        vocabulary = self.shown.shape[1]
        if arrays["shown"].shape[1] < vocabulary:
            faults.append(f"it knows {arrays['shown'].shape[1]} tokens and not {vocabulary}")
            return Measured(Gap(np.inf, np.inf), 1.0, {}, faults)
        shown = arrays["shown"][:, :vocabulary].astype(np.float32)
        found = self._evaluate(losses, hits)
        gap, lost_gap = Gap.between(shown, self.shown), Gap.between(losses, self.losses)
        greedy = [_compare(*one) for one in zip(answer["greedy"], self.greedy, self.margins, strict=True)]
        parted = [margin for _, margin in greedy if margin is not None]
        figures = {
            "rows": len(self.request["rows"]),
            "tokens": len(losses),
            "logits": {**gap.as_dict(), "tokens": len(shown)},
            "losses": lost_gap.as_dict(),
            "flips": int((hits != self.hits).sum()),
            "score": {
                "name": self.problem.score.name,
                "adapter": self.evaluated.as_dict(),
                "export": found.as_dict(),
            },
            **_in_one_batch(arrays, shown),
            "greedy": {
                "tokens": NEW_TOKENS,
                "prompts": len(greedy),
                "equal": len(greedy) - len(parted),
                "equal_tokens": [same for same, _ in greedy],
                "margin_where_parted": max(parted, default=None),
            },
            "ids": {
                "texts": len(texts),
                "conversations": len(conversations),
                **({"begin_with_space": sum(begins)} if any(begins) else {}),
            },
        }
        # A loss is the difference of two numbers that logits decide, each of which moves as far as they do at most.
        judged = Gap(max(gap.largest, lost_gap.largest / 2), gap.mean)
        return Measured(judged, float(np.abs(self.shown).max(initial=0.0)), figures, faults)

    def _evaluate(self, losses: NDArray[np.float32], hits: NDArray[np.bool_]) -> Evaluated:
        return evaluate_tokens(self.problem, self.trainable, self.split, losses, hits)


def _in_one_batch(arrays: Mapping[str, NDArray[Any]], shown: NDArray[np.float32]) -> dict[str, Any]:
    """Return how far logits move with all rows in one batch, where the reader has such batches."""
    if "together" not in arrays:
        return {}
    return {"alone_against_batch": {"export": Gap.between(arrays["together"][:, : shown.shape[1]], shown).as_dict()}}


def evaluate_tokens(
    problem: Problem, trainable: Trainable, split: EncodedSplit, losses: NDArray[np.float32], hits: NDArray[np.bool_]
) -> Evaluated:
    """Evaluate losses and hits of all supervised tokens of a split, (tokens,) each."""
    whole = np.zeros((len(split.tokens), 2), dtype=np.float32)
    whole[split.targets != IGNORED] = np.stack([losses, hits.astype(np.float32)], axis=1)
    rows = [whole[start:stop] for start, stop in zip(split.offsets, split.offsets[1:], strict=False)]
    return evaluate_outputs(problem, trainable, split, rows)


def refer_to_tokens(
    problem: Problem, trainable: Trainable, model: ChatModel, rows: pl.DataFrame, max_length: int
) -> TokenReference:
    """Ask the adapter about rows (prepared ones) of conversations or texts."""
    split: EncodedSplit = problem.encode(rows, model.encoder, trainable.targets, max_length)  # type: ignore[arg-type]
    pieces = [slice(start, stop) for start, stop in zip(split.offsets, split.offsets[1:], strict=False)]
    tokens = [split.tokens[piece].tolist() for piece in pieces]
    asked = [np.flatnonzero(split.targets[piece] != IGNORED).tolist() for piece in pieces]
    places = [(row, place) for row, found in enumerate(asked) for place in found][:_SHOWN]
    prompts = [row[: found[0] + 1] for row, found in zip(tokens, asked, strict=True) if found][:_PROMPTS]
    conversations, rendered = _render(model, rows["conversation"].to_list())
    texts = [*PROBES, *_plain_texts(model, rows["conversation"].to_list())]
    losses, hits, shown = _ask_tokens(model, tokens, asked, places)
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    greedy = [generate(model.next_tokens, [prompt], frozenset(), sampling)[0].ids for prompt in prompts]
    template = model.encoder.template
    request = {
        "kind": "tokens",
        "rows": tokens,
        "asked": asked,
        "shown": places,
        "prompts": prompts,
        "new_tokens": NEW_TOKENS,
        "texts": texts,
        "conversations": conversations,
        "template_options": {} if template is None else template.asking.plain_options,
    }
    opening = len(model.encoder.ask_text(""))  # what the tokenizer puts before a bare text by itself
    return TokenReference(
        problem=problem,
        trainable=trainable,
        split=split,
        request=request,
        losses=losses,
        hits=hits,
        shown=shown,
        greedy=greedy,
        margins=[_margins(model, prompt, found) for prompt, found in zip(prompts, greedy, strict=True)],
        texts=[model.encoder.ask_text(text)[opening:] for text in texts],
        rendered=rendered,
        ends=sorted(model.stops),
        template=None if template is None else template.text,
        begins=opening > 0,
        evaluated=evaluate_tokens(problem, trainable, split, losses, hits),
    )


def _ask_tokens(
    model: ChatModel, rows: Sequence[list[int]], asked: Sequence[list[int]], places: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Return losses and hits of the asked tokens, and the logits at the given places; every row alone."""
    import torch

    losses, hits, shown = [], [], []
    for number, (row, found) in enumerate(zip(rows, asked, strict=True)):
        with torch.inference_mode():
            given = model.model(input_ids=torch.tensor([row]), use_cache=False).logits[0].float()
        targets = torch.tensor([row[place + 1] for place in found], dtype=torch.long)
        losses.append(torch.nn.functional.cross_entropy(given[found], targets, reduction="none").numpy())
        hits.append((given[found].argmax(dim=-1) == targets).numpy())
        shown += [given[place].numpy() for at, place in places if at == number]
    return np.concatenate(losses), np.concatenate(hits), np.stack(shown)


def _margins(model: ChatModel, prompt: list[int], found: list[int]) -> list[float]:
    """Return how far the likeliest token was ahead of the second one at each place of a greedy answer."""
    import torch

    with torch.inference_mode():
        given = model.model(input_ids=torch.tensor([[*prompt, *found]]), use_cache=False).logits[0].float()
    best = given[len(prompt) - 1 : -1].topk(2, dim=-1).values
    return [float(margin) for margin in best[:, 0] - best[:, 1]]


def _render(model: ChatModel, rows: Sequence[str]) -> tuple[list[list[dict[str, Any]]], list[list[int]]]:
    """Return the conversations of some rows up to their last answer, as a template takes them, and their tokens.

    Those whose contents hold special tokens are left out: a reader takes these for what they are in a template.
    """
    template = model.encoder.template
    marks = special_marks(model.tokenizer)
    conversations, rendered = [], []
    if template is None:
        return [], []
    for row in rows[:_CONVERSATIONS]:
        messages = json.loads(row).get("messages") or []
        while messages and messages[-1]["role"] == ASSISTANT:
            messages = messages[:-1]
        if not messages or any(mark in str(one.get("content")) for one in messages for mark in marks):
            continue
        try:
            rendered.append(model.encoder.ask(messages))
        except TemplateRefusalError:  # such a row is not asked: it was set aside
            continue
        conversations.append(template.prepare(messages))
    return conversations, rendered


def _plain_texts(model: ChatModel, rows: Sequence[str]) -> list[str]:
    """Return what is said in some rows, without those that hold special tokens."""
    marks = special_marks(model.tokenizer)
    texts = []
    for row in rows[:_CONVERSATIONS]:
        tree = json.loads(row)
        said = [str(one.get("content") or "") for one in tree.get("messages", ())]
        texts += [*said, *(str(tree[key]) for key in ("prompt", "completion", "text") if key in tree)]
    return [text for text in texts if text and not any(mark in text for mark in marks)]


def _compare(given: Sequence[int], wanted: Sequence[int], margins: Sequence[float]) -> tuple[int, float | None]:
    """Return how many tokens are equal up to the first other one, and the adapter's margin there (None: none is)."""
    for place, (one, other) in enumerate(zip(given, wanted, strict=False)):
        if one != other:
            return place, margins[place]
    return min(len(given), len(wanted)), None
