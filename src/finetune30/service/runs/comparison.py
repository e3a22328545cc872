"""Two to eight runs side by side: what was told differently, what came out, on which rows they disagree, and whether
the difference can be told from chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from finetune30.config.loading import flatten_tree
from finetune30.errors import Finetune30Error, NotFoundError, StorageError, UsageError
from finetune30.files import load_json_lines
from finetune30.service.runs.mcnemar import CONFIDENCE, PairedTest, adjust_holm, compare_paired
from finetune30.service.runs.open_records import Records
from finetune30.store import Run
from finetune30.values import is_number

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.storage import VersionStore

FEWEST, MOST = 2, 8
#: Rows and curve points shown; counts are always of all.
SHOWN_FLIPS = 200
SHOWN_POINTS = 500
_NAMES_ONLY = frozenset({"experiment_name", "training.output_dir"})


def compare_runs(records: Records, references: Sequence[str], versions: VersionStore) -> dict[str, Any]:
    """Return the comparison as JSON; lists of values are in the order of the runs.

    Raises UsageError for fewer than two, more than eight or the same run twice, NotFoundError, ConflictError.
    """
    if not FEWEST <= len(references) <= MOST:
        raise UsageError(f"{len(references)} runs cannot be compared", f"name {FEWEST} to {MOST} of them")
    runs = [records.store.get(reference) for reference in references]
    if len({run.id for run in runs}) < len(runs):
        raise UsageError("one run is named twice", "name different runs")
    answers = [_load_answers(records, run) for run in runs]
    return {
        "runs": [_describe(run) for run in runs],
        "config_difference": _differing_keys(runs),
        "metrics": _metric_table(runs),
        "curves": [_curve(records, run) for run in runs],
        "data_difference": _data_difference(runs, versions),
        **_judge(runs, answers, versions),
    }


def _describe(run: Run) -> dict[str, Any]:
    shown = run.as_dict()
    hidden = ("config", "metrics", "progress", "error")
    return {key: value for key, value in shown.items() if key not in hidden}


def _differing_keys(runs: Sequence[Run]) -> dict[str, list[Any]]:
    flat = [flatten_tree(run.config) for run in runs]
    keys = [key for key in dict.fromkeys(key for tree in flat for key in tree) if key not in _NAMES_ONLY]
    values = {key: [tree.get(key) for tree in flat] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def _metric_table(runs: Sequence[Run]) -> dict[str, list[float | None]]:
    numbers = [{key: v for key, v in (run.metrics or {}).items() if is_number(v)} for run in runs]
    keys = dict.fromkeys(key for metrics in numbers for key in metrics)
    return {key: [metrics.get(key) for metrics in numbers] for key in keys}


def _curve(records: Records, run: Run) -> list[dict[str, Any]]:
    """Return the history: every evaluation and event, training steps evenly thinned out."""
    history = load_json_lines(records.folder(run).history)
    steps = sum(record.get("type") == "train" for record in history)
    every, seen, kept = -(-steps // SHOWN_POINTS) or 1, 0, []
    for record in history:
        if record.get("type") == "train":
            seen += 1
            if seen % every and seen != steps:
                continue
        kept.append(record)
    return kept


def _data_difference(runs: Sequence[Run], versions: VersionStore) -> dict[str, Any]:
    digests = [run.dataset_digest for run in runs]
    answer: dict[str, Any] = {"digests": digests, "same": len(set(digests)) == 1 and digests[0] is not None}
    if answer["same"] or digests[0] is None:
        return answer
    from finetune30.data.versions.compare import diff_versions

    differences: list[dict[str, Any] | None] = []
    for digest in digests[1:]:
        if digest is None or digest == digests[0]:
            differences.append(None)
            continue
        try:
            differences.append(diff_versions(versions, digests[0], digest).as_dict(limit=20))
        except (NotFoundError, StorageError) as error:
            differences.append({"before": digests[0], "after": digest, "missing": error.message})
    return {**answer, "from_first": differences}


def _load_answers(records: Records, run: Run) -> pl.DataFrame | str:
    """Return row_id, label and prediction of the evaluation rows, or the reason why there are none."""
    import polars as pl

    path = records.folder(run).predictions
    if not path.is_file():
        return f"run {run.id[:8]} '{run.name}' is {run.status} and has no predictions"
    try:
        return pl.read_parquet(path, columns=["row_id", "label", "prediction"]).sort("row_id")
    except (OSError, pl.exceptions.PolarsError) as error:
        return f"the predictions of run {run.id[:8]} cannot be read: {str(error).splitlines()[0]}"


def _judge(runs: Sequence[Run], answers: Sequence[pl.DataFrame | str], versions: VersionStore) -> dict[str, Any]:
    reason = _why_incomparable(runs, answers)
    if reason is not None:
        verdict = {"distinguishable": None, "message": f"not compared row by row: {reason}"}
        return {"verdict": verdict, "pairs": [], "flipped": [], "flipped_total": 0}
    import polars as pl

    frames = [frame for frame in answers if isinstance(frame, pl.DataFrame)]
    right = [(frame["label"] == frame["prediction"]).to_list() for frame in frames]
    places = list(combinations(range(len(runs)), 2))
    tests = [compare_paired(right[a], right[b]) for a, b in places]
    adjusted = adjust_holm([test.p_value for test in tests])
    pairs = [
        {"first": runs[a].id, "second": runs[b].id, **_verdict(runs[a], runs[b], test, p, len(tests))}
        for (a, b), test, p in zip(places, tests, adjusted, strict=True)
    ]
    flipped, total = _flipped_rows(runs, frames, versions)
    return {"verdict": pairs[0] if len(pairs) == 1 else _summary(pairs), "pairs": pairs} | {
        "flipped": flipped,
        "flipped_total": total,
    }


def _why_incomparable(runs: Sequence[Run], answers: Sequence[pl.DataFrame | str]) -> str | None:
    first = answers[0]
    for run, frame in zip(runs, answers, strict=True):
        if isinstance(frame, str):
            return frame
        if frame["label"].dtype.is_numeric():
            return f"run {run.id[:8]} predicts numbers, not classes; compare its errors in the metrics"
        if frame.height == 0:
            return f"run {run.id[:8]} was evaluated on no rows"
        if isinstance(first, str) or frame is first:
            continue
        if first["row_id"].to_list() != frame["row_id"].to_list():
            common = len(set(first["row_id"]) & set(frame["row_id"]))
            return (
                f"the evaluation rows differ ({first.height} in run {runs[0].id[:8]}, {frame.height} in run "
                f"{run.id[:8]}, {common} in both); evaluate all on the same rows"
            )
        if first["label"].dtype != frame["label"].dtype or first["label"].to_list() != frame["label"].to_list():
            return f"the labels of the evaluation rows differ between run {runs[0].id[:8]} and run {run.id[:8]}"
    return None


def _verdict(first: Run, second: Run, test: PairedTest, adjusted: float, pairs: int) -> dict[str, Any]:
    distinguishable = adjusted < 1 - CONFIDENCE
    low, high = test.interval
    better = second if test.difference > 0 else first
    words = (
        f"accuracy differs by {100 * test.difference:+.2f} points (95 % interval {100 * low:+.2f} to {100 * high:+.2f})"
    )
    conclusion = (
        f"'{better.name}' is better by more than chance" if distinguishable else "not distinguishable from chance"
    )
    counted = f" after adjusting for {pairs} pairs" if pairs > 1 else ""
    return {
        "distinguishable": distinguishable,
        "message": f"{conclusion}: {words}, p = {adjusted:.3g}{counted}, on {test.rows} rows that both answered",
        "rows": test.rows,
        "only_first_right": test.only_first_right,
        "only_second_right": test.only_second_right,
        "difference": test.difference,
        "interval": list(test.interval),
        "p_value": test.p_value,
        "p_value_adjusted": adjusted,
        "method": "McNemar, exact (1947); interval: Agresti and Min (2005); several pairs: Holm (1979)",
    }


def _summary(pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    apart = sum(pair["distinguishable"] for pair in pairs)
    message = f"{apart} of {len(pairs)} pairs differ by more than chance"
    return {"distinguishable": apart > 0, "message": message}


def _flipped_rows(
    runs: Sequence[Run], frames: Sequence[pl.DataFrame], versions: VersionStore
) -> tuple[list[dict[str, Any]], int]:
    rows, labels = frames[0]["row_id"].to_list(), frames[0]["label"].to_list()
    predictions = [frame["prediction"].to_list() for frame in frames]
    flipped = [n for n in range(len(rows)) if any(given[n] != predictions[0][n] for given in predictions)]
    shown = flipped[:SHOWN_FLIPS]
    texts = _load_texts(runs, versions) if shown else {}
    listed = [
        {
            "row_id": rows[n],
            "text": texts.get(rows[n]),
            "label": labels[n],
            "predictions": [given[n] for given in predictions],
        }
        for n in shown
    ]
    return listed, len(flipped)


def _load_texts(runs: Sequence[Run], versions: VersionStore) -> dict[str, str]:
    """Return texts by row id, as far as a version of the data is still stored."""
    for run in runs:
        if run.dataset_digest is None:
            continue
        try:
            rows = versions.load_rows(versions.get(run.dataset_digest), "evaluation")
        except Finetune30Error:  # a comparison without texts is better than none
            continue
        return dict(zip(rows["origin"].to_list(), rows["text"].to_list(), strict=True))
    return {}
