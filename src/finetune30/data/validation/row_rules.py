"""Rules about one row at a time: labels and texts that are missing, too short or long, or not what they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from finetune30.config.validation import ValidationRules
from finetune30.data.cleaning import contains_html, fix_mojibake, maybe_mojibake
from finetune30.data.encoding import CountTokens
from finetune30.data.texts import filled_texts, texts_and_pairs
from finetune30.data.validation.findings import WHOLE_ROW, FindingList

#: Lengths by which texts are judged where no limit is set: then they are reported, and no row is dropped.
USUAL_SHORTEST, USUAL_LONGEST = 5, 500
CONTROL_CHARACTERS = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u0080-\u009f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
#: A label that at most this many rows carry counts as a slip where the median class has a hundred rows.
_RARE_LABEL_ROWS, _COMMON_CLASS_ROWS = 2, 100
_SLICE_ROWS = 100_000

#: The rule, and what to do, about rows that give a model nothing to read.
NO_TOKENS = "no_tokens"
NO_TOKENS_FIX = "the tokenizer makes nothing of this text; fill it in, or remove the row"

#: What to say of a row that is too long, by what becomes of it (see `TokenCounts`).
_CUTS = {
    None: "{} tokens, cut at data.max_length (LIMIT)",
    "cut": "{} tokens, above data.max_length (LIMIT): the end is cut off",
    "keep_answer": "{} tokens, above data.max_length (LIMIT): the oldest context is left out, the answer stays",
}


def check_labels(rows: pl.DataFrame, found: FindingList, text_name: str, label_name: str) -> pl.DataFrame:
    """Mark rows that repeat the header, have main text and label swapped, or have no label."""
    text, label = pl.col(found.main).str.strip_chars(), pl.col("label_text")
    header = (text == text_name) & (label == label_name)
    found.add("repeated_header", rows.filter(header), "delete the line; the header stands once, at the top")
    rows = found.mark(rows)
    counts = rows.filter(pl.col("reason").is_null()).get_column("label_text").drop_nulls().value_counts()
    known = counts.filter(pl.col("count") > _RARE_LABEL_ROWS)["label_text"].implode()
    longer = label.str.len_chars() > text.str.len_chars()
    swapped = text.is_in(known) & ~label.is_in(known) & longer & pl.col("reason").is_null()
    found.add("columns_swapped", rows.filter(swapped), "swap text and label of this row")
    rows = found.mark(rows)
    found.add("missing_label", rows.filter(label.is_null()), "give the row a label", cell="label")
    return found.mark(rows)


def check_unknown_labels(rows: pl.DataFrame, found: FindingList, expected: int | None) -> pl.DataFrame:
    """Mark training labels that look like slips of the pen, and evaluation labels that no training row carries."""
    label, kept = pl.col("label_text"), pl.col("reason").is_null()
    slips = _slips(rows, expected)
    if slips:
        hits = rows.filter(label.is_in(list(slips)) & kept)
        found.add("unknown_label", hits, label.replace_strict(slips, return_dtype=pl.String), cell="label")
    rows = found.mark(rows)
    known = rows.filter((pl.col("split") == "train") & kept)["label_text"].unique()
    strangers = rows.filter((pl.col("split") == "evaluation") & kept & ~label.is_in(known.implode()))
    listed = ", ".join(sorted(known.drop_nulls())[:6])
    found.add("unknown_label", strangers, f"no training row has this label ({listed} …)", cell="label")
    return found.mark(rows)


def check_texts(rows: pl.DataFrame, found: FindingList, rules: ValidationRules) -> pl.DataFrame:
    """Mark rows that have an empty text, or one that is too short or too long (characters without outer white space).

    A row has at most one finding of each rule, at the first text that breaks it. Optional texts may be short. Where no
    limit is set, the usual lengths are reported.
    """
    # A repeated header, a swapped row or a broken conversation is one fault, not two.
    whole = ["repeated_header", "columns_swapped", "empty_text", *WHOLE_ROW]
    rest = rows.filter(pl.col("reason").is_null() | ~pl.col("reason").is_in(whole))
    if not rules.allow_empty:
        empty = {cell: length == 0 for cell, length in text_lengths(rows).items()}
        fix = "fill in the text, or set data.validation_rules.allow_empty to true"
        _add_first(found, "empty_text", rest, empty, fix)
    short, long = length_limits(rules)
    too_short, too_long = breaking_lengths(rows, found.texts, short, long)
    fix = f"shorter than data.validation_rules.min_text_length ({short})"
    if rules.min_text_length is None:
        fix = f"shorter than {short} characters; set data.validation_rules.min_text_length to {short} to drop it"
    _add_first(found, "too_short", rest, too_short, fix)
    fix = f"longer than data.validation_rules.max_text_length ({long})"
    if rules.max_text_length is None:
        fix = f"longer than {long} characters; set data.validation_rules.max_text_length to {long} to drop it"
    _add_first(found, "too_long", rest, too_long, fix)
    return found.mark(rows)


def length_limits(rules: ValidationRules) -> tuple[int, int]:
    """Return the shortest and longest text, in characters, by which rows are judged: as set, else the usual ones."""
    short, long = rules.min_text_length, rules.max_text_length
    return USUAL_SHORTEST if short is None else short, USUAL_LONGEST if long is None else long


def text_lengths(rows: pl.DataFrame) -> dict[str, pl.Expr]:
    """Return the number of characters, without outer white space, of each column of text that holds anything."""
    return {cell: pl.col(cell).fill_null("").str.strip_chars().str.len_chars() for cell in filled_texts(rows)}


def breaking_lengths(
    rows: pl.DataFrame, required: Sequence[str], short: int, long: int
) -> tuple[dict[str, pl.Expr], dict[str, pl.Expr]]:
    """Return where texts are too short and where they are too long, by column; only `required` ones can be too short.

    An empty text is not a short one: a rule of its own says so.
    """
    lengths = text_lengths(rows)
    too_short = {cell: (lengths[cell] > 0) & (lengths[cell] < short) for cell in required if cell in lengths}
    return too_short, {cell: length > long for cell, length in lengths.items()}


def check_characters(rows: pl.DataFrame, found: FindingList) -> pl.DataFrame:
    """Mark control characters, mojibake, replacement characters, and HTML that is not removed."""
    for cell in filled_texts(rows):
        text = pl.col(cell)
        if found.severity("html") not in ("fix", "off"):
            found.add("html", rows.filter(contains_html(rows[cell])), "remove tags and entities", cell=cell)
        if found.severity("control_characters") not in ("fix", "off"):
            hits = rows.filter(text.str.contains(CONTROL_CHARACTERS))
            found.add("control_characters", hits, "remove the invisible characters", cell=cell)
        if found.wanted("replacement_character"):
            hits = rows.filter(text.str.contains("\ufffd", literal=True))
            found.add("replacement_character", hits, "restore the character from the original text", cell=cell)
        if found.severity("mojibake") not in ("fix", "off"):
            maybe = rows.filter(maybe_mojibake(rows[cell]))
            repaired = pl.Series("_repaired", [fix_mojibake(value) for value in maybe[cell]], dtype=pl.String)
            hits = maybe.with_columns(repaired).filter(pl.col("_repaired") != text)
            found.add("mojibake", hits, pl.format("should read {}", pl.col("_repaired").str.slice(0, 80)), cell=cell)
    return found.mark(rows)


def check_contents(rows: pl.DataFrame, found: FindingList, *, has_names: bool) -> pl.DataFrame:
    """Mark texts that repeat one word or character; with `has_names`, those that give their own label away too.

    Optional ones may.
    """
    kept = rows.filter(pl.col("reason").is_null())
    for cell in found.texts:
        text = pl.col(cell).str.strip_chars().str.to_lowercase()
        if found.wanted("constant_text"):
            words = text.str.split(" ").list
            # By slices: all words of all rows at once would take several times the memory of the texts.
            slices = kept.iter_slices(_SLICE_ROWS)
            candidates = pl.concat([part.filter(words.first() == words.last()) for part in slices] or [rows.clear()])
            constant = pl.Series([_says_nothing(value) for value in candidates[cell]], dtype=pl.Boolean)
            found.add("constant_text", candidates.filter(constant), "the text says nothing; remove the row", cell=cell)
        if found.wanted("label_in_text") and has_names:
            pattern = r"(?i)(?:\b(?:label|class|category|sentiment|target|intent)\s*[:=]\s*|__label__)[\"'\[]*"
            maybe = kept.filter(pl.col(cell).str.contains(pattern))
            own = pl.col("label_text").str.to_lowercase()
            after = pl.col(cell).str.extract(pattern + r"([\w-]+)", 1).str.to_lowercase()
            found.add("label_in_text", maybe.filter(after == own), "remove the label from the text", cell=cell)
            found.add("label_in_text", kept.filter(text == own), "the text is nothing but the label", cell=cell)
    return found.mark(rows)


def check_tokens(
    rows: pl.DataFrame,
    read: pl.DataFrame,
    found: FindingList,
    count_tokens: CountTokens,
    max_length: int,
    *,
    allow_empty: bool,
) -> pl.DataFrame:
    """Mark rows that have more tokens than `max_length` under the run's tokenizer, or that a training sets aside.

    `read`: the same rows as the tokenizer reads them. With `allow_empty` only those say nothing that have no token at
    all, as in a training. What the configuration chose to leave out is no fault.
    """
    is_kept = rows["reason"].is_null()
    kept = rows.filter(is_kept)
    counts = count_tokens(*texts_and_pairs(read.filter(is_kept)))
    nothing = [i for i in counts.tokenless if not (allow_empty and counts.lengths[i])]
    # A training sets these aside whatever the configuration says about rules.
    found.add(NO_TOKENS, kept[nothing], NO_TOKENS_FIX, severity="error")
    for rule, chosen in dict.fromkeys((why.rule, why.is_chosen) for why in counts.aside.values()):
        fixes = {i: why.fix for i, why in counts.aside.items() if (why.rule, why.is_chosen) == (rule, chosen)}
        hits = kept[list(fixes)].with_columns(pl.Series("_fix", list(fixes.values()), dtype=pl.String))
        found.add(rule, hits, pl.col("_fix"), severity="warn" if chosen else "error")
    whole = counts.aside.keys() | set(counts.in_parts)
    cut = {i: length for i, length in enumerate(counts.lengths) if length > max_length and i not in whole}
    if cut:
        hits = kept[list(cut)].with_columns(pl.Series("_tokens", list(cut.values()), dtype=pl.Int64))
        found.add("truncated", hits, pl.format(_CUTS[counts.overlong].replace("LIMIT", str(max_length)), "_tokens"))
    return found.mark(rows)


def _says_nothing(text: str) -> bool:
    """Say whether a text is one character five times or more, or one word three times or more."""
    words = text.lower().split()
    return (len(words) >= 3 and len(set(words)) == 1) or (
        len(words) == 1 and len(words[0]) >= 5 and len(set(words[0])) == 1
    )


def _add_first(found: FindingList, rule: str, rows: pl.DataFrame, breaking: Mapping[str, pl.Expr], fix: str) -> None:
    """Add a finding for every row at the first of its texts that breaks a rule; `breaking`: column -> where it does."""
    for cell, breaks in breaking.items():
        found.add(rule, rows.filter(breaks), fix, cell=cell)
        rows = rows.filter(~breaks)


def _slips(rows: pl.DataFrame, expected: int | None) -> dict[str, str]:
    """Return labels that look like slips (one or two rows beside classes of hundreds) and what to do about each."""
    import difflib

    train = rows.filter((pl.col("split") == "train") & pl.col("reason").is_null())["label_text"].drop_nulls()
    counts = dict(train.value_counts().iter_rows())
    common = [str(name) for name, count in counts.items() if count > _RARE_LABEL_ROWS]
    sizes = sorted(counts.values())
    if not sizes or sizes[len(sizes) // 2] < _COMMON_CLASS_ROWS or (expected is not None and len(counts) <= expected):
        return {}
    listed = ", ".join(sorted(common)[:6])
    slips = {}
    for name in counts.keys() - set(common):
        near = difflib.get_close_matches(name, common, n=1)
        slips[name] = f"did you mean {near[0]!r}?" if near else f"use one of the labels {listed}"
    return slips
