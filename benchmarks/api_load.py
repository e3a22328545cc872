"""Time the REST API at 100,000 runs over real HTTP, on SQLite and, with a URL, on PostgreSQL.

    python -m benchmarks.api_load [--runs 100000] [--database_url postgresql://…/empty_database]

Starts `ft30 api`, asks each question 200 times over one connection (median and 95th percentile in milliseconds, from
request to last byte), then mixes all of them from 50 clients at a time and counts answers that are errors.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.page_lab import running_service
from benchmarks.store_at_scale import WORDS, fill
from finetune30.store import open_store

CALLS, CLIENTS, CALLS_EACH = 200, 50, 20
Question = Callable[[], tuple[str, str, dict[str, Any]]]


def build_questions(ids: list[str]) -> dict[str, Question]:
    """Return method, path and arguments by name; each call asks with other values."""
    chosen = random.Random(7)

    def listing(**fixed: Any) -> Question:
        return lambda: (
            "GET",
            "/experiments",
            {"params": {key: value() if callable(value) else value for key, value in fixed.items()}},
        )

    def accuracy() -> float:
        return round(chosen.uniform(0.5, 0.99), 3)

    return {
        "newest 50": listing(),
        "min_accuracy, sort by accuracy": listing(min_accuracy=accuracy, sort_by="eval_accuracy", desc="true"),
        "min_score, sort by score": listing(min_score=accuracy, score_name="eval_accuracy", sort_by="score"),
        "max_runtime, sort by runtime": listing(max_runtime=lambda: chosen.randint(10, 4000), sort_by="train_runtime"),
        "sort by name": listing(sort_by="name", desc="false"),
        "name, two words": listing(name=lambda: f"{chosen.choice(WORDS)} {chosen.choice(WORDS)}"),
        "status FAILED, one month": listing(status="FAILED", start_date="2025-05-01", end_date="2025-05-31"),
        "one by id": lambda: ("GET", f"/experiments/{chosen.choice(ids)}", {}),
        "task by id": lambda: ("GET", f"/task/{chosen.choice(ids)}", {}),
        "stats": lambda: ("GET", "/experiments/stats", {}),
        "submit": lambda: ("POST", "/train", {"json": {"experiment_name": "load", "epochs": 1}}),
    }


def running_api(folder: Path, database_url: str, **variables: str) -> AbstractContextManager[str]:
    """Start `ft30 api` on a free port and give its address."""
    given = {"DATABASE_URL": database_url, "RESULTS_FOLDER": "results", "MAX_OPEN_RUNS": "1000000"}
    given |= {"REDIS_URL": os.environ.get("FT30_REDIS_URL", "redis://localhost:6379/0"), "DISK_RESERVE_BYTES": "0"}
    settings = {f"FT30_{key}": value for key, value in given.items()}
    return running_service(folder, "api", "/readyz", **settings, **variables)


def measure_alone(address: str, questions: dict[str, Question]) -> None:
    """Print median and 95th percentile of each question, one at a time."""
    with httpx.Client(base_url=address, timeout=30) as client:
        for name, ask in questions.items():
            times = []
            for _ in range(CALLS):
                method, path, arguments = ask()
                started = time.perf_counter()
                client.request(method, path, **arguments).raise_for_status()
                times.append((time.perf_counter() - started) * 1000)
            print(f"{name:34} {statistics.median(times):8.1f} ms {_high(times):8.1f} ms")


async def measure_together(address: str, questions: dict[str, Question]) -> None:
    """Print what 50 clients at a time get from a mix of all questions: each of them, then all."""
    asks, errors = list(questions.items()), []
    by_name: dict[str, list[float]] = {name: [] for name in questions}

    async def work(client: httpx.AsyncClient, number: int) -> None:
        for call in range(CALLS_EACH):
            name, ask = asks[(number + call) % len(asks)]
            method, path, arguments = ask()
            started = time.perf_counter()
            try:
                answer = await client.request(method, path, **arguments)
                if answer.status_code >= 400:
                    errors.append(f"{method} {path} {answer.status_code} {answer.text[:200]}")
            except httpx.HTTPError as error:
                errors.append(f"{method} {path} {error!r}")
            by_name[name].append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as client:
        await asyncio.gather(*(work(client, number) for number in range(CLIENTS)))
    seconds = time.perf_counter() - started
    times = [one for of_name in by_name.values() for one in of_name]
    for name, of_name in by_name.items():
        print(f"{name:34} {statistics.median(of_name):8.1f} ms {_high(of_name):8.1f} ms")
    print(
        f"{CLIENTS} clients, {len(times)} requests: {len(errors)} errors, {len(times) / seconds:.0f} requests/s, "
        f"median {statistics.median(times):.0f} ms, 95th percentile {_high(times):.0f} ms"
    )
    print("\n".join(errors[:10]))


def _high(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


def main() -> None:
    """Fill a database, start the API, print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--database_url", help="an empty database; default: SQLite in a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database_url = arguments.database_url or f"sqlite:///{folder / 'results' / 'experiments.db'}"
        store = open_store(database_url)
        ids = fill(store, arguments.runs)
        kind = store.engine.dialect.name
        print(f"{kind}, {arguments.runs:,} runs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        store.close()
        questions = build_questions(ids)
        with running_api(folder, database_url) as address:
            measure_alone(address, questions)
            asyncio.run(measure_together(address, questions))


if __name__ == "__main__":
    main()
