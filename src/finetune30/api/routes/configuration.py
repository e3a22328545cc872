"""The configuration: schema, defaults, presets, and whether a request would be accepted."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from finetune30.api.answers import Json
from finetune30.api.context import Here
from finetune30.api.schemas import ConfigAnswer, TrainRequest, errors
from finetune30.config.loading import LoadedConfig, dump_config, load_config
from finetune30.config.presets import default_config_path, list_presets, load_preset
from finetune30.config.reference import build_json_schema
from finetune30.service.submitting.requests import load_requested_config, load_yaml_request

router = APIRouter(prefix="/config", tags=["configuration"])


class ValidationRequest(TrainRequest):
    """A request to train that is only looked at; `yaml` may stand for `config`."""

    yaml: str | None = Field(None, max_length=200_000, description="A configuration file's text instead of `config`.")


class ValidationAnswer(ConfigAnswer):
    """The configuration that a request stands for."""

    model_config = ConfigDict(extra="forbid")

    notes: list[str] = Field(description="What the person should hear about.")
    explicit: list[str] = Field(description="The dotted keys that the request gave.")


class PresetSummary(BaseModel):
    """A shipped configuration."""

    name: str = Field(examples=["starter"])
    summary: str
    command: str = Field(description="How to run it from a shell.")


class PresetList(BaseModel):
    """The shipped configurations."""

    presets: list[PresetSummary]


class PresetAnswer(ConfigAnswer):
    """A shipped configuration."""

    name: str


class SchemaAnswer(BaseModel):
    """A JSON Schema (2020-12); it has more keys than these."""

    model_config = ConfigDict(extra="allow")

    title: str
    type: str


@router.get("/schema", summary="Schema", response_model=SchemaAnswer, responses=errors())
def read_schema() -> Response:
    """The JSON Schema of a configuration: every key with its bounds, default and description."""
    return Json(build_json_schema())


@router.get("/default", summary="Default configuration", response_model=ConfigAnswer, responses=errors(422))
def read_default() -> Response:
    """What POST /train starts from: config/default.yaml where the API runs, else the shipped one."""
    return Json(_as_answer(load_config(default_config_path(FilePath.cwd()))))


@router.get("/presets", summary="Presets", response_model=PresetList, responses=errors())
def read_presets() -> Response:
    """The shipped configurations."""
    shown = [{"name": p.name, "summary": p.summary, "command": p.command} for p in list_presets()]
    return Json({"presets": shown})


@router.get("/presets/{name}", summary="One preset", response_model=PresetAnswer, responses=errors(404, 422))
def read_preset(name: Annotated[str, Path(max_length=100, examples=["starter"])]) -> Response:
    """A shipped configuration, whole."""
    return Json({"name": name, **_as_answer(load_preset(name))})


@router.post(
    "/validate",
    summary="Check a request to train",
    response_model=ValidationAnswer,
    responses=errors(404, 413, 415, 422),
)
def check(here: Here, body: ValidationRequest) -> Response:
    """Answer what POST /train would run, or every fault; nothing is recorded."""
    asked = body.model_dump(exclude_unset=True)
    text = asked.pop("yaml", None)
    loaded = load_yaml_request(text, asked, here.settings) if text else load_requested_config(asked, here.settings)
    return Json({**_as_answer(loaded), "notes": list(loaded.notes), "explicit": sorted(loaded.explicit)})


def _as_answer(loaded: LoadedConfig) -> dict[str, Any]:
    return {"config": loaded.config.as_tree(), "yaml": dump_config(loaded.config)}
