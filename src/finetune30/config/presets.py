"""The shipped configurations: where they are, what they are for, and how to run them.

Their one home is the repository's `config/` folder. The build copies it into the package (see setup.py), so an
installation without a checkout finds the same files.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import finetune30
from finetune30.config.loading import LoadedConfig, load_config
from finetune30.errors import NotFoundError

DEFAULT_PRESET = "default"
#: What a checkout has and a user's own folder hardly: the configuration that plain `ft30 train` uses.
CHECKOUT_DEFAULT = Path("config/default.yaml")


@dataclass(frozen=True)
class Preset:
    """One shipped file: `command` runs it, `summary` says in a line what it is for."""

    name: str
    path: Path
    command: str
    summary: str


def presets_folder() -> Path:
    """Return the folder of the shipped files: inside an installed package, else the checkout's config/."""
    package = Path(finetune30.__file__).parent
    installed = package / "presets"
    return installed if installed.is_dir() else package.parents[1] / "config"


def list_presets() -> list[Preset]:
    """Return the shipped configurations, default first, then by name."""
    paths = [path for path in presets_folder().glob("*.yaml") if _is_preset(path)]
    return sorted(
        (_read_preset(path) for path in paths), key=lambda preset: (preset.name != DEFAULT_PRESET, preset.name)
    )


def preset_path(name: str) -> Path:
    """Return the file of a preset; raises NotFoundError with the names there are."""
    path = presets_folder() / f"{name}.yaml"
    if _is_preset(path) and path.parent == presets_folder() and path.is_file():
        return path
    presets = [preset.name for preset in list_presets()]
    near = difflib.get_close_matches(name, presets, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise NotFoundError(f"there is no preset {name!r}", f"{hint}list them: ft30 config presets")


def load_preset(name: str) -> LoadedConfig:
    """Load a shipped configuration by name; raises NotFoundError."""
    return load_config(preset_path(name))


def default_config_path(working_folder: Path) -> Path:
    """Return what plain `ft30 train` uses: config/default.yaml of the folder we stand in, else the shipped one."""
    return CHECKOUT_DEFAULT if (working_folder / CHECKOUT_DEFAULT).is_file() else preset_path(DEFAULT_PRESET)


def _is_preset(path: Path) -> bool:
    return not path.name.startswith("temp_")


def _read_preset(path: Path) -> Preset:
    comments = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comments.append(line.lstrip("#").strip())
    command = comments[0].removeprefix("Run:").strip() if comments else ""
    return Preset(path.stem, path, command, comments[1] if len(comments) > 1 else "")
