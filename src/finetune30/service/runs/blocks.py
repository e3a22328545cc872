"""A run's metrics as blocks: what its problem makes of the evaluation, and what the training took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from finetune30.blocks import Block, Column, Figure, Format, Table, Text, Words
from finetune30.problems import find_problem
from finetune30.values import is_number, say_count

#: What every training records, whatever was learnt: key in metrics.json, words, how it is written.
_TRAINING: tuple[tuple[str, Words, Format], ...] = (
    ("train_loss", Words("Training loss", "訓練損失"), "number"),
    ("train_samples", Words("Training rows", "訓練筆數"), "count"),
    ("eval_samples", Words("Evaluation rows", "評估筆數"), "count"),
    ("total_steps", Words("Optimizer steps", "更新步數"), "count"),
    ("train_runtime", Words("Training time", "訓練時間"), "seconds"),
    ("train_samples_per_second", Words("Rows per second", "每秒筆數"), "number"),
    ("trainable_parameters", Words("Trainable parameters", "可訓練參數"), "count"),
    ("peak_memory_bytes", Words("Peak memory", "記憶體峰值"), "bytes"),
)

#: What metrics hold of evaluation rows that belong together: how many groups, and the interval of the score by group.
GROUPS = "evaluation_groups"
_IN_DOUBT = Words("Warning: this result is in doubt", "警告：這個結果存疑")


def build_run_blocks(metrics: Mapping[str, Any] | None) -> list[Block]:
    """Return everything that shows how a run ended; nothing without metrics."""
    return [*build_result_blocks(metrics), *_training_figures(metrics)] if metrics else []


def build_result_blocks(metrics: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of a run's evaluation: first what makes it doubtful, then as its problem shows it.

    Evaluation rows that rules set aside stand behind the first figure. Metrics of an unknown problem (of a package that
    is not installed here any more or is broken, or of no problem at all) become a table of all their numbers.
    """
    drawn = _by_group(metrics, _evaluation(metrics))
    said = [*_doubts(metrics.get("doubts")), *_evaluated_on_test(metrics.get("evaluation_split"))]
    return [*said, *drawn[:1], *_set_aside(metrics, drawn), *drawn[1:], *_say_groups(metrics)]


def _evaluation(metrics: Mapping[str, Any]) -> list[Block]:
    problem = find_problem(str(metrics.get("problem_type")))
    if problem is None:
        return _all_numbers(metrics)
    targets = metrics.get("targets")
    if not isinstance(targets, Mapping):  # before they were kept whole
        targets = {"label_names": metrics.get("labels") or []}
    return problem.view(metrics, targets)


def _by_group(metrics: Mapping[str, Any], drawn: Sequence[Block]) -> list[Block]:
    """Give the score the interval by group, where evaluation rows belong together; none for too few groups."""
    found = metrics.get(GROUPS)
    if not isinstance(found, Mapping):
        return [*drawn]
    score, interval = metrics.get(str(metrics.get("score_name"))), found["interval"]
    ends = None if interval is None else (interval["low"], interval["high"])
    return [
        replace(one, interval=ends) if isinstance(one, Figure) and one.value == score and one.interval else one
        for one in drawn
    ]


def _say_groups(metrics: Mapping[str, Any]) -> list[Block]:
    """A text where evaluation rows belong together: which intervals count them by group, and which do not."""
    found = metrics.get(GROUPS)
    if not isinstance(found, Mapping):
        return []
    count, few = found["groups"], found["interval"] is None
    en = "The score has no interval, for they are too few" if few else "The interval of the score is by group"
    zh = "群組太少，分數沒有信賴區間" if few else "分數的信賴區間以群組計"
    words = Words(
        f"The evaluation rows come in {say_count(count, 'groups', ',')}. {en}; other intervals shown here take rows "
        "for independent.",
        f"評估資料共 {count:,} 組。{zh}；此處其他信賴區間則視各筆資料為獨立。",
    )
    return [Text(Words("Rows that belong together", "屬於同一群組的資料"), words)]


def _doubts(found: Any) -> list[Block]:
    """A text for each doubt: what was found, and a line for each thing to try."""
    texts = []
    for doubt in found if isinstance(found, list) else []:
        words, advice = doubt["words"], doubt["advice"]
        en = [words["en"], *(f"To try: {entry['en']}" for entry in advice)]
        zh = [words["zh"], *(f"可以嘗試：{entry['zh']}" for entry in advice)]
        texts.append(Text(_IN_DOUBT, Words("\n".join(en), "\n".join(zh))))
    return [*texts]


def _evaluated_on_test(split: Any) -> list[Block]:
    """A text where the evaluation rows are those of a split for tests."""
    if not isinstance(split, str) or not split.startswith("test"):
        return []
    words = Words(
        f"The evaluation rows are the split {split!r}: whatever was chosen by them was chosen on the test set.",
        f"評估資料是測試分割 {split!r}：以其所做的任何選擇，都等於在測試資料上選擇。",
    )
    return [Text(Words("Evaluated on the test set", "以測試資料評估"), words)]


def _set_aside(metrics: Mapping[str, Any], drawn: Sequence[Block]) -> list[Block]:
    """Rows that rules kept out of the evaluation, and the share of right answers that counts them as wrong."""
    found = metrics.get("evaluation_set_aside")
    if not isinstance(found, Mapping) or not found.get("rows"):
        return []
    en = ", ".join(f"{count:,} {rule}" for rule, count in found["by_rule"].items())
    words = Words(f"Evaluation rows set aside by rules ({en})", f"被規則隔離的評估資料（{en}）")
    if found["split_off"]:
        words = Words(
            f"Rows set aside before evaluation rows were split off ({en})", f"分出評估資料前隔離的資料（{en}）"
        )
    figures: list[Block] = [Figure(words, found["rows"], "count", rows=found["rows"] + found["passed"])]
    if is_number(found.get("counted_as_wrong")):
        share = metrics.get(str(found["metric"]))
        titles = [block.title for block in drawn if isinstance(block, Figure) and block.value == share]
        title = titles[0] if titles else Words(str(found["metric"]), str(found["metric"]))
        words = Words(f"{title.en}, rows set aside counted as wrong", f"{title.zh}（隔離的資料視為答錯）")
        figures.append(Figure(words, found["counted_as_wrong"], "percent", rows=found["asked"]))
    return figures


def _training_figures(metrics: Mapping[str, Any]) -> list[Block]:
    return [Figure(words, metrics[key], form) for key, words, form in _TRAINING if is_number(metrics.get(key))]


def _all_numbers(metrics: Mapping[str, Any]) -> list[Block]:
    known = {key for key, _, _ in _TRAINING}
    rows = tuple((key, value) for key, value in metrics.items() if is_number(value) and key not in known)
    columns = (Column(Words("Metric", "指標"), "text"), Column(Words("Value", "數值"), "number"))
    return [Table(Words("Metrics", "指標"), columns, rows)] if rows else []
