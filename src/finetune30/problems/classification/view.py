"""The blocks that show how well labels were found: with one label a row, and with several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune30.blocks import Block, Column, Figure, Matrix, RowFilter, Table, Words
from finetune30.problems.classification.abstention_view import abstention_figures, risk_curve
from finetune30.problems.classification.calibration_view import calibration_figures, reliability_curve
from finetune30.problems.classification.judging_view import answer_figures
from finetune30.problems.classification.thresholds_view import threshold_figures, threshold_table
from finetune30.problems.shared.intervals import wilson_interval
from finetune30.values import is_number

#: Pairs of labels listed as most confused.
_MOST_PAIRS = 10
#: Names that a matrix shows at a glance.
_FEW_NAMES = 15
#: Names of a larger matrix could not be read on any screen, and it would be most of what the API answers.
_MOST_NAMES_IN_MATRIX = 200

_LABEL = Column(Words("Label", "標籤"), "text")
_PRECISION = Column(Words("Precision", "精確率"), "percent")
_RECALL = Column(Words("Recall", "召回率"), "percent")
_F1 = Column(Words("F1", "F1"), "percent")
_ROWS = Column(Words("Rows", "筆數"), "count")
#: Where the recall of a label lies: of few rows it says little.
_RECALL_INTERVAL = (
    Column(Words("95 % from", "95 % 下限"), "percent"),
    Column(Words("95 % to", "95 % 上限"), "percent"),
)
_PER_LABEL = Words("Each label", "各標籤表現")
_WRONG_ROWS = Words("Rows answered wrongly", "答錯的資料")
_TRUE, _PREDICTED = Words("True label", "實際標籤"), Words("Predicted", "預測")


def view_single_label(metrics: Mapping[str, Any], targets: Mapping[str, Any]) -> list[Block]:
    """Return accuracy beside what always answering the most frequent label gives, each label, and what was confused."""
    counts = _matrix_of(metrics.get("eval_confusion_matrix"))
    names = _names_of(targets, len(counts))
    rows = sum(map(sum, counts)) or _count_of(metrics.get("eval_samples"))
    figures = [
        _accuracy(Words("Accuracy", "準確率"), metrics, rows, _majority(counts, names)),
        _figure(metrics, "eval_f1", Words("F1 (macro)", "F1（macro 平均）"), "percent"),
        _figure(metrics, "eval_precision", Words("Precision (macro)", "精確率（macro 平均）"), "percent"),
        _figure(metrics, "eval_recall", Words("Recall (macro)", "召回率（macro 平均）"), "percent"),
        _figure(metrics, "eval_loss", Words("Evaluation loss", "評估損失"), "number"),
    ]
    drawn: list[Block] = [figure for figure in figures if figure is not None]
    drawn.extend(_answer_figures(metrics))
    if counts:
        matrix = [_confusion(counts, names)] if len(counts) <= _MOST_NAMES_IN_MATRIX else []
        pairs = _confused_pairs(counts, names)
        drawn.append(_label_table(names, [_judge_label(counts, place) for place in range(len(counts))]))
        # Among many labels the pairs say first what the matrix would have to be searched for.
        drawn.extend([*matrix, *pairs] if len(counts) <= _FEW_NAMES else [*pairs, *matrix])
    return [*drawn, *threshold_table(metrics), *reliability_curve(metrics), *risk_curve(metrics)]


def view_multi_label(metrics: Mapping[str, Any]) -> list[Block]:
    """Return how often all labels of a row were right, F1 over labels and over decisions, and each label."""
    figures = [
        _accuracy(Words("Exact match", "完全相符率"), metrics, _count_of(metrics.get("eval_samples")), None),
        _figure(metrics, "eval_f1_micro", Words("F1 (micro)", "F1（micro 平均）"), "percent"),
        _figure(metrics, "eval_f1", Words("F1 (macro)", "F1（macro 平均）"), "percent"),
        _figure(metrics, "eval_precision", Words("Precision (macro)", "精確率（macro 平均）"), "percent"),
        _figure(metrics, "eval_recall", Words("Recall (macro)", "召回率（macro 平均）"), "percent"),
        _figure(metrics, "eval_loss", Words("Evaluation loss", "評估損失"), "number"),
    ]
    drawn: list[Block] = [figure for figure in figures if figure is not None]
    drawn.extend(_answer_figures(metrics))
    labels = metrics.get("eval_per_label")
    if isinstance(labels, Mapping) and labels:
        judged = [found if isinstance(found, Mapping) else {} for found in labels.values()]
        drawn.append(_label_table([str(name) for name in labels], judged))
    return [*drawn, *threshold_table(metrics), *reliability_curve(metrics), *risk_curve(metrics)]


def _answer_figures(metrics: Mapping[str, Any]) -> list[Block]:
    told = (calibration_figures, threshold_figures, abstention_figures, answer_figures)
    return [figure for figures in told for figure in figures(metrics)]


def _accuracy(
    title: Words, metrics: Mapping[str, Any], rows: int, baseline: tuple[Words, float] | None
) -> Figure | None:
    share: Any = metrics.get("eval_accuracy")
    if not is_number(share) or not 0 <= share <= 1:
        return None
    if rows < 1:
        return Figure(title, share, "percent", filter=(_WRONG_ROWS, {"outcome": False}))
    interval = wilson_interval(round(share * rows), rows)
    return Figure(title, share, "percent", interval, rows, baseline, (_WRONG_ROWS, {"outcome": False}))


def _figure(metrics: Mapping[str, Any], key: str, title: Words, form: Any) -> Figure | None:
    value = metrics.get(key)
    return Figure(title, value, form) if is_number(value) else None


def _majority(counts: Sequence[Sequence[int]], names: Sequence[str]) -> tuple[Words, float] | None:
    """The share of rows that are right when the most frequent label is always answered."""
    sizes = [sum(row) for row in counts]
    if not sum(sizes):
        return None
    name = names[sizes.index(max(sizes))]
    return Words(f"always '{name}'", f"一律答「{name}」"), max(sizes) / sum(sizes)


def _judge_label(counts: Sequence[Sequence[int]], place: int) -> dict[str, float]:
    """Return precision, recall, F1 and support of a label; what is divided by nothing is 0, as scikit-learn does it."""
    right, support = counts[place][place], sum(counts[place])
    answered = sum(row[place] for row in counts)
    return {
        "precision": right / answered if answered else 0.0,
        "recall": right / support if support else 0.0,
        "f1": 2 * right / (support + answered) if support + answered else 0.0,
        "support": support,
    }


def _label_table(names: Sequence[str], judged: Sequence[Mapping[str, Any]]) -> Table:
    columns = (_LABEL, _PRECISION, _RECALL, *_RECALL_INTERVAL, _F1, _ROWS)
    rows = tuple((name, *_label_cells(found)) for name, found in zip(names, judged, strict=True))
    return Table(_PER_LABEL, columns, rows, tuple({"label": name} for name in names))


def _label_cells(judged: Mapping[str, Any]) -> tuple[Any, ...]:
    precision, recall, f1, support = (_number(judged.get(key)) for key in ("precision", "recall", "f1", "support"))
    return precision, recall, *_recall_interval(judged), f1, support


def _recall_interval(judged: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Where the recall lies after Wilson (1927), which of a label without rows nobody knows."""
    recall: Any = judged.get("recall")
    support = _count_of(judged.get("support"))
    if not is_number(recall) or not support:
        return None, None
    return wilson_interval(round(recall * support), support)


