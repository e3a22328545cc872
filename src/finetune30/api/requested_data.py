"""What a reading process says about the data that a request would train on."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from finetune30.api.context import read_in_turn
from finetune30.service.datasets.reading_process import Readings
from finetune30.service.submitting.requests import load_requested_config
from finetune30.settings import Settings


async def ask_about_data(
    question: str, asked: dict[str, Any], settings: Settings, request: Request, **more: Any
) -> dict[str, Any]:
    """Load the configuration of a request (`asked`) and ask a `question` of `Readings` about its data.

    Raises ConfigError, what the reading raises, and ServiceUnavailableError where no place for it gets free.
    """
    loaded = await run_in_threadpool(load_requested_config, asked, settings)
    # Which keys were given is asked along: nothing stands in for data that somebody named.
    wanted = {"config": loaded.config.as_tree(), "explicit": sorted(loaded.explicit)}

    def ask(readings: Readings) -> dict[str, Any]:
        return readings.ask(question, loaded.config.data.dataset_name, **wanted, **more)

    return await read_in_turn(request, ask)
