"""The page over versions and runs of format 1, and over a version of conversations: a real API, no browser."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import polars as pl
import pytest

from finetune30.data.versions.schema import schema_of
from finetune30.data.versions.storage import VersionStore
from finetune30.service.datasets.operations import versions_of
from finetune30.ui.translations import translate
from support.first_format import FIXTURE
from support.services import Services

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CHATS = pl.DataFrame(
    {
        "messages": [[{"role": "user", "content": "is it clean"}], [{"role": "user", "content": "房間好嗎"}]],
        "stars": [5, 1],
        "tags": [["room"], []],
    },
    schema_overrides={"tags": pl.List(pl.String)},
)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("version-pages")
    shutil.copytree(FIXTURE / "store", folder / "data_store")
    shutil.copytree(FIXTURE / "runs", folder / "results")
    with contextlib.closing(Services(folder)) as started:
        started.start_api()
        started.wait_for_api()
        yield started


@pytest.fixture(scope="module")
def chats(services: Services) -> str:
    versions: VersionStore = versions_of(services.settings, services.store)
    schema = schema_of(CHATS, {"messages": "text", "stars": "target", "tags": "target"})
    options: dict[str, Any] = {"problem_type": "causal_lm", "source": {"name": "chats"}, "targets": {}}
    return versions.create({"train": CHATS}, schema=schema, **options)[0].digest


def t(key: str, **values: Any) -> str:
    return translate("en", key, **values)


def cells(page: Any) -> str:
    assert not page.exception, page.exception
    assert not page.error, [error.value for error in page.error]
    return " ".join(table.value.astype(str).to_csv(index=False) for table in page.dataframe)


def part(page: Any, name: str) -> Any:
    return page.segmented_control(key="data_part").set_value(name).run()


def test_runs_of_format_1_are_listed_and_compared(visit: Callable[..., Any], services: Services) -> None:
    listed = cells(visit(services.api_address, "experiments", lang="en"))
    assert all(name in listed for name in ("first_single", "second_single", "first_regression"))
    ids = [services.store.get(name).id for name in ("first_single", "second_single")]
    assert "training.learning_rate" in cells(visit(services.api_address, "compare", ids=",".join(ids), lang="en"))


@pytest.mark.parametrize("name", ["single", "multi", "regression", "pair"])
def test_versions_of_format_1_are_shown_with_rows_and_differences(
    visit: Callable[..., Any], services: Services, name: str
) -> None:
    digest = (FIXTURE / "store" / "tags" / f"{name}-after").read_text().strip()
    page = visit(services.api_address, "data", version=digest[:12], lang="en")
    assert f"{name}.csv:2" in cells(page)
    before = (FIXTURE / "store" / "tags" / f"{name}-before").read_text().strip()
    part(page, "diff").selectbox(key=f"diff-{digest}").set_value(before).run()
    assert t("diff.before", name=t("data.label")) in cells(page)
    assert {m.label: m.value for m in page.metric}[t("diff.relabelled")] == "1"


def test_conversations_are_shown_and_their_targets_relabelled(
    visit: Callable[..., Any], services: Services, chats: str
) -> None:
    rows = httpx.get(f"{services.api_address}/datasets/{chats}/rows", timeout=600).json()
    assert [column["name"] for column in rows["columns"]] == ["messages", "stars", "tags"]
    assert rows["rows"][1] == {"messages": [{"role": "user", "content": "房間好嗎"}], "stars": 1, "tags": []}
    page = visit(services.api_address, "data", version=chats[:12], lang="en")
    shown = cells(page)
    assert "user: 房間好嗎" in shown
    assert '"[""room""]"' in shown
    changes = [
        {"split": "train", "index": 1, "column": "stars", "label": "2"},
        {"split": "train", "index": 1, "column": "tags", "label": '["room"]'},
    ]
    url = f"{services.api_address}/datasets/{chats}/labels"
    made = httpx.post(url, json={"changes": changes}, timeout=600).json()
    assert made["changed"] == 1
    page = visit(services.api_address, "data", version=made["digest"][:12], lang="en")
    compared = cells(part(page, "diff"))
    assert f"stars,{t('diff.before', name='stars')}" in compared
    assert "2,1," in compared
    refused = httpx.post(url, json={"changes": [{**changes[0], "label": "two"}]}, timeout=600)
    assert (refused.status_code, refused.json()["remedy"]) == (400, 'use one of: JSON of "integer"')
