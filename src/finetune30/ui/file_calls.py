"""What the page asks the API about the files of a run: published ones, and its model to take away in other forms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import quote

import httpx

from finetune30.ui.model_calls import path_part

Json = dict[str, Any]

#: The longest silence of an answer that is packed while it is sent.
_PACKING_SECONDS = 180.0


class FileCalls(ABC):
    """The part of the client that knows files of runs, and exports."""

    @abstractmethod
    def _json(self, method: str, path: str, **options: Any) -> Json:
        """Ask the API and return its JSON."""

    @abstractmethod
    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask the API and return its answer."""

    def load_artifacts(self, run_id: str) -> Json:
        """Return `artifacts`, name and size of every published file, and `package_bytes`, the model's as one .zip."""
        return self._json("GET", f"/experiments/{path_part(run_id)}/artifacts")

    def load_model_package(self, run_id: str) -> bytes:
        """Return the model of a finished run as .zip."""
        return self._ask("GET", f"/experiments/{path_part(run_id)}/model.zip", timeout=_PACKING_SECONDS).content

    def load_artifact(self, run_id: str, name: str) -> bytes:
        """Return the bytes of a published file."""
        return self._ask("GET", f"/experiments/{path_part(run_id)}/artifacts/{quote(name, safe='/')}").content

    def load_exports(self, run_id: str) -> Json:
        """Return the `forms` that a finished model can have, and its `exports` with state, receipt or error."""
        return self._json("GET", f"/experiments/{path_part(run_id)}/exports")

    def load_export(self, run_id: str, name: str) -> Json:
        """Return one export."""
        return self._json("GET", f"/experiments/{path_part(run_id)}/exports/{path_part(name)}")

    def create_export(self, run_id: str, wanted: Json) -> Json:
        """Have an export made (`as`, `precision`, `into`, `accept_gap`, `overwrite`); return it."""
        return self._json("POST", f"/experiments/{path_part(run_id)}/exports", json=wanted)

    def delete_export(self, run_id: str, name: str) -> None:
        """Remove an export."""
        self._ask("DELETE", f"/experiments/{path_part(run_id)}/exports/{path_part(name)}")

    def load_export_package(self, run_id: str, name: str) -> bytes:
        """Return an export as .zip."""
        path = f"/experiments/{path_part(run_id)}/exports/{path_part(name)}/files.zip"
        return self._ask("GET", path, timeout=_PACKING_SECONDS).content
