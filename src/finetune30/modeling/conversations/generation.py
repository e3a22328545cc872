"""Going on with token ids, a token at a time, with the keys and values of all earlier ones kept.

Greedy unless a temperature is given. Drawing has a generator of its own: the same seed gives the same answer, and no
other random stream moves. Which model is asked, and how it keeps what it has read, is behind `NextTokens`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from finetune30.data.batching import evaluation_order
from finetune30.errors import NotFiniteError

if TYPE_CHECKING:
    import torch

#: Why an answer ended: the model said so, it was as long as allowed, or the model knows no more positions.
EndReason = Literal["stop", "length", "positions"]


#: The most tokens of a prompt that are read before whoever asked may be looked after, where an answer is told.
PIECE = 128


class ReadRows(Protocol):
    """Rows of tokens that a model has read, with the keys and values that it keeps of them."""

    @property
    def reads_on(self) -> bool:
        """Whether several tokens of a row may follow those that were read: a prompt can be read in pieces."""
        ...

    def read(self, tokens: Mapping[int, Sequence[int]]) -> torch.Tensor:
        """Read on; return the logits of the token after each row's last one, float32 (n, vocabulary).

        `tokens` are what is new of rows 0 to `count` - 1, in the order of the logits: of every row at first, then one
        token of each that goes on. To be called in inference mode.
        """
        ...


class NextTokens(Protocol):
    """A language model as whoever goes on with tokens sees it."""

    @property
    def positions(self) -> int | None:
        """How many tokens it reads at most, None where its configuration names no limit."""
        ...

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer by its own configuration."""
        ...

    def begin(self, count: int) -> ReadRows:
        """Begin so many rows, of which nothing is read yet."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. `temperature` 0: always the likeliest one. `top_p`: of the likeliest that have this share.

    `top_k`: of so many likeliest, 0: all. Sampling is that of Holtzman et al. 2020 (nucleus) and Fan et al. 2018.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Generated:
    """Token ids that a model went on with, without the one that ended them, and why they ended."""

    ids: list[int]
    reason: EndReason


@dataclass(frozen=True)
class Ended:
    """Why an answer that was told piece by piece ended, and its token ids without the one that ended it."""

    reason: EndReason
    ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return len(self.ids)


def generate(
    model: NextTokens,
    prompts: Sequence[Sequence[int]],
    stops: frozenset[int],
    sampling: Sampling,
    piece: int | None = None,
) -> list[Generated]:
    """Go on with prompts of token ids, all at once; in their order. `piece`: see `stream`."""
    found: list[list[int]] = [[] for _ in prompts]
    reasons: list[EndReason] = ["length"] * len(prompts)
    for tokens in stream(model, prompts, stops, sampling, piece):
        for row, token in enumerate(tokens):
            if isinstance(token, str):
                reasons[row] = token
            elif token is not None:
                found[row].append(token)
    return [Generated(ids, reason) for ids, reason in zip(found, reasons, strict=True)]


def generate_in_batches(
    model: NextTokens, prompts: Sequence[Sequence[int]], stops: frozenset[int], sampling: Sampling, batch_size: int
) -> list[Generated]:
    """Go on with prompts, those of like length together, in their order."""
    lengths = np.asarray([len(prompt) for prompt in prompts], dtype=np.int64)
    found: dict[int, Generated] = {}
    for rows in evaluation_order(lengths, batch_size):
        answers = generate(model, [prompts[row] for row in rows], stops, sampling)
        found |= dict(zip(rows.tolist(), answers, strict=True))
    return [found[row] for row in range(len(prompts))]


def stream(
    model: NextTokens,
    prompts: Sequence[Sequence[int]],
    stops: frozenset[int],
    sampling: Sampling,
    piece: int | None = None,
) -> Iterator[list[int | EndReason | None]]:
    """Yield for each step the next token of every prompt, its reason to end at the step when it ends, then None.

    With `piece` one prompt is read in pieces of so many tokens, where the model can; None is yielded after each but the
    last, which brings the first token.
    """
    import torch

    generator = torch.Generator(device="cpu").manual_seed(sampling.seed)
    limit, rows = model.positions, model.begin(len(prompts))
    new: Mapping[int, Sequence[int]] = dict(enumerate(prompts))
    if piece is not None and len(prompts) == 1 and len(prompts[0]) > piece and rows.reads_on:
        last = (len(prompts[0]) - 1) // piece * piece
        for start in range(0, last, piece):
            with torch.inference_mode():
                rows.read({0: prompts[0][start : start + piece]})
            yield [None]
        new = {0: prompts[0][last:]}
    for step in range(sampling.max_new_tokens):
        with torch.inference_mode():  # never across a yield: whoever reads may compute something else meanwhile
            chosen = _choose(rows.read(new), sampling, generator)
        said: list[int | EndReason | None] = [None] * len(prompts)
        going: dict[int, list[int]] = {}
        for row, token in zip(new, chosen.tolist(), strict=True):
            if limit is not None and len(prompts[row]) + step >= limit:
                said[row] = "positions"
            elif token in stops:
                said[row] = "stop"
            else:
                said[row], going[row] = token, [token]
        yield said
        if not going:
            return
        new = going


def stop_tokens(model: NextTokens, own: int | None) -> frozenset[int]:
    """Return the tokens that end an answer: those of the model's configuration, and the template's mark."""
    return model.end_tokens if own is None else model.end_tokens | {own}


def _choose(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> torch.Tensor:
    """Return the next token of each row, int64 (B,); logits float32 (B, V).

    A token that the model rules out has -inf. Raises NotFiniteError where one is no number, or all are ruled out.
    """
    import torch

    if not bool(torch.isfinite(logits.amax(dim=-1)).all()):
        raise NotFiniteError("the model failed: the numbers of its next token are not finite")
    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1).cpu()
    scaled = (logits / sampling.temperature).cpu()
    ordered, order = scaled.sort(dim=-1, descending=True)
    if sampling.top_k:
        ordered[:, sampling.top_k :] = float("-inf")
    shares = ordered.softmax(dim=-1)
    ordered[(shares.cumsum(dim=-1) - shares) >= sampling.top_p] = float("-inf")
    drawn = torch.multinomial(ordered.softmax(dim=-1), 1, generator=generator)
    return order.gather(1, drawn).squeeze(1)
