"""`ft30 serve` against transformers' pipeline behind HTTP, one text a request, under closed and open load.

    OMP_NUM_THREADS=1 python -m benchmarks.serving reviews@production --clients 1,4,16,64 --rates 20,50,100

Each contender is a process of its own on this machine; they take turns, a share of every load for one of them and
then for the others, so that whatever else the machine does hits all. `one at a time` is ft30 without batches
(--max_batch_rows 1), `pipeline` what is usually written first: transformers' `pipeline` on PEFT's model behind a
threaded server, one text at a time. What needs no server (the bare forward, the pipeline's best batch) is in
`benchmarks.serving_direct`.

Closed loop: so many clients, each of which asks as soon as it is answered (`benchmarks.api_clients`); the processor
time of the server is told for each answer, and does not depend on what else the machine does. Open loop: requests
leave at a fixed rate, whether or not earlier ones are answered, and a latency counts from the moment at which a
request was to leave: a server that stands still is charged for all that could not be sent meanwhile (coordinated
omission). Texts are the rows of the version's serving reference. On machines with several processors give the load
one of its own: taskset -c 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.api_clients import Prepared, Tally, load, prepare

CONTENDERS = ("ft30", "one at a time", "pipeline")
_START_SECONDS = 300.0


def main() -> None:
    """Measure both contenders and print a table, or be the pipeline."""
    options = _parse()
    if options.be_pipeline:
        serve_pipeline(options.name, options.results, options.be_pipeline)
        return
    texts = load_texts(options.name, options.results)
    addresses, processes = {}, []
    try:
        for contender in CONTENDERS:
            port = free_port()
            processes.append(start(contender, options.name, options.results, port))
            addresses[contender] = f"http://127.0.0.1:{port}"
        for address in addresses.values():
            wait_for(address)
        addresses = {one: f"{address}/predict/{options.name}" for one, address in addresses.items()}
        titles = ("answers/s", "p50, ms", "p95, ms", "p99, ms", "failed", "CPU, ms an answer", "× pipeline", "of CPU")
        print(f"| load | contender | {' | '.join(titles)} |\n|---|---|{'---|' * len(titles)}")
        for clients in options.clients:
            found: dict[str, list[Tally]] = {one: [] for one in CONTENDERS}
            for part in range(options.rounds):
                for one in CONTENDERS:
                    asked = prepare_texts(addresses[one], texts, options.requests * clients, part)
                    found[one].append(asyncio.run(load(addresses[one], asked, clients)))
            show(f"{clients} clients", {one: measured(tallies) for one, tallies in found.items()})
        for rate in options.rates:
            show(
                f"{rate}/s",
                {one: asyncio.run(open_loop(addresses[one], texts, rate, options.seconds)) for one in CONTENDERS},
            )
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def prepare_texts(address: str, texts: Sequence[str], count: int, part: int) -> list[Prepared]:
    """Return so many requests of one text each."""
    path, first = urlsplit(address).path, part * count
    chosen = [texts[(first + number) % len(texts)] for number in range(count)]
    return [prepare("predict", "POST", path, {"json": {"texts": [text]}}) for text in chosen]


def measured(tallies: Sequence[Tally]) -> dict[str, Any]:
    """Return what the parts of one closed loop came to: latencies and seconds, processor seconds of the server."""
    return {
        "latencies": [one / 1000 for tally in tallies for one in tally.all_times],
        "failed": sum(len(tally.errors) for tally in tallies),
        "seconds": sum(tally.seconds for tally in tallies),
        "cpu": sum(tally.server_cpu for tally in tallies),
    }


async def open_loop(address: str, texts: Sequence[str], rate: float, seconds: float) -> dict[str, Any]:
    """Ask at a fixed rate; latencies count from the moments at which requests were to leave."""
    latencies, failed = [], 0

    async def ask(client: httpx.AsyncClient, number: int, due: float) -> None:
        nonlocal failed
        if await _ask(client, address, texts[number % len(texts)]):
            latencies.append(time.perf_counter() - due)
        else:
            failed += 1

    async with _client() as client:
        begun, asking = time.perf_counter(), []
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asking.append(asyncio.ensure_future(ask(client, number, due)))
        await asyncio.gather(*asking)
        return {"latencies": latencies, "failed": failed, "seconds": time.perf_counter() - begun}


def show(named: str, found: dict[str, dict[str, Any]]) -> None:
    """Print a line for each contender; the ratios are those of answers a second, and a second of processor time."""
    speeds = {one: len(told["latencies"]) / told["seconds"] for one, told in found.items()}
    costs = {one: told["cpu"] / len(told["latencies"]) for one, told in found.items() if "cpu" in told}
    for one, told in found.items():
        places = [1000 * quantile(told["latencies"], share) for share in (0.5, 0.95, 0.99)]
        cells = " | ".join(f"{place:.1f}" for place in places)
        ratio = speeds[one] / speeds["pipeline"] if speeds["pipeline"] else float("nan")
        cpu = (
            f"{1000 * costs[one]:.2f} | {ratio:.2f} | {costs['pipeline'] / costs[one]:.2f}"
            if costs
            else f"| {ratio:.2f} |"
        )
        print(f"| {named} | {one} | {speeds[one]:.1f} | {cells} | {told['failed']} | {cpu} |", flush=True)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share lies; NaN of none."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=1000, method="inclusive")[min(998, int(share * 1000) - 1)]


def start(contender: str, name: str, results: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a contender on a port of this machine."""
    own = ["-m", "finetune30", "serve", name, "--port", str(port), "--output_dir", str(results)]
    own += ["--max_batch_rows", "1"] if contender == "one at a time" else []
    other = ["-m", "benchmarks.serving", name, "--results", str(results), "--be_pipeline", str(port)]
    return subprocess.Popen([sys.executable, *(other if contender == "pipeline" else own)])


