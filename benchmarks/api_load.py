"""Time the REST API at 100,000 runs over real HTTP, on SQLite and, with a URL, on PostgreSQL.

    python -m benchmarks.api_load [--runs 100000] [--database_url postgresql://…/empty_database] [--against FOLDER]

Starts `ft30 api` and Redis, asks each question 200 times over one connection (median and 95th percentile in
milliseconds, from request to last byte), then mixes all of them from 50 clients that never pause, in several rounds.
FOLDER has the sources of another version (`git worktree add FOLDER COMMIT`): it gets a database of its own with the
same runs and is asked in turn with this version, call by call and round by round, so that whatever else the machine
does hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from benchmarks.api_clients import Prepared, Tally, load, prepare
from benchmarks.page_lab import free_port, running_service
from benchmarks.store_at_scale import SEED, WORDS, build_rows
from finetune30.jobs.redis_server import build_redis_command, wait_for_redis

CALLS, CLIENTS, REQUESTS, ROUNDS = 200, 50, 2200, 5
Question = Callable[[], tuple[str, str, dict[str, Any]]]
_HERE = Path(__file__).resolve().parents[1]
_FILL = "import sys; from benchmarks.store_at_scale import fill, open_store; fill(open_store(sys.argv[1]), {runs})"


def build_questions(ids: list[str], seed: int = 7) -> dict[str, Question]:
    """Return method, path and arguments by name; each call asks with other values."""
    chosen = random.Random(seed)

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
    return running_service(folder, "api", "/readyz", **settings | variables)


@contextmanager
def running_redis() -> Iterator[str]:
    """Start Redis on a free port and give its URL, without a number of a database."""
    url = f"redis://localhost:{free_port()}"
    arguments = build_redis_command(url).arguments
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_redis(url, process)
            yield url
        finally:
            process.kill()  # what it holds is of no value


@contextmanager
def serving(sources: Path, folder: Path, number: int, options: argparse.Namespace, redis_url: str) -> Iterator[str]:
    """Fill a database with a version's own code and serve it; gives the address."""
    folder.mkdir()
    url = f"sqlite:///{folder / 'results' / 'experiments.db'}"
    if options.database_url:
        url = options.database_url if number == 0 else _make_database(options.database_url)
    version = {"PYTHONPATH": f"{sources / 'src'}{os.pathsep}{sources}"}
    fill = [sys.executable, "-c", _FILL.format(runs=options.runs), url]
    subprocess.run(fill, check=True, cwd=folder, env={**os.environ, **version})
    with running_api(folder, url, FT30_REDIS_URL=f"{redis_url}/{number}", **version) as address:
        yield address


def measure_alone(addresses: Sequence[str], questions: dict[str, Question]) -> None:
    """Print median and 95th percentile of each question, one at a time; each call to one version after the other."""
    with ExitStack() as opened:
        clients = [opened.enter_context(httpx.Client(base_url=address, timeout=30)) for address in addresses]
        for name, ask in questions.items():
            times: list[list[float]] = [[] for _ in clients]
            for _ in range(CALLS):
                method, path, arguments = ask()
                for client, of_client in zip(clients, times, strict=True):
                    started = time.perf_counter()
                    client.request(method, path, **arguments).raise_for_status()
                    of_client.append((time.perf_counter() - started) * 1000)
            shown = (f"{statistics.median(of_one):8.1f} ms {_high(of_one):8.1f} ms" for of_one in times)
            print(f"{name:34} {' '.join(shown)}", flush=True)


def measure_together(addresses: Sequence[str], ids: list[str], rounds: int, requests: int) -> list[list[Tally]]:
    """Return what each round came to at each address; every round asks all of them the same."""
    tallies: list[list[Tally]] = [[] for _ in addresses]
    for number in range(rounds):
        asked = build_mix(build_questions(ids, seed=number), requests)
        for place in sorted(range(len(addresses)), reverse=bool(number % 2)):
            tally = asyncio.run(load(addresses[place], asked, CLIENTS))
            tallies[place].append(tally)
            print(f"round {number + 1}, version {place + 1}: {_describe([tally])}", flush=True)
    return tallies


def measure_kinds(addresses: Sequence[str], ids: list[str]) -> None:
    """Print the processor time that the server takes for an answer of each kind, asked alone by all clients."""
    questions = build_questions(ids, seed=99)
    for name, ask in questions.items():
        asked = build_mix({name: ask}, CALLS)
        tallies = [asyncio.run(load(address, asked, CLIENTS)) for address in addresses]
        print(f"{name:34} {' '.join(f'{tally.cpu_per_answer:8.2f} ms CPU' for tally in tallies)}", flush=True)


def build_mix(questions: dict[str, Question], requests: int) -> list[Prepared]:
    """Return so many requests of all kinds in turn."""
    asks = list(questions.items())
    turns = (asks[number % len(asks)] for number in range(requests))
    return [prepare(name, *ask()) for name, ask in turns]


def _describe(tallies: Sequence[Tally]) -> str:
    times = [one for tally in tallies for one in tally.all_times]
    rate = statistics.median(tally.rate for tally in tallies)
    cpu = statistics.median(tally.cpu_per_answer for tally in tallies)
    client = statistics.median(tally.client_cpu * 1000 / len(tally.all_times) for tally in tallies)
    return (
        f"{rate:.0f} answers/s, median {statistics.median(times):.0f} ms, 95th percentile {_high(times):.0f} ms, "
        f"CPU an answer {cpu:.2f} ms (clients {client:.2f} ms), {sum(len(one.errors) for one in tallies)} errors"
    )


def _print_comparison(old: Sequence[Tally], new: Sequence[Tally]) -> None:
    rates = [ours.rate / theirs.rate for theirs, ours in zip(old, new, strict=True)]
    cpu = [theirs.cpu_per_answer / ours.cpu_per_answer for theirs, ours in zip(old, new, strict=True)]
    for what, ratios in (("answers a second", rates), ("answers a second of CPU", cpu)):
        print(f"{what}, new / old: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def _make_database(url: str) -> str:
    """Make an empty database beside the given one, and return its URL."""
    beside = make_url(url).set(drivername="postgresql+psycopg")
    name = f"{beside.database}_other"
    engine = create_engine(beside, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _high(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


def main() -> None:
    """Fill a database a version, start the APIs, print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--database_url", help="an empty database; default: SQLite in a temporary folder")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="sources of another version")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of all clients together")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="in a round, to each version")
    parser.add_argument("--together", action="store_true", help="leave out the questions one at a time")
    options = parser.parse_args()
    versions = [*([options.against.resolve()] if options.against else []), _HERE]
    ids = [row["id"] for row in build_rows(options.runs, random.Random(SEED))]
    with tempfile.TemporaryDirectory() as scratch, running_redis() as redis_url, ExitStack() as services:
        addresses = [
            services.enter_context(serving(sources, Path(scratch) / str(number), number, options, redis_url))
            for number, sources in enumerate(versions)
        ]
        kind = "PostgreSQL" if options.database_url else "SQLite"
        print(f"{kind}, {options.runs:,} runs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        if not options.together:
            measure_alone(addresses, build_questions(ids))
            measure_kinds(addresses, ids)
        tallies = measure_together(addresses, ids, options.rounds, options.requests)
        for sources, of_version in zip(versions, tallies, strict=True):
            print(f"{sources.name}: {_describe(of_version)}")
            print("\n".join(error for tally in of_version for error in tally.errors[:10]))
        if len(tallies) > 1:
            _print_comparison(*tallies)


if __name__ == "__main__":
    main()
