"""The parity certificate: a version loaded in the path that serves, held against itself and against its run."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30 import __version__
from finetune30.modeling.saved_targets import load_targets
from finetune30.problems import load_problem
from finetune30.problems.trainables import load_trainable
from finetune30.service.parity import conversations, texts
from finetune30.service.parity.predictions import Published
from finetune30.service.parity.rows import load_measured_rows

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.storage import VersionStore
    from finetune30.modeling.conversations.chat_model import ChatModel
    from finetune30.service.parity.found import Found, Referred
    from finetune30.service.parity.served_texts import ServedTexts
    from finetune30.store import Run, RunFolder
    from finetune30.training.problem import Trainable
    from finetune30.training.saved_engine import SavedEngines

FORMAT = 1


class Served:
    """A saved model loaded in the path that serves: `texts` of a model with a head, else `chat`.

    `engines` are those of whoever holds several models, which may share a base.
    """

    def __init__(self, adapter: Path, engines: SavedEngines | None = None) -> None:
        from finetune30.modeling.devices import choose_placement

        self.described = load_targets(adapter)
        self.problem: Trainable = load_trainable(self.described["problem_type"], self.described["targets"])
        self.texts: ServedTexts | None = None
        self.chat: ChatModel | None = None
        if self.problem.scores_tokens:
            chat: ChatModel = self.problem.open_saved(adapter, choose_placement("cpu", "fp32"))  # type: ignore[assignment]
            if engines is not None:
                engines.share(adapter, chat.model)
            self.chat = chat
            return
        from finetune30.service.parity.served_texts import ServedTexts
        from finetune30.training.saved_engine import SavedEngines

        self.texts = ServedTexts(adapter, self.problem, engines or SavedEngines())

    @property
    def path(self) -> str:
        """How it computes."""
        return "transformers" if self.texts is None else self.texts.path

    def refer(self, run: Run, folder: RunFolder, versions: VersionStore) -> Referred:
        """Return a serving reference. Raises StorageError where rows or predictions of the run are not there."""
        import polars as pl

        problem, targets = load_problem(self.described["problem_type"]), self.described["targets"]
        most = texts.MOST_ROWS if self.chat is None else conversations.MOST_ROWS
        rows = load_measured_rows(run, folder, versions, targets, most)
        quantization = self.described.get("quantization")
        published = Published(
            pl.read_parquet(folder.predictions),
            folder.load_manifest()["environment"]["precision"],
            quantization and quantization["method"],
        )
        if self.chat is not None:
            return conversations.refer_conversations(self.chat, self.problem, problem, rows, published)
        assert self.texts is not None  # noqa: S101 - it is one of the two
        return texts.refer_texts(self.texts, problem, rows, published)

    def repeat(self, reference: pl.DataFrame) -> Found:
        """Ask the rows of a serving reference again, in a batch and alone."""
        if self.chat is not None:
            return conversations.repeat_conversations(self.chat, reference)
        assert self.texts is not None  # noqa: S101 - it is one of the two
        return texts.repeat_texts(self.texts, reference)


def describe_certificate(served: Served, found: Found, reference_sha256: str, rows: int) -> Mapping[str, Any]:
    """Return certificate.json."""
    return {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "finetune30": __version__,
        "path": served.path,
        "precision": "fp32",
        "cpu": platform.processor() or platform.machine(),
        "reference": {"rows": rows, "sha256": reference_sha256},
        **found.figures,
        "faults": found.faults,
    }
