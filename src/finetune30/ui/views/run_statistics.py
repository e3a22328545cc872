"""Totals over all runs, and the best run of each data version."""

from __future__ import annotations

from typing import Any

from finetune30.ui import charts, display
from finetune30.ui.layout import fold, show_figures, show_table
from finetune30.ui.scores import score_in_sentence, score_title, score_value
from finetune30.ui.session import ask, client, t

Json = dict[str, Any]


def load_statistics() -> Json:
    """Show the totals, and return what the API tells; nothing where it refuses."""
    stats = ask(lambda: client().load_statistics())
    if stats is None:
        return {}
    by_status = stats.get("by_status") or {}
    best: list[Json] = stats.get("best") or []
    facts = (
        (t("experiments.total"), display.number(stats.get("total"))),
        (t("experiments.running"), display.number(by_status.get("RUNNING", 0))),
        (t("experiments.succeeded"), display.number(by_status.get("SUCCEEDED", 0))),
        (t("experiments.failed"), display.number(by_status.get("FAILED", 0))),
        _best_figure(best),
        (t("experiments.runtime"), display.duration(stats.get("mean_runtime_seconds"), t)),
    )
    show_figures(facts)
    days = stats.get("last_30_days") or {}
    if days:
        part = fold(t("experiments.last_30_days"), "experiments-days", ":material/bar_chart:")
        if part.open:
            with part:
                charts.daily(days, title=t("experiments.last_30_days"), key="experiments-daily")
    return stats


def show_best(best: list[Json]) -> None:
    """Show the best run of each data version and score: figures of different data say nothing beside each other."""
    if not best:
        return
    part = fold(t("experiments.best_of_each"), "experiments-best", ":material/trophy:")
    if part.open:
        with part:
            show_table([_best_row(run) for run in best], alt=t("experiments.best_of_each"))


def _best_figure(best: list[Json]) -> tuple[str, str, str | None]:
    """The best run of the data version used last: figures of different data or scores say nothing beside each other."""
    if not best:
        return t("experiments.best_score"), display.NOTHING, None
    data = display.plain(best[0].get("dataset_name") or "", 80)
    explained = t("experiments.best_help", data=data, digest=display.plain(best[0]["dataset_digest"][:12]))
    return t("experiments.best", score=score_in_sentence(best[0]["score_name"])), score_value(best[0]), explained


def _best_row(run: Json) -> Json:
    return {
        t("column.data"): display.raw(run["dataset_digest"][:12]),
        t("column.data_name"): display.raw(run.get("dataset_name") or "", 60),
        t("column.score_name"): score_title(run["score_name"]),
        t("column.score"): score_value(run),
        t("column.name"): display.raw(run["run_name"], 80),
        t("column.id"): run["run_id"],
    }