def wait_for(address: str) -> None:
    """Wait until a contender is ready."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{address} does not answer")


def load_texts(name: str, results: Path) -> list[str]:
    """Return the texts of the version's serving reference."""
    from finetune30.service.registry.certifying import load_reference
    from finetune30.service.registry.registering import load_version
    from finetune30.service.runs.open_records import open_records
    from finetune30.settings import load_settings

    with open_records(load_settings(), results) as records:
        texts: list[str] = load_reference(records, load_version(records, name))["text"].to_list()
        return texts


def serve_pipeline(name: str, results: Path, port: int) -> None:
    """Answer with transformers' pipeline, one text at a time, until the process is ended."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    ask, max_length = load_pipeline(name, results)
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send({"ready": True})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with turn:
                found = ask(body["texts"], top_k=None, truncation=True, max_length=max_length)
            self._send({"answers": found})

        def log_message(self, *_: object) -> None:
            return

        def _send(self, tree: dict[str, Any]) -> None:
            content = json.dumps(tree).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def load_pipeline(name: str, results: Path) -> tuple[Any, int]:
    """Return transformers' pipeline on PEFT's model of a version, and the longest text in tokens."""
    from transformers import TextClassificationPipeline

    from finetune30.modeling.saved_targets import load_targets
    from finetune30.modeling.saving import load_saved
    from finetune30.problems.trainables import load_trainable
    from finetune30.service.runs.open_records import open_records
    from finetune30.settings import load_settings

    with open_records(load_settings(), results) as records:
        folder = records.require_folder(records.store.get(name)).final_model
    described = load_targets(folder)
    model, tokenizer = load_saved(folder, load_trainable(described["problem_type"], described["targets"]).load_saved)
    ask: Any = TextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")
    return ask, described["max_length"]


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))


async def _ask(client: httpx.AsyncClient, address: str, text: str) -> bool:
    try:
        answer = await client.post(address, json={"texts": [text]})
    except httpx.TransportError:
        return False
    return answer.status_code == 200


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.serving", description=__doc__.split("\n\n")[0])  # type: ignore[union-attr]
    parser.add_argument("name", help="A version of a classifier: NAME, NAME@alias or NAME:7.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="The results folder.")
    parser.add_argument("--clients", type=_numbers, default=[1, 2, 4, 8, 16, 32, 64], help="Closed loops, by comma.")
    parser.add_argument("--rates", type=_numbers, default=[20, 50, 100, 200], help="Open loops, requests/s, by comma.")
    parser.add_argument("--requests", type=int, default=40, help="Of each client, in each part of a closed loop.")
    parser.add_argument("--rounds", type=int, default=3, help="Parts of each closed loop, in turns.")
    parser.add_argument("--seconds", type=float, default=10.0, help="Of each open loop.")
    parser.add_argument("--be_pipeline", type=int, metavar="PORT", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
