"""How service and machine are, in the side bar, and a word where a run waits for a worker that is not there."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.client import ApiError, ApiUnreachableError
from finetune30.ui.session import client, t

Json = dict[str, Any]

REFRESH_SECONDS = 5
#: An answer this old is as good as a new one, for all that ask in one drawing of the page.
FRESH_SECONDS = 3.0
#: Above these shares memory and disk are marked.
SCARCE = 0.9
START_WORKER = "make start-worker"
_SIGNS = {True: ":green[:material/check_circle:]", False: ":red[:material/error:]", None: ":gray[:material/help:]"}


def load_health() -> Json | None:
    """Return the state of the service, at most some seconds old; None while the API is away or does not tell.

    `locked` alone stands in it where the API tells it to holders of another key only.
    """
    held: tuple[float, Json | None] | None = st.session_state.get("health")
    if held is None or time.monotonic() - held[0] > FRESH_SECONDS:
        try:
            answer: Json | None = client().load_health()
        except ApiError as error:
            answer = {"locked": True} if error.status in (401, 403) else None
        except ApiUnreachableError:
            answer = None
        held = (time.monotonic(), answer)
        st.session_state.health = held
    return held[1]


def warn_without_worker() -> None:
    """Say that what waits will not begin, where no worker is running."""
    workers = (load_health() or {}).get("workers")
    if workers is not None and all(worker.get("draining") for worker in workers):
        st.warning(t("health.no_worker_waits", command=START_WORKER), icon=":material/engineering:")


@st.fragment(run_every=REFRESH_SECONDS)
def show_health() -> None:
    """Show a line for each service and each thing of the machine that can run short."""
    with st.expander(t("health.title"), icon=":material/monitor_heart:", expanded=True):
        health = load_health()
        if health is None:
            _line(False, t("health.api"), t("health.away"))
            return
        if "locked" in health:
            _line(None, t("health.api"), t("health.locked"))
            return
        _show_services(health)
        _show_machine(health.get("machine") or {})


def _show_services(health: Json) -> None:
    _line(True, t("health.api"), t("health.up"))
    redis = str(health.get("redis"))
    _line(redis == "up", "Redis", t(f"health.redis_{redis}") if redis in ("up", "down", "refuses") else redis)
    if health.get("database") != "up":
        _line(False, t("health.database"), t("health.database_down"))
    workers = health.get("workers")
    if workers is None:
        _line(None, t("health.workers"), t("health.unknown"))
    elif not workers:
        _line(False, t("health.workers"), t("health.no_worker", command=START_WORKER))
    else:
        draining = [worker for worker in workers if worker.get("draining")]
        taking = [worker for worker in workers if worker not in draining]
        slots = ", ".join(slot for worker in taking for slot in worker["slots"]) or display.NOTHING
        busy = sum(int(worker["busy"]) for worker in workers)
        places = sum(len(worker["slots"]) for worker in taking) + sum(int(worker["busy"]) for worker in draining)
        said = t("health.workers_of", busy=busy, places=places, slots=display.plain(slots, 60))
        if draining:
            said += t("health.draining", count=len(draining))
        _line(True, t("health.workers"), said)
    if health.get("queued"):
        _line(True if workers else None, t("health.queue"), t("health.queued", count=health["queued"]))


def _show_machine(machine: Json) -> None:
    processors, memory, disk = (machine.get(name) or {} for name in ("processors", "memory", "disk"))
    share = processors.get("percent")
    said = t("health.of_cores", percent=_percent(share), cores=display.number(processors.get("cores")))
    _bar(t("health.processors"), said, None if share is None else share / 100)
    used, total = memory.get("used_bytes"), memory.get("total_bytes")
    _bar(t("health.memory"), f"{display.size(used)} / {display.size(total)}", _part_of(used, total), scarce=True)
    free, whole = disk.get("free_bytes"), disk.get("total_bytes")
    full = None if free is None or not whole else 1 - free / whole
    _bar(t("health.disk"), t("health.disk_free", free=display.size(free)), full, scarce=True)
    gpus = machine.get("gpus")
    if gpus is None:
        st.caption(t("health.no_gpu"))
    for gpu in gpus or ():
        _show_gpu(gpu)


def _show_gpu(gpu: Json) -> None:
    used, total = gpu.get("memory_used_bytes"), gpu.get("memory_total_bytes")
    facts = [_percent(gpu.get("percent")), f"{display.size(used)} / {display.size(total)}"]
    if gpu.get("temperature_celsius") is not None:
        facts.append(f"{gpu['temperature_celsius']} °C")
    name = f"GPU {display.number(gpu.get('index'))} · {display.plain(gpu.get('name'), 40)}"
    share = gpu.get("percent")
    _bar(name, " · ".join(facts), None if share is None else share / 100)


def _percent(share: Any) -> str:
    return display.NOTHING if share is None else f"{share:.0f} %"


def _part_of(used: Any, total: Any) -> float | None:
    return None if used is None or not total else used / total


def _line(good: bool | None, what: str, said: str) -> None:
    """A sign in shape and colour, what it is about, and the state in words."""
    st.markdown(f"{_SIGNS[good]} **{what}** {said}")


def _bar(what: str, said: str, share: float | None, *, scarce: bool = False) -> None:
    sign = ":orange[:material/warning:] " if scarce and share is not None and share > SCARCE else ""
    st.progress(min(1.0, max(0.0, share or 0.0)), f"{sign}**{what}** {said}")
