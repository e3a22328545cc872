"""Rows of conversations as token ids, what each token is, and what is cut where a row is too long.

A rendering is tokenised once, without tokens of the tokenizer's own frame: the template has written all that belongs
there. Which tokens carry loss is told from the characters that they stand for.
"""

from __future__ import annotations

import copy
import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from finetune30.data.encoding import IGNORED, NO_ANSWER_LEFT, OVERLONG, TEMPLATE_REFUSES, Aside, EncodedSplit
from finetune30.errors import ModelError
from finetune30.modeling.conversations.last_answer import asked_last, place_answer
from finetune30.modeling.conversations.placing import Span, place_parts
from finetune30.modeling.conversations.rendering import Rendering, TrainOn, render_row
from finetune30.modeling.conversations.shortening import shorter_ones
from finetune30.modeling.conversations.template import (
    ChatTemplate,
    TemplateRefusalError,
    fold_system,
    no_template,
    restore_template,
    special_marks,
    split_at,
)
from finetune30.modeling.conversations.tokenized_row import (
    CONTEXT,
    SUPERVISED,
    TEMPLATE,
    TOKEN_KINDS,
    TRUNCATED,
    FittedRow,
    TokenizedRow,
    count_kinds,
    cut_question,
    take_part,
    take_slice,
)
from finetune30.modeling.special_tokens import read_marks_as_text
from finetune30.modeling.tokenizing import require_known_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

#: What becomes of a row with more tokens than `data.max_length`.
Overlong = Literal["drop", "keep_answer", "cut"]
#: Tokens of the shortest part of a text in which one predicts another.
_LEAST_PART = 2
_PROBES = ("a", " a b", "Answer: yes", "你好，世界", "1 234", "\n\n- x\n")


