"""Looks at test rows as every face shows them: how many there were, what the last one with a result found, and
what was said of runs that were looked at together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune30.blocks import Block, Column, Figure, Table, Text, Words
from finetune30.data.problem import ANSWERS
from finetune30.problems import find_problem
from finetune30.service.runs.sentences import pair_words
from finetune30.service.statistics.groups import enough_groups
from finetune30.store import Run, RunStore
from finetune30.store.test_looks import Look, load_looks
from finetune30.values import say_count

_TITLE = Words("Test rows", "測試資料")


def say_looks(count: int) -> str:
    """Return `first time`, `2nd time` …"""
    if count == 1:
        return "first time"
    ending = {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th") if count % 100 not in (11, 12, 13) else "th"
    return f"{count}{ending} time"


def build_look_blocks(looks: Sequence[Look]) -> list[Block]:
    """Return what the looks at the test rows of a run found; nothing where they were never opened."""
    if not looks:
        return []
    often = len(looks)
    told = Words(
        f"The test rows were looked at {often} times: what was chosen after the first look is chosen by them too."
        if often > 1
        else "The test rows were looked at once.",
        f"測試資料已被查看 {often} 次：第一次之後所做的選擇也受其影響。" if often > 1 else "測試資料已被查看 1 次。",
    )
    blocks: list[Block] = [Text(_TITLE, told)]
    known = [look for look in looks if look.result is not None]
    if known:
        found = known[-1].result or {}
        blocks += [
            _figure(found),
            *_answers(found),
            Text(Words("What became of the test rows", "測試資料的去向"), _account(found)),
        ]
    columns = (
        Column(Words("Look", "次序"), "count"),
        Column(Words("Opened (UTC)", "開啟時間（UTC）"), "text"),
        Column(Words("Rows", "筆數"), "count"),
        Column(Words("Score", "分數"), "number"),
        Column(Words("Came to", "結果"), "text"),
    )
    blocks += [_against(look) for look in looks if look.verdict is not None]
    blocks.append(Table(Words("Looks at the test rows", "查看測試資料的紀錄"), columns, tuple(map(_row, looks))))
    return blocks


def last_results(store: RunStore, runs: Sequence[Run]) -> list[dict[str, Any] | None]:
    """Return, run by run, how often its test rows were looked at and what the last result was; None: never.

    `digest` tells whether two runs were tested on the same rows.
    """
    found = load_looks(store, [run.id for run in runs])
    kept = ("digest", "rows", "score", "score_name", "score_format", "interval")
    answers: list[dict[str, Any] | None] = []
    for run in runs:
        looks = found[run.id]
        results = [look.result for look in looks if look.result is not None]
        told = {key: results[-1][key] for key in kept} if results else dict.fromkeys(kept)
        answers.append({"looks": len(looks), **told} if looks else None)
    return answers


def _account(result: dict[str, Any]) -> Words:
    """Say how many rows were read, how many count, and why the others do not."""
    read, rows, near = result["rows_read"], result["rows"], result["near_leakage"]
    shared, groups = result.get("group_leakage"), result.get("groups")
    left = {reason: count for reason, count in result["left_out"].items() if count}
    en = [f"{read:,} read, {rows:,} judged"] + [f"{count:,} left out: {reason}" for reason, count in left.items()]
    zh = [f"讀入 {read:,} 筆，評估 {rows:,} 筆"] + [f"排除 {count:,} 筆：{reason}" for reason, count in left.items()]
    if near:
        en.append(f"training rows that nearly are test rows: {near:,}")
        zh.append(f"與測試資料幾乎相同的訓練資料：{near:,} 筆")
    if shared:
        en.append(f"test rows of groups that training rows are of too: {shared:,}")
        zh.append(f"與訓練資料同屬一個群組的測試資料：{shared:,} 筆")
    if groups is not None:
        few = ("", "") if enough_groups(groups) else (", too few for an interval", "，不足以計算信賴區間")
        en.append(f"the rows come in {say_count(groups, 'groups', ',')}{few[0]}")
        zh.append(f"資料共 {groups:,} 組{few[1]}")
    return Words("; ".join(en), "；".join(zh))


def _figure(result: dict[str, Any]) -> Figure:
    interval = result["interval"]
    name = str(result["score_name"])
    return Figure(
        Words(f"{name}, test rows", f"{name}（測試資料）"),
        result["score"],
        result["score_format"],
        interval=None if interval is None else (interval["low"], interval["high"]),
        rows=result["rows"],
    )


def _against(look: Look) -> Text:
    """Say how the run compares with the one that was looked at together with it."""
    verdict = look.verdict or {}
    (other,) = (run_id for run_id in (verdict["first"], verdict["second"]) if run_id != look.run_id)
    name = verdict["names"][other]
    title = Words(f"Look {look.count}, against {name}", f"第 {look.count} 次查看，與 {name} 比較")
    return Text(title, pair_words(verdict, verdict["names"]))


def _answers(result: dict[str, Any]) -> list[Block]:
    """Return what the answers are worth that the saved model gives, as its problem shows it."""
    judged, problem = result["metrics"].get(ANSWERS), find_problem(str(result["problem_type"]))
    return [] if judged is None or problem is None else problem.view({ANSWERS: judged}, result["targets"])


def _row(look: Look) -> tuple[Any, ...]:
    opened = f"{look.opened_at:%Y-%m-%d %H:%M}"
    if look.result is not None:
        return look.count, opened, look.result["rows"], look.result["score"], look.result["score_name"]
    lacking = "goes on" if look.goes_on else "no result"
    return look.count, opened, None, None, lacking if look.error is None else str(look.error["message"])
