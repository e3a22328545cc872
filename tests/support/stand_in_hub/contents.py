"""All repositories of the stand-in hub, made by us: small, and the same for everybody."""

from __future__ import annotations

from support.stand_in_hub.data_sets import build_data_sets
from support.stand_in_hub.models import build_models
from support.stand_in_hub.server import StandInHub


def fill_hub(hub: StandInHub) -> None:
    """Put all models and data sets there (seconds: torch and transformers write the models)."""
    for repository in (*build_models(), *build_data_sets()):
        hub.add(repository)
