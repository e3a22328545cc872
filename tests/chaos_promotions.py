"""The long form of the proof for promotions: an alias is moved a thousand times while callers are answered.

    make chaos-promotions ARGS="--promotions 200 --swaps 10"
    python tests/chaos_promotions.py --results results --model reviews

First promoters move the alias as fast as they can, racing each other, while callers ask `ft30 serve`; every answer is
held against the record of the moves (`support.promotions`). Then the alias is moved once at a time, each move is waited
for, and the server's memory is told. Without --results two tiny classifiers are trained in a folder of their own. Exit
code 1 for any breach, and where memory grew by more than --most_growth after the fifth swap.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from finetune30.errors import ConflictError
from finetune30.service.registry.promotion import promote
from finetune30.service.runs.open_records import Records, open_records
from finetune30.settings import Settings, load_settings
from finetune30.store.model_records import VersionState
from finetune30.store.model_registry import find_model
from support.fork_server import ForkServer
from support.kinds import KINDS, KindsLab
from support.patience import wait_until
from support.promotions import Callers, behind, find_breaches, load_record, load_shares
from support.tiny_models import build_tiny_model

ALIAS = "production"
MIB = 1 << 20


def main() -> int:
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="ft30-promotions-") as made, ExitStack() as stack:
        forks = stack.enter_context(ForkServer(Path(made)))
        results = options.results or _train_versions(forks, Path(made), options.model)
        settings = load_settings()
        with open_records(settings, results) as records:
            numbers = _ready_versions(records, options.model)
            known = {number: load_shares(records, options.model, number) for number in numbers}
            texts = sorted(set.intersection(*(set(shares) for shares in known.values())))
            with _Server(forks, f"{options.model}@{ALIAS}", results) as server:
                callers = Callers(server.address, options.model, texts)
                with callers.asking(options.clients):
                    moved, lost, seconds = _move(settings, results, options, numbers)
                    last = _alias(records, options.model).generation
                    wait_until(lambda: server.generation() == last, 120, f"it answers with generation {last}")
                breaches = _tell_answers(callers, records, options.model, known, (moved, lost, seconds))
                growth = _swap(server, records, options, numbers)
    return 1 if breaches or growth > options.most_growth * MIB else 0


def _move(
    settings: Settings, results: Path, options: argparse.Namespace, numbers: Sequence[int]
) -> tuple[int, int, float]:
    """Move the alias by racing promoters; return moves made, races lost, and the seconds that it took."""
    left, lost, lock, begun = [options.promotions], [0], threading.Lock(), time.monotonic()

    def keep_moving(number: int) -> None:
        chosen = random.Random(options.seed + number)
        with open_records(settings, results) as records:
            while True:
                with lock:
                    if left[0] <= 0:
                        return
                    left[0] -= 1
                now = _alias(records, options.model).number
                to = chosen.choice([one for one in numbers if one != now])
                try:
                    promote(records, options.model, to, ALIAS, reason="a race", actor=f"promoter {number}")
                except ConflictError:  # another promoter was first: this one decides again
                    with lock:
                        left[0], lost[0] = left[0] + 1, lost[0] + 1

    with ThreadPoolExecutor(options.promoters) as pool:
        list(pool.map(keep_moving, range(options.promoters)))
    return options.promotions, lost[0], time.monotonic() - begun


def _tell_answers(
    callers: Callers, records: Records, model: str, known: dict[int, Any], moves: tuple[int, int, float]
) -> int:
    record = load_record(records, model, ALIAS, known)
    breaches = find_breaches(callers.answers, record)
    waited = behind(callers.answers, record)
    answers = [one for one in callers.answers if one.status == 200]
    print(f"{moves[0]} promotions in {moves[2]:.0f} s ({moves[1]} races lost)")
    print(f"{len(answers)} answers by {len({one.generation for one in answers})} of their generations")
    if len(answers) > 1:
        taken = [1000 * (one.received - one.sent) for one in answers]
        late, fast = statistics.quantiles(waited, n=100), statistics.quantiles(taken, n=100)
        print(f"behind the alias: {sum(not one for one in waited) / len(waited):.0%} not at all, "
              f"p50 {late[49]:.2f} s, p99 {late[98]:.2f} s, at most {max(waited):.2f} s")  # fmt: skip
        print(f"an answer took p50 {fast[49]:.0f} ms, p99 {fast[98]:.0f} ms, at most {max(taken):.0f} ms")
    else:
        breaches.append("no answers that anything could be told from")
    print(
        f"breaches: {len(breaches)}",
        *(f"  {count} x {said}" for said, count in Counter(breaches).most_common(9)),
        sep="\n",
    )
    return len(breaches)


def _swap(server: _Server, records: Records, options: argparse.Namespace, numbers: Sequence[int]) -> int:
    """Move the alias once at a time and follow the server's memory; return by how much it grew after the fifth."""
    print("| swaps | resident, MiB |\n|---|---|")
    found: list[int] = []
    for swap in range(1, options.swaps + 1):
        now = _alias(records, options.model)
        to = numbers[(numbers.index(now.number) + 1) % len(numbers)]
        promote(records, options.model, to, ALIAS, reason="one more", actor="swaps")
        server.wait_for(now.generation + 1)
        time.sleep(1.5)  # by its next look the one that was swapped out has left memory
        found.append(server.resident_bytes())
        if swap in (1, 5) or swap % 10 == 0:
            print(f"| {swap} | {found[-1] / MIB:.1f} |", flush=True)
    return max(found[-5:], default=0) - max(found[:5], default=0)


