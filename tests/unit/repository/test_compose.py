"""docker-compose.yml, as far as it can be judged without Docker: its form, its commands, its settings, its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from finetune30.cli.registry import COMMANDS
from finetune30.settings import Settings, variable_name

FILE = Path(__file__).parents[3] / "docker-compose.yml"
OURS = ("worker", "api", "ui")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def test_services_are_the_documented_ones_with_postgresql_as_a_profile(compose):
    assert set(compose["services"]) == {"redis", "postgres", *OURS}
    profiled = {name for name, service in compose["services"].items() if "profiles" in service}
    assert profiled == {"postgres"}
    assert compose["services"]["postgres"]["profiles"] == ["postgres"]
    named = {
        volume.partition(":")[0] for service in compose["services"].values() for volume in service.get("volumes", ())
    }
    assert named == set(compose["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_every_service_runs_a_known_command_with_known_settings(compose, name):
    service = compose["services"][name]
    assert service["command"][0] in COMMANDS
    given = {key: value for key, value in service["environment"].items() if not str(value).startswith("${")}
    known = {variable_name(field): field for field in Settings.model_fields}
    assert set(service["environment"]) <= set(known)
    Settings(**{known[key]: value for key, value in given.items()})
    assert urlsplit(given["FT30_REDIS_URL"]).hostname in compose["services"]
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_page_calls_the_api_by_a_name_that_it_answers_to(compose):
    command = compose["services"]["ui"]["command"]
    called = urlsplit(command[command.index("--api-url") + 1])
    assert called.hostname in compose["services"]["api"]["environment"]["FT30_ALLOWED_HOSTS"].split(",")
    assert called.port == Settings.model_fields["api_port"].default