class ConversationEncoder:
    """Makes token ids of rows of the canonical form, for training, evaluation, answers and serving alike.

    `template` is None for models without one, which can be asked prompts and plain texts only. `known_tokens`: how many
    tokens the model has embeddings for.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate | None,
        *,
        train_on: TrainOn,
        overlong: Overlong,
        known_tokens: int | None,
    ) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(
                "this tokenizer has no tokenizer.json, so nothing tells which characters its tokens stand for",
                "choose a model with a fast tokenizer",
            )
        self.tokenizer, self.template = tokenizer, template
        self.train_on, self.overlong = train_on, overlong
        self._known_tokens = known_tokens
        self._backend: Tokenizer = copy.deepcopy(backend)
        self._backend.no_truncation()
        self._backend.no_padding()
        self._textual: Tokenizer = copy.deepcopy(self._backend)
        self._stubborn = read_marks_as_text(self._textual)
        self._marks = special_marks(tokenizer)
        self._pieces_are_safe = self._probe_pieces()
        self._opening = self._find_opening()

    @property
    def end_token_id(self) -> int | None:
        """The token that ends an answer: the template's mark, else the tokenizer's end."""
        if self.template is not None and self.template.end_mark:
            return self._id_of(self.template.end_mark)
        end: Any = self.tokenizer.eos_token_id
        return None if end is None else int(end)

    def encode_rows(self, rows: Iterable[str], max_length: int) -> EncodedSplit:
        """Encode rows of the canonical form (JSON texts), called by their positions.

        Parts of a long text (see `fit_parts`) stand behind each other under one name. Rows that cannot be used have a
        reason in `aside`.
        """
        trees: list[dict[str, Any]] = [json.loads(row) for row in rows]
        parts = [(row, part) for row, tree in enumerate(trees) for part in self.fit_parts(tree, max_length)]
        names, fitted = [row for row, _ in parts], [part for _, part in parts]
        require_known_tokens(
            [row.tokens.ids for row in fitted], self._known_tokens, self.tokenizer.convert_ids_to_tokens
        )
        lengths = np.asarray([len(row.tokens.ids) for row in fitted], dtype=np.int64)
        offsets = np.zeros(len(fitted) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        tokens = np.fromiter((token for row in fitted for token in row.tokens.ids), dtype=np.int32)
        kinds = np.concatenate([row.tokens.kinds for row in fitted]) if fitted else np.zeros(0, dtype=np.int8)
        return EncodedSplit(
            row_ids=[str(row) for row in names],
            tokens=tokens,
            offsets=offsets,
            type_ids=None,
            targets=_next_tokens(tokens, kinds, offsets),
            truncated=np.asarray([bool(row.cut.sum()) for row in fitted], dtype=np.bool_),
            targets_per_token=True,
            aside={i: row.aside for i, row in enumerate(fitted) if row.aside is not None},
            token_counts=_count_kinds(fitted),
            expected={i: tuple(trees[row]["expected"]) for i, row in enumerate(names) if "expected" in trees[row]},
            asked={i: text for i, row in enumerate(names) if (text := asked_last(trees[row]))},
            answers={i: row.tokens.answer for i, row in enumerate(fitted) if row.tokens.answer is not None},
            asked_with={i: row.asked_with for i, row in enumerate(fitted) if row.asked_with is not None},
        )

    def fit(self, row: Mapping[str, Any], max_length: int) -> FittedRow:
        """Encode one row within `max_length` tokens."""
        try:
            return self._fit(row, max_length)
        except TemplateRefusalError as error:
            empty = TokenizedRow([], np.zeros(0, dtype=np.int8), "", [])
            fix = f"the chat template does not take this conversation: {error}"
            return FittedRow(empty, aside=Aside(TEMPLATE_REFUSES, fix))

    def fit_parts(self, row: Mapping[str, Any], max_length: int) -> list[FittedRow]:
        """Encode one row; a text that is longer than `max_length` comes in parts of like length (`keep_answer`).

        All of such a text is to be learnt, so nothing of it is context that could be left out. Only the first token of
        a part has nothing before it that could predict it.
        """
        if not self.comes_in_parts(row) or max_length < _LEAST_PART:
            return [self.fit(row, max_length)]
        try:
            whole = self.tokenize(row)
        except TemplateRefusalError:  # fit says why
            return [self.fit(row, max_length)]
        count = -(-len(whole.ids) // max_length)
        if count < 2:
            return [self.fit(row, max_length)]
        borders = np.linspace(0, len(whole.ids), count + 1).round().astype(int).tolist()
        return [FittedRow(take_part(whole, start, stop)) for start, stop in pairwise(borders)]

    def comes_in_parts(self, row: Mapping[str, Any]) -> bool:
        """Say whether a row that is too long is learnt in parts instead of being cut."""
        return "text" in row and self.overlong == "keep_answer"

    def tokenize(self, row: Mapping[str, Any]) -> TokenizedRow:
        """Encode one row whole. Raises TemplateRefusalError."""
        return self._tokenize(render_row(row, self.template, self.train_on))

    def ask(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None) -> list[int]:
        """Return the tokens with which an answer to these messages is asked. Raises TemplateRefusalError."""
        if self.template is None:
            raise no_template()
        template = self.template.asking
        text = template.render(messages, tools, asks=True)
        told = fold_system(messages) if template.folds_system else messages
        contents = place_parts(told, tools, template, text, asks=True).contents
        return self._tokenize(Rendering(text, (), contents)).ids

    def ask_text(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt that is gone on with as it stands."""
        whole = Span(0, len(prompt))
        return self._tokenize(Rendering(prompt, (), (whole,), is_bare=True)).ids

    def _id_of(self, mark: str) -> int:
        number: Any = self.tokenizer.convert_tokens_to_ids(mark)
        return int(number)

    def _fit(self, row: Mapping[str, Any], max_length: int) -> FittedRow:
        rendering = render_row(row, self.template, self.train_on)
        whole = self._tokenize(rendering)
        said: dict[str, Any] = {
            "dropped_characters": rendering.dropped,
            "unlike_asked": rendering.unlike_asked,
            "left_out": rendering.left_out,
            "asked_with": self._name_options(rendering),
        }
        before = count_kinds(whole.kinds)
        if len(whole.ids) > max_length:
            if self.overlong == "drop":
                fix = f"{len(whole.ids)} tokens, above data.max_length ({max_length}); chat.overlong is drop"
                return FittedRow(whole, aside=Aside(OVERLONG, fix, is_chosen=True), **said)
            short = (
                take_slice(whole, 0, max_length) if self.overlong == "cut" else self._shorten(row, whole, max_length)
            )
        else:
            short = whole
        cut = before - count_kinds(short.kinds)
        if not (short.kinds == SUPERVISED).any():
            fix = f"no token of an answer is left within data.max_length ({max_length})"
            if len(whole.ids) <= max_length:
                fix = _explain_no_loss(rendering)
            return FittedRow(short, cut, Aside(NO_ANSWER_LEFT, fix), **said)
        return FittedRow(short, cut, **said)

    def _name_options(self, rendering: Rendering) -> str | None:
        if rendering.asked_with is None or self.template is None or not self.template.variants:
            return None
        return json.dumps(dict(rendering.asked_with), sort_keys=True)

    def _shorten(self, row: Mapping[str, Any], whole: TokenizedRow, max_length: int) -> TokenizedRow:
        """Drop the oldest turns until the row fits; where one exchange is too long, cut the beginning of its question.

        An answer that does not fit is not cut: nothing of it is kept.
        """
        shorter = shorter_ones(row)
        # Each has fewer turns than the one before, so that not all of them have to be rendered.
        kept = bisect_left(shorter, True, key=lambda one: len(self.tokenize(one).ids) <= max_length)
        if kept < len(shorter):
            return self.tokenize(shorter[kept])
        if shorter:
            whole = self.tokenize(shorter[-1])
        fitting = cut_question(whole, max_length)
        return take_slice(whole, 0, 0) if fitting is None else fitting

    def _tokenize(self, rendering: Rendering) -> TokenizedRow:
        ids, places = self._encode(rendering)
        if rendering.is_bare:
            ids, places = [*self._opening, *ids], [(0, 0)] * len(self._opening) + places
        starts = np.asarray([start for start, _ in places], dtype=np.int64)
        stops = np.asarray([stop for _, stop in places], dtype=np.int64)
        kinds = np.full(len(ids), TEMPLATE, dtype=np.int8)
        for span in rendering.contents:
            kinds[(starts < span.stop) & (stops > span.start)] = CONTEXT
        for span in rendering.supervised:
            kinds[(starts < span.stop) & (stops > span.start)] = SUPERVISED
        text = rendering.text
        end = self.tokenizer.eos_token_id if rendering.wants_end else None
        if end is not None:
            ids, places = [*ids, int(end)], [*places, (len(text), len(text))]
            kinds = np.append(kinds, np.int8(SUPERVISED))
        if len(kinds) and kinds[0] == SUPERVISED:
            kinds[0] = CONTEXT  # nothing stands before it that could predict it
        answer = place_answer(rendering.answer, places, has_end=end is not None)
        return TokenizedRow(ids, kinds, text, places, rendering.question, answer)

    def _encode(self, rendering: Rendering) -> tuple[list[int], list[tuple[int, int]]]:
        text = rendering.text
        contents = [text[span.start : span.stop] for span in rendering.contents]
        if not any(mark in content for content in contents for mark in self._marks):
            encoded = self._backend.encode(text, add_special_tokens=False)
            return list(encoded.ids), list(encoded.offsets)
        return self._encode_in_pieces(rendering)

    def _encode_in_pieces(self, rendering: Rendering) -> tuple[list[int], list[tuple[int, int]]]:
        """Encode a text whose contents hold special tokens: those are text there, and marks in what is the template's.

        Raises TemplateRefusalError where this tokenizer cannot do so.
        """
        text = rendering.text
        inside = np.zeros(len(text) + 1, dtype=np.bool_)
        for span in rendering.contents:
            inside[span.start : span.stop] = True
        held = [mark for mark in self._stubborn if any(mark in text[s.start : s.stop] for s in rendering.contents)]
        if held or not self._pieces_are_safe:
            raise TemplateRefusalError(
                f"a message holds a special token of the tokenizer ({(held or self._marks)[0]}), which it cannot read "
                "as text"
            )
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        start = place = 0
        pieces: list[tuple[int, int, str | None]] = []
        for part in split_at(text, self._marks):
            stop = place + len(part)
            if part in self._marks and not inside[place:stop].any():
                pieces += [(start, place, None), (place, stop, part)]
                start = stop
            place = stop
        pieces.append((start, len(text), None))
        for begin, stop, mark in pieces:
            if mark is not None:
                ids.append(self._id_of(mark))
                places.append((begin, stop))
            elif begin < stop:
                encoded = self._textual.encode(text[begin:stop], add_special_tokens=False)
                ids += encoded.ids
                places += [(begin + first, begin + last) for first, last in encoded.offsets]
        return ids, places

    def _find_opening(self) -> list[int]:
        """Return the tokens that the tokenizer puts before a text by itself, as a bare text has to begin."""
        framed, bare = (self._backend.encode("a", add_special_tokens=adds).ids for adds in (True, False))
        place = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0)
        return list(framed[:place])

    def _probe_pieces(self) -> bool:
        """Tell whether text between special tokens is encoded as it is alone."""
        mark = next(iter(self._marks), None)
        if mark is None:
            return True
        number = self._backend.token_to_id(mark)
        whole = self._backend.encode(mark.join(["", *_PROBES]), add_special_tokens=False).ids
        parts = [[number, *self._textual.encode(probe, add_special_tokens=False).ids] for probe in _PROBES]
        return bool(whole == [token for part in parts for token in part])


