"""Cleaning as a replayable recipe: ordered, named steps with parameters; the same input gives the same rows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from finetune30.data.conversations.conversation import dump
from finetune30.data.conversations.views import read_conversations
from finetune30.data.html_text import contains_html, strip_html
from finetune30.data.texts import CONVERSATION, filled_texts, text_columns
from finetune30.data.validation.findings import WHOLE_ROW
from finetune30.errors import ConfigError

__all__ = ["DEFAULT_RECIPE", "CleaningResult", "clean_rows", "contains_html", "fix_mojibake", "maybe_mojibake"]

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u0080-\u009f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]")
_SPACE = re.compile(r"\s+")
#: First characters of UTF-8 sequences read as Latin-1 or CP1252, each followed by a continuation byte so read.
_MAYBE_MOJIBAKE = "[ÂÃÄÅÐÑØÙàáâãåæçèéêëìíîïð][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
#: Text steps are repeated on the rows they change until nothing changes; this many times at most.
_MAX_ROUNDS = 20

TextStep = Callable[[str], str]


@dataclass(frozen=True)
class CleaningResult:
    """Rows after the recipe; `dropped` counts rows by dropping step.

    `changed_ids`: the ids of the rows that a text step changed, by step and column of text.
    """

    rows: pl.DataFrame
    dropped: dict[str, int]
    changed_ids: dict[str, dict[str, pl.Series]]

    @property
    def changed(self) -> dict[str, int]:
        """Number of rows that each text step changed."""
        return {step: pl.concat(ids.values()).n_unique() for step, ids in self.changed_ids.items()}


def fix_mojibake(text: str) -> str:
    """Return the text with UTF-8 that was read as Latin-1 or CP1252 put right (ftfy, `fix_encoding`)."""
    import ftfy

    return str(ftfy.fix_encoding(text))


def maybe_mojibake(texts: pl.Series) -> pl.Series:
    """Return a Boolean series of texts that are worth a closer look."""
    return texts.str.contains(_MAYBE_MOJIBAKE).fill_null(value=False)


def _maybe_not_nfc(texts: pl.Series) -> pl.Series:
    # Everything below U+0300 is NFC by itself.
    return texts.str.contains("[\u0300-\U0010ffff]").fill_null(value=False)


def _maybe_space(texts: pl.Series) -> pl.Series:
    return texts.str.contains(r"^\s|\s$|\s\s|[^\S ]").fill_null(value=False)


#: Steps that change texts: which rows to look at, and what to do with each text.
TEXT_STEPS: dict[str, tuple[Callable[[pl.Series], pl.Series], TextStep]] = {
    "remove_html": (contains_html, strip_html),
    "mojibake": (maybe_mojibake, fix_mojibake),
    "unicode_nfc": (_maybe_not_nfc, lambda text: unicodedata.normalize("NFC", text)),
    "control_characters": (
        lambda texts: texts.str.contains(_CONTROL.pattern).fill_null(value=False),
        lambda text: _CONTROL.sub("", text),
    ),
    "white_space": (_maybe_space, lambda text: _SPACE.sub(" ", text).strip()),
}
#: Steps that drop rows; the parameter `rules` of drop_by_rule names validation rules.
ROW_STEPS = ("dedupe", "drop_by_rule")

#: What `ft30 data clean` does unless it is given another recipe.
DEFAULT_RECIPE: tuple[dict[str, Any], ...] = (
    {"step": "mojibake"},
    {"step": "remove_html"},
    {"step": "unicode_nfc"},
    {"step": "control_characters"},
    {"step": "white_space"},
    {"step": "dedupe"},
    {"step": "drop_by_rule", "rules": ["missing_label", "empty_text", "repeated_header"]},
)

#: The same for conversations: code and markup are often what they are about, and their lines and spaces count.
CONVERSATION_RECIPE: tuple[dict[str, Any], ...] = (
    *({"step": step} for step in ("mojibake", "unicode_nfc", "control_characters", "dedupe")),
    {"step": "drop_by_rule", "rules": [*WHOLE_ROW, "empty_text"]},
)


def default_recipe(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return what is done to rows that no other recipe is given for."""
    recipe = CONVERSATION_RECIPE if CONVERSATION in text_columns(rows) else DEFAULT_RECIPE
    return [dict(step) for step in recipe]


