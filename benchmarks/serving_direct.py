"""What serving is held against and what needs no server: the bare forward beside one client, the pipeline's best batch.

    OMP_NUM_THREADS=1 python -m benchmarks.serving_direct reviews@production

One text at a time goes in turn to the model itself (read, asked, told as an answer; in this process) and to `ft30
serve`, over one connection: what is between both is the price of HTTP and of the queue. Then transformers'
`pipeline` and the model of the serving path are given all texts of the serving reference in batches, in turns,
without HTTP; a row is counted in seconds of processor time, which do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.api_clients import load
from benchmarks.serving import free_port, load_pipeline, load_texts, prepare_texts, start, wait_for

BATCHES = (1, 8, 16, 32, 64)


def main() -> None:
    """Measure, and print both tables."""
    options = _parse()
    texts = load_texts(options.name, options.results)
    served = load_model(options.name, options.results)
    beside_one_client(served, texts, options)
    in_batches(served, texts, options)


def beside_one_client(served: Any, texts: Sequence[str], options: argparse.Namespace) -> None:
    """Print the latency of one client, and of the model alone, in turns."""
    port = free_port()
    server = start("ft30", options.name, options.results, port)
    try:
        wait_for(f"http://127.0.0.1:{port}")
        address = f"http://127.0.0.1:{port}/predict/{options.name}"
        bare, asked, server_cpu, bare_cpu = [], [], 0.0, 0.0
        for part in range(options.rounds):
            for place in range(options.requests):
                text = texts[(part * options.requests + place) % len(texts)]
                begun, cpu = time.perf_counter(), time.process_time()
                served.answers(served.logits(served.read([text])))
                bare.append(1000 * (time.perf_counter() - begun))
                bare_cpu += time.process_time() - cpu
            tally = asyncio.run(load(address, prepare_texts(address, texts, options.requests, part), 1))
            asked += tally.all_times
            server_cpu += tally.server_cpu
    finally:
        server.terminate()
        server.wait()
    print("| one text | p50, ms | fastest tenth, ms | CPU, ms |\n|---|---|---|---|")
    for what, times, cpu in (("the model alone", bare, bare_cpu), ("one client of `ft30 serve`", asked, server_cpu)):
        tenth = statistics.quantiles(times, n=10)[0]
        print(f"| {what} | {statistics.median(times):.2f} | {tenth:.2f} | {1000 * cpu / len(times):.2f} |", flush=True)


def in_batches(served: Any, texts: Sequence[str], options: argparse.Namespace) -> None:
    """Print rows a second of processor time of the pipeline and of the serving path, by the size of a batch."""
    pipeline, max_length = load_pipeline(options.name, options.results)

    def ask_pipeline(size: int) -> Callable[[], Any]:
        return lambda: pipeline(list(texts), batch_size=size, top_k=None, truncation=True, max_length=max_length)

    def ask_served(size: int) -> Callable[[], Any]:
        return lambda: [
            served.answers(served.logits(served.read(list(texts[first : first + size]))))
            for first in range(0, len(texts), size)
        ]

    print("| rows in a batch | pipeline, rows/s of CPU | serving path, rows/s of CPU |\n|---|---|---|")
    for size in BATCHES:
        spent: list[list[float]] = [[], []]
        for _ in range(options.rounds):
            for contender, ask in enumerate((ask_pipeline(size), ask_served(size))):
                cpu = time.process_time()
                ask()
                spent[contender].append(time.process_time() - cpu)
        theirs, own = (len(texts) / statistics.median(one) for one in spent)
        print(f"| {size} | {theirs:.1f} | {own:.1f} |", flush=True)


def load_model(name: str, results: Path) -> Any:
    """Return a version of a classifier in the path that serves."""
    from finetune30.service.registry.certifying import load_served
    from finetune30.service.registry.registering import load_version
    from finetune30.service.runs.open_records import open_records
    from finetune30.settings import load_settings

    with open_records(load_settings(), results) as records:
        return load_served(records, load_version(records, name)).texts


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.serving_direct", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("name", help="A version of a classifier: NAME, NAME@alias or NAME:7.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="The results folder.")
    parser.add_argument("--requests", type=int, default=50, help="Texts of each turn.")
    parser.add_argument("--rounds", type=int, default=5, help="Turns.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