def _next_tokens(tokens: NDArray[np.int32], kinds: NDArray[np.int8], offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return for each place the token that follows it where that one carries loss, else IGNORED."""
    following = np.full(len(tokens), IGNORED, dtype=np.int32)
    if len(tokens):
        asked = kinds[1:] == SUPERVISED
        following[:-1][asked] = tokens[1:][asked]
        ends = offsets[1:][np.diff(offsets) > 0]
        following[ends - 1] = IGNORED
    return following


def _count_kinds(rows: Sequence[FittedRow]) -> dict[str, NDArray[np.int64]]:
    """Return tokens by kind, int64 (n,) each: those that are left, and those that were cut, whatever they were."""
    counts = np.asarray([count_kinds(row.tokens.kinds) for row in rows], dtype=np.int64).reshape(-1, len(TOKEN_KINDS))
    counts[:, TRUNCATED] = [int(row.cut.sum()) for row in rows]
    found = {name: counts[:, column] for column, name in enumerate(TOKEN_KINDS)}
    found["dropped_characters"] = np.asarray([row.dropped_characters for row in rows], dtype=np.int64)
    found["unlike_asked"] = np.asarray([row.unlike_asked for row in rows], dtype=np.int64)
    found["left_out"] = np.asarray([row.left_out for row in rows], dtype=np.int64)
    return found


def _explain_no_loss(rendering: Rendering) -> str:
    """Say why no token of a row that is short enough carries loss."""
    if rendering.unlike_asked:
        if rendering.refused:
            return (
                "the chat template asks for its answers behind another text than it writes before them, and does not "
                f"take the row {'; '.join(rendering.refused)}"
            )
        return "the chat template asks for its answers behind another text than it writes before them"
    if rendering.left_out:
        return "the chat template writes nothing of its answers: calls of tools and thoughts have no place there"
    return "no token of this row carries loss"


def restore_encoder(
    tokenizer: PreTrainedTokenizerBase, described: Mapping[str, Any], known_tokens: int | None
) -> ConversationEncoder:
    """Return the encoder that a model's targets describe: its template, what is trained on, and what is cut."""
    template = described["template"]
    return ConversationEncoder(
        tokenizer,
        None if template is None else restore_template(tokenizer, template),
        train_on=described["train_on"],
        overlong=described["overlong"],
        known_tokens=known_tokens,
    )
