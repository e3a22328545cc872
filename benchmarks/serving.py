"""`ft30 serve` against transformers' pipeline behind HTTP, one text a request, under closed and open load.

    OMP_NUM_THREADS=1 python -m benchmarks.serving reviews@production --clients 1,4,16,64 --rates 20,50,100

Each contender is a process of its own on this machine; they take turns, every load for one of them and then for the
other, so that whatever else the machine does hits both. `pipeline` is what is usually written first: transformers'
`pipeline` on PEFT's model behind a threaded server, one text at a time.

Closed loop: so many clients, each of which asks as soon as it is answered. Open loop: requests leave at a fixed rate,
whether or not earlier ones are answered, and a latency counts from the moment at which a request was to leave: a server
that stands still is charged for all that could not be sent meanwhile (coordinated omission). Texts are the rows of the
version's serving reference. On machines with several processors give the load one of its own: taskset -c 1.
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

import httpx

CONTENDERS = ("ft30", "pipeline")
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
        print("| load | contender | answers/s | p50, ms | p95, ms | p99, ms | failed | × pipeline |")
        print("|---|---|---|---|---|---|---|---|")
        for clients in options.clients:
            load = {
                one: asyncio.run(closed_loop(addresses[one], texts, clients, options.seconds)) for one in CONTENDERS
            }
            show(f"{clients} clients", load)
        for rate in options.rates:
            load = {one: asyncio.run(open_loop(addresses[one], texts, rate, options.seconds)) for one in CONTENDERS}
            show(f"{rate}/s", load)
    finally:
        for process in processes:
            process.terminate()
            process.wait()


async def closed_loop(address: str, texts: Sequence[str], clients: int, seconds: float) -> dict[str, Any]:
    """Ask with so many clients, each as soon as it is answered; return latencies in seconds and what failed."""
    until, latencies, failed = time.perf_counter() + seconds, [], 0

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        nonlocal failed
        while (begun := time.perf_counter()) < until:
            if await _ask(client, address, texts[number % len(texts)]):
                latencies.append(time.perf_counter() - begun)
            else:
                failed += 1
            number += clients

    async with _client() as client:
        begun = time.perf_counter()
        await asyncio.gather(*(ask(client, number) for number in range(clients)))
        return {"latencies": latencies, "failed": failed, "seconds": time.perf_counter() - begun}


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


def show(load: str, found: dict[str, dict[str, Any]]) -> None:
    """Print a line for each contender; the ratio is that of answers a second."""
    speeds = {one: len(told["latencies"]) / told["seconds"] for one, told in found.items()}
    for one, told in found.items():
        places = [1000 * quantile(told["latencies"], share) for share in (0.5, 0.95, 0.99)]
        cells = " | ".join(f"{place:.1f}" for place in places)
        ratio = speeds[one] / speeds["pipeline"] if speeds["pipeline"] else float("nan")
        print(f"| {load} | {one} | {speeds[one]:.1f} | {cells} | {told['failed']} | {ratio:.2f} |", flush=True)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share lies; NaN of none."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=1000, method="inclusive")[min(998, int(share * 1000) - 1)]


def start(contender: str, name: str, results: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a contender on a port of this machine."""
    own = ["-m", "finetune30", "serve", name, "--port", str(port), "--output_dir", str(results)]
    other = ["-m", "benchmarks.serving", name, "--results", str(results), "--be_pipeline", str(port)]
    return subprocess.Popen([sys.executable, *(own if contender == "ft30" else other)])


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
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send({"ready": True})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with turn:
                found = ask(body["texts"], top_k=None, truncation=True, max_length=described["max_length"])
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
    parser.add_argument("--seconds", type=float, default=10.0, help="Of each load.")
    parser.add_argument("--be_pipeline", type=int, metavar="PORT", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
