"""Two to eight runs side by side: what was told differently, what came out, on which rows they disagree, and whether
the difference can be told from chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune30.data.problem import is_better_greater
from finetune30.errors import NotFoundError, StorageError, UsageError
from finetune30.files import load_json_lines
from finetune30.service.runs.answers import compare_answers
from finetune30.service.runs.comparable import Group, group_runs
from finetune30.service.runs.differences import differing_keys, metric_table
from finetune30.service.runs.flipped_rows import list_flipped
from finetune30.service.runs.judging import judge
from finetune30.service.runs.open_records import Records
from finetune30.service.runs.test_looks import last_results
from finetune30.store import Run
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.data.versions.storage import VersionStore

FEWEST, MOST = 2, 8
#: Curve points shown.
SHOWN_POINTS = 500
#: How names end of what an evaluation took.
_NO_QUALITY = ("_samples", "_runtime", "_per_second")


def compare_runs(records: Records, references: Sequence[str], versions: VersionStore) -> dict[str, Any]:
    """Return the comparison as JSON; lists of values are in the order of the runs.

    Raises UsageError for fewer than two, more than eight or the same run twice, NotFoundError, ConflictError.
    """
    if not FEWEST <= len(references) <= MOST:
        raise UsageError(f"{say_count(len(references), 'runs')} cannot be compared", f"name {FEWEST} to {MOST} of them")
    runs = [records.store.get(reference) for reference in references]
    if len({run.id for run in runs}) < len(runs):
        raise UsageError("one run is named twice", "name different runs")
    groups, left_out = group_runs(records, runs)
    told = [group for group in groups if group[0].outcomes.has_predictions]
    flipped, flipped_total = list_flipped(told, len(runs), versions)
    return {
        "runs": [_describe(run) for run in runs],
        "config_difference": differing_keys(runs),
        "metrics": (metrics := metric_table(runs)),
        "metrics_best": _find_best(metrics, groups, runs),
        "curves": [_curve(records, run) for run in runs],
        "data_difference": _data_difference(runs, versions),
        **judge(groups, left_out),
        "flipped": flipped,
        "flipped_total": flipped_total,
        "answers": compare_answers(records, runs),
        "tests": last_results(records.store, runs),
    }


def _describe(run: Run) -> dict[str, Any]:
    shown = run.as_dict()
    hidden = ("config", "metrics", "progress", "error")
    return {key: value for key, value in shown.items() if key not in hidden}


def _find_best(
    metrics: Mapping[str, Sequence[float | None]], groups: Sequence[Group], runs: Sequence[Run]
) -> dict[str, list[bool]]:
    """Tell which values are the best of their group; where all of a group are equal none is.

    Only what an evaluation measured has a better and a worse.
    """
    directions = {run.score_name: run.score_greater_is_better for run in runs}
    best = {}
    for key, values in metrics.items():
        if not key.startswith("eval_") or key.endswith(_NO_QUALITY):
            continue
        marked = [False] * len(values)
        for group in groups:
            known = {answered.place: value for answered in group if (value := values[answered.place]) is not None}
            if len(set(known.values())) > 1:
                greater = directions.get(key)
                wanted = (max if (is_better_greater(key) if greater is None else greater) else min)(known.values())
                for place, value in known.items():
                    marked[place] = value == wanted
        best[key] = marked
    return best


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
