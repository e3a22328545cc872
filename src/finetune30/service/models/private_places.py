"""Names of places on this machine, which nothing that leaves it may tell."""

from __future__ import annotations

from pathlib import Path

from finetune30.errors import StorageError
from finetune30.service.runs.open_records import Records
from finetune30.store import Run


def find_private_names(run: Run, records: Records, base: str | None) -> dict[str, str]:
    """Return what names a place on this machine -> what may be said instead."""
    config = run.config
    named = [base, config["model"]["name"], config["data"]["dataset_name"], config["training"].get("start_adapter")]
    places = {str(name): Path(str(name)).name for name in named if name and _is_place(str(name))}
    for path in (records.results_root, records.results_root.resolve()):
        if path.is_absolute():
            places[str(path)] = path.name
    # A place inside of another one is replaced before it.
    return dict(sorted(places.items(), key=lambda place: -len(place[0])))


def _is_place(name: str) -> bool:
    """Tell a path that says where somebody keeps things from a name of the hub or a file beside the command."""
    return Path(name).is_absolute() or name.startswith(("~", ".", "\\")) or name.count("/") > 1


def without_places(text: str, private: dict[str, str]) -> str:
    """Return a text with what may be said instead."""
    for place, said in private.items():
        text = text.replace(place, said)
    return text


def require_no_place(name: str, content: bytes, private: dict[str, str]) -> None:
    """Raise StorageError where a file that is to leave names such a place."""
    if place := next((place for place in private if place.encode() in content), None):
        raise StorageError(
            f"{name} names a place on this machine ({place}) and cannot leave it so",
            "take the files of the run one by one, and look at that one first",
        )
