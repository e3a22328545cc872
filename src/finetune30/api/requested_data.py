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
    config = (await run_in_threadpool(load_requested_config, asked, settings)).config

    def ask(readings: Readings) -> dict[str, Any]:
        return readings.ask(question, config.data.dataset_name, config=config.as_tree(), **more)

    return await read_in_turn(request, ask)
