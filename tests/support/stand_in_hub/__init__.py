"""A stand-in for the Hugging Face hub on loopback, for tests that set HF_ENDPOINT to it."""

from support.stand_in_hub.faults import (
    CaptivePage,
    Compressed,
    CutBody,
    Delay,
    Fault,
    HangUp,
    Refusal,
    Trickle,
    WrongContent,
    WrongLength,
    entry_missing,
    forbidden,
    repository_missing,
    revision_missing,
    server_error,
    too_many_requests,
    unauthorized,
)
from support.stand_in_hub.protocol import TOKEN, TOKEN_WITHOUT_ACCESS
from support.stand_in_hub.repositories import Repository, link_folder
from support.stand_in_hub.server import Request, StandInHub, without_hub_settings

__all__ = [
    "TOKEN",
    "TOKEN_WITHOUT_ACCESS",
    "CaptivePage",
    "Compressed",
    "CutBody",
    "Delay",
    "Fault",
    "HangUp",
    "Refusal",
    "Repository",
    "Request",
    "StandInHub",
    "Trickle",
    "WrongContent",
    "WrongLength",
    "entry_missing",
    "forbidden",
    "link_folder",
    "repository_missing",
    "revision_missing",
    "server_error",
    "too_many_requests",
    "unauthorized",
    "without_hub_settings",
]
