"""The page in a real browser, for benchmarks: its services, Chromium, and when a press shows its effect."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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
_SLOWEST_MILLISECONDS = 60_000


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_service(folder: Path, name: str, path: str, *options: str, **variables: str) -> Iterator[str]:
    """Start `ft30 NAME` in a folder, on a free port, and give its address once `path` of it answers."""
    port = free_port()
    command = [sys.executable, "-m", "finetune30", name, "--port", str(port), *options]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(400):
                time.sleep(0.3)
                try:
                    httpx.get(address + path).raise_for_status()
                except httpx.HTTPError:
                    continue
                break
            yield address
        finally:
            process.terminate()
            process.wait(timeout=30)


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
    which driving it takes does not count.
    """
    page.evaluate(_WATCH, effect)
    press()
    page.wait_for_function("window.effect.seen !== null", timeout=_SLOWEST_MILLISECONDS)
    return float(page.evaluate("window.effect.seen - window.effect.begun"))
