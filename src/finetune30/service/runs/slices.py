"""How good the answers of a run are on parts of its evaluation rows: by length, script, and file.

A part is a line of a table with its rows, its mean outcome, the 95 % interval of that, and the filter that lists it.
The first line is all rows, to hold the others against. A part of 30 rows or more has the p-value of its difference from
the rest, adjusted for all parts of all tables (Holm 1979); smaller ones are
faint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from finetune30.blocks import Column, RowFilter, Table, Words, as_tree
from finetune30.problems.shared.intervals import mean_interval, wilson_interval
from finetune30.service.runs.evaluation_frames import EvaluationFrames
from finetune30.service.runs.open_records import Records
from finetune30.service.runs.outcomes import Measure, groups_of, name_loss
from finetune30.service.runs.row_filters import filter_rows, sortable
from finetune30.service.statistics.groups import count_groups
from finetune30.service.statistics.mcnemar import adjust_holm
from finetune30.service.statistics.parts import fisher_p_value, welch_p_value
from finetune30.store import Run

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.storage import VersionStore

#: Lengths are cut where as many rows lie on each side: into so many parts.
_LENGTHS = 4
#: Rows of a part, and of the rest, below which they are not tested against each other.
_LEAST_ROWS = 30
_FEW = Words(
    f"Grey: fewer than {_LEAST_ROWS} rows. A few right rows more or less would say something else, so they are not "
    "tested.",
    f"灰色：不到 {_LEAST_ROWS} 筆資料。多幾筆或少幾筆答對的資料，結果就會不同，因此不作檢定。",
)
#: Parts of other kinds that are listed, those with most rows.
_MOST_PARTS = 20

_ROWS = Column(Words("Rows", "筆數"), "count")
_PART = Column(Words("Part", "範圍"), "text")
_ALL = Words("all rows", "全部資料")
_ENDS = (Words("95 % from", "95 % 下限"), Words("95 % to", "95 % 上限"))
_RIGHT = Words("Right", "答對比例")
_LOSSES: dict[Measure, Words] = {
    "squared_error": Words("Mean squared error", "均方誤差"),
    "absolute_error": Words("Mean absolute error", "平均絕對誤差"),
    "loss": Words("Mean loss", "平均損失"),
}
_RESIDUAL = Column(Words("Mean residual", "平均殘差"), "number")
_CONFIDENCE = Column(Words("Confidence", "平均信心"), "percent")
_APART = Column(Words("p against the rest (Holm)", "與其餘資料相比的 p 值（Holm）"), "number")
_SCRIPTS = {
    "Latin": Words("Latin", "拉丁字母"),
    "Han": Words("Han (Chinese, Japanese)", "漢字（中文、日文）"),
    "Hangul": Words("Hangul", "韓文字母"),
    "Cyrillic": Words("Cyrillic", "西里爾字母"),
    "Arabic": Words("Arabic", "阿拉伯文字"),
    "Hebrew": Words("Hebrew", "希伯來文字"),
    "Greek": Words("Greek", "希臘字母"),
    "Thai": Words("Thai", "泰文字母"),
    "Devanagari": Words("Devanagari", "天城文"),
    "": Words("no letters", "沒有字母"),
}

_TITLES = {
    "length": Words("By length (characters)", "依長度（字元）"),
    "script": Words("By script", "依文字系統"),
    "file": Words("By source", "依來源"),
}

Part = tuple[Any, "pl.DataFrame", RowFilter]


def load_slices(
    frames: EvaluationFrames,
    records: Records,
    run: Run,
    versions: VersionStore,
    wanted: Mapping[str, Any],
    text: str = "",
) -> dict[str, Any]:
    """Return tables (see `finetune30.blocks`) of the parts of the rows that fit a filter and contain a text.

    A table's `key` is the column that tells its parts apart. `measure` is what an outcome is (`outcomes.Measure`), None
    where the rows keep none; `sortable` are the columns by which rows may be sorted; `groups`: in how many groups the
    rows come, which the intervals and tests of parts take for independent (None: in none). Raises what
    `load_evaluation_rows` raises.
    """
    frame = filter_rows(frames.load(records, run, versions), wanted, text)
    measure = _measure(frame)
    parts = {key: found for key, found in _divide(frame).items() if len(found) > 1}
    apart = _test_parts(frame, parts, measure)
    tables = [
        {"key": key, **as_tree(_tabulate(_TITLES[key], frame, found, apart[key], measure))}
        for key, found in parts.items()
    ]
    return {
        "run_id": run.id,
        "rows": frame.height,
        "measure": measure,
        "sortable": sortable(frame),
        "groups": count_groups(groups_of(frame)),
        "tables": tables,
    }


def _divide(frame: pl.DataFrame) -> dict[str, list[Part]]:
    """Return the parts of the rows by the column that tells them apart."""
    return {
        "length": [*_by_length(frame)],
        "script": [*_by_value(frame, "script")],
        "file": [*_by_value(frame, "file")],
    }


def _test_parts(
    frame: pl.DataFrame, parts: Mapping[str, list[Part]], measure: Measure | None
) -> dict[str, list[float | None]]:
    """Return for each part whether it differs from all other rows, as a p-value adjusted for all; None: too few rows.

    Shares of right rows by Fisher's exact test, losses by Welch's.
    """
    found = {key: [_compare(frame, part, measure) for _, part, _ in listed] for key, listed in parts.items()}
    adjusted = iter(adjust_holm([p for listed in found.values() for p in listed if p is not None]))
    return {key: [None if p is None else next(adjusted) for p in listed] for key, listed in found.items()}


def _compare(frame: pl.DataFrame, part: pl.DataFrame, measure: Measure | None) -> float | None:
    import polars as pl

    others = frame.height - part.height
    if measure is None or min(part.height, others) < _LEAST_ROWS:
        return None
    if measure == "right":
        right = int(part["outcome"].sum())
        return fisher_p_value(right, part.height, int(frame["outcome"].sum()) - right, others)
    rest = frame.join(part.select("row_id"), on="row_id", how="anti")
    first, second = (side["outcome"].cast(pl.Float64).to_numpy() for side in (part, rest))
    return welch_p_value(first, second)


def _measure(frame: pl.DataFrame) -> Measure | None:
    import polars as pl

    if "outcome" not in frame.columns:
        return None
    return "right" if frame.schema["outcome"] == pl.Boolean else name_loss(frame)


def _by_length(frame: pl.DataFrame) -> Iterator[Part]:
    import polars as pl

    if "length" not in frame.columns or not frame["length"].count():
        return
    lengths = frame["length"].drop_nulls()
    cuts = sorted({math.ceil(float(lengths.quantile(n / _LENGTHS) or 0)) for n in range(1, _LENGTHS)})
    least, most = int(lengths.min()), int(lengths.max())  # type: ignore[arg-type]
    edges = [least, *(cut for cut in cuts if least < cut <= most), most + 1]
    for low, below in pairwise(edges):
        name = f"{low}" if below == low + 1 else f"{low}–{below - 1}"
        wanted: RowFilter = {"length": [low, below]}
        yield name, frame.filter(pl.col("length").is_between(low, below - 1)), wanted


def _by_value(frame: pl.DataFrame, key: str) -> Iterator[Part]:
    import polars as pl

    if key not in frame.columns:
        return
    counts = frame[key].drop_nulls().value_counts(sort=True, name="rows").sort("rows", key, descending=[True, False])
    for value in counts[key].head(_MOST_PARTS):
        name = _SCRIPTS.get(value, value) if key == "script" else value
        yield name, frame.filter(pl.col(key) == value), {key: value}


def _tabulate(
    title: Words, frame: pl.DataFrame, parts: list[Part], apart: list[float | None], measure: Measure | None
) -> Table:
    lines: list[Part] = [(_ALL, frame, {}), *parts]
    tested = any(p is not None for p in apart)
    columns = (_PART, _ROWS, *_columns(frame, measure), *((_APART,) if tested else ()))
    rows = tuple(
        (name, part.height, *_judge(part, measure), *((p,) if tested else ()))
        for (name, part, _), p in zip(lines, [None, *apart], strict=True)
    )
    faint = tuple(place for place, (_, part, _) in enumerate(lines) if part.height < _LEAST_ROWS)
    filters = tuple(wanted for *_, wanted in lines)
    return Table(title, columns, rows, filters, faint=faint, note=_FEW if faint else None)


def _columns(frame: pl.DataFrame, measure: Measure | None) -> tuple[Column, ...]:
    if measure is None:
        return ()
    if measure == "right":
        more = (_CONFIDENCE,) if "confidence" in frame.columns else ()
        return (Column(_RIGHT, "percent"), *(Column(words, "percent") for words in _ENDS), *more)
    more = (_RESIDUAL,) if "residual" in frame.columns else ()
    return (Column(_LOSSES[measure], "number"), *(Column(words, "number") for words in _ENDS), *more)


def _judge(part: pl.DataFrame, measure: Measure | None) -> tuple[float | None, ...]:
    """Return the cells of a part after its rows: mean outcome, ends of its interval, mean confidence or residual."""
    import polars as pl

    if measure is None:
        return ()
    if measure == "right":
        right = int(part["outcome"].sum())
        ends: tuple[float | None, ...] = wilson_interval(right, part.height) if part.height else (None, None)
        share = right / part.height if part.height else None
        return (share, *ends, *_mean(part, "confidence"))
    losses = part["outcome"]
    low, high = mean_interval(losses.cast(pl.Float64).to_numpy())
    known = math.isfinite(low)
    mean = float(losses.mean()) if part.height else None  # type: ignore[arg-type]
    return (mean, low if known else None, high if known else None, *_mean(part, "residual"))


def _mean(part: pl.DataFrame, name: str) -> tuple[float | None, ...]:
    if name not in part.columns:
        return ()
    mean = part[name].mean()
    return (None if mean is None else float(mean),)  # type: ignore[arg-type]
