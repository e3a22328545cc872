"""The long form of the proof for three hosts: runs are handed in while hosts, cables and services fail at random.

    make chaos-hosts ARGS="--runs 1000 --seed 7"        python tests/chaos_hosts.py --runs 200

Hosts a and b have a worker each, a the API, host c PostgreSQL and Redis; all see one folder. Most runs are drills,
every twentieth is a real training, every third of those in two processes. In the end a table counts the runs that
were lost, doubled, unreadable, stuck or failed, and the trainings with another result than without a disturbance.
Prints the seed, which repeats the same sequence of misfortunes. Exit code 1 unless all counts are 0. Needs root on
Linux.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.fleet import fleet_of_hosts
from support.fleet_chaos import FleetChaos
from support.fleet_trainings import prepare_training, training_config
from support.fleet_verdict import judge, table
from support.fork_server import ForkServer
from support.tiny_models import build_tiny_model

TRAINING_EVERY = 20


def build_configs(count: int, chosen: random.Random, training: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return names and configurations of so many runs."""
    configs: list[tuple[str, dict[str, Any]]] = []
    for number in range(count):
        if number % TRAINING_EVERY == TRAINING_EVERY // 2:
            processes = 2 if number % (3 * TRAINING_EVERY) == TRAINING_EVERY // 2 else 1
            configs.append((f"train{number}", training_config(training, processes)))
        else:
            configs.append((f"drill{number}", {"training": {"max_steps": chosen.randint(2, 40)}}))
    return configs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS", "1000")))
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=1e6, help="submit no longer than this; then only finish")
    parser.add_argument("--every", type=float, nargs=2, default=(4.0, 12.0), metavar=("LEAST", "MOST"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the hosts are taken away then, too
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}: {options.runs} runs", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ft30-hosts-")))
        try:
            fleet = stack.enter_context(fleet_of_hosts(folder))
        except pytest.skip.Exception as reason:
            print(f"cannot be run here: {reason}")
            return 1
        server = stack.enter_context(ForkServer(folder))
        training = prepare_training(server, fleet.shared, build_tiny_model(folder / "model", "distilbert"))
        fleet.start_all("postgresql", "redis", "api", "worker-a", "worker-b")
        chaos = FleetChaos(fleet, build_configs(options.runs, random.Random(seed), training.config), seed)
        started = time.monotonic()
        chaos.run(None, tuple(options.every), options.minutes * 60)
        seconds = time.monotonic() - started
        verdict = judge(fleet, chaos, training.undisturbed)
    print(table(seed, seconds, chaos, verdict))
    for breach in verdict.breaches:
        print("BREACH", breach)
    return bool(verdict.breaches)


if __name__ == "__main__":
    sys.exit(main())
