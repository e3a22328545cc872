"""The container files, as far as they can be judged without Docker: form, commands, settings, names, pip's lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from finetune30.cli.registry import COMMANDS
from finetune30.settings import Settings, variable_name

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docker-compose.yml"
OURS = ("worker", "api", "ui")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


HUB_PAGE = (Path(__file__).parents[3] / "docs" / "hub.md").read_text(encoding="utf-8")


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
    hub = {key for key in service["environment"] if key.startswith("HF_")}
    assert set(service["environment"]) - hub <= set(known)
    assert all(f"`{key}`" in HUB_PAGE for key in hub)
    Settings(**{known[key]: value for key, value in given.items() if key in known})
    assert urlsplit(given["FT30_REDIS_URL"]).hostname in compose["services"]
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_page_calls_the_api_by_a_name_that_it_answers_to(compose):
    command = compose["services"]["ui"]["command"]
    called = urlsplit(command[command.index("--api-url") + 1])
    assert called.hostname in compose["services"]["api"]["environment"]["FT30_ALLOWED_HOSTS"].split(",")
    assert called.port == Settings.model_fields["api_port"].default


def test_gpu_variant_gives_the_worker_alone_the_gpus_and_an_image_with_cuda(compose):
    variant = yaml.safe_load((ROOT / "compose.gpu.yml").read_text(encoding="utf-8"))["services"]
    assert set(variant) == {"worker"} <= set(compose["services"])
    worker = variant["worker"]
    assert worker["build"]["args"] == {"TORCH": "cuda"}
    assert worker["image"] != compose["services"]["worker"]["image"]  # else the API would get it too, or this one lose
    [device] = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert {"gpu", "utility"} <= set(device["capabilities"])


def test_image_installs_what_services_need_without_cuda_and_without_tests():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^ARG TORCH=cpu$", last, flags=re.MULTILINE)
    [install] = re.findall(r"^RUN (.*install_torch.*)$", last, flags=re.MULTILINE)
    before, after = install.split("&&")
    assert before.split() == ["sh", "scripts/install_torch.sh", "python"]
    assert re.findall(r"-r (\S+)", after) == ["requirements.txt", "requirements-services.txt"]
    assert "--only-binary=:all:" in after
    assert last.index("ARG TORCH") < last.index("install_torch.sh python")
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, flags=re.MULTILINE) for word in line.split()
    ]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert [name for name in copied if name.split("/")[0] in ignored] == []


def test_conda_environment_leaves_packages_to_the_locked_sets():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert [part for part in environment["dependencies"] if not isinstance(part, str)] == []
