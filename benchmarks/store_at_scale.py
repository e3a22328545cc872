"""Time the questions to the run store at 100,000 runs, on SQLite and, with a URL, on PostgreSQL.

    python benchmarks/store_at_scale.py [--runs 100000] [--database_url postgresql://…/empty_database]

Prints one line a question: median and 95th percentile of the time in milliseconds over 30 calls, each with other
values, with the rows of the page fetched and decoded as a caller of the store gets them; then the median CPU time of
this process, which other work on the machine does not lengthen (SQLite works in this process, PostgreSQL in its own).
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

from finetune30.config.schema import ExperimentConfig
from finetune30.store import RunFilter, RunStatus, RunStore, open_store
from finetune30.store.database import writing
from finetune30.store.queries import name_key
from finetune30.store.scores import NO_SCORE, score_columns
from finetune30.store.tables import runs

CALLS = 30
WORDS = (
    "sst2",
    "reviews",
    "tickets",
    "ablation",
    "baseline",
    "rank",
    "seed",
    "zh",
    "roberta",
    "bert",
    "sweep",
    "final",
)
#: How many of a thousand runs are in each state.
SHARES = {
    RunStatus.QUEUED: 1,
    RunStatus.RUNNING: 1,
    RunStatus.SUCCEEDED: 900,
    RunStatus.FAILED: 60,
    RunStatus.CANCELLED: 38,
}
VERSIONS = 40
SEED = 30
NEWEST = datetime(2026, 6, 1, tzinfo=UTC)


def build_rows(count: int, chosen: random.Random) -> Iterator[dict[str, Any]]:
    """Yield rows of two years: nine of ten SUCCEEDED, a few waiting and running, names of three words, 40 data sets."""
    config = ExperimentConfig().as_tree()
    metrics = {f"eval_metric_{n}": n / 30 for n in range(30)}
    for number in range(count):
        name = "_".join(chosen.choices(WORDS, k=3)) + f"_{number}"
        created = NEWEST - timedelta(seconds=(count - number) * 630)
        status = chosen.choices(list(SHARES), weights=list(SHARES.values()))[0]
        done, running = status is RunStatus.SUCCEEDED, status is RunStatus.RUNNING
        accuracy = chosen.betavariate(8, 2)
        yield {
            "id": uuid.UUID(int=chosen.getrandbits(128)).hex,
            "name": name,
            "name_key": name_key(name),
            "status": status,
            "kind": "queued",
            "attempt": 1,
            "failures": 0,
            "cancel_requested": False,
            "priority": 0,
            "lease_owner": "elsewhere:boot:1:1" if running else None,
            "lease_until": datetime(2100, 1, 1, tzinfo=UTC) if running else None,
            "folder": f"{name}_{created:%Y%m%d_%H%M%S}",
            "config": config,
            "config_digest": f"{number:064x}",
            "dataset_digest": f"{number % VERSIONS:064x}",
            "created_at": created,
            "queued_at": created,
            "train_runtime": chosen.uniform(5, 5000) if done else None,
            "eval_accuracy": accuracy if done else None,
            **(score_columns({"eval_accuracy": accuracy}) if done else NO_SCORE),
            "metrics": metrics if done else None,
            "submitted_by": "",
        }


def fill(store: RunStore, count: int) -> list[str]:
    """Write the rows and return their ids."""
    rows = list(build_rows(count, random.Random(SEED)))
    for start in range(0, count, 5000):
        with writing(store.engine) as connection:
            connection.execute(insert(runs), rows[start : start + 5000])
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE" if connection.dialect.name == "postgresql" else "ANALYZE"))
    return [row["id"] for row in rows]


def build_questions(store: RunStore, ids: list[str], results: Path) -> dict[str, Callable[[], object]]:
    """Return the questions by name; each call asks with other values."""
    chosen = random.Random(7)

    def page(**wanted: Any) -> Callable[[], object]:
        return lambda: store.find_page(
            RunFilter(with_config=False, **{k: v() if callable(v) else v for k, v in wanted.items()})
        )

    def word() -> str:
        return f"{chosen.choice(WORDS)} {chosen.choice(WORDS)}"

    def accuracy() -> float:
        return chosen.uniform(0.5, 0.99)

    deep = RunFilter(limit=1000)
    for _ in range(min(40, len(ids) // 2000)):
        deep = RunFilter(limit=1000, cursor=store.find_page(deep).next_cursor)
    day = timedelta(days=1)
    return {
        "newest 50": page(),
        "page 40,000 rows deep, by cursor": page(limit=50, cursor=deep.cursor),
        "sort by accuracy": page(sort_by="eval_accuracy"),
        "sort by score": page(sort_by="score"),
        "sort by runtime, ascending": page(sort_by="train_runtime", descending=False),
        "sort by name": page(sort_by="name", descending=False),
        "min_accuracy, sort by accuracy": page(min_accuracy=accuracy, sort_by="eval_accuracy"),
        "min_accuracy 0.9999 (few), newest": page(min_accuracy=0.9999),
        "min_score, sort by score": page(min_score=accuracy, score_name="eval_accuracy", sort_by="score"),
        "min_score 0.9999 (few), newest": page(min_score=0.9999),
        "best of one data version": page(
            dataset_digest=lambda: f"{chosen.randrange(VERSIONS):064x}",
            score_name="eval_accuracy",
            sort_by="score",
            limit=1,
        ),
        "max_runtime, newest": page(max_runtime_seconds=lambda: chosen.uniform(10, 100)),
        "status FAILED": page(statuses=frozenset({RunStatus.FAILED})),
        "status RUNNING": page(statuses=frozenset({RunStatus.RUNNING})),
        "one day": page(start_date=NEWEST - 200 * day, end_date=NEWEST - 199 * day),
        "name, two words": page(name=word),
        "name, one run": page(name=lambda: f"_{chosen.randrange(len(ids) - 10_000, len(ids))}"),
        "name, none": page(name=lambda: f"absent {chosen.random()}"),
        "name, sort by accuracy": page(name=word, sort_by="eval_accuracy"),
        "count, all": lambda: store.count(RunFilter()),
        "count, name and accuracy": lambda: store.count(RunFilter(name=word(), min_accuracy=accuracy())),
        "stats, counted": lambda: RunStore(store.engine).stats(),
        "stats, nothing changed since": store.stats,
        "one run by id": lambda: store.get(chosen.choice(ids)),
        "one run by prefix": lambda: store.get(chosen.choice(ids)[:10]),
        "latest": lambda: store.get("latest"),
        "reconcile": store.reconcile,
        "create": lambda: store.create(ExperimentConfig(), kind="queued", results_root=results),
    }


def measure(ask: Callable[[], object]) -> tuple[float, float, float]:
    """Return median, 95th percentile and median CPU time in milliseconds."""
    times, cpu_times = [], []
    for _ in range(CALLS):
        started, cpu_started = time.perf_counter(), time.process_time()
        ask()
        times.append((time.perf_counter() - started) * 1000)
        cpu_times.append((time.process_time() - cpu_started) * 1000)
    return statistics.median(times), sorted(times)[int(CALLS * 0.95)], statistics.median(cpu_times)


def main() -> None:
    """Fill a database and print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--database_url", help="an empty database; default: SQLite in a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        store = open_store(arguments.database_url or f"sqlite:///{results}/experiments.db")
        started = time.perf_counter()
        ids = fill(store, arguments.runs)
        print(f"{store.engine.dialect.name}: {arguments.runs:,} runs written in {time.perf_counter() - started:.0f} s")
        store.reconcile()
        for name, ask in build_questions(store, ids, results).items():
            median, high, cpu = measure(ask)
            print(f"{name:36} {median:8.1f} ms {high:8.1f} ms {cpu:8.1f} ms CPU")
        store.close()


if __name__ == "__main__":
    main()
