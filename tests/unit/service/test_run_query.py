"""The words of a listing: one list of them, for the API, the command line, the page and the store."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import click
import pytest

from finetune30.api.routes.experiments import ListQuery
from finetune30.cli.runs import list_runs
from finetune30.errors import UsageError
from finetune30.service.runs.listing import RunQuery
from finetune30.store import RunFilter, RunStatus
from finetune30.store.pages import _KEEPS

#: Of the store's filter: how a page is made, not which runs are kept.
PAGING = {"sort_by", "descending", "limit", "cursor", "with_config", "with_metrics"}


def test_every_word_reaches_the_store() -> None:
    given = RunQuery(
        name="a b",
        status=["FAILED", "QUEUED"],
        min_score=0.5,
        max_score=2.5,
        score_name="eval_mse",
        min_accuracy=0.25,
        max_runtime=60,
        start_date="2026-01-31",
        end_date="2026-01-31",
        model="m",
        dataset_digest="d",
        tag=["of May ", "baseline"],
        starred=False,
        archived="only",
        sort_by="score",
        desc=False,
        limit=7,
        cursor="c",
    )
    assert given.model_fields_set == set(RunQuery.model_fields)
    assert given.as_filter() == RunFilter(
        name="a b",
        statuses=frozenset({RunStatus.FAILED, RunStatus.QUEUED}),
        min_score=0.5,
        max_score=2.5,
        score_name="eval_mse",
        min_accuracy=0.25,
        max_runtime_seconds=60,
        start_date=datetime(2026, 1, 31, tzinfo=UTC),
        end_date=datetime(2026, 2, 1, tzinfo=UTC),
        model_name="m",
        dataset_digest="d",
        tags=frozenset({"baseline", "of May"}),
        starred=False,
        archived=True,
        sort_by="score",
        descending=False,
        limit=7,
        cursor="c",
        with_config=False,
    )


def test_nothing_given_lists_the_newest_without_configurations_and_archived_ones() -> None:
    assert RunQuery().as_filter() == RunFilter(with_config=False, archived=False)
    assert RunQuery(archived="all").as_filter() == RunFilter(with_config=False)


def test_the_store_keeps_by_every_field_of_its_filter() -> None:
    names = {field.name for field in fields(RunFilter)}
    assert set(_KEEPS) == names - PAGING
    assert len(names - {"with_config", "with_metrics"}) == len(RunQuery.model_fields)


def test_command_and_api_take_every_word() -> None:
    taken = list_runs.get_params(click.Context(list_runs))
    options = {parameter.name: parameter for parameter in taken if "--help" not in parameter.opts}
    assert set(options) == {*RunQuery.model_fields, "output_dir", "as_json"}
    assert set(ListQuery.model_fields) == {*RunQuery.model_fields, "with_total", "columns", "differences"}
    for name in set(RunQuery.model_fields) - {"desc"}:
        assert {f"--{name}", f"--{name.replace('_', '-')}"} == set(options[name].opts)
    assert isinstance(options["min_accuracy"].type, click.FloatRange)
    assert (options["limit"].default, options["status"].multiple) == (50, True)


@pytest.mark.parametrize("name", ["start_date", "end_date"])
def test_date_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} 'soon' is no date"):
        RunQuery.model_validate({name: "soon"}).as_filter()
