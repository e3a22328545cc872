"""Take pictures of every view of the page, in both languages and schemes, on a wide screen and a telephone.

    python -m benchmarks.page_pictures FOLDER [--docs docs/images] [--address http://localhost:8501]

Starts `ft30 up` in a folder of its own, trains some small runs and takes the pictures while one goes on; with
`--address` it takes those of an installation that runs already (its API on `--api`). Needs Playwright and a Chromium.
`--docs` takes those of the documents as well. Look at them: no test sees what is ugly.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from benchmarks.page_lab import AT_REST, free_port, running, running_browser

Json = dict[str, Any]

LANGUAGES = {"en": "en-US", "zh": "zh-TW"}
SCHEMES = ("light", "dark")
WIDTHS = (1440, 390)
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")


class View(NamedTuple):
    """An address, which part of it is pressed and what is unfolded, and how high the picture of a document is."""

    path: str
    part: int | None = None
    height: int | None = None
    fold: str | None = None


VIEWS = {
    "submit": View("/?preset=starter", height=1000),
    "submit_refused": View("/?preset=starter&set=training.num_train_epochs%3D0&source=upload"),
    "follow_list": View("/follow?list=1"),
    "follow": View("/follow?task={running}"),
    "follow_done": View("/follow?task={best}", height=1000),
    "follow_failed": View("/follow?task={failed}"),
    "experiments": View("/experiments", height=1000),
    "run_results": View("/run?run={best}", 0),
    "run_errors": View("/run?run={best}", 1),
    "run_curves": View("/run?run={best}", 2),
    "run_config": View("/run?run={best}", 3),
    "run_data": View("/run?run={best}", 4),
    "run_files": View("/run?run={best}", 5),
    "run_log": View("/run?run={best}", 6),
    "compare": View("/compare?ids={best},{other}", height=1000),
    "sets": View("/compare", fold="stacks"),
    "searches": View("/searches"),
    "data": View("/data?version={version}"),
    "data_suspects": View("/data?version={version}", 1, height=1000),
    "try": View("/try?run={best}"),
    "models": View("/models", fold="history"),
}
#: Pictures of the documents: name -> view, language.
DOCUMENTS = {
    "page_submit_zh": ("submit", "zh"),
    "page_follow_en": ("follow_done", "en"),
    "page_follow_zh": ("follow_done", "zh"),
    "page_experiments_en": ("experiments", "en"),
    "page_experiments_zh": ("experiments", "zh"),
    "page_compare_en": ("compare", "en"),
    "page_data_en": ("data_suspects", "en"),
}


def main() -> None:
    """Serve, fill, take."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_pictures", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="take those of the documents too, into this folder")
    parser.add_argument("--address", help="a page that is served already")
    parser.add_argument("--api", default="http://localhost:8000", help="the API of that page")
    parser.add_argument("--only", action="append", choices=list(VIEWS), metavar="VIEW", help="take this view alone")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.address:
        names = name_runs(options.api)
        take_all(options.address, names, options.folder, options.docs, options.only or list(VIEWS))
        return
    with tempfile.TemporaryDirectory(prefix="pictures-") as scratch, serving(Path(scratch)) as (page, api):
        fill(api)
        take_all(page, name_runs(api), options.folder, options.docs, options.only or list(VIEWS))


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str]]:
    """Run `ft30 up` in a folder, on free ports; give the addresses of page and API."""
    ui, api, redis = free_port(), free_port(), free_port()
    variables = {"FT30_UI_PORT": str(ui), "FT30_API_PORT": str(api), "FT30_REDIS_URL": f"redis://127.0.0.1:{redis}/0"}
    page, service = f"http://127.0.0.1:{ui}", f"http://127.0.0.1:{api}"
    with running(folder, ["up", "--no-open"], [f"{service}/readyz", f"{page}/_stcore/health"], **variables):
        yield page, service


def fill(api: str) -> None:
    """Train runs that differ, one that fails, one that goes on and one that waits; look for suspect labels."""
    done = [
        submit(api, "gentle rate", learning_rate=2e-4, num_train_epochs=2),
        submit(api, "usual rate", num_train_epochs=2),
        submit(api, "bold rate", learning_rate=2e-3, num_train_epochs=2),
        submit(api, "a model that is not there", model={"name": "no-such-model-here"}),
    ]
    wait_for(api, done)
    best = name_runs(api)["best"]
    marks = {"starred": True, "tags": ["baseline"], "edits": 0}
    httpx.patch(f"{api}/experiments/{best}", json=marks).raise_for_status()
    httpx.post(f"{api}/experiments/{best}/suspects", json={"folds": None}).raise_for_status()
    while httpx.get(f"{api}/experiments/{best}/suspects").json()["state"] not in ("ready", "failed"):
        time.sleep(1)
    short = {"training": {"num_train_epochs": 1}}
    repeated = {"preset": "starter", "seeds": 2, "experiment_name": "two seeds", "config": short}
    made = httpx.post(f"{api}/run-sets", json=repeated, timeout=120).raise_for_status().json()
    wait_for(api, [str(run["run_id"]) for run in made["runs"]])
    register(api, name_runs(api))
    submit(api, "a long one", num_train_epochs=60)
    submit(api, "waiting")
    time.sleep(30)  # some points for its curves


