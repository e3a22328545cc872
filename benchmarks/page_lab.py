"""The page in a real browser, for benchmarks and pictures: services, Chromium, and when a press shows its effect."""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: The page while no script of it is running: what is drawn stays.
AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"
#: Waits for the first press, then looks before every picture that the browser paints whether its effect is there.
_WATCH = """(met) => {
  const effect = window.effect = {begun: null, seen: null}, shown = new Function('return (' + met + ')');
  if (shown()) throw new Error('the effect is there before the press: ' + met);
  const begin = () => { effect.begun ??= performance.now(); };
  for (const press of ['pointerdown', 'keydown']) window.addEventListener(press, begin, {capture: true, once: true});
  const look = () => {
    if (effect.begun !== null && shown()) effect.seen = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
_SLOWEST_MILLISECONDS = 20_000
_SLOWEST_START_SECONDS = 300
_LINES_SHOWN = 20


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServiceEndedError(RuntimeError):
    """A service that is measured ended by itself, or never answered; says what it wrote last."""


@contextmanager
def running(folder: Path, words: Sequence[str], answering: Sequence[str], **variables: str) -> Iterator[None]:
    """Run `ft30 WORDS` in a folder, from when all addresses in `answering` answer.

    Raises ServiceEndedError when it ends before it is told to, whatever else went wrong because of that.
    """
    path = folder / f"{words[0]}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "finetune30", *words],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
        )
    try:
        for address in answering:
            _wait_for(address, process)
        yield
    finally:
        code = process.poll()
        process.terminate()
        process.wait(timeout=120)
        if code is not None:
            raise ServiceEndedError(_describe_end(words[0], f"ended by itself with code {code}", path))


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SLOWEST_START_SECONDS
    while process.poll() is None:
        try:
            httpx.get(address).raise_for_status()
        except httpx.HTTPError as error:
            if time.monotonic() > until:
                raise ServiceEndedError(f"{address} does not answer: {error}") from error
            time.sleep(0.3)
        else:
            return
    raise ServiceEndedError(f"{address} never answered")


def _describe_end(name: str, what: str, log: Path) -> str:
    last = log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:]
    return "\n".join([f"ft30 {name} {what}; it wrote last:", *last])


@contextmanager
def running_service(folder: Path, name: str, path: str, *options: str, **variables: str) -> Iterator[str]:
    """Start `ft30 NAME` in a folder, on a free port, and give its address once `path` of it answers."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with running(folder, [name, "--port", str(port), *options], [address + path], **variables):
        yield address


def running_page(folder: Path, api: str, **variables: str) -> Any:
    """Start `ft30 ui` over an API and give its address."""
    return running_service(folder, "ui", "/_stcore/health", "--api-url", api, **variables)


@contextmanager
def running_browser() -> Iterator[Any]:
    """Start Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        found = next((path for path in map(shutil.which, NAMES) if path), tool.chromium.executable_path)
        browser = tool.chromium.launch(executable_path=found, args=["--headless", "--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def time_press(page: Any, press: Callable[[], None], effect: str) -> float:
    """Return the milliseconds from the first event of a press to the picture in which its effect is seen.

    `effect` is an expression of JavaScript that is false before. All is measured within the browser, so that the time
    which driving it takes does not count. A press that is lost, so that nothing comes of it, takes infinitely long.
    """
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    page.evaluate(_WATCH, effect)
    press()
    try:
        page.wait_for_function("window.effect.seen !== null", timeout=_SLOWEST_MILLISECONDS)
    except PlaywrightTimeout:
        return math.inf
    return float(page.evaluate("window.effect.seen - window.effect.begun"))
