"""The page draws runs of problems that the product does not know."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fork_server import ForkServer
from support.services import Services
from support.toys import ANSWERS, NEXT_TOKEN, ORDINAL, save_entry_points
from support.toys.lab import BASES, MARKS, OPENINGS, ToyLab

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

STEPS_OFF = {"en": "steps off", "zh": "差幾級"}
TITLES = {ORDINAL: STEPS_OFF, ANSWERS: STEPS_OFF, NEXT_TOKEN: {"en": "perplexity", "zh": "困惑度"}}


@pytest.fixture(scope="module")
def services(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """An API that knows the toys, over two runs of each."""
    folder = tmp_path_factory.mktemp("toys-api")
    installed = save_entry_points(folder / "installed")
    with pytest.MonkeyPatch.context() as patch, ForkServer(tmp_path_factory.mktemp("server"), installed) as server:
        patch.setenv("PYTHONPATH", server.python_path)
        lab = ToyLab(server, folder, tiny_model())
        for problem in BASES:
            lab.train(problem, problem, num_train_epochs=4)
            lab.train(problem, f"{problem}-again", num_train_epochs=1)
        with contextlib.closing(Services(folder, allowed_folders=(folder,))) as started:
            started.start_api()
            started.wait_for_api()
            yield started


@pytest.fixture(params=list(BASES))
def problem(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_run_is_drawn_in_both_languages(
    visit: Callable[..., Any], services: Services, problem: str, language: str
) -> None:
    page = visit(services.api_address, "run", lang=language, run=services.store.get(problem).id)
    assert not page.error, [error.value for error in page.error]
    assert TITLES[problem][language] in [metric.label for metric in page.metric]


def test_runs_are_listed_and_compared(visit: Callable[..., Any], services: Services, problem: str) -> None:
    page = visit(services.api_address, "experiments", lang="en")
    assert problem in page.dataframe[0].value.to_csv()
    runs = [services.store.get(name) for name in (problem, f"{problem}-again")]
    page = visit(services.api_address, "compare", lang="en", ids=",".join(run.id for run in runs))
    assert not page.error, [error.value for error in page.error]
    labels = page.multiselect(key="compare_choice").options
    assert {f"{run.name} · {run.score:,.4g} · {run.id[:8]}" for run in runs} <= set(labels)


def test_their_data_are_shown(visit: Callable[..., Any], services: Services, problem: str) -> None:
    digest = services.store.get(problem).dataset_digest
    page = visit(services.api_address, "data", lang="en", version=str(digest)[:12])
    assert not page.error, [error.value for error in page.error]


def test_their_texts_go_by_the_names_of_the_problem(services: Services) -> None:
    run = services.store.get(ANSWERS)
    with httpx.Client(base_url=services.api_address, timeout=600) as api:
        (row, *_) = api.get(f"/experiments/{run.id}/rows").json()["rows"]
        report = api.get(f"/datasets/{run.dataset_digest}/report").json()
        data = {"dataset_name": str(services.folder / "answers.csv"), "max_length": 24}
        model = {"name": str(services.folder / BASES[ANSWERS]), "num_labels": 3, "problem_type": ANSWERS}
        seen = api.post("/datasets/preview", json={"config": {"model": model, "data": data}}).json()
    assert list(row)[:3] == ["row_id", "prompt", "completion"]
    assert row["prompt"] in OPENINGS
    assert seen["named_columns"] == {
        "prompt_column": "asked",
        "completion_column": "Answer",
        "grade_column": "grade",
    }
    assert [column["name"] for column in seen["row_columns"]] == ["prompt", "completion", "grade", "origin"]
    assert seen["rows"][0]["completion"].split()[0] in MARKS
    assert (report["would_train"], report["analysis"]["problem_type"]) == (True, ANSWERS)


def test_models_are_asked(visit: Callable[..., Any], services: Services, problem: str) -> None:
    page = visit(services.api_address, "try", lang="en", run=services.store.get(problem).id)
    texts = httpx.get(f"{services.api_address}/experiments/{services.store.get(problem).id}/report", timeout=600)
    second = "so the food broke" if len(texts.json()["texts"]) > 1 else None
    page.text_area(key="try_text").set_value("the film was great great slow").run()
    if second is not None:
        page.text_area(key="try_pair").set_value(second).run()
    next(button for button in page.button if button.label == "Ask").click().run()
    assert not page.error, [error.value for error in page.error]
    answer = httpx.post(
        f"{services.api_address}/experiments/{services.store.get(problem).id}/predict",
        json={"texts": ["the film was great great slow"], "text_pairs": second and [second]},
        timeout=600,
    ).json()["answers"][0]
    given = next(value for key, value in answer.items() if key not in ("text", "text_pair"))
    assert any(given in block.value for block in page.markdown)