def _confusion(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Matrix:
    title, values = Words("Confusion matrix", "混淆矩陣"), tuple(tuple(row) for row in counts)
    return Matrix(title, _TRUE, _PREDICTED, tuple(names), tuple(names), values, "label", "prediction")


def _confused_pairs(counts: Sequence[Sequence[int]], names: Sequence[str]) -> list[Block]:
    """The cells beside the diagonal with most rows, and which share of the true label's rows they are."""
    found = [
        (count, true, answered)
        for true, row in enumerate(counts)
        for answered, count in enumerate(row)
        if count and true != answered
    ]
    if not found:
        return []
    found.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    rows, filters = [], []
    for count, true, answered in found[:_MOST_PAIRS]:
        rows.append((names[true], names[answered], count, count / sum(counts[true])))
        where: RowFilter = {"label": names[true], "prediction": names[answered]}
        filters.append(where)
    columns = (
        Column(_TRUE, "text"),
        Column(_PREDICTED, "text"),
        _ROWS,
        Column(Words("Share of the true label", "占實際標籤比例"), "percent"),
    )
    return [Table(Words("Most confused pairs", "最常混淆的標籤"), columns, tuple(rows), tuple(filters))]


def _matrix_of(found: Any) -> list[list[int]]:
    """Return the counts of a square matrix; nothing where there is none."""
    if not isinstance(found, list) or not all(isinstance(row, list) and len(row) == len(found) for row in found):
        return []
    if not all(isinstance(count, int) and count >= 0 for row in found for count in row):
        return []
    return found


def _names_of(targets: Mapping[str, Any], count: int) -> list[str]:
    """Return the names of the matrix's rows; numbers where metrics have no names for them."""
    names = targets.get("label_names")
    if isinstance(names, list | tuple) and len(names) == count:
        return [str(name) for name in names]
    return [str(place) for place in range(count)]


def _count_of(found: Any) -> int:
    return found if isinstance(found, int) and found > 0 else 0


def _number(found: Any) -> Any:
    return found if is_number(found) else None