def wait_for(api: str, runs: Sequence[str]) -> None:
    """Wait until these runs have ended."""
    for run_id in runs:
        while httpx.get(f"{api}/task/{run_id}", timeout=60).json()["status"] not in FINAL:
            time.sleep(1)


def register(api: str, named: dict[str, str]) -> None:
    """Make two versions of a model; one of them goes into production."""
    for run in (named["other"], named["best"]):
        body = {"name": "reviews", "run": run}
        httpx.post(f"{api}/models", json=body, timeout=120).raise_for_status()
    for seen, version in enumerate((1, 2)):
        move_to: Json = {"version": version, "reason": "the better one of the evaluation"}
        move = httpx.put(
            f"{api}/models/reviews/aliases/production", json=move_to, headers={"If-Match": f'"{seen}"'}, timeout=120
        )
        move.raise_for_status()


def submit(api: str, name: str, model: Json | None = None, **training: Any) -> str:
    """Submit a run of the starter preset with other settings; return its id."""
    body: Json = {"preset": "starter", "experiment_name": name, "config": {"training": training}}
    if model:
        body["config"]["model"] = model
    answer = httpx.post(f"{api}/train", json=body, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["task_id"])


def name_runs(api: str) -> dict[str, str]:
    """Return what addresses of views name: the best run, another one, one that runs, one that failed, a version."""
    runs = httpx.get(f"{api}/experiments", params={"limit": 200}, timeout=60).json()["experiments"]
    done = sorted((run for run in runs if run["status"] == "SUCCEEDED"), key=lambda run: -(run["score"] or 0))
    if len(done) < 2:
        raise SystemExit("two finished runs are needed")
    named = {"best": done[0], "other": done[1]}
    for name, status in (("running", "RUNNING"), ("failed", "FAILED")):
        named[name] = next((run for run in runs if run["status"] == status), done[0])
    return {name: str(run["id"]) for name, run in named.items()} | {"version": str(done[0]["dataset_digest"])[:12]}


def take_all(address: str, names: dict[str, str], folder: Path, docs: Path | None, chosen: Sequence[str]) -> None:
    """Take the pictures: those of the documents first, while a run goes on."""
    with running_browser() as browser:
        for name, (view, language) in DOCUMENTS.items() if docs else ():
            with _window(browser, language, "light", 1280, VIEWS[view].height or 1000) as page:
                _open(page, address, VIEWS[view], names)
                page.screenshot(path=f"{docs}/{name}.png")
                shrink(Path(f"{docs}/{name}.png"))
        for view, language, scheme, width in itertools.product(chosen, LANGUAGES, SCHEMES, WIDTHS):
            with _window(browser, language, scheme, width, 900) as page:
                _open(page, address, VIEWS[view], names)
                height = page.evaluate("document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight")
                page.set_viewport_size({"width": width, "height": min(6000, max(900, height + 80))})
                _rest(page)
                page.screenshot(path=folder / f"{view}-{language}-{scheme}-{width}.png")


def shrink(picture: Path) -> None:
    """Write a picture in 160 colours, less than half of the bytes: it stays in the repository for ever."""
    from PIL import Image

    with Image.open(picture) as seen:
        few = seen.convert("RGB").quantize(160, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


@contextmanager
def _window(browser: Any, language: str, scheme: str, width: int, height: int) -> Iterator[Any]:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        locale=LANGUAGES[language],
        color_scheme=scheme,
        timezone_id="Asia/Taipei",
    )
    page = context.new_page()
    page.set_default_timeout(180_000)
    yield page
    context.close()


def _open(page: Any, address: str, view: View, names: dict[str, str]) -> None:
    page.goto(address + view.path.format(**names))
    page.wait_for_selector("h1")
    _rest(page)
    if view.part:
        parts = page.get_by_test_id("stMain").get_by_test_id("stButtonGroup").first
        parts.get_by_role("radio").nth(view.part).click()
        _rest(page)
    if view.fold:
        page.locator("summary").filter(has_text=view.fold).first.click()
        _rest(page)


def _rest(page: Any) -> None:
    """Wait until the page is drawn and charts have come to rest."""
    for _ in range(3):
        page.wait_for_timeout(700)
        page.wait_for_selector(AT_REST)


if __name__ == "__main__":
    main()
