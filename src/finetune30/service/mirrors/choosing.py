"""Which trackers there are, and making those that are asked for, as the settings say where they are."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

from finetune30.errors import UsageError
from finetune30.service.mirrors.protocol import Tracker
from finetune30.settings import Settings


def build_trackers(settings: Settings, names: Sequence[str]) -> list[Tracker]:
    """Return these trackers, those of the settings where none is named. Raises UsageError, which says what to set."""
    return [_BUILDERS[name](settings) for name in choose_names(settings, names)]


def choose_names(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return the names of these trackers, those of the settings where none is named. Raises UsageError."""
    chosen = tuple(dict.fromkeys(names or settings.mirrors))
    if not chosen:
        raise UsageError(
            "no mirror is set", "say where to: --to tensorboard, or set FT30_MIRRORS=tensorboard for all runs"
        )
    unknown = [name for name in chosen if name not in _BUILDERS]
    if unknown:
        raise UsageError(f"there is no tracker {unknown[0]!r}", f"those that there are: {', '.join(_BUILDERS)}")
    return list(chosen)


# --- private


def _build_tensorboard(settings: Settings) -> Tracker:
    from finetune30.service.mirrors.trackers.tensorboard import TensorBoard

    return TensorBoard(settings.tensorboard_folder or settings.results_folder / "tensorboard")


def _build_mlflow(settings: Settings) -> Tracker:
    from finetune30.service.mirrors.trackers.mlflow import URL_VARIABLE, MLflow

    if settings.mlflow_url is None:
        raise UsageError(
            f"{URL_VARIABLE} is not set", f"set it to the server's address: {URL_VARIABLE}=http://127.0.0.1:5000"
        )
    return MLflow(
        settings.mlflow_url,
        settings.mlflow_experiment,
        headers=_authorize(settings),
        timeout_seconds=settings.mirror_timeout_seconds,
    )


def _build_wandb(settings: Settings) -> Tracker:
    from finetune30.service.mirrors.trackers.wandb import WandB

    return WandB(settings.wandb_folder or settings.results_folder / "wandb", settings.wandb_project)


def _authorize(settings: Settings) -> dict[str, str]:
    if settings.mlflow_token is not None:
        return {"Authorization": f"Bearer {settings.mlflow_token.get_secret_value()}"}
    if settings.mlflow_username is not None and settings.mlflow_password is not None:
        pair = f"{settings.mlflow_username}:{settings.mlflow_password.get_secret_value()}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


_BUILDERS: dict[str, Callable[[Settings], Tracker]] = {
    "tensorboard": _build_tensorboard,
    "mlflow": _build_mlflow,
    "wandb": _build_wandb,
}