def check_recipe(recipe: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigError for a step or parameter that does not exist."""
    known = (*TEXT_STEPS, *ROW_STEPS)
    for number, entry in enumerate(recipe, start=1):
        name = entry.get("step") if isinstance(entry, Mapping) else None
        if name not in known:
            raise ConfigError(f"step {number} of the recipe is {name!r}", f"use one of {', '.join(known)}")
        surplus = set(entry) - {"step"} - ({"rules"} if name == "drop_by_rule" else set())
        if surplus:
            raise ConfigError(f"step {number} ({name}) has no parameter {', '.join(sorted(surplus))}", "remove it")
        if name == "drop_by_rule" and not entry.get("rules"):
            raise ConfigError(f"step {number} (drop_by_rule) names no rules", "add rules: [empty_text, …]")


def clean_rows(
    rows: pl.DataFrame,
    recipe: Sequence[Mapping[str, Any]],
    faulty: Callable[[pl.DataFrame, Sequence[str]], pl.Series] | None = None,
) -> CleaningResult:
    """Run the recipe on rows (columns row_id, texts, label_text, reason).

    Text steps run in order, again and again on the rows they change until nothing changes, so that cleaning clean
    rows changes nothing. Dropping steps set `reason`. `faulty` answers which rows break the named validation rules.
    """
    check_recipe(recipe)
    changed_ids: dict[str, dict[str, pl.Series]] = {}
    steps = [str(entry["step"]) for entry in recipe if entry["step"] in TEXT_STEPS]
    for cell in filled_texts(rows):
        clean = _clean_conversations if cell == CONVERSATION else _clean_cell
        rows = clean(rows, cell, steps, changed_ids)
    dropped: dict[str, int] = {}
    for entry in recipe:
        if entry["step"] in TEXT_STEPS:
            continue
        name = str(entry["step"])
        marked = _repeated(rows) if name == "dedupe" else _breaking(rows, entry["rules"], faulty)
        marked = marked & rows["reason"].is_null()
        reason = "duplicate" if name == "dedupe" else name
        rows = rows.with_columns(pl.when(marked).then(pl.lit(reason)).otherwise(pl.col("reason")).alias("reason"))
        dropped[name] = dropped.get(name, 0) + int(marked.sum())
    return CleaningResult(rows, dropped, changed_ids)


def clean_texts(texts: Sequence[str], recipe: Sequence[Mapping[str, Any]]) -> list[str]:
    """Run the text steps of a recipe on texts, exactly as `clean_rows` runs them on the rows of a data set."""
    steps = [str(entry["step"]) for entry in recipe if entry["step"] in TEXT_STEPS]
    # What no step changes stays as it is, whichever rows the steps look at. Most texts are such, and a table costs
    # milliseconds however few rows it has: more than a small model takes to answer.
    cleaned = list(texts)
    changed = [n for n, text in enumerate(texts) if any(TEXT_STEPS[name][1](text) != text for name in steps)]
    if changed:
        rows = pl.DataFrame({"row_id": [str(n) for n in changed], "text": [texts[n] for n in changed]})
        for n, text in zip(changed, _clean_cell(rows, "text", steps, {})["text"], strict=True):
            cleaned[n] = text
    return cleaned


def _clean_cell(
    rows: pl.DataFrame, cell: str, steps: Sequence[str], changed_ids: dict[str, dict[str, pl.Series]]
) -> pl.DataFrame:
    texts, positions = rows[cell], None
    for _ in range(_MAX_ROUNDS):
        changed_positions: set[int] = set()
        for name in steps:
            select, change = TEXT_STEPS[name]
            part = texts if positions is None else texts.gather(positions)
            where = select(part).arg_true()
            candidates = where.to_list() if positions is None else [positions[index] for index in where]
            updates = {p: new for p in candidates if (new := change(texts[p])) != texts[p]}
            if updates:
                at = list(updates)
                texts = texts.scatter(at, pl.Series(list(updates.values()), dtype=pl.String))
                changed_positions.update(at)
                ids, known = rows["row_id"].gather(at), changed_ids.setdefault(name, {})
                known[cell] = pl.concat([known[cell], ids]).unique() if cell in known else ids
        if not changed_positions:
            break
        positions = sorted(changed_positions)
    return rows.with_columns(texts.alias(cell))


def _clean_conversations(
    rows: pl.DataFrame, cell: str, steps: Sequence[str], changed_ids: dict[str, dict[str, pl.Series]]
) -> pl.DataFrame:
    """Clean what is said in each conversation, never its JSON; a row that is none stays as it is."""
    found = read_conversations(rows[cell])
    places = [(row, len(conversation.contents)) for row, conversation in enumerate(found) if conversation is not None]
    texts = [text for conversation in found if conversation is not None for text in conversation.contents]
    ids = rows["row_id"].gather([row for row, count in places for _ in range(count)])
    flat = pl.DataFrame({"row_id": ids, cell: pl.Series(texts, dtype=pl.String)})
    clean = _clean_cell(flat, cell, steps, changed_ids)[cell].to_list()
    cells, start = rows[cell].to_list(), 0
    for row, count in places:
        conversation = found[row]
        if conversation is not None and clean[start : start + count] != texts[start : start + count]:
            cells[row] = dump(conversation.with_contents(clean[start : start + count]))
        start += count
    return rows.with_columns(pl.Series(cell, cells, dtype=pl.String))


def _repeated(rows: pl.DataFrame) -> pl.Series:
    """Mark every row after the first kept one with the same texts and label, in the same split."""
    main, *others = text_columns(rows)
    key = pl.struct("split", main, *(pl.col(name).fill_null("") for name in (*others, "label_text")))
    kept = pl.col("reason").is_null()
    return rows.select(kept & (kept.cum_sum().over(key) > 1)).to_series()


def _breaking(
    rows: pl.DataFrame, rules: Sequence[str], faulty: Callable[[pl.DataFrame, Sequence[str]], pl.Series] | None
) -> pl.Series:
    if faulty is None:
        raise ConfigError("drop_by_rule needs the validation rules", "run the recipe with: ft30 data clean")
    return faulty(rows, rules)
