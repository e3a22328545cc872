"""Rules about rows among each other: duplicates, contradictions, leakage, class sizes, scripts and constant texts.

Rows are the same by all of their texts, nearly the same by those that are not optional. The rules about what most rows
are like (constants, scripts, telling words) look at the main text.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from finetune30.data.conversations.asked import find_earlier, join_questions
from finetune30.data.conversations.views import with_questions
from finetune30.data.groups import GROUP
from finetune30.data.texts import filled_texts, text_columns
from finetune30.data.validation.findings import FindingList, shorten
from finetune30.data.validation.near_duplicates import find_near_duplicates

#: A text that makes up more than this share of a split (and at least as many rows) counts as constant.
_CONSTANT_SHARE, _CONSTANT_ROWS = 0.05, 20
#: A label word counts as a leak where it stands in this share of its own rows and in few others.
_LEAK_OWN_SHARE, _LEAK_OTHER_SHARE, _LEAK_ROWS = 0.9, 0.1, 20
#: A set counts as written in one script where this share of its rows is; the others are then worth a look.
_SCRIPT_SHARE = 0.9
_SCRIPTS = {
    "Han": r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}]",
    "Hangul": r"\p{Hangul}",
    "Cyrillic": r"\p{Cyrillic}",
    "Arabic": r"\p{Arabic}",
    "Hebrew": r"\p{Hebrew}",
    "Greek": r"\p{Greek}",
    "Thai": r"\p{Thai}",
    "Devanagari": r"\p{Devanagari}",
}


def text_keys(rows: pl.DataFrame) -> pl.Series:
    """Return what makes two rows the same text: all of their texts without outer white space."""
    main, *others = filled_texts(rows)
    texts = [pl.col(main).str.strip_chars(), *(pl.col(name).fill_null("").str.strip_chars() for name in others)]
    return rows.select(pl.concat_str(texts, separator="\0").alias("_key")).to_series()


def question_keys(rows: pl.DataFrame) -> pl.Series:
    """Return what makes two rows the same question, of other texts the same text: such rows stay on one side."""
    return join_questions(rows, text_keys(with_questions(rows)))


def check_repeats(
    rows: pl.DataFrame, found: FindingList, *, near: bool, wholes: pl.Series | None = None
) -> pl.DataFrame:
    """Mark repeated texts: contradictory labels, copies within a split, and training rows that are evaluation rows.

    With `wholes` the texts are questions and the labels their answers; `wholes` are both, of which near duplicates are
    told. Only rows without a `reason` take part. A contradiction among evaluation rows is a warning: setting evaluation
    rows aside would change the measure.
    """
    keyed = rows.select("row_id", "split", *text_columns(rows), "label_text", "reason").with_columns(text_keys(rows))
    if wholes is not None:
        keyed = keyed.with_columns(wholes.alias("_whole"))
    keyed = keyed.filter(pl.col("reason").is_null() & (pl.col("_key") != ""))
    keyed = keyed.with_columns(pl.col("_key").rank("dense").alias("_group")).drop("_key")
    repeated = keyed.filter(pl.col("_group").is_duplicated())
    if repeated.height:
        if wholes is None:
            _leaks(repeated, found, "the same text is evaluation row {}; remove it here")
            _contradictions(repeated, found, "contradictory_label", "same text, different labels ({}); decide on one")
        else:
            _leaks(repeated, found, "the same question is evaluation row {}; remove it here")
            words = "same question, different answers ({}); decide on one"
            _contradictions(repeated, found, "contradictory_answer", words)
        _copies(repeated, found)
    rows = found.mark(rows)
    if near and (found.wanted("near_duplicate") or found.wanted("near_leakage")):
        _near(keyed, found)
        rows = found.mark(rows)
    return rows


def check_groups(rows: pl.DataFrame, found: FindingList) -> pl.DataFrame:
    """Mark training rows of groups that given evaluation rows are of too, where rows belong together."""
    if GROUP not in rows.columns or not found.wanted("group_leakage"):
        return rows
    kept = rows.filter(pl.col("reason").is_null())
    first = kept.filter(pl.col("split") == "evaluation").unique(GROUP, keep="first", maintain_order=True)
    others = first.select(GROUP, pl.col("row_id").alias("_other"))
    hits = kept.filter(pl.col("split") == "train").join(others, on=GROUP, how="inner", maintain_order="left")
    fix = pl.format("belongs together with evaluation row {}; keep both on one side", "_other")
    found.add("group_leakage", hits, fix)
    return found.mark(rows)


def check_turns(rows: pl.DataFrame, conversations: pl.DataFrame, found: FindingList) -> pl.DataFrame:
    """Mark training rows that ask on the way to their last answer what an evaluation row asks.

    `rows` have questions in the place of the `conversations`, the same rows as they are.
    """
    is_free = rows["reason"].is_null()
    evaluation = rows.filter(is_free & (rows["split"] == "evaluation"))
    trained = is_free & (rows["split"] == "train")
    asked: dict[str, str] = {}
    for question, row_id in zip(text_keys(evaluation), evaluation["row_id"], strict=True):
        asked.setdefault(question.strip(), row_id)
    others = {place: asked[question] for place, question in find_earlier(conversations.filter(trained), asked)}
    hits = rows.filter(trained)[list(others)].with_columns(pl.Series("_other", list(others.values()), dtype=pl.String))
    found.add("leakage", hits, pl.format("an earlier turn asks what evaluation row {} asks; remove it here", "_other"))
    return found.mark(rows)


def check_classes(rows: pl.DataFrame, found: FindingList, min_rows: int) -> pl.DataFrame:
    """Mark the first row of every training class that has too few rows, and texts that tell their own label."""
    train = rows.filter((pl.col("split") == "train") & pl.col("reason").is_null() & pl.col("label_text").is_not_null())
    sizes = train.with_columns(pl.len().over("label_text").alias("_size")).filter(pl.col("_size") < min_rows)
    first = sizes.unique("label_text", keep="first", maintain_order=True)
    fix = pl.format("this class has {} training rows; add some, or join it with another", "_size")
    found.add("small_class", first, fix, cell="label")
    if found.wanted("label_in_text"):
        _telling_words(train, found)
    return found.mark(rows)


def check_constants(rows: pl.DataFrame, found: FindingList) -> pl.DataFrame:
    """Mark the first row of a text that fills a large part of a split."""
    if not found.wanted("constant_text"):
        return rows
    kept = rows.filter(pl.col("reason").is_null())
    over = ["split", found.main]
    sized = kept.with_columns(pl.len().over(over).alias("_size"), pl.len().over("split").alias("_all"))
    many = (pl.col("_size") > pl.col("_all") * _CONSTANT_SHARE) & (pl.col("_size") >= _CONSTANT_ROWS)
    first = sized.filter(many).unique(over, keep="first", maintain_order=True)
    found.add("constant_text", first, pl.format("this text stands {} times; is it a placeholder?", "_size"))
    return found.mark(rows)


def check_scripts(rows: pl.DataFrame, found: FindingList) -> pl.DataFrame:
    """Mark rows in another script than nearly all the others (by the script of most of their letters)."""
    if not found.wanted("script_mix"):
        return rows
    kept = rows.filter(pl.col("reason").is_null())
    scripted = kept.with_columns(name_scripts(kept[found.main])).filter(pl.col("_script") != "")
    counts = scripted["_script"].value_counts(sort=True)
    if counts.height < 2 or counts["count"][0] < _SCRIPT_SHARE * scripted.height:
        return rows
    main = counts["_script"][0]
    fix = pl.format("written in {}, nearly all other rows in " + main, "_script")
    found.add("script_mix", scripted.filter(pl.col("_script") != main), fix)
    return found.mark(rows)


def _leaks(repeated: pl.DataFrame, found: FindingList, words: str) -> None:
    """Training rows whose text stands in the evaluation rows; `words` say so, with the id of one of them."""
    evaluation = repeated.filter(pl.col("split") == "evaluation").unique("_group", keep="first", maintain_order=True)
    train = repeated.filter(pl.col("split") == "train")
    hits = train.join(evaluation.select("_group", pl.col("row_id").alias("_other")), on="_group", maintain_order="left")
    found.add("leakage", hits, pl.format(words, "_other"))


def _contradictions(repeated: pl.DataFrame, found: FindingList, rule: str, words: str) -> None:
    """Rows of one split that have the same text and different labels; `words` say so, with the list of them."""
    if not found.wanted(rule):
        return
    over = ["split", "_group"]
    several = repeated.with_columns(pl.col("label_text").n_unique().over(over).alias("_labels")).filter(
        pl.col("_labels") > 1
    )
    if not several.height:
        return
    listed = several.group_by(over, maintain_order=True).agg(
        pl.format("{} says {}", "row_id", shorten(pl.col("label_text"))).head(3).str.join(", ").alias("_listed")
    )
    hits = several.join(listed, on=over, how="left", maintain_order="left")
    fix = pl.format(words, "_listed")
    found.add(rule, hits.filter(pl.col("split") == "train"), fix)
    found.add(rule, hits.filter(pl.col("split") == "evaluation"), fix, severity="warn")


def _copies(repeated: pl.DataFrame, found: FindingList) -> None:
    """Rows after the first with the same text and label in the same split."""
    over = ["split", "_group", "label_text"]
    marked = repeated.with_columns(
        pl.col("row_id").first().over(over).alias("_other"), pl.int_range(pl.len()).over(over).alias("_copy")
    )
    found.add("exact_duplicate", marked.filter(pl.col("_copy") > 0), pl.format("repeats {}", "_other"))


def _near(keyed: pl.DataFrame, found: FindingList) -> None:
    """Rows that nearly repeat an earlier row of their split, and training rows that nearly are evaluation rows."""
    distinct = keyed.unique(["_group"], keep="first", maintain_order=True)
    texts = ["_whole"] if "_whole" in distinct.columns else found.texts
    whole = distinct.select(pl.concat_str(texts, separator=" ").alias("_whole")).to_series()
    pairs = find_near_duplicates(whole)
    if not pairs.height:
        return
    split = (distinct["split"] == "evaluation").to_numpy()
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    across = split[first] != split[second]
    ids = distinct["row_id"]
    train = np.where(split[first], second, first)
    evaluation = np.where(split[first], first, second)
    for rule, chosen, row, other, words in (
        ("near_duplicate", ~across, second, first, "nearly repeats {} ({} % alike)"),
        ("near_leakage", across, train, evaluation, "nearly the same text is evaluation row {} ({} % alike)"),
    ):
        hits = pl.DataFrame(
            {
                "row_id": ids.gather(row[chosen]),
                "_other": ids.gather(other[chosen]),
                "_percent": np.round(pairs["similarity"].to_numpy()[chosen] * 100).astype(np.int64),
            }
        )
        hits = hits.sort("_percent", descending=True, maintain_order=True).unique("row_id", keep="first")
        order = keyed.select("row_id", "split", found.main).join(hits, on="row_id", maintain_order="left")
        found.add(rule, order, pl.format(words, "_other", "_percent"))


def _telling_words(train: pl.DataFrame, found: FindingList) -> None:
    """Classes whose very name stands in nearly all of their texts and in few others: the text tells the label."""
    counts = train["label_text"].value_counts()
    for name, size in counts.iter_rows():
        if size < _LEAK_ROWS or len(name) < 2 or name.isdigit() or counts.height < 2:
            continue
        holds = train[found.main].str.to_lowercase().str.contains(name.lower(), literal=True)
        own = train["label_text"] == name
        inside, outside = int((holds & own).sum()), int((holds & ~own).sum())
        if inside >= _LEAK_OWN_SHARE * size and outside <= _LEAK_OTHER_SHARE * (train.height - size):
            hits = train.filter(holds & own).head(1)
            fix = f"{inside} of {size} rows of this class contain its name {name!r}; the model would only look for it"
            found.add("label_in_text", hits, fix)


def name_scripts(texts: pl.Series) -> pl.Series:
    """Return the script of most letters of every text (Latin, Han …; "" where there are no letters)."""
    foreign = texts.str.contains(r"[^\x00-\u024f\u2000-\u2bff]")
    base = pl.select(pl.when(texts.str.contains(r"\p{Latin}")).then(pl.lit("Latin")).otherwise(pl.lit(""))).to_series()
    where = foreign.arg_true()
    if not len(where):
        return base.alias("_script")
    part = pl.DataFrame({"text": texts.gather(where)})
    counts = part.select(pl.col("text").str.count_matches(pattern).alias(name) for name, pattern in _SCRIPTS.items())
    # One Han character carries about as much as a Latin word: compare them with words.
    counts = counts.with_columns(part["text"].str.count_matches(r"\p{Latin}+").alias("Latin"))
    names = np.array(counts.columns)
    table = counts.to_numpy()
    best = np.where(table.max(axis=1) > 0, names[table.argmax(axis=1)], "")
    return base.scatter(where, pl.Series(best.tolist(), dtype=pl.String)).alias("_script")