class _Server:
    """`ft30 serve` in a process of its own."""

    def __init__(self, fork_server: ForkServer, name: str, results: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address, self._forks = f"http://127.0.0.1:{port}", fork_server
        command = ("serve", name, "--port", str(port), "--output_dir", str(results.absolute()))
        self._pid = fork_server.start(*command, cwd=Path.cwd())

    def __enter__(self) -> _Server:
        wait_until(lambda: self.generation() is not None, 120, "the server is ready")
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGTERM)
        ended = self._forks.wait()
        if ended.returncode:
            print(ended.stderr)

    def wait_for(self, generation: int) -> None:
        """Return once that generation answers."""
        wait_until(lambda: self.generation() == generation, 120, "it is swapped in")

    def generation(self) -> int | None:
        """Return the generation that answers; None while none does."""
        try:
            (told,) = httpx.get(f"{self.address}/readyz").json()["models"]
        except httpx.TransportError:
            return None
        found: int | None = told.get("generation")
        return found

    def resident_bytes(self) -> int:
        """Return its resident memory; 0 where the system does not say."""
        status = Path(f"/proc/{self._pid}/status")
        lines = status.read_text().splitlines() if status.is_file() else []
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def _train_versions(fork_server: ForkServer, folder: Path, model: str) -> Path:
    """Train two tiny classifiers, one of which learns less, as versions of a model, the first one under the alias."""
    lab = KindsLab.make(fork_server, folder, build_tiny_model(folder / "tiny"))
    for name, epochs in (("learnt", 20), ("hardly-learnt", 2)):
        lab.train(KINDS["single-label"], name, num_train_epochs=epochs)
        lab.ft30("models", "register", name, model)
    lab.ft30("models", "promote", model, "1", "--to", ALIAS, "--reason", "a start")
    return folder / "results"


def _ready_versions(records: Records, model: str) -> list[int]:
    numbers = [one.number for one in find_model(records.store, model).versions if one.state is VersionState.READY]
    if len(numbers) < 2:
        raise SystemExit(f"model {model} has {len(numbers)} versions that are READY, and two are needed")
    return numbers


def _alias(records: Records, model: str) -> Any:
    return next(one for one in find_model(records.store, model).aliases if one.alias == ALIAS)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--promotions", type=int, default=1000)
    parser.add_argument("--promoters", type=int, default=8)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--most_growth", type=int, default=16, help="MiB")
    parser.add_argument("--seed", type=int, default=0, help="of the versions that are chosen")
    parser.add_argument(
        "--results", type=Path, help="a results folder with the model, its alias production and two versions"
    )
    parser.add_argument("--model", default="reviews")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
