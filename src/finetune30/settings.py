"""The settings of a process: folders, addresses, keys. From the environment (FT30_…) and a `.env` file.

Nothing here decides the result of an experiment; that is the experiment configuration's job.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from finetune30.errors import ConfigError

PREFIX = "FT30_"
ENV_FILE = ".env"
#: Settings that may hold a password or a key: their values are never shown.
_SECRET = (
    "database_url",
    "redis_url",
    "result_backend_url",
    "api_keys",
    "mlflow_url",
    "mlflow_token",
    "mlflow_password",
)
#: The trackers to which runs can be carried.
MIRRORS = ("tensorboard", "mlflow", "wandb")
_PATTERNS_IN_WORDS = {
    "database_url": "must begin with sqlite:// or postgresql://",
    "redis_url": "must begin with redis://, rediss://, redis+socket:// or unix://",
    "result_backend_url": "must begin with redis://, rediss://, redis+socket:// or unix://",
    "answer_device": "must be auto, cpu, mps, cuda or cuda:N",
    "mirrors": f"must be names out of {', '.join(MIRRORS)}, separated by commas",
    "mlflow_url": "must begin with http:// or https:// and hold no name and password: those have settings of their own",
    "worker_name": "must be letters, digits, dots, dashes and underscores",
}


class Settings(BaseSettings):
    """Every setting with its default; the environment wins over `.env`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file_encoding="utf-8",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    database_url: str | None = Field(
        None,
        pattern=r"^(sqlite|postgresql)(\+\w+)?://",
        description="SQLAlchemy URL of the run database; unset: experiments.db in the results folder.",
    )
    results_folder: Path = Field(Path("results"), description="Folder of all runs and of the SQLite database.")
    submitted_folder: Path = Field(
        Path("config"), description="Folder of the submitted configurations, temp_{task_id}.yaml, the newest 100."
    )
    data_folder: Path = Field(
        Path("data_store"), description="Folder of the dataset versions, and of the starter chat model."
    )
    redis_url: str = Field(
        "redis://localhost:6379/0", pattern=r"^(redis|rediss|redis\+socket|unix)://", description="Task queue (broker)."
    )
    result_backend_url: str = Field(
        "redis://localhost:6379/1",
        pattern=r"^(redis|rediss|redis\+socket|unix)://",
        description="Celery's own task states.",
    )
    api_host: str = Field("127.0.0.1", min_length=1, description="Address the API binds to.")
    api_port: int = Field(8000, ge=1, le=65_535, description="Port of the API.")
    api_processes: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Processes of one API that answer; unset: 2, on a machine with one processor 1.",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Keys that open the API, separated by commas; needed to bind to anything but loopback."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Host names by which the API may be called, separated by commas, beside localhost and its own.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins whose web pages may use API and page from a browser, separated by commas; default: none.",
    )
    allowed_folders: Annotated[tuple[Path, ...], NoDecode] = Field(
        (Path("data"),),
        description="Folders, separated by commas, whose files a request to the API may name as data or model.",
    )
    max_body_bytes: int = Field(1 << 20, ge=1024, le=1 << 26, description="Longest JSON body that the API reads.")
    max_upload_bytes: int = Field(
        200 << 20, ge=1024, le=1 << 40, description="Largest data file that may be uploaded to the API."
    )
    max_fetch_bytes: int = Field(
        1 << 30,
        ge=0,
        le=1 << 50,
        description="Most that the API itself fetches from the hub for a preview or a version; workers have no limit.",
    )
    read_seconds: float = Field(
        300.0, gt=0, le=86_400, description="How long the API may read data for one answer; then it is refused."
    )
    read_memory_bytes: int = Field(
        4 << 30, ge=1 << 28, le=1 << 50, description="Memory that reading data for one answer of the API may take."
    )
    max_open_runs: int = Field(
        1000, ge=1, le=1_000_000, description="Runs, waiting or running, that one key may have at a time."
    )
    max_running_runs: int | None = Field(
        None, ge=1, le=1_000_000, description="Runs that one key may have running at a time; unset: no limit."
    )
    submitter_max_priority: int = Field(
        10, ge=-100, le=100, description="Highest priority that a key with the role submitter may give a run."
    )
    disk_reserve_bytes: int = Field(
        1 << 30, ge=0, le=1 << 50, description="Free space of the results disk below which the API takes nothing more."
    )
    answer_device: str = Field(
        "cpu",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Where the API's models answer: auto, cpu, mps, cuda or cuda:N. A GPU is shared with trainings.",
    )
    ui_host: str = Field("127.0.0.1", min_length=1, description="Address the page binds to.")
    ui_port: int = Field(8501, ge=1, le=65_535, description="Port of the page.")
    lease_seconds: float = Field(60.0, gt=0, le=86_400, description="How long a run stays claimed without a heartbeat.")
    heartbeat_seconds: float = Field(10.0, gt=0, le=86_400, description="Time between two heartbeats of an attempt.")
    reconcile_seconds: float = Field(15.0, gt=0, le=86_400, description="Time between two looks for lost runs.")
    stop_grace_seconds: float = Field(
        30.0, gt=0, le=86_400, description="How long an attempt may take to stop before it is killed."
    )
    no_progress_seconds: float = Field(
        7_200.0,
        ge=0,
        le=864_000,
        description="An attempt without a step or a log line for so long is killed; 0: never.",
    )
    join_seconds: float = Field(
        900.0, gt=0, le=86_400, description="How long the processes of one training wait for each other at the start."
    )
    peer_timeout_seconds: float = Field(
        120.0,
        gt=0,
        le=86_400,
        description="A process of several on one training that gives no sign of life for so long is lost.",
    )
    worker_concurrency: int | None = Field(
        None, ge=1, le=64, description="Runs at a time on the CPU (unset: 1), or the most GPUs to use (unset: all)."
    )
    worker_name: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="Name of a worker; unset: the host's.",
    )
    mirrors: Annotated[tuple[Annotated[str, Field(pattern=f"^({'|'.join(MIRRORS)})$")], ...], NoDecode] = Field(
        (),
        description="Trackers to which runs are carried as they go on, by commas: tensorboard, mlflow, wandb.",
    )
    tensorboard_folder: Path | None = Field(
        None, description="Folder of TensorBoard's event files; unset: tensorboard in the results folder."
    )
    mlflow_url: str | None = Field(
        None, pattern=r"^https?://[^@/]+(/[^@]*)?$", description="Address of the MLflow server."
    )
    mlflow_experiment: str = Field(
        "finetune30", min_length=1, max_length=200, description="Experiment of that server that runs are kept in."
    )
    mlflow_token: SecretStr | None = Field(None, description="Token that opens the MLflow server, if it needs one.")
    mlflow_username: str | None = Field(None, description="Name that opens it, where it asks for name and password.")
    mlflow_password: SecretStr | None = Field(None, description="The password that belongs to the name.")
    wandb_folder: Path | None = Field(
        None, description="Folder of W&B's offline run folders; unset: wandb in the results folder."
    )
    wandb_project: str = Field(
        "finetune30", min_length=1, max_length=128, description="Project of W&B that these runs belong to."
    )
    mirror_seconds: float = Field(
        5.0, gt=0, le=86_400, description="Time between two looks for what a tracker does not know yet."
    )
    mirror_timeout_seconds: float = Field(
        10.0, gt=0, le=600, description="How long a tracker may take for one request."
    )

    @field_validator("api_keys", "allowed_hosts", "allowed_origins", "allowed_folders", "mirrors", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def resolved_database_url(self) -> str:
        """The database URL, with SQLite in the results folder where none is set."""
        return self.database_url or f"sqlite:///{(self.results_folder / 'experiments.db').as_posix()}"


def load_settings(env_file: Path | None = None) -> Settings:
    """Load the settings of this process; `env_file` None means `.env` in the working folder, if there is one.

    Raises ConfigError that names every variable at fault, also a misspelt one.
    """
    file = env_file or Path(ENV_FILE)
    _refuse_misspelt(os.environ)
    try:
        _refuse_misspelt(_load_names(file))
        return Settings(_env_file=file)
    except ValidationError as error:
        faults = [_describe_fault(detail) for detail in error.errors(include_url=False)]
        raise ConfigError(
            "\n".join(faults), f"correct the environment or {file}; docs/configuration.md lists all"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} cannot be read: {error}", "make it a readable UTF-8 file of NAME=value lines"
        ) from error


def variable_name(field: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + field.upper()


def _describe_fault(detail: Any) -> str:
    field = str(detail["loc"][0])
    words = _PATTERNS_IN_WORDS.get(field) if detail["type"] == "string_pattern_mismatch" else None
    found = "" if field in _SECRET else f"{str(detail['input'])[:100]!r} is not allowed, "
    return f"{variable_name(field)}: {found}{words or detail['msg'].replace('Input should', 'must')}"


def _load_names(file: Path) -> list[str]:
    """Return the names that an environment file sets."""
    from dotenv import dotenv_values

    return list(dotenv_values(file, interpolate=False)) if file.is_file() else []


def _refuse_misspelt(environment: Iterable[str]) -> None:
    known = [variable_name(name) for name in Settings.model_fields]
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
            if near:
                raise ConfigError(f"{name} is set but is no setting", f"did you mean {near[0]}?")
